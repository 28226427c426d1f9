/**
 * WRIT_MANIFEST_REVIEW: a version that allows more than the one in force is written down and waits, until
 * another admin agrees to its exact hash (`agree.ts`).
 */
import { appendEvent } from '../audit/append.ts';
import { event, eventPayload } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { Clock, JsonObject } from '../core/vocabulary.ts';
import { type Identity, identityRecord } from '../people/identity.ts';
import type { Statement, Store } from '../store/open.ts';
import type { Change } from './diff-change.ts';

/** Who proposed it, for the comparison with whoever agrees: a person, or what says of nobody who it is. */
export type Proposer = { kind: 'person'; identity: Identity } | { kind: 'bootstrap_token' } | { kind: 'folder' };

export interface Proposal {
  agent: string;
  /** Version in force that it is to replace; 0 = none. */
  baseVersion: number;
  source: string;
  sha256: string;
  author: string;
  proposer: Proposer;
  reason: string;
  requestId: string | null;
  /** Leave it at that when the same was refused. */
  unlessPublishedBefore?: boolean;
}

const proposeStatement: Statement = {
  name: 'manifest_propose',
  text: `
    WITH proposed AS (
      INSERT INTO manifest_proposal (id, agent, base_version, source, sha256, author, proposer, reason, proposed_at, status, proof)
      SELECT $1::text, $2::text, $3::int, $4::text, $5::text, $6::text, $7::jsonb, $8::text, $9::timestamptz, 'proposed', $10::text
      WHERE coalesce((SELECT version FROM agent WHERE name = $2::text), 0) = $3::int
      ON CONFLICT (agent, base_version, sha256) WHERE status = 'proposed' DO NOTHING
      RETURNING id, agent
    ), event AS (
      ${appendEvent({ chain: "'agent:' || agent", at: '$9::timestamptz', type: event('manifest.proposed'), actor: '$6::text', request: '$11::text', payload: '$12::json' }, 'proposed')}
    )
    SELECT id FROM proposed`,
};

/** Of what widens, so many are named on record. */
const maxNamed = 20;

/**
 * Writes a proposal down, once.
 * @returns the one that waits; or, for the folder, the one that was refused
 * @throws WritError `precondition_failed` when another version has come into force
 */
export async function propose(
  store: Store,
  clock: Clock,
  proposal: Proposal,
  changes: readonly Change[],
): Promise<{ id: string; status: 'proposed' | 'refused' }> {
  const { agent, baseVersion, sha256, source, author, reason, requestId } = proposal;
  const same = { agent, baseVersion, sha256 };
  if (proposal.unlessPublishedBefore === true) {
    const refused = await store.prisma.manifestProposal.findFirst({ where: { ...same, status: 'refused' } });
    if (refused !== null) return { id: refused.id, status: 'refused' };
  }
  const now = clock.now();
  const id = newId('mpr', now);
  const proposer = proposerRecord(proposal.proposer);
  const row = { id, agent, base_version: baseVersion, source, sha256, author, proposer, reason, proposed_at: now };
  const widens = changes
    .filter(({ verdict }) => verdict === 'widens' || verdict === 'unknown')
    .slice(0, maxNamed)
    .map(({ text }) => text.slice(0, 300));
  const audit = eventPayload('manifest.proposed', { proposal: id, base_version: baseVersion, sha256, reason, widens });
  const values = [id, agent, baseVersion, source, sha256, author, JSON.stringify(proposer), reason, now];
  const written = await store.run<{ id: string }>(proposeStatement, [
    ...values,
    store.proofs.make('manifest_proposal', row),
    requestId,
    JSON.stringify(audit),
  ]);
  if (written.length > 0) return { id, status: 'proposed' };
  const waiting = await store.prisma.manifestProposal.findFirst({ where: { ...same, status: 'proposed' } });
  if (waiting === null) throw new WritError('precondition_failed');
  return { id: waiting.id, status: 'proposed' };
}

const proposerRecord = (proposer: Proposer): JsonObject =>
  proposer.kind === 'person'
    ? { kind: 'person', identity: identityRecord(proposer.identity) }
    : { kind: proposer.kind };
