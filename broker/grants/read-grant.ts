/** Reads a grant of the caller's session, and waits for a person's decision on it. */
import { WritError } from '../core/errors.ts';
import type { LongPoller, Poll } from '../core/long-poller.ts';
import type { ApprovalTerm, Plan, Reason } from '../core/vocabulary.ts';
import type { Identity } from '../people/identity.ts';
import type { Statement, Store } from '../store/open.ts';
import { describeQuestion } from './question.ts';
import { approvalProgress } from './quorum.ts';
import type { GrantDeps } from './request-grant.ts';
import { type GrantView, viewApprovals, viewGrant } from './view.ts';

const approving = { where: { verdict: 'approve' }, orderBy: { at: 'asc' as const } };

/** @throws WritError `not_found`, for another session's grant too */
export async function readGrant(
  deps: Pick<GrantDeps, 'store' | 'providers' | 'publicUrl'>,
  sessionId: string,
  grantId: string,
): Promise<GrantView> {
  const grant = await deps.store.prisma.grant.findFirst({
    where: { id: grantId, sessionId },
    include: { leases: true, reviews: approving, session: true },
  });
  if (grant === null) throw new WritError('not_found');
  const plan = grant.plan as unknown as Plan;
  const description = describeQuestion(plan) ??
    deps.providers.get(grant.provider)?.describe(plan) ?? {
      summary: [`The provider ${grant.provider} is not switched on.`],
      revocability: { kind: 'expiry' as const, text: 'Unknown while the provider is off.' },
    };
  // Whose approvals are asked for, and given: of the batch, where it waits with others.
  const batch =
    grant.batchId === null
      ? null
      : await deps.store.prisma.grant.findFirst({
          where: { id: grant.batchId, sessionId },
          include: { reviews: approving },
        });
  const decidedOn = batch ?? grant;
  const reasons = (grant.decision as { reasons?: Reason[] }).reasons ?? [];
  // Mints without effect may have come before the one that counts.
  const lease = grant.leases.find(({ status }) => status !== 'failed') ?? grant.leases[0] ?? null;
  const approvals = viewApprovals(
    approvalProgress(
      (decidedOn.decision as { approval?: ApprovalTerm[] }).approval ?? null,
      [{ started_by: grant.session.startedBy, responsible: grant.session.responsible }],
      decidedOn.reviews
        .filter(({ consentedDigest }) => consentedDigest === decidedOn.planDigest)
        .map(({ reviewer, at }) => ({ reviewer: reviewer as unknown as Identity, at })),
    ),
  );
  const narrowed = (grant.decision as { left_out?: unknown }).left_out !== undefined;
  return viewGrant({ ...grant, plan, reasons, approvals, narrowed }, description, deps.publicUrl, lease);
}

const decidedStatement: Statement = {
  name: 'grants_decided',
  text: `SELECT id FROM grants WHERE id = ANY($1::text[]) AND status <> 'pending'`,
};

/**
 * Which of these grants are no longer pending. Made once per process: it is what the waiting poller groups
 * by.
 */
export function decidedGrants(store: Store): Poll {
  return async (ids) => (await store.run<{ id: string }>(decidedStatement, [ids])).map(({ id }) => id);
}

export interface GrantWait {
  seconds: number;
  signal: AbortSignal;
  poller: LongPoller;
  decided: Poll;
}

/**
 * Answers as soon as the grant is no longer pending, or when the wait is over.
 * @throws WritError `not_found`; `rate_limited` when the session waits too often at once
 */
export async function waitForGrant(
  deps: Pick<GrantDeps, 'store' | 'providers' | 'publicUrl'>,
  sessionId: string,
  grantId: string,
  { seconds, signal, poller, decided }: GrantWait,
): Promise<GrantView> {
  const grant = await readGrant(deps, sessionId, grantId);
  if (grant.status !== 'pending' || seconds === 0) return grant;
  await poller.wait({ poll: decided, id: grantId, sessionId, seconds, signal });
  return signal.aborted ? grant : readGrant(deps, sessionId, grantId);
}
