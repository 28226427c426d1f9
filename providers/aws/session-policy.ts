/** Parameters → the session policy: the exact permission of one credential. Pure. */
import { type JsonObject, type Plan, ProviderError } from '../contract.ts';
import { literal, policyText } from './literal.ts';
import { type AwsParams, anyRegion, namedLists } from './params.ts';
import { partitionOf, partitionOfRegion } from './partition.ts';
import type { AwsSettings } from './settings.ts';

/**
 * Plain-text limit of an inline session policy with the ARNs of managed ones (STS API reference, `Policy`).
 * AWS packs them together with the tags, and tells nobody how: those are counted too, which errs early.
 */
export const sessionPolicyLimit = 2048;

/** The permission of an AWS plan, as the approver sees it raw. */
export interface AwsPermission extends JsonObject {
  role: string;
  /** null = the agent brings its own. */
  region: string | null;
  params: JsonObject;
  session_policy: { Version: string; Statement: JsonObject[] };
}

/** Throws ProviderError('bad_params'): a role outside the allow-list, a policy over the limit. */
export function planFor(params: AwsParams, ttlSeconds: number, settings: AwsSettings): Plan {
  if (!settings.WRIT_AWS_ROLES.includes(params.role))
    throw new ProviderError('bad_params', 'The role is not in WRIT_AWS_ROLES.', { path: 'role' });
  const { role, region, ...permission } = params;
  const session_policy = sessionPolicyOf(params);
  refuseUnsayable(params, settings);
  const more = besides(params);
  const length = policyText(untilPolicy(session_policy, new Date(0))).length + more;
  if (length > sessionPolicyLimit)
    throw new ProviderError(
      'bad_params',
      `The session policy has ${length} characters${more === 0 ? '' : ' with the ARNs and tags beside it'}, AWS takes ${sessionPolicyLimit}.`,
      {
        path: { custom: 'statements', managed: 'policies' }[params.service as string] ?? 'service',
      },
    );
  const awsPermission: AwsPermission = {
    role,
    region: region ?? null,
    params: permission as JsonObject,
    session_policy,
  };
  // Through JSON, so that an absent optional parameter is absent and not undefined.
  return { provider: 'aws', permission: JSON.parse(JSON.stringify(awsPermission)), ttl_seconds: ttlSeconds };
}

/** Characters that AWS packs together with the session policy. */
function besides(params: AwsParams): number {
  const tags = Object.entries(params.session_tags ?? {}).flat();
  const arns = params.service === 'managed' ? params.policies : [];
  return [...tags, ...arns].reduce((sum, text) => sum + text.length, 0);
}

/** @throws ProviderError('bad_params'): what can never work with this role and these settings */
function refuseUnsayable(params: AwsParams, settings: AwsSettings): void {
  const refuse = (path: string, why: string) => {
    throw new ProviderError('bad_params', why, { path });
  };
  // AssumeRoleWithWebIdentity has no such parameter: left out, the plan would say more than is asked for.
  if (params.external_id !== undefined && settings.WRIT_AWS_AUTH !== 'ambient')
    refuse('external_id', 'An external id needs WRIT_AWS_AUTH=ambient: a web identity has none.');
  if (params.session_tags !== undefined && settings.WRIT_AWS_SESSION_TAGS === 'off')
    refuse('session_tags', 'Session tags need WRIT_AWS_SESSION_TAGS=on.');
  const partition = partitionOf(params.role);
  const ofRegion = params.region === undefined ? null : partitionOfRegion(params.region);
  const ownStore = (settings.AWS_ENDPOINT_URL_STS ?? settings.AWS_ENDPOINT_URL) !== undefined;
  if (ofRegion !== null && ofRegion !== partition && !ownStore)
    refuse('region', `The region is of the partition ${ofRegion}, the role of ${partition}.`);
  for (const [path, arn] of arnsIn(params))
    if (partitionOf(arn) !== partition)
      refuse(path, `${arn} is of the partition ${partitionOf(arn)}, the role of ${partition}.`);
}

