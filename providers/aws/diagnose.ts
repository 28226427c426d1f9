/**
 * Asks STS and IAM whether minting and revoking would work. What is opened for it may do nothing: its policy
 * denies everything, and it is seen to be refused.
 */
import type { AssumeRoleCommandInput } from '@aws-sdk/client-sts';
import type { Finding, ProviderError } from '../contract.ts';
import type { AwsClients } from './clients.ts';
import { toProviderError } from './errors.ts';
import { canChain, denyAll } from './limits.ts';
import type { AwsParams } from './params.ts';
import { whyNotSoLong } from './role-lifetime.ts';
import { readDenial } from './role-policy.ts';
import { type AwsSettings, canRevoke } from './settings.ts';

/** Everything that is looked at, role by role. Never throws. */
export async function diagnose(
  settings: AwsSettings,
  clients: AwsClients,
  used: readonly AwsParams[],
  signal: AbortSignal,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const role of settings.WRIT_AWS_ROLES) {
    // A trust policy that asks for an external id is met with the one that manifests have for the role.
    const externalId = used.find((params) => params.role === role && params.external_id !== undefined)?.external_id;
    findings.push(...(await ofRole(role, externalId, settings, clients, signal)));
  }
  findings.push(...(await ofRevoking(settings, clients, signal)));
  return findings;
}

async function ofRole(
  role: string,
  externalId: string | undefined,
  settings: AwsSettings,
  clients: AwsClients,
  signal: AbortSignal,
): Promise<Finding[]> {
  let echoed = true;
  const open = async (more: Pick<AssumeRoleCommandInput, 'Tags' | 'SourceIdentity'>): Promise<ProviderError | null> => {
    const who = {
      RoleArn: role,
      RoleSessionName: 'writ-doctor',
      ...(externalId === undefined ? {} : { ExternalId: externalId }),
    };
    const request = { ...who, DurationSeconds: 900, Policy: denyAll, ...more };
    return clients.assume(request, 'agent:writ-limits', signal).then(
      ({ SourceIdentity }) => {
        echoed = SourceIdentity === more.SourceIdentity;
        return null;
      },
      (error) => toProviderError(error, 'sts:AssumeRole', signal),
    );
  };
  const tags = settings.WRIT_AWS_SESSION_TAGS === 'on' ? { Tags: [{ Key: 'writ-agent', Value: 'writ-doctor' }] } : {};
  const identity = settings.WRIT_AWS_REVOKE_KEY === 'source_identity' ? { SourceIdentity: 'writ-doctor' } : {};
  const [tagging, naming] = [Object.keys(tags).length > 0, Object.keys(identity).length > 0];
  const trust = `the role ${role} trusts this broker`;
  const may = (action: string) => `the role ${role} allows ${action}`;

  const refused = await open({ ...tags, ...identity });
  // One by one only where all together were refused: a working role is asked once.
  const plain = refused === null ? null : await open({});
  if (plain !== null) return [unable(trust, plain, trustFix(settings))];
  const untagged = refused !== null && tagging ? await open(tags) : null;
  const unnamed = refused !== null && naming ? await open(identity) : null;
  const inTrust = (action: string, otherwise: string) =>
    `Add ${action} to the actions of the role’s trust policy, or set ${otherwise}.`;
  return [
    { what: trust, state: 'holds' },
    ...(tagging ? [told(may('sts:TagSession'), untagged, inTrust('sts:TagSession', 'WRIT_AWS_SESSION_TAGS=off'))] : []),
    ...(naming
      ? [told(may('sts:SetSourceIdentity'), unnamed, inTrust('sts:SetSourceIdentity', 'WRIT_AWS_REVOKE_KEY=userid'))]
      : []),
    ...(naming && !echoed
      ? [
          {
            what: `the SourceIdentity of a session of ${role} is kept`,
            state: 'fails',
            found: 'it was not in the answer, so no denial by it would hold',
            fix: 'Set WRIT_AWS_REVOKE_KEY=userid.',
          } as const,
        ]
      : []),
    ...(externalId === undefined
      ? [
          await ofLifetime(role, settings.WRIT_AWS_MAX_TTL_SECONDS, clients, signal),
          await ofBounds(role, settings, clients, signal),
        ]
      : []),
  ];
}

