/** Minting: one token of one service account, cut down to the plan. */
import { type Clock, type IssueContext, type Issued, type JsonObject, ProviderError } from '../contract.ts';
import { asCaller, type Caller } from './caller.ts';
import type { IamCredentials } from './iam-credentials.ts';
import { type GcpPermission, readPermission } from './permission.ts';
import { downscope } from './sts.ts';

/** Google's clock and ours may differ by this much before its answer counts as longer than asked. */
const clockToleranceMs = 60_000;

export interface Minting {
  clock: Clock;
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
  let askedAt = minting.clock.now().getTime();
  const source = await asCaller(minting.caller, context.signal, (token) => {
    askedAt = minting.clock.now().getTime();
    return minting.iamCredentials(request, token, context.signal);
  });
  if (source.expiresAt.getTime() > askedAt + ttlMs + clockToleranceMs)
    throw new ProviderError('upstream_mismatch', 'Google gave a token that lives longer than asked.', {
      mayHaveMinted: true,
    });

  const token =
    permission.access_boundary === null
      ? source.token
      : await downscope(minting.stsEndpoint, source.token, permission.access_boundary, context.signal).catch(afterMint);

  const expiresAt = new Date(Math.min(source.expiresAt.getTime(), askedAt + ttlMs));
  const credential: JsonObject & { type: string } = {
    type: 'gcp',
    access_token: token,
    token_type: 'Bearer',
    expires_at: expiresAt.toISOString(),
    service_account: account,
    scopes: permission.scopes,
    ...(permission.project === null ? {} : { project_id: permission.project }),
  };
  return { credential, expiresAt, providerExpiresAt: source.expiresAt, handle: { service_account: account } };
}

/** The wider source token exists whatever became of the exchange, so there is something to revoke. */
function afterMint(error: unknown): never {
  if (!(error instanceof ProviderError)) throw error;
  const { code, message, retryable, providerCode } = error;
  throw new ProviderError(code, message, {
    retryable,
    mayHaveMinted: true,
    ...(providerCode === undefined ? {} : { providerCode }),
  });
}

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
