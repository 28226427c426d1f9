/**
 * Publishing: what an agent may ever do becomes a numbered, immutable version. A manifest that does not hold
 * leaves the running one in force.
 */
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { type FieldFault, WritError } from '../core/errors.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { SqlValue, Statement, Store } from '../store/open.ts';
import type { Prisma } from '../store/prisma/client.ts';
import type { ProviderShapes } from './check.ts';
import type { CompiledManifest } from './compile.ts';
import { diffManifests, isWidening } from './diff.ts';
import type { Manifest } from './manifest.ts';
import { type Proposer, propose } from './propose.ts';
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
  /** Leave what is in force when this very source was in force before, or was refused. */
  unlessPublishedBefore?: boolean;
  /** What allows more is proposed, by this one, and not published. Absent = WRIT_MANIFEST_REVIEW is off. */
  reviewFor?: Proposer;
}

/**
 * `unchanged`: it is in force already. `superseded`: it was, and something newer replaced it. `proposed`: it
 * allows more, and waits for another admin. `refused`: it did, and an admin said no.
 */
export type PublishOutcome = 'published' | 'unchanged' | 'superseded' | 'proposed' | 'refused';

export interface Publication {
  agent: string;
  /** The version in force. */
  version: number;
  sha256: string;
  outcome: PublishOutcome;
  /** The proposal that waits, or was refused. */
  proposal?: string;
  /** What the text may say and its author should know; absent when there is nothing. */
  warnings?: FieldFault[];
}

/**
 * SQL of a publication: the version in force moves on if it is the one that was meant, the version is written
 * down, and both are on record.
 * @param guard a condition, besides
 * @param more CTEs that follow, and may read `published`
 */
export const publishText = (guard: string, more = ''): string => `current AS (
      INSERT INTO agent (name, version, providers) SELECT $1::text, $2::int, $12::text[] WHERE $11::int = 0 AND ${guard}
      ON CONFLICT (name) DO NOTHING RETURNING name
    ), moved AS (
      UPDATE agent SET version = $2::int, providers = $12::text[] WHERE name = $1::text AND version = $11::int AND $11::int > 0 AND ${guard} RETURNING name
    ), published AS (
      INSERT INTO manifest (agent, version, source, sha256, author, reason, compiled, published_at, proof)
      SELECT name, $2::int, $3::text, $4::text, $5::text, $6::text, $7::json, $8::timestamptz, $10::text FROM (SELECT name FROM current UNION ALL SELECT name FROM moved) AS agent
      RETURNING agent
    ), event AS (
      ${appendEvent({ chain: "'agent:' || agent", at: '$8::timestamptz', type: event('manifest.published'), actor: '$5::text', request: '$9::text', payload: "json_build_object('version', $2::int, 'sha256', $4::text, 'reason', $6::text)" }, 'published')}
    )${more}
    SELECT agent FROM published`;

const publishStatement: Statement = { name: 'manifest_publish', text: `WITH ${publishText('true')}` };

/**
 * Parses, checks, compiles. No effect.
 * @throws WritError `invalid_manifest` with every fault, by line, column and path
 */
export function prepareManifest(source: string, providers: ProviderShapes): CompiledManifest {
  return readOrRefuse(source, providers).compiled;
}

/** The same, with what its author should know besides. */
export function readOrRefuse(source: string, providers: ProviderShapes) {
  const read = readManifest(source, providers);
  if (!read.ok) throw new WritError('invalid_manifest', { errors: read.faults });
  return read;
}

/**
 * Publishes the next version of an agent's manifest; or proposes it, where it allows more and that takes two.
 *
 * 1. Read, check, compile; compare with what the caller meant to replace.
 * 2. What is in force already, or was before, may be left.
 * 3. What allows more than the version in force waits, where it has to.
 * 4. Publish: one statement, which does nothing when another version has come into force meanwhile.
 *
 * @returns the version in force after it; the same one when the source is to the letter the one in force
 * @throws WritError `invalid_manifest`, `precondition_failed`
 */