async function ofLifetime(role: string, seconds: number, clients: AwsClients, signal: AbortSignal): Promise<Finding> {
  const what = `the role ${role} gives sessions of WRIT_AWS_MAX_TTL_SECONDS=${seconds}`;
  const fix = 'Raise the role’s maximum session duration, or lower WRIT_AWS_MAX_TTL_SECONDS (3600 always works).';
  // Every role allows an hour, a chained one too.
  if (seconds <= 3600) return { what, state: 'holds' };
  try {
    const why = await whyNotSoLong(role, seconds, clients, signal);
    return why === null ? { what, state: 'holds' } : { what, state: 'fails', found: why, fix };
  } catch (error) {
    return unable(what, toProviderError(error, 'sts:AssumeRole', signal), fix);
  }
}

/** That the session's policy binds it: what was opened here could do nothing. */
async function ofBounds(
  role: string,
  settings: AwsSettings,
  clients: AwsClients,
  signal: AbortSignal,
): Promise<Finding> {
  const what = `a session of ${role} that may do nothing can do nothing`;
  try {
    return (await canChain(role, settings, clients, signal))
      ? {
          what,
          state: 'fails',
          found: 'it could open another session, without the limits of the first',
          fix: 'Have the store refuse role chaining, or give the role no more than every agent that uses it may have.',
        }
      : { what, state: 'holds' };
  } catch (error) {
    return unable(what, toProviderError(error, 'sts:AssumeRole', signal), 'Ask again; AWS did not answer as expected.');
  }
}

async function ofRevoking(settings: AwsSettings, clients: AwsClients, signal: AbortSignal): Promise<Finding[]> {
  const what = (role: string) => `the denials of ${role} can be read and written`;
  if (!canRevoke(settings))
    return [
      {
        what: 'credentials can be ended before they expire',
        state: 'unknown',
        found: 'neither WRIT_AWS_REVOKE_ROLE nor ambient credentials are set: they end by expiry alone',
      },
    ];
  const name = settings.WRIT_AWS_REVOKE_ROLE ?? 'the broker’s own identity';
  const findings: Finding[] = [];
  for (const role of settings.WRIT_AWS_ROLES) {
    const failure = await clients
      .iam(signal, (iam) => readDenial(iam, role, signal))
      .then(
        () => null,
        (error) => toProviderError(error, 'iam:GetRolePolicy', signal),
      );
    findings.push(
      told(
        what(role),
        failure,
        `Let ${name} be taken by this broker (subject writ:revoker), and give it iam:GetRolePolicy, PutRolePolicy, DeleteRolePolicy and ListRolePolicies on the role.`,
      ),
    );
  }
  return findings;
}

const trustFix = ({ WRIT_AWS_AUTH, WRIT_AWS_AUDIENCE }: AwsSettings): string =>
  WRIT_AWS_AUTH === 'ambient'
    ? 'Let the role’s trust policy name the identity that the broker runs as, and give that sts:AssumeRole on it.'
    : `Register this broker’s issuer as an IAM OIDC provider with the audience ${WRIT_AWS_AUDIENCE}; let the role’s trust policy name it, with sts:AssumeRoleWithWebIdentity for the subjects agent:*; and see that AWS reaches the issuer from outside.`;

const told = (what: string, failure: ProviderError | null, fix: string): Finding =>
  failure === null ? { what, state: 'holds' } : unable(what, failure, fix);

/** A refusal is a fault of the set-up; no answer says nothing about it. */
function unable(what: string, failure: ProviderError, fix: string): Finding {
  const found = failure.providerText === null ? failure.message : `${failure.message}: ${failure.providerText}`;
  return failure.code === 'upstream_refused' || failure.code === 'upstream_mismatch'
    ? { what, state: 'fails', found, fix }
    : { what, state: 'fails', found, fix: `${fix} If that is so: AWS may be out of reach from here, or busy.` };
}
