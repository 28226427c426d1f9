/** What a decision does: to the request, and to the session that asked. */

/** What becomes of a call. All but the first deny it; the last three do something to its session, too. */
export const callEffects = ['allow', 'deny', 'approve', 'downgrade', 'suspend', 'terminate'] as const;
export type CallEffect = (typeof callEffects)[number];

/** What a denied request may do to its session, the strongest first. */
const sessionEffects = ['terminate', 'suspend', 'downgrade'] as const;
export type SessionEffect = (typeof sessionEffects)[number];

/**
 * What the policies that matched do to the session, whatever else is wrong with the request: the strongest of
 * it; null = nothing.
 */
export const sessionEffect = (policies: readonly ({ effect?: string } | undefined)[]): SessionEffect | null =>
  sessionEffects.find((effect) => policies.some((policy) => policy?.effect === effect)) ?? null;
