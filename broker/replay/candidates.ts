/** Candidates: manifests that decide beside the ones in force, without effect. One an agent. */
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import type { Clock } from '../core/vocabulary.ts';
import { decideBeside } from '../decide/policy-slots.ts';
import type { ProviderShapes } from '../manifests/check.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import { readManifest } from '../manifests/read.ts';
import type { Statement, Store } from '../store/open.ts';

export interface Candidate {
  number: number;
  publishedAt: Date;
  published: PublishedManifest;
}

const publishStatement: Statement = {
  name: 'candidate_publish',
  text: `
    WITH published AS (
      INSERT INTO manifest_candidate (agent, number, source, sha256, author, reason, published_at)
      SELECT name, 1, $2::text, $3::text, $4::text, $5::text, $6::timestamptz FROM agent WHERE name = $1::text
      ON CONFLICT (agent) DO UPDATE SET number = manifest_candidate.number + 1, source = EXCLUDED.source, sha256 = EXCLUDED.sha256,
        author = EXCLUDED.author, reason = EXCLUDED.reason, published_at = EXCLUDED.published_at, withdrawn_at = NULL
      RETURNING agent, number
    ), cells AS (DELETE FROM shadow_cell WHERE agent = $1::text
    ), differences AS (DELETE FROM shadow_difference WHERE agent = $1::text
    ), event AS (
      ${appendEvent({ chain: "'agent:' || agent", at: '$6::timestamptz', type: event('candidate.published'), actor: '$4::text', request: '$7::text', payload: "json_build_object('number', number, 'sha256', $3::text, 'reason', $5::text)" }, 'published')}
    )
    SELECT number FROM published`,
};

const withdrawStatement: Statement = {
  name: 'candidate_withdraw',
  text: `
    WITH withdrawn AS (
      UPDATE manifest_candidate SET withdrawn_at = $2::timestamptz WHERE agent = $1::text AND withdrawn_at IS NULL RETURNING agent, number
    ), cells AS (DELETE FROM shadow_cell WHERE agent IN (SELECT agent FROM withdrawn)
    ), event AS (
      ${appendEvent({ chain: "'agent:' || agent", at: '$2::timestamptz', type: event('candidate.withdrawn'), actor: '$3::text', request: '$4::text', payload: "json_build_object('number', number)" }, 'withdrawn')}
    )
    SELECT number FROM withdrawn`,
};

/**
 * Replaces the agent's candidate; what an earlier one remembered is deleted.
 * @param candidate that was parsed, checked and compiled
 * @throws WritError `not_found` where the agent is not registered
 */
export async function publishCandidate(
  store: Store,
  clock: Clock,
  candidate: PublishedManifest,
  by: { source: string; author: string; reason: string; requestId: string | null },
): Promise<number> {
  const { agent, sha256 } = candidate;
  const values = [agent, by.source, sha256, by.author, by.reason, clock.now(), by.requestId];
  const [row] = await store.run<{ number: number }>(publishStatement, values);
  if (row === undefined) throw new WritError('not_found');
  return row.number;
}

/** @throws WritError `not_found` where there is none */
export async function withdrawCandidate(
  store: Store,
  clock: Clock,
  agent: string,
  by: { author: string; requestId: string | null },
): Promise<void> {
  const rows = await store.run(withdrawStatement, [agent, clock.now(), by.author, by.requestId]);
  if (rows.length === 0) throw new WritError('not_found');
}

/** The candidates that this process decides with. */
export interface Candidates {
  /** Reads again when that was long ago. */
  refresh(): Promise<void>;
  /** Whether the next look has to read first. */
  isStale(): boolean;
  of(agent: string): Candidate | undefined;
}

/** How long another process's publication may go unnoticed. */
const refreshMs = 5_000;

/** @param refused told of a candidate that does not hold here, such as one whose provider is switched off */
export function createCandidates(
  store: Store,
  clock: Clock,
  shapes: ProviderShapes,
  refused: (agent: string) => void,
): Candidates {
  let known = new Map<string, Candidate | { number: number; published: null }>();
  let readAt = Number.NEGATIVE_INFINITY;
  let reading: Promise<void> | null = null;
  const isStale = () => clock.now().getTime() - readAt > refreshMs || clock.now().getTime() < readAt;

  async function read(): Promise<void> {
    const rows = await store.prisma.manifestCandidate.findMany({ where: { withdrawnAt: null } });
    known = new Map(
      rows.map((row) => {
        const before = known.get(row.agent);
        if (before?.number === row.number) return [row.agent, before];
        const compiled = readManifest(row.source, shapes);
        if (!compiled.ok || compiled.compiled.agent !== row.agent) {
          refused(row.agent);
          return [row.agent, { number: row.number, published: null }];
        }
        decideBeside(compiled.compiled, 'candidate');
        const published = { agent: row.agent, version: 0, sha256: row.sha256, compiled: compiled.compiled };
        return [row.agent, { number: row.number, publishedAt: row.publishedAt, published }];
      }),
    );
    readAt = clock.now().getTime();
  }

  return {
    isStale,
    refresh: () => {
      reading ??= read().finally(() => {
        reading = null;
      });
      return reading;
    },
    of: (agent) => {
      const one = known.get(agent);
      return one === undefined || one.published === null ? undefined : one;
    },
  };
}
