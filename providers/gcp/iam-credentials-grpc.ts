/**
 * generateAccessToken through Google's own gRPC client. Loaded only when `WRIT_GCP_TRANSPORT=grpc`.
 *
 * The client's public method logs whole answers, token included, when GOOGLE_SDK_NODE_LOGGING is set, so the
 * call underneath it is used; that one can also be cancelled. Its automatic retries are off (`retry: null`):
 * a repeated mint would leave a token that nobody knows of.
 */
import { IAMCredentialsClient } from '@google-cloud/iam-credentials';
import { credentials, type Metadata } from '@grpc/grpc-js';
import { PassThroughClient } from 'google-auth-library';
import { waitSeconds } from '../answer-wait.ts';
import { gaveUp, grpcFailure, retryInfo, unreadable } from './errors.ts';
import { type IamCredentials, mintStep } from './iam-credentials.ts';
import { isToken } from './sts.ts';

interface WireAnswer {
  accessToken?: string | null;
  expireTime?: { seconds?: string | number | object | null } | null;
}
interface GrpcError {
  code?: unknown;
  details?: unknown;
  metadata?: Metadata;
  /** The error's details as google-gax has decoded them. */
  statusDetails?: unknown;
}
type CancellableCall = Promise<[WireAnswer, ...unknown[]]> & { cancel(): void };

const longestCallMs = 60_000;

export function grpcIamCredentials(endpoint: string): IamCredentials {
  const { protocol, hostname, port } = new URL(endpoint);
  const client = new IAMCredentialsClient({
    apiEndpoint: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port || (protocol === 'https:' ? 443 : 80)),
    // Our own token travels as metadata. Without an authClient the library would look for a metadata server.
    // biome-ignore lint/suspicious/noExplicitAny: google-gax carries an older copy of the same class
    authClient: new PassThroughClient() as any,
    sslCreds: protocol === 'https:' ? credentials.createSsl() : credentials.createInsecure(),
  });
  return async ({ account, scopes, lifetimeSeconds, reason }, callerToken, signal) => {
    const step = mintStep(account);
    if (signal.aborted) throw gaveUp({ ...step, mints: false });
    await client.initialize();
    const name = `projects/-/serviceAccounts/${account}`;
    const headers = {
      authorization: `Bearer ${callerToken}`,
      'x-goog-request-reason': reason,
      'x-goog-request-params': `name=${encodeURIComponent(name)}`,
    };
    const generate = client.innerApiCalls.generateAccessToken as (request: object, options: object) => CancellableCall;
    const call = generate(
      { name, scope: scopes, lifetime: { seconds: lifetimeSeconds } },
      { retry: null, timeout: longestCallMs, otherArgs: { headers } },
    );
    const cancel = () => call.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    try {
      const [answer] = await call;
      const expiresAt = new Date(Number(String(answer.expireTime?.seconds ?? Number.NaN)) * 1000);
      if (!isToken(answer.accessToken) || Number.isNaN(expiresAt.getTime())) throw unreadable(step);
      return { token: answer.accessToken, expiresAt };
    } catch (error) {
      if (signal.aborted) throw gaveUp(step);
      const { code, details, metadata, statusDetails } = error as GrpcError;
      if (typeof code !== 'number') throw error;
      const told = waitSeconds(metadata?.get('retry-after')[0]?.toString(), null, null) ?? retryInfo(statusDetails);
      throw grpcFailure(step, code, String(details ?? ''), told);
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  };
}
