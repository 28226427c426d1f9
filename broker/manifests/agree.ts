/** What another admin says to a proposed version of a manifest (`propose.ts`): yes, by its hash, or no. */
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import type { Clock } from '../core/vocabulary.ts';
import { type Admin, isAnotherPerson } from '../people/identity.ts';
import type { Statement, Store } from '../store/open.ts';
import type { Prisma } from '../store/prisma/client.ts';
import type { ProviderShapes } from './check.ts';
import type { Proposer } from './propose.ts';
import { type Publication, prepareManifest, publication, publishText } from './publish.ts';

export type StoredProposal = Prisma.ManifestProposalGetPayload<object>;

/** Whether a proposal is as it was made. */
export function proposalHolds({ proofs }: Store, row: StoredProposal): boolean {
  const { id, agent, source, sha256, author, reason } = row;
  const proven = {
    id,
    agent,
    source,
    sha256,
    author,
    reason,
    base_version: row.baseVersion,
    proposed_at: row.proposedAt,
  };
  return proofs.holds('manifest_proposal', { ...proven, proposer: row.proposer as object }, row.proof);
}

/** The row lock makes of two who answer at once one who does. */
const agreeStatement: Statement = {
  name: 'manifest_agree',
  text: `
    WITH waiting AS (
      SELECT id FROM manifest_proposal p WHERE id = $13::text AND status = 'proposed' AND sha256 = $4::text
        -- The status can be set back by whoever writes the row; history cannot.
        AND NOT EXISTS (SELECT 1 FROM audit_event e WHERE e.chain = 'agent:' || p.agent AND e.type = ${event('manifest.refused')} AND e.payload ->> 'proposal' = p.id)
      FOR UPDATE
    ), ${publishText(
      'EXISTS (SELECT 1 FROM waiting)',
      `, agreed AS (
      UPDATE manifest_proposal SET status = 'published', decided_by = $14::text, decided_at = $8::timestamptz, version = $2::int
      WHERE id = $13::text AND EXISTS (SELECT 1 FROM published) RETURNING id, agent
    ), agreement AS (
      ${appendEvent({ chain: "'agent:' || agent", at: '$8::timestamptz', type: event('manifest.agreed'), actor: '$14::text', request: '$9::text', payload: "json_build_object('proposal', id, 'version', $2::int, 'sha256', $4::text)" }, 'agreed')}
    )`,
    )}`,
};

/**
 * Publishes a proposed version. Whoever agrees is another person than the one who proposed it; what cannot be
 * compared bars. It is compiled anew, by what the broker is now.
 *
 * @param sha256 of the source, as the admin saw it
 * @throws WritError `not_found`, `forbidden` (the same person, or nobody can tell), `conflict` (decided),
 *   `precondition_failed` (another text, or another version is in force), `invalid_manifest`
 */
export async function agreeToProposal(
  store: Store,
  clock: Clock,
  shapes: ProviderShapes,
  { id, sha256, admin, requestId }: { id: string; sha256: string; admin: Admin; requestId: string | null },
): Promise<Publication> {
  const row = await provenProposal(store, id);
  if (row.status !== 'proposed') throw decided(row);
  if (row.sha256 !== sha256) throw new WritError('precondition_failed', { detail: 'Another text is proposed.' });
  const barred = barredFromAgreeing(row, admin);
  if (barred !== null) throw new WritError('forbidden', { detail: barred });
  const compiled = prepareManifest(row.source, shapes);
  const { agent, source, author, reason, baseVersion } = row;
  const next = await publication(store, clock, compiled, { source, author, reason, requestId, baseVersion });
  const rows = await store.run(agreeStatement, [...next.values, id, admin.name]);
  if (rows.length > 0) return { agent, version: next.version, sha256, outcome: 'published', proposal: id };
  const now = await provenProposal(store, id);
  if (now.status !== 'proposed') throw decided(now);
  const inForce = await store.prisma.agent.findUnique({ where: { name: agent }, select: { version: true } });
  const why =
    (inForce?.version ?? 0) === baseVersion
      ? 'It was refused before, by the record'
      : 'Another version is in force by now';
  throw new WritError('precondition_failed', { detail: `${why}: propose it again.` });
}

/** Why this admin may not agree to it; null = they may. */
export function barredFromAgreeing(row: StoredProposal, admin: Admin): string | null {
  const proposer = row.proposer as unknown as Proposer;
  if (admin.identity === null) return 'The bootstrap token says nothing of who holds it: a signed-in admin must agree.';
  // Of these nobody knows who they are; they are one hand, and the person who agrees is the other.
  if (proposer.kind !== 'person') return null;
  if (isAnotherPerson(proposer.identity, admin.identity)) return null;
  return 'Another admin than the one who proposed it must agree, signed in at the same identity provider.';
}

const refuseStatement: Statement = {
  name: 'manifest_refuse',
  text: `
    WITH refused AS (
      UPDATE manifest_proposal SET status = 'refused', decided_by = $2::text, decided_at = $3::timestamptz, decision_reason = $4::text
      WHERE id = $1::text AND status = 'proposed' RETURNING id, agent, sha256
    ), event AS (
      ${appendEvent({ chain: "'agent:' || agent", at: '$3::timestamptz', type: event('manifest.refused'), actor: '$2::text', request: '$5::text', payload: "json_build_object('proposal', id, 'sha256', sha256, 'reason', $4::text)" }, 'refused')}
    )
    SELECT id FROM refused`,
};

/**
 * Refuses a proposed version. Any admin may, whoever proposed it too.
 * @throws WritError `not_found`, `conflict` (decided)
 */
export async function refuseProposal(
  store: Store,
  clock: Clock,
  { id, reason, admin, requestId }: { id: string; reason: string; admin: Admin; requestId: string | null },
): Promise<void> {
  const rows = await store.run(refuseStatement, [id, admin.name, clock.now(), reason, requestId]);
  if (rows.length > 0) return;
  const row = await store.prisma.manifestProposal.findUnique({ where: { id } });
  throw row === null ? new WritError('not_found') : decided(row);
}

async function provenProposal(store: Store, id: string): Promise<StoredProposal> {
  const row = await store.prisma.manifestProposal.findUnique({ where: { id } });
  if (row === null || !proposalHolds(store, row)) throw new WritError('not_found');
  return row;
}

const decided = ({ status, decidedBy }: StoredProposal) =>
  new WritError('conflict', { detail: `It was ${status === 'published' ? 'agreed to' : 'refused'} by ${decidedBy}.` });
