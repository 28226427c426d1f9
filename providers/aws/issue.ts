/**
 * Mints one session of a role, cut down to the plan and marked with the lease, so that exactly this one can
 * be denied later.
 */
import type { AssumeRoleResponse, Credentials } from '@aws-sdk/client-sts';
import type { z } from 'zod';
import { type IssueContext, type Issued, type JsonObject, ProviderError } from '../contract.ts';
import type { AwsClients } from './clients.ts';
import type { awsCredential } from './credential.ts';
import { policyText } from './literal.ts';
import type { AwsParams } from './params.ts';
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
  clients: AwsClients,
): Promise<Issued> {
  const permission = plan.permission as AwsPermission;
  if (!settings.WRIT_AWS_ROLES.includes(permission.role))
    throw new ProviderError('bad_params', 'The role is no longer in WRIT_AWS_ROLES.', { path: 'role' });
  // Session names and policies are matched against it later: nothing in it may be a pattern.
  if (!/^[\w=,.@-]{2,64}$/.test(leaseId))
    throw new ProviderError('bad_params', 'The lease id is not a session name.', { path: 'leaseId' });

  // By AWS's clock, which is the one that its policies are judged by; ours says when the lease ends. Where it
  // cannot be asked, the call itself will fail.
  await clients.clock.askNow(signal).catch(() => {});
  const ttlMs = plan.ttl_seconds * 1000;
  const wholeSecond = (date: Date) => Math.floor(date.getTime() / 1000) * 1000;
  const ourEnd = new Date(wholeSecond(clients.clock.ours()) + ttlMs);
  const end = new Date(wholeSecond(clients.clock.now()) + ttlMs);
  const seconds = Math.max(900, plan.ttl_seconds);
  const bySourceIdentity = settings.WRIT_AWS_REVOKE_KEY === 'source_identity';
  const asked = permission.params as unknown as Pick<AwsParams, 'session_tags' | 'external_id'> & {
    policies?: string[];
  };
  const tags = { ...asked.session_tags, 'writ-agent': agent, 'writ-session': sessionId, 'writ-lease': leaseId };
  const session = await clients.assume(
    {
      RoleArn: permission.role,
      RoleSessionName: leaseId,
      DurationSeconds: seconds,
      Policy: policyText(untilPolicy(permission.session_policy, end)),
      ...(asked.policies === undefined ? {} : { PolicyArns: asked.policies.map((arn) => ({ arn })) }),
      ...(asked.external_id === undefined ? {} : { ExternalId: asked.external_id }),
      ...(bySourceIdentity ? { SourceIdentity: leaseId } : {}),
      ...(settings.WRIT_AWS_SESSION_TAGS === 'on'
        ? { Tags: Object.entries(tags).map(([Key, Value]) => ({ Key, Value: Value.slice(0, 256) })) }
        : {}),
    },
    `agent:${agent}`,
    signal,
  );
  const now = clients.clock.now();
  const fault = faultIn(session, { role: permission.role, leaseId, bySourceIdentity, seconds, end, now });
  // Our clock was set since AWS's time was learnt: its answer has taught us the new difference.
  const late = end.getTime() > now.getTime() + ttlMs + toleranceMs;
  if (fault !== null || late) {
    // It is denied by the lease's name, whichever key AWS honours: nothing of the answer is needed to end it.
    const latest = new Date(Math.max(end.getTime(), now.getTime() + seconds * 1000));
    const minted = { handle: null, providerExpiresAt: latest };
    const what = fault ?? 'the session would end later than the plan: this machine’s clock was set meanwhile';
    throw new ProviderError('upstream_mismatch', what, { mayHaveMinted: true, minted, retryable: fault === null });
  }
  const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = session.Credentials as Complete;
  // It may end sooner than was asked. When it was opened is then not to be told from its end: surely by now.
  const early = Expiration < end;
  const told = Expiration.getTime() - seconds * 1000;
  const openedAt = told < now.getTime() - toleranceMs ? now : new Date(told);
  const skewMs = clients.clock.skewMs() ?? 0;
  return {
    credential: {
      type: 'aws',
      access_key_id: AccessKeyId,
      secret_access_key: SecretAccessKey,
      session_token: SessionToken,
      expiration: (early ? Expiration : end).toISOString(),
      ...(permission.region === null ? {} : { region: permission.region }),
    } satisfies z.input<typeof awsCredential>,
    expiresAt: early ? new Date(Math.min(ourEnd.getTime(), Expiration.getTime() - skewMs)) : ourEnd,
    // AWS refuses it from then on: the end is in the session policy.
    providerExpiresAt: end,
    handle: {
      role: permission.role,
      session_name: leaseId,
      revoke_key: settings.WRIT_AWS_REVOKE_KEY,
      issued_at: openedAt.toISOString(),
      access_key_id: AccessKeyId,
    } satisfies AwsHandle,
  };
}

type Complete = { [member in keyof Credentials]-?: NonNullable<Credentials[member]> };

interface Asked {
  role: string;
  leaseId: string;
  bySourceIdentity: boolean;
  seconds: number;
  /** When the plan ends, and what time it is, by AWS's clock. */
  end: Date;
  now: Date;
}

/** One word without anything that a header or a configuration file would not carry. */
const isSecret = (value: unknown) => typeof value === 'string' && /^[\x21-\x7e]{1,16384}$/.test(value);

/** STS counts whole seconds, and its answer took a while. */
const toleranceMs = 60_000;

/**
 * Null when the answer is about this lease, ends when it must, and can be revoked as planned; else what is
 * wrong. A session that could not be ended is not handed out.
 */
function faultIn(session: AssumeRoleResponse, asked: Asked): string | null {
  const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = session.Credentials ?? {};
  if (![AccessKeyId, SecretAccessKey, SessionToken].every(isSecret) || !(Expiration instanceof Date))
    return 'STS answered without a complete credential';
  const { Arn = '', AssumedRoleId } = session.AssumedRoleUser ?? {};
  const [name, role] = Arn.split('/').toReversed();
  // The last is what AWS compares as `aws:userid`.
  if (name !== asked.leaseId || (AssumedRoleId !== undefined && !AssumedRoleId.endsWith(`:${asked.leaseId}`)))
    return 'STS opened a session of another name';
  if (role !== asked.role.split('/').at(-1)) return 'STS opened a session of another role';
  if (Arn.split(':')[4] !== asked.role.split(':')[4]) return 'STS opened a session of another account';
  if (asked.bySourceIdentity && session.SourceIdentity !== asked.leaseId)
    return 'STS did not set the SourceIdentity; use WRIT_AWS_REVOKE_KEY=userid here';
  const ends = Expiration.getTime();
  if (!(ends > asked.now.getTime()) || asked.end <= asked.now) return 'STS opened a session that ends in the past';
  const latest = asked.now.getTime() + asked.seconds * 1000 + toleranceMs;
  return ends > latest ? 'STS opened a session that lives longer than was asked' : null;
}
