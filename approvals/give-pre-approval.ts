/**
 * An approver approves ahead of time: so many requests like one that people approved, of the same agent, task
 * and capability, with parameters within bounds. Whoever gives it could approve that request; whether they
 * may approve the next ones is asked again at each of them (`use-pre-approval.ts`).
 */
import { appendEvent } from '../broker/audit/append.ts';
import { event, eventPayload } from '../broker/audit/events.ts';
import { requireClock, type Timed } from '../broker/core/clock-guard.ts';
import { WritError } from '../broker/core/errors.ts';
import { newId } from '../broker/core/ids.ts';
import { isQuestion } from '../broker/core/questions.ts';
import { type Identity, identityRecord, isApprover, personRef } from '../broker/people/identity.ts';
import type { Statement, Store } from '../broker/store/open.ts';
import { type Bounds, BoundsSchema, isWithin } from './bounds.ts';
import type { TermsOf } from './contract.ts';
import { loadForReview, type StandingDeps, standingOf } from './eligibility.ts';
import { provePreApproval } from './proven-pre-approval.ts';

export interface PreApprovalDeps extends StandingDeps, Timed {
  store: Store;
  termsOf: TermsOf;
  /** How far ahead an approval may be given. */
  preApprovalSeconds: number;
}

export interface GivePreApproval {
  /** A request that people approved: the next ones are like it. */
  grantId: string;
  giver: Identity;
  bounds: Bounds;
  maxUses: number;
  maxTtlSeconds: number;
  until: Date;
  reason: string;
  requestId: string;
}

/** More than that is no exception but a rule, which belongs into the manifest. */
export const mostUses = 1000;

const giveStatement: Statement = {
  name: 'pre_approval_give',
  text: `
    WITH given AS (
      INSERT INTO pre_approval (id, agent, task_type, capability, bounds, max_uses, max_ttl_seconds, until, terms, groups, from_grant, reason, giver, given_by, given_at, proof)
      SELECT $1::text, $2::text, $3::text, $4::text, $5::jsonb, $6::int, $7::int, $8::timestamptz, $9::text, $10::text[], $11::text, $12::text, $13::jsonb, $14::text, $15::timestamptz, $16::text
      RETURNING id
    ), audited AS (
      ${appendEvent({ chain: 'id', at: '$15::timestamptz', type: event('pre_approval.given'), actor: '$14::text', request: '$17::text', payload: '$18::json' }, 'given')}
    )
    SELECT id FROM given`,
};

/**
 * @returns its id
 * @throws WritError `not_found` (no such request); `forbidden` (who could not approve that request);
 *   `conflict` (nobody approved it); `bad_request`; `unavailable` (by a wrong clock)
 */
export async function givePreApproval(deps: PreApprovalDeps, input: GivePreApproval): Promise<string> {
  requireClock(deps);
  const { store, clock } = deps;
  const at = clock.now();
  const grant = await loadForReview(store, input.grantId);
  if (isQuestion(grant.capability)) throw refuse('grant_id', 'Only a credential can be approved ahead of time.');
  const { maySee, bar, person } = await standingOf(input.giver, grant, deps);
  if (!maySee) throw new WritError('not_found');
  if (bar !== null) throw new WritError('forbidden', { detail: bar.text });
  if (['pending', 'denied', 'failed'].includes(grant.status) || grant.approvals.length === 0)
    throw new WritError('conflict', { detail: 'The next ones can be like a request that people approved.' });
  const terms = await deps.termsOf(grant.agent, grant.capability, grant.task_type);
  if (terms === null || !isApprover(person, terms.from))
    throw new WritError('forbidden', { detail: 'The manifest in force has others approve this.' });
  // Tier 3 takes a passkey at each approval, and nothing given ahead can be one.
  if (terms.tier !== 2)
    throw new WritError('forbidden', {
      detail:
        terms.tier === 3
          ? 'Each of these takes a passkey: it cannot be approved ahead of time.'
          : 'Nobody is asked about it.',
    });
  if (terms.challenged)
    throw new WritError('forbidden', {
      detail: 'Whoever approves one of these must have read it: it cannot be approved ahead of time.',
    });
  checkBounds(deps, input, grant.params, terms.maxTtlSeconds, at);

  const giver = identityRecord(input.giver);
  const row = {
    id: newId('pap', at),
    agent: grant.agent,
    task_type: grant.task_type,
    capability: grant.capability,
    bounds: input.bounds,
    max_uses: input.maxUses,
    max_ttl_seconds: input.maxTtlSeconds,
    until: input.until,
    terms: terms.digest,
    groups: input.giver.groups.filter((group) => terms.from.includes(`team:${group}`)).sort(),
    from_grant: grant.id,
    reason: input.reason,
    giver,
    given_by: personRef(input.giver),
    given_at: at,
  };
  const payload = eventPayload('pre_approval.given', {
    agent: row.agent,
    task_type: row.task_type,
    capability: row.capability,
    bounds: row.bounds,
    max_uses: row.max_uses,
    max_ttl_seconds: row.max_ttl_seconds,
    until: row.until.toISOString(),
    from_grant: row.from_grant,
    giver,
    reason: row.reason,
  });
  await store.run(giveStatement, [
    row.id,
    row.agent,
    row.task_type,
    row.capability,
    JSON.stringify(row.bounds),
    row.max_uses,
    row.max_ttl_seconds,
    row.until,
    row.terms,
    row.groups,
    row.from_grant,
    row.reason,
    JSON.stringify(giver),
    row.given_by,
    at,
    provePreApproval(store, row),
    input.requestId,
    JSON.stringify(payload),
  ]);
  return row.id;
}

function checkBounds(
  { preApprovalSeconds }: PreApprovalDeps,
  { bounds, maxUses, maxTtlSeconds, until, reason }: GivePreApproval,
  params: Parameters<typeof isWithin>[1],
  longest: number,
  at: Date,
): void {
  if (!BoundsSchema.safeParse(bounds).success) throw refuse('bounds', 'They are not bounds of parameters.');
  // Whoever bounds something else than what was seen has made a mistake.
  if (!isWithin(bounds, params)) throw refuse('bounds', 'The request that the next ones are like is outside of them.');
  if (!Number.isInteger(maxUses) || maxUses < 1 || maxUses > mostUses)
    throw refuse('max_uses', `Whole numbers from 1 to ${mostUses}.`);
  if (!Number.isInteger(maxTtlSeconds) || maxTtlSeconds < 1 || maxTtlSeconds > longest)
    throw refuse('max_ttl_seconds', `Whole seconds from 1 to ${longest}, which is the capability’s own limit.`);
  const last = new Date(at.getTime() + preApprovalSeconds * 1000);
  if (!(until > at) || until > last) throw refuse('until', `In the future, and not after ${last.toISOString()}.`);
  if (reason.trim() === '' || reason.length > 500) throw refuse('reason', 'Say why, in at most 500 characters.');
}

const refuse = (path: string, message: string) =>
  new WritError('bad_request', { detail: message, errors: [{ path, message }] });
