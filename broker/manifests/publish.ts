/**
 * Publishing: what an agent may ever do becomes a numbered, immutable version. A manifest that does not hold
 * leaves the running one in force.
 */
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';
import type { Prisma } from '../store/prisma/client.ts';
import type { ProviderShapes } from './check.ts';
import type { CompiledManifest } from './compile.ts';
import { readManifest } from './read.ts';

export type { PublishedManifest } from './compile.ts';

export interface PublishInput {
  source: string;
  author: string;
  reason: string;
  /** The agent the caller means; a manifest that names another is refused. Null = whatever it names. */
  agent: string | null;
  /** Version that must be in force (0 = none); null = whichever is (start-up folder). */
  expectedVersion: number | null;
  requestId: string | null;
  /** Leave what is in force when this very source was in force before. */
  unlessPublishedBefore?: boolean;
}

/** `unchanged`: it is in force already. `superseded`: it was, and something newer replaced it. */
export type PublishOutcome = 'published' | 'unchanged' | 'superseded';

const publishStatement: Statement = {
  name: 'manifest_publish',
  text: `
    WITH current AS (
      INSERT INTO agent (name, version, providers) SELECT $1::text, $2::int, $12::text[] WHERE $11::int = 0
      ON CONFLICT (name) DO NOTHING RETURNING name
    ), moved AS (
      UPDATE agent SET version = $2::int, providers = $12::text[] WHERE name = $1::text AND version = $11::int AND $11::int > 0 RETURNING name
    ), published AS (
      INSERT INTO manifest (agent, version, source, sha256, author, reason, compiled, published_at, proof)
      SELECT name, $2::int, $3::text, $4::text, $5::text, $6::text, $7::json, $8::timestamptz, $10::text FROM (SELECT name FROM current UNION ALL SELECT name FROM moved) AS agent
      RETURNING agent
    ), event AS (
      ${appendEvent({ chain: "'agent:' || agent", at: '$8::timestamptz', type: event('manifest.published'), actor: '$5::text', request: '$9::text', payload: "json_build_object('version', $2::int, 'sha256', $4::text, 'reason', $6::text)" }, 'published')}
    )
    SELECT agent FROM published`,
};

/**
 * Parses, checks, compiles. No effect.
 * @throws WritError `invalid_manifest` with every fault, by line, column and path
 */
function prepareManifest(source: string, providers: ProviderShapes): CompiledManifest {
  const read = readManifest(source, providers);
  if (!read.ok) throw new WritError('invalid_manifest', { errors: read.faults });
  return read.compiled;
}

/**
 * Publishes the next version of an agent's manifest.
 * @returns the version now in force; the same one when the source is to the letter the one in force
 * @throws WritError `invalid_manifest`, `precondition_failed`
 */
export async function publishManifest(
  store: Store,
  clock: Clock,
  providers: ProviderShapes,
  input: PublishInput,
): Promise<{ agent: string; version: number; sha256: string; outcome: PublishOutcome }> {
  const compiled = prepareManifest(input.source, providers);
  const agent = compiled.manifest.agent;
  if (input.agent !== null && input.agent !== agent) {
    throw new WritError('invalid_manifest', {
      errors: [{ path: 'agent', message: `is ${agent}, but it was sent as the manifest of ${input.agent}` }],
    });
  }
  const { sha256 } = compiled;
  const inForce = await store.prisma.agent.findUnique({ where: { name: agent } });
  const version = inForce?.version ?? 0;
  if (input.expectedVersion !== null && input.expectedVersion !== version) throw new WritError('precondition_failed');
  if (version > 0) {
    const current = await store.prisma.manifest.findUnique({ where: { agent_version: { agent, version } } });
    // One whose proof does not hold is not in force: publishing the same source again is how it comes to be.
    if (current !== null && current.sha256 === sha256 && manifestHolds(store, current))
      return { agent, version, sha256, outcome: 'unchanged' };
  }
  if (input.unlessPublishedBefore === true) {
    const earlier = await store.prisma.manifest.findMany({ where: { agent, sha256 } });
    if (earlier.some((one) => manifestHolds(store, one))) return { agent, version, sha256, outcome: 'superseded' };
  }
  // One more than any, somebody else's rows included: those must not keep a version from being published.
  const { _max } = await store.prisma.manifest.aggregate({ where: { agent }, _max: { version: true } });
  const next = Math.max(version, _max.version ?? 0) + 1;
  const row = {
    agent,
    version: next,
    source: input.source,
    sha256,
    author: input.author,
    reason: input.reason,
    compiled,
    published_at: clock.now(),
  };
  const rows = await store.run(publishStatement, [
    agent,
    row.version,
    row.source,
    sha256,
    row.author,
    row.reason,
    JSON.stringify(compiled),
    row.published_at,
    input.requestId,
    store.proofs.make('manifest', row),
    version,
    [...new Set(Object.values(compiled.manifest.capabilities).map(({ provider }) => provider))].sort(),
  ]);
  if (rows.length === 0) throw new WritError('precondition_failed');
  return { agent, version: next, sha256, outcome: 'published' };
}

/** Whether a version is as it was published: its source, and what it was compiled to. */
export function manifestHolds(
  { proofs }: Store,
  { publishedAt, proof, compiled, ...row }: Prisma.ManifestGetPayload<object>,
): boolean {
  return proofs.holds('manifest', { ...row, compiled: compiled as object, published_at: publishedAt }, proof);
}

/** What the agent was allowed at a moment: one query. Null when it had no manifest then. */
export function manifestAt(store: Store, agent: string, at: Date) {
  return store.prisma.manifest.findFirst({ where: { agent, publishedAt: { lte: at } }, orderBy: { version: 'desc' } });
}
