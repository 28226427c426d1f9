/** Reads a claim that may be nested, as identity providers nest them. Pure. */

/**
 * The claim of this name. A dot descends: `realm_access.roles` is the member `roles` of `realm_access`,
 * unless a claim has the whole name (`https://example.com/groups` has dots of its own). Own members only.
 * @returns undefined when there is none
 */
export function claimAt(claims: unknown, name: string): unknown {
  if (typeof claims !== 'object' || claims === null || Array.isArray(claims)) return undefined;
  if (Object.hasOwn(claims, name)) return (claims as Record<string, unknown>)[name];
  for (let dot = name.lastIndexOf('.'); dot > 0; dot = name.lastIndexOf('.', dot - 1)) {
    const outer = name.slice(0, dot);
    if (!Object.hasOwn(claims, outer)) continue;
    const found = claimAt((claims as Record<string, unknown>)[outer], name.slice(dot + 1));
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Whether a claim says yes. Some providers send the boolean as a text or a number (Entra's `xms_edov`). */
export const saysYes = (claim: unknown): boolean => claim === true || claim === 'true' || claim === 1 || claim === '1';
