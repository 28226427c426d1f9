/** Reading a grant of one's own session, and waiting for a person's decision on it. */
import { WritError } from '../errors.ts';
import type { Plan, Reason } from '../vocabulary.ts';
import type { GrantDeps } from './request-grant.ts';
import { type GrantView, viewGrant } from './view.ts';

/** @throws WritError `not_found`, for another session's grant too */
export async function readGrant(
  deps: Pick<GrantDeps, 'store' | 'providers' | 'publicUrl'>,
  sessionId: string,
  grantId: string,
): Promise<GrantView> {
  const grant = await deps.store.prisma.grant.findFirst({
    where: { id: grantId, sessionId },
    include: { leases: true },
  });
  if (grant === null) throw new WritError('not_found');
  const plan = grant.plan as unknown as Plan;
  const description = deps.providers.get(grant.provider)?.describe(plan) ?? {
    summary: [`The provider ${grant.provider} is not switched on.`],
    revocability: { kind: 'expiry' as const, text: 'Unknown while the provider is off.' },
  };
  const reasons = (grant.decision as { reasons?: Reason[] }).reasons ?? [];
  return viewGrant({ ...grant, plan, reasons }, description, deps.publicUrl, grant.leases[0] ?? null);
}

/** How often the database is asked while somebody waits. A person's decision takes seconds; the agent learns of it within one of these. */
const pollMs = 250;

/** Answers as soon as the grant is no longer pending, or when the wait is over. */
export async function waitForGrant(
  deps: Pick<GrantDeps, 'store' | 'providers' | 'publicUrl' | 'clock'>,
  sessionId: string,
  grantId: string,
  waitSeconds: number,
  signal: AbortSignal,
): Promise<GrantView> {
  const until = deps.clock.now().getTime() + waitSeconds * 1000;
  for (;;) {
    const grant = await readGrant(deps, sessionId, grantId);
    if (grant.status !== 'pending' || deps.clock.now().getTime() + pollMs > until || signal.aborted) return grant;
    await deps.clock.sleep(pollMs, signal).catch(() => {});
  }
}