/** Every ARN among the parameters but the role's, with its path. */
function arnsIn(params: AwsParams): [path: string, arn: string][] {
  const listed = (path: string, arns: readonly string[] = []) =>
    arns.map((arn, index): [string, string] => [`${path}.${index}`, arn]);
  switch (params.service) {
    case 's3':
      return params.kms_key === undefined ? [] : [['kms_key', params.kms_key]];
    case 'sqs':
      return [['queue', params.queue]];
    case 'secretsmanager':
      return [['secret', params.secret]];
    case 'managed':
      return listed('policies', params.policies);
    case 'custom':
      return params.statements.flatMap((statement, index) =>
        namedLists.flatMap((list) => listed(`statements.${index}.${list}`, statement[list])),
      );
    default:
      return [];
  }
}

/** What the parameters allow, as STS is asked for it. */
export const sessionPolicyOf = (params: AwsParams): AwsPermission['session_policy'] => ({
  Version: '2012-10-17',
  Statement: [...allowed(params), ...(params.service === 'managed' ? [neverDelegated] : []), neverAssume],
});

/**
 * The session policy with its end written in. STS gives no session shorter than 900 s, and its own clock
 * starts when the call arrives; this ends it to the second of the plan.
 */
export function untilPolicy(policy: AwsPermission['session_policy'], end: Date): JsonObject {
  const at = end.toISOString().replace(/\.\d{3}Z$/, 'Z');
  const over = {
    Effect: 'Deny',
    Action: '*',
    Resource: '*',
    Condition: { DateGreaterThanEquals: { 'aws:CurrentTime': at } },
  };
  return { ...policy, Statement: [...policy.Statement, over] };
}

/**
 * A chained session would drop this policy, and a trust policy that names the session could allow one: an
 * explicit deny beats it.
 */
export const neverAssume: JsonObject = { Effect: 'Deny', Action: 'sts:AssumeRole', Resource: '*' };

/**
 * What `custom` refuses by its shape, a managed policy may hold: denied beside it. Session policies add up,
 * so that the one of Writ's own may only deny here.
 */
const neverDelegated: JsonObject = {
  Effect: 'Deny',
  Action: ['sts:*', 'iam:*', 'organizations:*', 'sso:*', 'sso-directory:*', 'identitystore:*'],
  Resource: '*',
};

function allowed(params: AwsParams): JsonObject[] {
  switch (params.service) {
    case 's3':
      return s3Statements(params);
    case 'dynamodb':
      return [dynamodbStatement(params)];
    case 'sqs':
      return [allow(sqsActions[params.access], [literal(params.queue)])];
    case 'secretsmanager':
      return [allow(['secretsmanager:GetSecretValue'], [literal(params.secret)])];
    case 'managed':
      return [];
    case 'custom':
      return params.statements.map((statement) =>
        allow(
          [...(statement.actions ?? []), ...(statement.every_action_of ?? []).map((service) => `${service}:*`)],
          statement.every_resource === true
            ? ['*']
            : [
                ...(statement.resources ?? []).map(arnText),
                ...[...(statement.resource_prefixes ?? []), ...(statement.resource_beginnings ?? [])].map(
                  (beginning) => `${arnText(beginning)}*`,
                ),
              ],
          statement.only_if === undefined ? undefined : conditionOf(statement.only_if),
        ),
      );
  }
}

type OnlyIf = NonNullable<Extract<AwsParams, { service: 'custom' }>['statements'][number]['only_if']>;

/** IAM gives `${…}` a meaning in every text, so that literals are written out here too. */
function conditionOf(tests: OnlyIf): JsonObject {
  const condition: { [test: string]: JsonObject } = {};
  for (const { test, key, values = [], patterns = [] } of tests)
    condition[test] = { ...condition[test], [key]: [...values.map(literal), ...patterns.map(patternText)] };
  return condition;
}

const patternText = (pieces: NonNullable<OnlyIf[number]['patterns']>[number]): string =>
  pieces.map((piece) => (typeof piece === 'string' ? literal(piece) : piece.any === 'text' ? '*' : '?')).join('');

/** Literal but for the region, where `every_region` lets it be each. */
function arnText(arn: string): string {
  const beginning = anyRegion.exec(arn)?.[0] ?? '';
  return `${beginning}${literal(arn.slice(beginning.length))}`;
}

