/**
 * Suggests the narrowest manifest for an agent: reads what is on record, cuts the manifest in force, and
 * replays the same record under what comes out. A cut that would change anything that was let through, or of
 * which nobody can tell whether it would, is not suggested.
 */
import { WritError } from '../core/errors.ts';
import { decideBeside } from '../decide/policy-slots.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import { readRecord } from './recorded.ts';
import { looksBackMs, type Replay, replay } from './replay.ts';
import { hasOthers, type ReplayDeps, versionsOf } from './run-replay.ts';
import { type Suggestion, suggest } from './suggest.ts';
import { usageOf } from './usage.ts';

/**
 * @throws WritError `not_found` where the agent is not registered; `conflict` where nothing is on record;
 *   `bad_request` where there is more than one replay takes
 */
export async function runSuggest(
  deps: ReplayDeps,
  agent: string,
  since: Date,
): Promise<Suggestion & { inForce: PublishedManifest }> {
  const { store, catalog, clock, digest } = deps;
  const inForce = await catalog.current(agent);
  if (inForce === null) throw new WritError('not_found');
  const row = await store.prisma.manifest.findUniqueOrThrow({
    where: { agent_version: { agent, version: inForce.version } },
    select: { source: true },
  });
  const { manifest } = inForce.compiled;
  const record = await readRecord(store, { agent, since, until: clock.now(), lookBackMs: looksBackMs(manifest) });
  if (record.sessions.length === 0)
    throw new WritError('conflict', {
      detail: 'Nothing of this agent is on record in that time: there is nothing to go by.',
    });
  const versionOf = await versionsOf(catalog, record);
  const ownerHasOthers = await hasOthers(deps, agent, manifest);
  const replayUnder = (candidate: PublishedManifest): Replay => {
    decideBeside(candidate.compiled, 'replay');
    return replay({ record, candidate, versionOf, providers: deps.providers, digest, ownerHasOthers });
  };
  const usage = usageOf(record, inForce, versionOf, digest);
  return { inForce, ...suggest(inForce, row.source, deps.shapes, usage, replayUnder) };
}
