/**
 * Ending credentials. "Service account tokens are not revocable" at Google, so a grant has a service account
 * of its own, and the account is disabled. Enabling it again would bring its unexpired tokens back to life:
 * `release` is for when the last of them has expired, and not before.
 */
import type { ObservedClock } from '../answer-date.ts';
import { keepAfterEndMs, ProviderError, type RevocationOutcome, type RevocationTarget } from '../contract.ts';
import { readPermission } from './permission.ts';
import type { ServiceAccounts } from './service-accounts.ts';

export interface Ending {
  /** Google's. */
  clock: ObservedClock;
  accounts: ServiceAccounts;
  /** How long Google may still accept the tokens of a disabled account. */
  lagMs: number;
}

/** One target to its outcome. Never throws. */
export async function revokeOne(
  ending: Ending,
  target: RevocationTarget,
  signal: AbortSignal,
): Promise<RevocationOutcome> {
  try {
    const account = exclusiveAccount(target);
    // A while past its end, by Google's own clock and by ours, there is nothing left to disable.
    const expired = isOver(ending.clock, target);
    if (account === null || expired)
      return {
        state: 'wait_for_expiry',
        evidence: {
          reason: expired ? 'the token has expired' : 'shared service account',
          expires_at: target.providerExpiresAt.toISOString(),
        },
      };
    return await disable(ending, target, account, signal);
  } catch (error) {
    return { state: 'failed', error: asProviderError(error) };
  }
}

/**
 * Enables a quarantined account. Reads first, so that an account which never was disabled costs no write (600
 * a minute a project).
 */
export async function releaseAccount(accounts: ServiceAccounts, email: string, signal: AbortSignal): Promise<void> {
  if (!(await accounts.isDisabled(email, signal))) return;
  await accounts.setDisabled(email, false, signal);
  if (await accounts.isDisabled(email, signal))
    throw new ProviderError('upstream_unavailable', `${email} is still disabled after it was enabled.`);
}

function isOver(clock: ObservedClock, { providerExpiresAt }: RevocationTarget): boolean {
  if (clock.skewMs() === null) return false;
  const now = Math.min(clock.now().getTime(), clock.ours().getTime());
  return providerExpiresAt.getTime() + keepAfterEndMs <= now;
}

async function disable(
  { clock, accounts, lagMs }: Ending,
  target: RevocationTarget,
  account: string,
  signal: AbortSignal,
): Promise<RevocationOutcome> {
  const wasDisabled = await accounts.isDisabled(account, signal);
  if (!wasDisabled) {
    await accounts.setDisabled(account, true, signal);
    if (!(await accounts.isDisabled(account, signal)))
      throw new ProviderError('upstream_unavailable', `${account} is still enabled after it was disabled.`);
  }
  const now = clock.ours();
  const evidence = { service_account: account, disabled: true, read_back_at: now.toISOString() };
  // Somebody may have enabled it while it settled: then the lag begins anew.
  const since = wasDisabled ? (target.settlingSince ?? now) : now;
  const settled = new Date(Math.min(since.getTime() + lagMs, target.providerExpiresAt.getTime() + keepAfterEndMs));
  if (now >= settled) return { state: 'revoked', evidence: { ...evidence, lag_seconds: lagMs / 1000 } };
  return { state: 'settling', recheckAt: settled, anew: !wasDisabled, evidence };
}

/**
 * The account that serves this lease alone, known from the reservation even when the mint's answer was lost.
 */
function exclusiveAccount(target: RevocationTarget): string | null {
  if (!readPermission(target.plan).exclusive) return null;
  const recorded = target.handle?.service_account;
  return target.reserved ?? (typeof recorded === 'string' ? recorded : null);
}

function asProviderError(error: unknown): ProviderError {
  if (error instanceof ProviderError) return error;
  return new ProviderError('upstream_unavailable', 'The revocation failed for a reason of our own.', {
    providerCode: error instanceof Error ? error.name : 'UNKNOWN',
  });
}
