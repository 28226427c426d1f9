/** Replays what is on record of an agent under a candidate: reads the rows, decides anew, changes nothing. */
import type { Provider } from '../../providers/contract.ts';
import type { Digest } from '../actions/cells.ts';
import { WritError } from '../core/errors.ts';
import type { Clock } from '../core/vocabulary.ts';
import { decideBeside } from '../decide/policy-slots.ts';
import type { Catalog } from '../manifests/catalog.ts';
import type { ProviderShapes } from '../manifests/check.ts';
import { compiledCalls } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import { readManifest } from '../manifests/read.ts';
import type { Store } from '../store/open.ts';
import { type Record, readRecord } from './recorded.ts';
import { looksBackMs, type Replay, replay } from './replay.ts';

export interface ReplayDeps {
  store: Store;
  clock: Clock;
  catalog: Catalog;
  providers: ReadonlyMap<string, Provider>;
  shapes: ProviderShapes;
  /** The one that names cells and arguments. */
  digest: Digest;
}

/**
 * Parses, checks and compiles a manifest that is not to come in force, as the next version of its agent's.
 * @throws WritError `invalid_manifest` with every fault; `not_found` where the agent is not registered
 */
export async function readCandidate(deps: ReplayDeps, agent: string, source: string): Promise<PublishedManifest> {
  const inForce = await deps.catalog.current(agent);
  if (inForce === null) throw new WritError('not_found');
  const read = readManifest(source, deps.shapes);
  if (!read.ok) throw new WritError('invalid_manifest', { errors: read.faults });
  const { compiled } = read;
  if (compiled.agent !== agent)
    throw new WritError('invalid_manifest', {
      errors: [{ path: 'agent', message: `is ${compiled.agent}, but it was sent as the manifest of ${agent}` }],
    });
  return { agent, version: inForce.version + 1, sha256: compiled.sha256, compiled };
}

/**
 * @param since only what was asked for from then on is decided anew
 * @throws WritError `bad_request` when there is more than one replay takes
 */
export async function runReplay(deps: ReplayDeps, candidate: PublishedManifest, since: Date): Promise<Replay> {
  const { providers, digest } = deps;
  const { manifest } = candidate.compiled;
  const asked = { agent: candidate.agent, since, until: deps.clock.now(), lookBackMs: looksBackMs(manifest) };
  const record = await readRecord(deps.store, asked);
  decideBeside(candidate.compiled, 'replay');
  const versionOf = await versionsOf(deps.catalog, record);
  const ownerHasOthers = await hasOthers(deps, candidate.agent, candidate.compiled.manifest);
  return replay({ record, candidate, versionOf, providers, digest, ownerHasOthers });
}

/**
 * The versions that a record was decided under.
 * @throws WritError `unavailable` where one cannot be read, or does not hold
 */
export async function versionsOf(
  catalog: Catalog,
  { agent, all }: Record,
): Promise<(number: number, of?: string) => PublishedManifest> {
  const keyOf = (of: string, version: number) => `${of}@${version}`;
  const used = new Map(
    all.map(({ session, manifestVersion }) => [
      keyOf(session.agent, manifestVersion),
      { of: session.agent, version: manifestVersion },
    ]),
  );
  const read = await Promise.all(
    [...used].map(async ([key, { of, version }]) => [key, await catalog.version(of, version)] as const),
  );
  const versions = new Map(read);
  return (number, of = agent) => versions.get(keyOf(of, number))!;
}

/** Whether rules that look at the owner's agents may see what others of them did. */
export async function hasOthers({ store, catalog }: ReplayDeps, agent: string, manifest: Manifest): Promise<boolean> {
  if (!compiledCalls(manifest).trackers.some(({ scope }) => scope === 'owner')) return false;
  const others = await store.prisma.agent.findMany({ where: { name: { not: agent } }, select: { name: true } });
  for (const { name } of others)
    if ((await catalog.current(name))?.compiled.manifest.owner === manifest.owner) return true;
  return false;
}
