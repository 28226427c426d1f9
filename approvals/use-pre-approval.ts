/**
 * A request that waits for people is approved by what one of them gave ahead of time, where all of it still
 * holds: the proof of the row, the terms of the manifest in force, the bounds, and that the giver may approve
 * this very request, of this very session, now. The approval is a review like any other.
 */
import { WritError } from '../broker/core/errors.ts';
import type { Identifier } from '../broker/core/identifier.ts';
import { newId } from '../broker/core/ids.ts';
import type { ProvenRows } from '../broker/core/proven-rows.ts';
import { isQuestion } from '../broker/core/questions.ts';
import { preApprovalEnd } from '../broker/core/reasons.ts';
import { type Identity, isApprover } from '../broker/people/identity.ts';
import type { Statement, Store } from '../broker/store/open.ts';
import { type Bounds, isWithin } from './bounds.ts';
import type { TermsOf } from './contract.ts';
import { type GrantUnderReview, loadForReview, standingOf } from './eligibility.ts';
import { endPreApprovals, mayBeUsed } from './pre-approval-transitions.ts';
import { preApprovalHolds, provenPreApprovalColumns } from './proven-pre-approval.ts';
import { isChallenged, preApprovalChannel, type ReviewDeps, review } from './review.ts';

export interface UsePreApprovalDeps extends ReviewDeps {
  termsOf: TermsOf;
  /** How far ahead an approval may be given; 0 = none counts. */
  preApprovalSeconds: number;
  /** Channels that tell people. */
  noticeChannels: readonly string[];
}

type Candidate = ProvenRows['pre_approval'] & { proof: string; former: Identifier[] };

// Those that end first are used first.
const candidatesStatement: Statement = {
  name: 'pre_approval_candidates',
  text: `
    SELECT ${provenPreApprovalColumns('p')},
      (SELECT coalesce(jsonb_agg(jsonb_build_object('kind', n.kind, 'value', n.value)), '[]') FROM account_name n
       WHERE n.issuer = p.giver ->> 'issuer' AND n.subject = p.giver ->> 'subject') AS former
    FROM pre_approval p
    WHERE p.agent = $1::text AND p.capability = $2::text AND p.task_type = $3::text AND ${mayBeUsed('p', '$4::timestamptz')}
    ORDER BY p.until, p.id LIMIT 50`,
};

/**
 * Approves a request that has just come to wait, as far as what was given goes; people are asked for what is
 * left.
 */
export async function usePreApprovals(
  deps: UsePreApprovalDeps,
  grantId: string,
  requestId: string | null,
): Promise<void> {
  const { store, clock } = deps;
  if (deps.preApprovalSeconds === 0) return;
  const first = await loadForReview(store, grantId);
  if (isQuestion(first.capability)) return;
  const key = [first.agent, first.capability, first.task_type];
  const candidates = await store.run<Candidate>(candidatesStatement, [...key, clock.now()]);
  if (candidates.length === 0) return;
  const terms = await deps.termsOf(first.agent, first.capability, first.task_type);
  for (const candidate of candidates) {
    if (!preApprovalHolds(store, candidate)) continue;
    if (terms === null || terms.digest !== candidate.terms) {
      await endChanged(store, candidate.id, clock.now());
      continue;
    }
    const giver = { ...(candidate.giver as Identity), former: candidate.former };
    const grant = await loadForReview(store, grantId);
    if (grant.status !== 'pending') return;
    if (terms.tier !== 2 || grant.tier !== 2 || terms.challenged || (await isChallenged(deps, grant))) continue;
    if (!isWithin(candidate.bounds as Bounds, grant.params)) continue;
    const { bar, person } = await standingOf(giver, grant, deps);
    if (bar !== null || !isApprover(person, terms.from)) continue;
    await approve(deps, candidate, giver, grant, requestId).catch((error) => {
      // It was used up, withdrawn or made impossible since it was read: people decide, or the next one does.
      if (!(error instanceof WritError)) throw error;
    });
  }
}

async function approve(
  deps: UsePreApprovalDeps,
  candidate: Candidate,
  giver: Identity,
  grant: GrantUnderReview,
  requestId: string | null,
): Promise<void> {
  const at = deps.clock.now();
  await review(deps, {
    grantId: grant.id,
    reviewer: giver,
    verdict: 'approve',
    planDigest: grant.plan_digest,
    reason: `Ahead of time, as ${candidate.id}: ${candidate.reason}`.slice(0, 500),
    channel: preApprovalChannel,
    requestId: requestId ?? '',
    preApproval: {
      id: candidate.id,
      tells:
        deps.noticeChannels.length === 0
          ? null
          : {
              ids: deps.noticeChannels.map(() => newId('ntc', at)),
              channels: [...deps.noticeChannels],
              incident: {
                agent: grant.agent,
                owner: candidate.given_by,
                happening: {
                  what: 'pre_approval_used',
                  pre_approval: candidate.id,
                  capability: grant.capability,
                  grant: grant.id,
                },
              },
            },
    },
    ...(grant.plan.ttl_seconds > candidate.max_ttl_seconds ? { ttlSeconds: candidate.max_ttl_seconds } : {}),
  });
}

const changedStatement: Statement = {
  name: 'pre_approval_terms_changed',
  text: `
    WITH due AS (
      SELECT id, ${preApprovalEnd('terms_changed')} AS reason FROM pre_approval WHERE id = $1::text AND ended_at IS NULL FOR UPDATE
    ), ${endPreApprovals('due', '$2::timestamptz')}
    SELECT id FROM over`,
};

async function endChanged(store: Store, id: string, at: Date): Promise<void> {
  await store.run(changedStatement, [id, at]);
}
