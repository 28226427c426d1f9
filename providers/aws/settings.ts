/**
 * The AWS provider's environment variables. Names of the SDK's own (`AWS_*`) mean what they mean to the SDK.
 */
import { z } from 'zod';
import { partitionOf, partitionOfRegion } from './partition.ts';

/** The account is empty at S3-compatible stores (Ceph). */
const roleArn = /^arn:aws[a-z-]*:iam::(?:\d{12})?:role\/[\w+=,.@/-]{1,512}$/;

/** An empty variable is an absent one, as in any shell. */
const unlessEmpty = <T extends z.ZodType>(schema: T) =>
  z.preprocess((value) => (value === '' ? undefined : value), schema);

const wholeSeconds = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,6}$/, 'must be a whole number of seconds')
    .transform(Number)
    .pipe(z.number().min(min).max(max));

const endpoint = unlessEmpty(z.url({ protocol: /^https?$/ }).optional());

export const awsSettings = z
  .object({
    WRIT_AWS_ROLES: unlessEmpty(
      z
        .string('WRIT_AWS_ROLES is missing: list the role ARNs that capabilities may use')
        .transform((text) => text.split(/[\s,]+/).filter((arn) => arn !== ''))
        .pipe(z.array(z.string().regex(roleArn, 'WRIT_AWS_ROLES holds something that is not a role ARN')).min(1)),
    ).describe('Role ARNs that capabilities may use, separated by commas. Required to switch the AWS provider on.'),
    WRIT_AWS_AUTH: unlessEmpty(z.enum(['web_identity', 'ambient']).default('web_identity')).describe(
      'How roles are assumed: `web_identity` with the broker’s own OIDC token (no AWS key anywhere), or `ambient` with the credentials the AWS SDK finds by itself.',
    ),
    WRIT_AWS_AUDIENCE: unlessEmpty(z.string().min(1).default('sts.amazonaws.com')).describe(
      'The `aud` of the broker’s token: a client id registered with the IAM OIDC provider.',
    ),
    WRIT_AWS_REVOKE_ROLE: unlessEmpty(
      z.string().regex(roleArn, 'WRIT_AWS_REVOKE_ROLE is not a role ARN').optional(),
    ).describe(
      'Role that may write the inline policy `writ-revocations` of the roles above. Without it, and without ambient credentials, AWS credentials end by expiry only.',
    ),
    WRIT_AWS_REVOKE_KEY: unlessEmpty(z.enum(['source_identity', 'userid']).default('source_identity')).describe(
      'What one credential is denied by: `source_identity` (needs `sts:SetSourceIdentity` in the trust policy), or `userid` where that is not possible or not honoured (Ceph).',
    ),
    WRIT_AWS_REVOKE_LAG_SECONDS: unlessEmpty(wholeSeconds(0, 600).default(60)).describe(
      'How long to wait for IAM to enforce a changed role policy before a lease is shown as revoked. Others have measured 3 to 4 seconds; AWS promises no bound. 0 where it is immediate.',
    ),
    WRIT_AWS_SESSION_TAGS: unlessEmpty(z.enum(['on', 'off']).default('on')).describe(
      'Whether sessions carry the tags `writ-agent`, `writ-session` and `writ-lease` (needs `sts:TagSession` in the trust policy).',
    ),
    WRIT_AWS_TRY_STORE: unlessEmpty(z.enum(['on', 'off']).default('on')).describe(
      'Whether a store of your own (`AWS_ENDPOINT_URL`) is tried at start for what a plan relies on: a session that may do nothing tries to open another.',
    ),
    WRIT_AWS_MAX_TTL_SECONDS: unlessEmpty(wholeSeconds(900, 43_200).default(3600)).describe(
      'Longest lifetime to ask for; no more than the roles’ own maximum session duration.',
    ),
    WRIT_AWS_TIMEOUT_SECONDS: unlessEmpty(wholeSeconds(1, 60).default(10)).describe(
      'How long to wait for one answer of STS or IAM.',
    ),
    AWS_REGION: unlessEmpty(
      z
        .string()
        .regex(/^[a-z0-9-]{2,30}$/)
        .default('us-east-1'),
    ).describe('Region of the STS and IAM endpoints.'),
    AWS_ENDPOINT_URL: endpoint.describe('Endpoint of every AWS service, for S3-compatible stores and the sandbox.'),
    AWS_ENDPOINT_URL_STS: endpoint.describe('Endpoint of STS alone.'),
    AWS_ENDPOINT_URL_IAM: endpoint.describe('Endpoint of IAM alone.'),
  })
  .refine((settings) => !settings.WRIT_AWS_ROLES.includes(settings.WRIT_AWS_REVOKE_ROLE ?? ''), {
    path: ['WRIT_AWS_REVOKE_ROLE'],
    message:
      'WRIT_AWS_REVOKE_ROLE must not be one of WRIT_AWS_ROLES: an agent that could assume it could undo revocations',
  })
  .superRefine((settings, context) => {
    for (const [variable, arn] of foreignRoles(settings))
      context.addIssue({
        code: 'custom',
        path: [variable],
        message: `${variable} names ${arn}, a role of the partition ${partitionOf(arn)}, but AWS_REGION=${settings.AWS_REGION} is of ${partitionOfRegion(settings.AWS_REGION)}, whose STS cannot open it: set AWS_REGION to a region of ${partitionOf(arn)}`,
      });
  });

interface Placed {
  WRIT_AWS_ROLES: string[];
  WRIT_AWS_REVOKE_ROLE?: string | undefined;
  AWS_REGION: string;
  AWS_ENDPOINT_URL?: string | undefined;
  AWS_ENDPOINT_URL_STS?: string | undefined;
}

/** Roles of another partition than the region's. A store of one's own calls its regions as it likes. */
function foreignRoles(settings: Placed): [variable: string, arn: string][] {
  const { WRIT_AWS_ROLES: roles, WRIT_AWS_REVOKE_ROLE: revoker, AWS_REGION: region } = settings;
  const partition = partitionOfRegion(region);
  if (partition === null || (settings.AWS_ENDPOINT_URL_STS ?? settings.AWS_ENDPOINT_URL) !== undefined) return [];
  const named = [
    ...roles.map((arn): [string, string] => ['WRIT_AWS_ROLES', arn]),
    ...(revoker === undefined ? [] : [['WRIT_AWS_REVOKE_ROLE', revoker] as [string, string]]),
  ];
  return named.filter(([, arn]) => partitionOf(arn) !== partition);
}

export type AwsSettings = z.infer<typeof awsSettings>;

/**
 * Whether single credentials can be ended before they expire: somebody must be allowed to write the role's
 * policy.
 */
export const canRevoke = (settings: AwsSettings) =>
  settings.WRIT_AWS_AUTH === 'ambient' || settings.WRIT_AWS_REVOKE_ROLE !== undefined;
