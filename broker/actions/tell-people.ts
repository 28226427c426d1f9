/** Of which incidents who is told: the owner of the agent, through every channel that delivers. */
import type { Happening, Telling } from '../../approvals/incidents.ts';
import { newId } from '../core/ids.ts';
import { compiledCalls } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';

export interface TellDeps {
  /** Names of the channels that tell people. */
  noticeChannels: readonly string[];
}

export const tellingOf = (
  { noticeChannels }: TellDeps,
  agent: string,
  { owner }: Pick<Manifest, 'owner'>,
  happening: Happening,
  now: Date,
): Telling => ({
  ids: noticeChannels.map(() => newId('ntc', now)),
  channels: [...noticeChannels],
  incident: { agent, owner, happening },
});

/**
 * What people are told because of a decision; null = nothing. Of a session that is frozen or narrowed they
 * are asked (`ask-people.ts`), and an envelope that is spent is no incident.
 * @param by what was asked for, as people read it
 */
export function tellingOfRules(
  deps: TellDeps,
  agent: string,
  manifest: Manifest,
  { effect, hits, by }: { effect: string | undefined; hits: readonly string[]; by: string },
  now: Date,
): Telling | null {
  if (effect !== 'terminate') return null;
  const rules = compiledCalls(manifest).rules.filter((rule) => rule.effect === 'terminate' && hits.includes(rule.id));
  const canaries = rules.flatMap(({ canary }) => canary ?? []);
  if (canaries.length > 0) return tellingOf(deps, agent, manifest, { what: 'canary_touched', canaries, by }, now);
  const ended = rules.filter(({ reason }) => reason !== 'envelope_spent').map(({ id, message }) => ({ id, message }));
  if (ended.length === 0 && rules.length > 0) return null;
  return tellingOf(deps, agent, manifest, { what: 'ended_by_rule', rules: ended, by }, now);
}
