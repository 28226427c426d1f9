/**
 * Suggests the narrowest manifest for an agent: reads what is on record, cuts the manifest in force, and
 * replays the same record under what comes out. A cut that would change anything that was let through, or of
 * which nobody can tell whether it would, is not suggested.
 */
import { parseDocument } from 'yaml';
import { WritError } from '../core/errors.ts';
import type { Json } from '../core/vocabulary.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import { readManifest } from '../manifests/read.ts';
import { type Record, readRecord } from './recorded.ts';
import { type Difference, looksBackMs, type Replay } from './replay.ts';
import { type ReplayDeps, replayRecord, versionsOf } from './run-replay.ts';
import { applyCuts, type Cut, cutsOf, type Kept } from './suggest.ts';
import { usageOf } from './usage.ts';

export interface Suggestion {
  inForce: PublishedManifest;
  source: string;
  /** The YAML that is suggested; the one in force where there is nothing to cut. */
  suggested: string;
  cuts: (Cut & { from: Json })[];
  kept: Kept[];
  /** The same time under the suggestion. */
  replay: Replay;
}

/**
 * @throws WritError `not_found` where the agent is not registered; `conflict` where nothing is on record;
 *   `bad_request` where there is more than one replay takes
 */
export async function runSuggest(deps: ReplayDeps, agent: string, since: Date): Promise<Suggestion> {
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
    throw new WritError('conflict', { detail: 'Nothing of this agent is on record in that time: there is nothing to go by.' });
  const usage = usageOf(record, inForce, await versionsOf(catalog, record), digest);
  const { cuts, kept } = cutsOf(manifest, usage);
  return { inForce, ...(await thatHold(deps, inForce, row.source, record, cuts, kept)) };
}

/** Leaves out cuts until what is left changes nothing of what was let through. */
async function thatHold(
  deps: ReplayDeps,
  inForce: PublishedManifest,
  source: string,
  record: Record,
  all: readonly Cut[],
  kept: readonly Kept[],
): Promise<Omit<Suggestion, 'inForce'>> {
  let cuts = [...all];
  const dropped: Kept[] = [];
  const before = parseDocument(source);
  for (;;) {
    const suggested = cuts.length === 0 ? source : applyCuts(source, cuts);
    const read = readManifest(suggested, deps.shapes);
    if (read.ok) {
      const candidate = { ...inForce, version: inForce.version + 1, sha256: read.compiled.sha256, compiled: read.compiled };
      const replay = await replayRecord(deps, candidate, record);
      const broken = brokenBy(replay);
      if (broken.length === 0 || cuts.length === 0) {
        const from = (path: Cut['path']): Json => plain(before.getIn(path));
        return { source, suggested, cuts: cuts.map((cut) => ({ ...cut, from: from(cut.path) })), kept: [...kept, ...dropped], replay };
      }
      leaveOut(broken);
    } else if (cuts.length > 0) leaveOut([]);
    else throw new WritError('unavailable', { cause: new Error('the manifest in force does not hold any more') });
  }

  function leaveOut(broken: readonly Difference[]): void {
    const names = new Set(broken.map(({ name }) => name));
    const about = cuts.filter((cut) => cut.about !== null && names.has(cut.about));
    // Then those about nothing in particular, then whatever is left.
    const general = cuts.filter((cut) => cut.about === null || (cut.to === null && cut.path.length === 2));
    const [first] = [about, general, cuts].filter((some) => some.length > 0);
    const out = new Set(first);
    for (const { path } of out) dropped.push({ path, why: 'without it, something that was let through might not be' });
    cuts = cuts.filter((cut) => !out.has(cut));
  }
}

/** What was let through and may not be, or ends more than itself: what came after in its session would be lost. */
const brokenBy = ({ groups }: Replay): Difference[] =>
  [...groups.newly_denied, ...groups.other_effect, ...groups.undecidable].filter(
    ({ was, now }) =>
      was.effect === 'allow' ||
      was.effect === 'approve' ||
      now.effects.some((effect) => effect !== was.effect && effect !== 'deny' && effect !== 'allow' && effect !== 'approve'),
  );

const plain = (node: unknown): Json => {
  const value = node as { toJSON?(): Json } | Json | undefined;
  if (typeof value === 'object' && value !== null && 'toJSON' in value && typeof value.toJSON === 'function') return value.toJSON();
  return (value as Json | undefined) ?? null;
};
