/**
 * Ends sessions by denying each in its role's own inline policy; AWS evaluates policies on every request. A
 * lease is revoked when IAM's own copy of the policy was read back with its denial in it, and the lag has
 * passed since that denial was first there. IAM's propagation is eventual and AWS promises no bound: the lag
 * is a setting, and the evidence says what was seen and what was only waited for.
 */
import { createHash } from 'node:crypto';
import type { ObservedClock } from '../answer-date.ts';
import {
  type JsonObject,
  keepAfterEndMs,
  type ProviderDeps,
  ProviderError,
  type RevocationOutcome,
  type RevocationTarget,
} from '../contract.ts';
import type { AwsClients } from './clients.ts';
import { denialPolicyName, denies } from './denial.ts';
import { toProviderError } from './errors.ts';
import { readDenial, writeDenial } from './role-policy.ts';
import type { AwsPermission } from './session-policy.ts';
import { type AwsSettings, canRevoke } from './settings.ts';

export const roleOf = (target: Pick<RevocationTarget, 'plan'>) => (target.plan.permission as AwsPermission).role;

export async function revoke(
  due: RevocationTarget[],
  outstanding: RevocationTarget[],
  signal: AbortSignal,
  settings: AwsSettings,
  deps: ProviderDeps,
  clients: AwsClients,
): Promise<RevocationOutcome[]> {
  if (!canRevoke(settings)) return due.map((target) => waitForExpiry(target));
  const outcomes = new Map<RevocationTarget, RevocationOutcome>();
  const asked = await byTheirClock(due, clients.clock, signal);
  const standing = await byTheirClock(outstanding, clients.clock, signal);
  for (const [role, targets] of Map.groupBy(asked, roleOf)) {
    const ofRole = standing.filter((target) => roleOf(target) === role);
    const missed = new Set<string>();
    try {
      for (const [target, outcome] of await revokeInRole(
        role,
        targets,
        ofRole,
        missed,
        signal,
        settings,
        deps,
        clients,
      ))
        outcomes.set(target, outcome);
    } catch (error) {
      // What was written may stand all the same: the next attempt would find it there, and nothing missing.
      const failure = {
        state: 'failed',
        error: toProviderError(error, 'revoke', signal),
        ...rewrittenOf(targets, ofRole, missed),
      } as const;
      for (const target of targets) outcomes.set(target, failure);
    }
  }
  return asked.map((target) => outcomes.get(target) as RevocationOutcome);
}

/**
 * Rewrites a role's denials to those of `outstanding` that have not expired. Throws ProviderError.
 * @returns ids of the leases whose denial had gone
 */
export async function prune(
  role: string,
  outstanding: RevocationTarget[],
  signal: AbortSignal,
  settings: AwsSettings,
  clients: AwsClients,
): Promise<string[]> {
  if (!canRevoke(settings)) return [];
  try {
    return await clients.iam(signal, async (iam) => {
      const present = await readDenial(iam, role, signal);
      const standing = await byTheirClock(outstanding, clients.clock, signal);
      const kept = standing.filter((target) => !isOver(target, clients.clock));
      const now = latestNow(clients.clock);
      await writeDenial(iam, role, kept, present, now, signal);
      return kept.filter((target) => !denies(present, target, now)).map(({ leaseId }) => leaseId);
    });
  } catch (error) {
    throw toProviderError(error, 'prune', signal);
  }
}

/** Whoever else was called revoked, and whose denial was not there, is looked at again. */
function rewrittenOf(due: RevocationTarget[], outstanding: RevocationTarget[], missed: ReadonlySet<string>) {
  const isDue = new Set(due.map(({ leaseId }) => leaseId));
  const rewritten = outstanding.map(({ leaseId }) => leaseId).filter((id) => missed.has(id) && !isDue.has(id));
  return rewritten.length === 0 ? {} : { rewritten };
}

