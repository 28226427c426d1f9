/** Minting: one token of one service account, cut down to the plan. */
import type { z } from 'zod';
import type { ObservedClock } from '../answer-date.ts';
import { type IssueContext, type Issued, type Minted, ProviderError } from '../contract.ts';
import { asCaller, type Caller } from './caller.ts';
import type { gcpCredential } from './credential.ts';
import type { IamCredentials } from './iam-credentials.ts';
import { type GcpPermission, readPermission } from './permission.ts';
import { downscope } from './sts.ts';

/** Google's clock and ours may differ by this much before its answer counts as longer than asked. */
export const clockToleranceMs = 60_000;

export interface Minting {
  /** Google's. */
  clock: ObservedClock;
  caller: Caller;
  iamCredentials: IamCredentials;
  stsEndpoint: string;
}

/** @throws ProviderError */
export async function issue(minting: Minting, context: IssueContext): Promise<Issued> {
  const permission = readPermission(context.plan);
  const account = accountOf(permission, context.reserved);
  const ttlMs = context.plan.ttl_seconds * 1000;
  const request = {
    account,
    scopes: permission.scopes,
    lifetimeSeconds: context.plan.ttl_seconds,
    reason: `writ lease ${context.leaseId.replace(/[^\w.-]/g, '_')}`,
  };
  const { clock } = minting;
  const handle = { service_account: account };
  let askedAt = clock.ours().getTime();
  const mint = () =>
    asCaller(minting.caller, context.signal, (token) => {
      askedAt = clock.ours().getTime();
      return minting.iamCredentials(request, token, context.signal);
    });
  // Such a refusal minted nothing, and passes when the role was bound or the account made just before: not
  // all of Google had heard of it.
  const source = await mint().catch((error) => (isUnheardOf(error) ? mint() : Promise.reject(error)));

  const now = clock.now().getTime();
  const fault = lifetimeFault(source.expiresAt.getTime(), now, now + ttlMs + clockToleranceMs);
  if (fault !== null) {
    const told = Math.min(source.expiresAt.getTime(), now + longestLifetimeMs);
    const minted = { handle, providerExpiresAt: new Date(Math.max(told, now + ttlMs + clockToleranceMs)) };
    throw new ProviderError('upstream_mismatch', fault, { mayHaveMinted: true, minted });
  }
  // What is told to end long before its time may not: the account is kept for as long as was asked.
  const early = source.expiresAt.getTime() < now + ttlMs - clockToleranceMs;
  const providerExpiresAt = early ? new Date(now + ttlMs) : source.expiresAt;

  const { token, expiresAt: endsAt } =
    permission.access_boundary === null
      ? source
      : await downscope(
          minting.stsEndpoint,
          source.token,
          permission.access_boundary,
          source.expiresAt,
          clock,
          context.signal,
        ).catch((error) => afterMint(error, { handle, providerExpiresAt }));

  const endsByOurs = endsAt.getTime() - (clock.skewMs() ?? 0);
  const expiresAt = new Date(Math.min(endsByOurs, askedAt + ttlMs));
  const credential = {
    type: 'gcp',
    access_token: token,
    token_type: 'Bearer',
    expires_at: expiresAt.toISOString(),
    service_account: account,
    scopes: permission.scopes,
    ...(permission.project === null ? {} : { project_id: permission.project }),
  } satisfies z.input<typeof gcpCredential>;
  return { credential, expiresAt, providerExpiresAt, handle };
}

/**
 * The boundary could not be applied. The wider source token exists, and its end is known. When Google
 * answered with a refusal, nobody but Google and this process ever had it, and this process has just
 * forgotten it: then there is nothing to end. Where the answer is not known, a token may be on its way
 * somewhere.
 */
function afterMint(error: unknown, minted: Minted): never {
  if (!(error instanceof ProviderError)) throw error;
  const { code, message, retryable, providerCode, providerText, retryAfterSeconds } = error;
  const refused = code === 'upstream_refused' || ['RESOURCE_EXHAUSTED', '429'].includes(providerCode ?? '');
  throw new ProviderError(code, message, {
    retryable,
    providerText,
    retryAfterSeconds,
    ...(refused ? { mayHaveMinted: false } : { mayHaveMinted: true, minted }),
    ...(providerCode === undefined ? {} : { providerCode }),
  });
}

/** What Google gives at most, by an organisation's exception from its hour. */
const longestLifetimeMs = 43_200_000;

/** Null when a token ends ahead, and not later than was asked. */
export function lifetimeFault(endsAt: number, now: number, latest: number): string | null {
  if (endsAt <= now) return 'Google gave a token that ends in the past.';
  return endsAt > latest ? 'Google gave a token that lives longer than asked.' : null;
}

const isUnheardOf = (error: unknown) =>
  error instanceof ProviderError &&
  !error.mayHaveMinted &&
  !error.retryable &&
  ['PERMISSION_DENIED', '403', 'NOT_FOUND', '404'].includes(error.providerCode ?? '');

/**
 * An exclusive account must be the one that the broker reserved: two grants on one account would end
 * together.
 */
function accountOf(permission: GcpPermission, reserved: string | undefined): string {
  const { exclusive, service_account: named } = permission;
  if (!exclusive && named !== null) return named;
  if (reserved === undefined || (named !== null && named !== reserved))
    throw new ProviderError('pool_exhausted', 'No service account of the pool was reserved for this grant.');
  return reserved;
}
