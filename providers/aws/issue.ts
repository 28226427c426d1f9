/**
 * Mints one session of a role, cut down to the plan and marked with the lease, so that exactly this one can
 * be denied later.
 */
import type { AssumeRoleResponse } from '@aws-sdk/client-sts';
import { type IssueContext, type Issued, type JsonObject, type ProviderDeps, ProviderError } from '../contract.ts';
import type { AwsClients } from './clients.ts';
import { policyText } from './literal.ts';
import { type AwsPermission, untilPolicy } from './session-policy.ts';
import type { AwsSettings } from './settings.ts';

/** What revocation needs to know of a session; no secrets. */
export interface AwsHandle extends JsonObject {
  role: string;
  session_name: string;
  revoke_key: AwsSettings['WRIT_AWS_REVOKE_KEY'];
  /** When AWS opened the session, by its own clock (ISO). */
  issued_at: string;
  /** For finding the session in CloudTrail. */
  access_key_id: string;
}

export async function issue(
  { plan, leaseId, sessionId, agent, signal }: IssueContext,
  settings: AwsSettings,
  deps: ProviderDeps,
  clients: AwsClients,
): Promise<Issued> {
  const permission = plan.permission as AwsPermission;
  if (!settings.WRIT_AWS_ROLES.includes(permission.role))
    throw new ProviderError('bad_params', 'The role is no longer in WRIT_AWS_ROLES.', { path: 'role' });
  // Session names and policies are matched against it later: nothing in it may be a pattern.
  if (!/^[\w=,.@-]{2,64}$/.test(leaseId))
    throw new ProviderError('bad_params', 'The lease id is not a session name.', { path: 'leaseId' });

  const startSecond = Math.floor(deps.clock.now().getTime() / 1000);
  const end = new Date((startSecond + plan.ttl_seconds) * 1000);
  const seconds = Math.max(900, plan.ttl_seconds);
  const bySourceIdentity = settings.WRIT_AWS_REVOKE_KEY === 'source_identity';
  const tags = { 'writ-agent': agent, 'writ-session': sessionId, 'writ-lease': leaseId };
  const session = await clients.assume(
    {
      RoleArn: permission.role,
      RoleSessionName: leaseId,
      DurationSeconds: seconds,
      Policy: policyText(untilPolicy(permission.session_policy, end)),
      ...(bySourceIdentity ? { SourceIdentity: leaseId } : {}),
      ...(settings.WRIT_AWS_SESSION_TAGS === 'on'
        ? { Tags: Object.entries(tags).map(([Key, Value]) => ({ Key, Value: Value.slice(0, 256) })) }
        : {}),
    },
    `agent:${agent}`,
    signal,
  );
  const { credentials, expiration } = checked(session, leaseId, bySourceIdentity);
  return {
    credential: {
      type: 'aws',
      ...credentials,
      expiration: end.toISOString(),
      ...(permission.region === null ? {} : { region: permission.region }),
    },
    expiresAt: end,
    // AWS refuses it from then on: the end is in the session policy.
    providerExpiresAt: end,
    handle: {
      role: permission.role,
      session_name: leaseId,
      revoke_key: settings.WRIT_AWS_REVOKE_KEY,
      issued_at: new Date(expiration.getTime() - seconds * 1000).toISOString(),
      access_key_id: credentials.access_key_id,
    } satisfies AwsHandle,
  };
}

/**
 * The answer is about this lease and can be revoked as planned; a session that could not be ended is not
 * handed out.
 */
function checked(session: AssumeRoleResponse, leaseId: string, bySourceIdentity: boolean) {
  const mismatch = (what: string) => new ProviderError('upstream_mismatch', what, { mayHaveMinted: true });
  const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = session.Credentials ?? {};
  if (!AccessKeyId || !SecretAccessKey || !SessionToken || Expiration === undefined)
    throw mismatch('STS answered without a complete credential');
  if (!session.AssumedRoleUser?.Arn?.endsWith(`/${leaseId}`)) throw mismatch('STS opened a session of another name');
  if (bySourceIdentity && session.SourceIdentity !== leaseId)
    throw mismatch('STS did not set the SourceIdentity; use WRIT_AWS_REVOKE_KEY=userid here');
  return {
    credentials: { access_key_id: AccessKeyId, secret_access_key: SecretAccessKey, session_token: SessionToken },
    expiration: Expiration,
  };
}