/** @param missed takes the leases whose denial was not there each time that the policy was read */
async function revokeInRole(
  role: string,
  due: RevocationTarget[],
  outstanding: RevocationTarget[],
  missed: Set<string>,
  signal: AbortSignal,
  settings: AwsSettings,
  deps: ProviderDeps,
  clients: AwsClients,
): Promise<[RevocationTarget, RevocationOutcome][]> {
  const expired = due.filter((target) => isOver(target, clients.clock));
  const outcomes = expired.map((target): [RevocationTarget, RevocationOutcome] => [target, gone(target)]);
  if (expired.length === due.length) return outcomes;

  signal.throwIfAborted();
  const all = [...new Map([...outstanding, ...due].map((target) => [target.leaseId, target])).values()];
  const wanted = all.filter((target) => !isOver(target, clients.clock));
  const shows = (text: string | undefined, target: RevocationTarget) => denies(text, target, latestNow(clients.clock));
  const { denial, after } = await clients.iam(signal, async (iam) => {
    const read = async () => {
      const text = await readDenial(iam, role, signal);
      for (const target of wanted) if (!shows(text, target)) missed.add(target.leaseId);
      return text;
    };
    const before = await read();
    const denial = await writeDenial(iam, role, wanted, before, latestNow(clients.clock), signal);
    return { denial, after: denial.text === before ? before : await read() };
  });
  // After the answer that it is the time of: nothing is known to have been denied earlier.
  const now = deps.clock.now();

  const lagMs = settings.WRIT_AWS_REVOKE_LAG_SECONDS * 1000;
  const sideEffects = {
    ...(denial.cutOff === null ? {} : { alsoEnded: { issuedBefore: denial.cutOff } }),
    ...rewrittenOf(due, outstanding, missed),
  };
  const evidence: JsonObject = {
    role,
    policy: denialPolicyName,
    document_sha256: createHash('sha256')
      .update(after ?? '')
      .digest('hex'),
    read_back_at: now.toISOString(),
    // Reading back shows that IAM has the denial, not that every AWS endpoint applies it: the lag covers
    // that, and is no proof.
    propagation: `eventual; ${settings.WRIT_AWS_REVOKE_LAG_SECONDS} s are waited for`,
    ...(denial.cutOff === null
      ? {}
      : { overflow: true, all_sessions_denied_that_were_issued_before: denial.cutOff.toISOString() }),
  };
  for (const target of due) {
    if (expired.includes(target)) continue;
    if (!shows(after, target)) outcomes.push([target, notThere(role)]);
    else {
      // A denial that had to be written again starts its lag again, whatever was noted before.
      const anew = missed.has(target.leaseId);
      const since = (anew ? null : target.settlingSince) ?? now;
      const effectiveAt = new Date(since.getTime() + lagMs);
      const shown = { evidence: { ...evidence, denied_since: since.toISOString() }, ...sideEffects };
      if (effectiveAt <= now) outcomes.push([target, { state: 'revoked', ...shown }]);
      else outcomes.push([target, { state: 'settling', recheckAt: effectiveAt, anew, ...shown }]);
    }
  }
  return outcomes;
}

/**
 * Has the credential ended by AWS's own clock, and by ours, a while ago? While AWS's time is not known,
 * nothing has: a denial too many costs room, one too few revives a key.
 */
function isOver({ providerExpiresAt }: RevocationTarget, clock: ObservedClock): boolean {
  if (clock.skewMs() === null) return false;
  const now = Math.min(clock.now().getTime(), clock.ours().getTime());
  return providerExpiresAt.getTime() + keepAfterEndMs <= now;
}

/** How much AWS's clock is ahead of ours, where it is. */
const aheadMs = (clock: ObservedClock) => Math.max(0, clock.skewMs() ?? 0);

/** The later of AWS's time and ours: nothing was opened after it. */
const latestNow = (clock: ObservedClock) => new Date(clock.ours().getTime() + aheadMs(clock));

/**
 * Of a session whose mint's answer was lost, nothing but our own time is known: where AWS's clock is ahead,
 * it was opened later by that.
 */
async function byTheirClock(
  targets: RevocationTarget[],
  clock: ObservedClock,
  signal: AbortSignal,
): Promise<RevocationTarget[]> {
  const lost = targets.some(({ handle }) => handle === null);
  if (lost && clock.skewMs() === null) await clock.askNow(signal).catch(() => {});
  return targets.map((target) =>
    target.handle !== null ? target : { ...target, intentAt: new Date(target.intentAt.getTime() + aheadMs(clock)) },
  );
}

const gone = (target: RevocationTarget): RevocationOutcome => ({
  state: 'revoked',
  evidence: { ended_by: 'expiry', expired_at: target.providerExpiresAt.toISOString() },
});

const waitForExpiry = (target: RevocationTarget): RevocationOutcome => ({
  state: 'wait_for_expiry',
  evidence: { reason: 'WRIT_AWS_REVOKE_ROLE is not set', expires_at: target.providerExpiresAt.toISOString() },
});

const notThere = (role: string): RevocationOutcome => ({
  state: 'failed',
  error: new ProviderError('upstream_mismatch', `the denial policy of ${role} was read back without the lease`, {
    retryable: true,
  }),
});