export const allow = (actions: string[], resources: string[], condition?: JsonObject): JsonObject => ({
  Effect: 'Allow',
  Action: actions,
  Resource: resources,
  ...(condition === undefined ? {} : { Condition: condition }),
});

function s3Statements(params: Extract<AwsParams, { service: 's3' }>): JsonObject[] {
  const { access } = params;
  const bucket = `arn:${partitionOf(params.role)}:s3:::${literal(params.bucket)}`;
  const actions: string[] = [];
  if (access === 'get' || access === 'read' || access === 'read_write') actions.push('s3:GetObject');
  // Who uploads in parts must be able to go on after a break, and to give up.
  if (access === 'write' || access === 'read_write')
    actions.push('s3:PutObject', 's3:AbortMultipartUpload', 's3:ListMultipartUploadParts');
  if (access === 'delete') actions.push('s3:DeleteObject');
  const objects = `${bucket}/${params.key === undefined ? `${literal(params.prefix ?? '')}*` : literal(params.key)}`;
  const statements: JsonObject[] = [];
  if (actions.length > 0) statements.push(allow(actions, [objects]));
  if (params.kms_key !== undefined) statements.push(...keyStatements(params.kms_key, access, bucket, objects));
  // Who may read all objects under a prefix may see their names; who may read one object needs no list.
  if ((access === 'list' || access === 'read' || access === 'read_write') && params.key === undefined) {
    const within = { StringLike: { 's3:prefix': `${literal(params.prefix ?? '')}*` } };
    statements.push(allow(['s3:ListBucket'], [bucket], params.prefix === undefined ? undefined : within));
  }
  return statements;
}

/**
 * The key of an encrypted bucket, used by S3 for these objects: S3 names the object to KMS, or the bucket
 * where it keeps a key of its own there. Uploads in parts are decrypted when they are put together.
 */
export function keyStatements(key: string, access: string, bucket: string, objects: string): JsonObject[] {
  const writes = access === 'write' || access === 'read_write';
  if (!writes && access !== 'get' && access !== 'read') return [];
  return [
    allow(writes ? ['kms:Decrypt', 'kms:GenerateDataKey'] : ['kms:Decrypt'], [key], {
      StringLike: {
        // The domain at its end is the partition's.
        'kms:ViaService': [`s3.${key.split(':')[3]}.*`],
        'kms:EncryptionContext:aws:s3:arn': [bucket, objects],
      },
    }),
  ];
}

const dynamodbReads = ['GetItem', 'BatchGetItem', 'Query'];
const dynamodbWrites = ['PutItem', 'UpdateItem', 'DeleteItem', 'BatchWriteItem'];

function dynamodbStatement(params: Extract<AwsParams, { service: 'dynamodb' }>): JsonObject {
  const account = params.account ?? params.role.split(':')[4] ?? '';
  const table = `arn:${partitionOf(params.role)}:dynamodb:${params.region}:${account}:table/${literal(params.table)}`;
  const names = [
    ...(params.access === 'write' ? [] : dynamodbReads),
    ...(params.access === 'write' || params.leading_key !== undefined ? [] : ['Scan']),
    ...(params.access === 'read' ? [] : dynamodbWrites),
  ];
  const actions = names.map((name) => `dynamodb:${name}`);
  if (params.leading_key === undefined) return allow(actions, [table]);
  // ForAllValues holds for no values at all, so the key must also be there.
  return allow(actions, [table], {
    'ForAllValues:StringEquals': { 'dynamodb:LeadingKeys': [literal(params.leading_key)] },
    Null: { 'dynamodb:LeadingKeys': 'false' },
  });
}

const sqsSend = ['sqs:SendMessage', 'sqs:GetQueueUrl'];
const sqsReceive = ['sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:ChangeMessageVisibility', 'sqs:GetQueueAttributes'];
const sqsActions = {
  send: sqsSend,
  receive: [...sqsReceive, 'sqs:GetQueueUrl'],
  send_receive: [...sqsSend, ...sqsReceive],
};