export async function publishManifest(
  store: Store,
  clock: Clock,
  providers: ProviderShapes,
  input: PublishInput,
): Promise<Publication> {
  // 1.
  const { compiled, warnings } = readOrRefuse(input.source, providers);
  const { sha256, agent } = compiled;
  const warned = warnings.length === 0 ? {} : { warnings };
  if (input.agent !== null && input.agent !== agent) {
    throw new WritError('invalid_manifest', {
      errors: [{ path: 'agent', message: `is ${agent}, but it was sent as the manifest of ${input.agent}` }],
    });
  }
  const version = (await store.prisma.agent.findUnique({ where: { name: agent } }))?.version ?? 0;
  if (input.expectedVersion !== null && input.expectedVersion !== version) throw new WritError('precondition_failed');

  // 2.
  if (version > 0) {
    const current = await store.prisma.manifest.findUnique({ where: { agent_version: { agent, version } } });
    // One whose proof does not hold, or that was replaced, is not in force: publishing the same source again
    // is how it comes to be.
    const isNewest = version >= (await lastOnRecord(store, agent));
    if (current !== null && isNewest && current.sha256 === sha256 && manifestHolds(store, current))
      return { agent, version, sha256, outcome: 'unchanged', ...warned };
  }
  if (input.unlessPublishedBefore === true) {
    const earlier = await store.prisma.manifest.findMany({ where: { agent, sha256 } });
    if (earlier.some((one) => manifestHolds(store, one))) return { agent, version, sha256, outcome: 'superseded' };
  }

  // 3.
  if (input.reviewFor !== undefined) {
    const changes = diffManifests(await newestManifest(store, agent), compiled.manifest);
    if (isWidening(changes)) {
      const proposed = { ...input, agent, sha256, baseVersion: version, proposer: input.reviewFor };
      const { id, status } = await propose(store, clock, proposed, changes);
      return { agent, version, sha256, outcome: status, proposal: id, ...warned };
    }
  }

  // 4.
  const next = await publication(store, clock, compiled, { ...input, baseVersion: version });
  const rows = await store.run(publishStatement, next.values);
  if (rows.length === 0) throw new WritError('precondition_failed');
  return { agent, version: next.version, sha256, outcome: 'published', ...warned };
}

/** The next version, and the values of `publishText` in their order. */
export async function publication(
  store: Store,
  clock: Clock,
  compiled: CompiledManifest,
  input: Pick<PublishInput, 'source' | 'author' | 'reason' | 'requestId'> & { baseVersion: number },
): Promise<{ version: number; values: SqlValue[] }> {
  const { agent, sha256 } = compiled;
  // One more than any, somebody else's rows included: those must not keep a version from being published.
  const { _max } = await store.prisma.manifest.aggregate({ where: { agent }, _max: { version: true } });
  const version = Math.max(input.baseVersion, _max.version ?? 0, await lastOnRecord(store, agent)) + 1;
  const { source, author, reason } = input;
  const published_at = clock.now();
  const proof = store.proofs.make('manifest', {
    agent,
    version,
    source,
    sha256,
    author,
    reason,
    compiled,
    published_at,
  });
  const uses = new Set(Object.values(compiled.manifest.capabilities).map(({ provider }) => provider));
  const values = [
    agent,
    version,
    source,
    sha256,
    author,
    reason,
    JSON.stringify(compiled),
    published_at,
    input.requestId,
    proof,
    input.baseVersion,
    [...uses].sort(),
  ];
  return { version, values };
}

/** Numbers of more digits were never a version's; whoever adds to the record may have written one. */
const recordStatement: Statement = {
  name: 'manifest_last_on_record',
  text: `
    SELECT max((e.payload ->> 'version')::int) AS version FROM audit_event e
    WHERE e.chain = 'agent:' || $1::text AND e.type = ${event('manifest.published')} AND e.payload ->> 'version' ~ '^[0-9]{1,9}$'`,
};

/** The newest version that the record knows of: its row may be gone. 0 = none. */
export async function lastOnRecord(store: Store, agent: string): Promise<number> {
  const [row] = await store.run<{ version: number | null }>(recordStatement, [agent]);
  return row?.version ?? 0;
}

/**
 * The newest version that was published, whatever the agent's row says is in force: a row that was set back
 * makes nothing less of a widening. Null where its row is gone, so that everything is one.
 */
export async function newestManifest(store: Store, agent: string): Promise<Manifest | null> {
  const last = await lastOnRecord(store, agent);
  for (let below = Number.MAX_SAFE_INTEGER; ; ) {
    const row = await store.prisma.manifest.findFirst({
      where: { agent, version: { lt: Math.min(below, 2_147_483_647) } },
      orderBy: { version: 'desc' },
    });
    if (row === null || row.version < last) return null;
    if (manifestHolds(store, row)) return (row.compiled as unknown as CompiledManifest).manifest;
    below = row.version;
  }
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
