/**
 * A break-glass as its row says it, and what its proofs make of it. Whoever writes the database without the
 * key-encryption key can end one, and hide none that was: what is not proven gives nothing, and what has no
 * proven review is still to be reviewed.
 */
import { type EventName, event } from '../audit/events.ts';
import type { Identifier } from '../core/identifier.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import type { Identity } from '../people/identity.ts';
import type { Statement, Store } from '../store/open.ts';
import type { BreakGlassTerms } from './digest.ts';

export type BreakGlassStatus = 'waiting' | 'active' | 'ended' | 'reviewed' | 'lapsed';

export interface StoredBreakGlass extends BreakGlassTerms {
  id: string;
  digest: string;
  requested_by: string;
  requester: JsonObject;
  requester_passkey: string;
  requester_evidence: JsonObject;
  requested_at: Date;
  decide_by: Date;
  proof: string;
  status: BreakGlassStatus;
  approved_by: string | null;
  approver: JsonObject | null;
  approver_passkey: string | null;
  approver_evidence: JsonObject | null;
  approved_at: Date | null;
  expires_at: Date | null;
  approval_proof: string;
  ended_at: Date | null;
  ended_how: string | null;
  ended_by: string | null;
  end_words: string | null;
  review_due_at: Date | null;
  reviewed_by: string | null;
  reviewer: JsonObject | null;
  reviewed_at: Date | null;
  review: string | null;
  review_proof: string;
  /** The record says that it was open once, and that it ended. */
  opened: boolean;
  over: boolean;
  /** Names that the accounts of the two had at other sign-ins. */
  requester_former: Identifier[];
  approver_former: Identifier[];
}

const former = (whose: string) => `(
        SELECT coalesce(json_agg(json_build_object('kind', n.kind, 'value', n.value)), '[]') FROM account_name n
        WHERE n.issuer = ${whose} ->> 'issuer' AND n.subject = ${whose} ->> 'subject') AS`;

/** SQL condition. What the row says can be set back by whoever writes it; history cannot. */
const onRecord = (type: EventName, b: string): string =>
  `EXISTS (SELECT 1 FROM audit_event e WHERE e.chain = 'break-glass' AND e.type = ${type} AND e.payload ->> 'break_glass' = ${b}.id)`;
export const onRecordAsEnded = (b: string): string => onRecord(event('break_glass.ended'), b);
export const onRecordAsOpened = (b: string): string => onRecord(event('break_glass.opened'), b);

/** Columns of `break_glass b`. */
export const breakGlassColumns = `
      b.id, b.agent, b.session_id, b.capabilities, b.reason, b.incident, b.seconds, b.digest, b.requested_by, b.requester, b.requester_passkey, b.requester_evidence,
      b.requested_at, b.decide_by, b.proof, b.status, b.approved_by, b.approver, b.approver_passkey, b.approver_evidence, b.approved_at, b.expires_at, b.approval_proof,
      b.ended_at, b.ended_how, b.ended_by, b.end_words, b.review_due_at, b.reviewed_by, b.reviewer, b.reviewed_at, b.review, b.review_proof,
      ${former('b.requester')} requester_former, ${former('b.approver')} approver_former,
      ${onRecordAsOpened('b')} AS opened, ${onRecordAsEnded('b')} AS over`;

const oneStatement: Statement = {
  name: 'break_glass_one',
  text: `SELECT ${breakGlassColumns} FROM break_glass b WHERE b.id = $1::text`,
};
const listStatement: Statement = {
  name: 'break_glass_list',
  text: `
    SELECT ${breakGlassColumns} FROM break_glass b
    WHERE b.status IN ('waiting', 'active', 'ended') OR b.id IN (SELECT id FROM break_glass ORDER BY requested_at DESC, id DESC LIMIT $1::int)`,
};

export async function breakGlassOf(store: Store, id: string): Promise<StoredBreakGlass | null> {
  const [row] = await store.run<StoredBreakGlass>(oneStatement, [id]);
  return row ?? null;
}

/** Whether the request is as somebody made it. */
export function isAsked(
  { proofs }: Store,
  {
    id,
    agent,
    session_id,
    capabilities,
    reason,
    incident,
    seconds,
    digest,
    requested_by,
    requester,
    requester_passkey,
    requester_evidence,
    requested_at,
    decide_by,
    proof,
  }: StoredBreakGlass,
): boolean {
  const terms = { id, agent, session_id, capabilities, reason, incident, seconds, digest };
  const by = { requested_by, requester, requester_passkey, requester_evidence, requested_at, decide_by };
  return proofs.holds('break_glass', { ...terms, ...by }, proof);
}

/** Whether another person agreed to it, as the row says. */
export function isAgreed({ proofs }: Store, row: StoredBreakGlass): boolean {
  const { id, digest, approved_by, approver, approver_passkey, approver_evidence, approved_at, expires_at } = row;
  if (approved_by === null || approver === null || approver_passkey === null || approver_evidence === null)
    return false;
  if (approved_at === null || expires_at === null) return false;
  const by = { approved_by, approver, approver_passkey, approver_evidence, approved_at, expires_at };
  return proofs.holds('break_glass_approval', { id, digest, ...by }, row.approval_proof);
}

/** Whether somebody reviewed it, as the row says. */
export function isReviewed({ proofs }: Store, row: StoredBreakGlass): boolean {
  const { id, status, reviewed_by, reviewer, reviewed_at, review, review_proof } = row;
  if (status !== 'reviewed' || reviewed_by === null || reviewer === null || reviewed_at === null || review === null)
    return false;
  return proofs.holds('break_glass_review', { id, reviewed_by, reviewer, reviewed_at, review }, review_proof);
}

/** Whether it gives anything now. */
export function isOpen(store: Store, row: StoredBreakGlass, now: Date): boolean {
  if (row.status !== 'active' || row.over || row.expires_at === null || row.expires_at <= now) return false;
  return isAsked(store, row) && isAgreed(store, row);
}

/** Whether it is over and nobody has reviewed it. One that never began needs no review. */
export const awaitsReview = (store: Store, row: StoredBreakGlass, now: Date): boolean =>
  (row.approved_at !== null || row.opened) && !isOpen(store, row, now) && !isReviewed(store, row);

/** Of the two, with the names that their accounts had before. */
export const peopleOf = (row: StoredBreakGlass): Identity[] => [
  { ...(row.requester as unknown as Identity), former: row.requester_former },
  ...(row.approver === null ? [] : [{ ...(row.approver as unknown as Identity), former: row.approver_former }]),
];

/** Those that wait, are open or are to be reviewed, and the latest of all; youngest first. */
export async function latestBreakGlasses(store: Store, limit: number): Promise<StoredBreakGlass[]> {
  const rows = await store.run<StoredBreakGlass>(listStatement, [limit]);
  return rows.toSorted((a, b) => b.requested_at.getTime() - a.requested_at.getTime() || (a.id < b.id ? 1 : -1));
}
