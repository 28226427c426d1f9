/** Parameters → the session policy: the exact permission of one credential. Pure. */
import { type JsonObject, type Plan, ProviderError } from '../contract.ts';
import { literal, policyText } from './literal.ts';
import type { AwsParams } from './params.ts';
import type { AwsSettings } from './settings.ts';

/** Plain-text limit of an inline session policy (STS API reference, `Policy`). */
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
  const length = policyText(untilPolicy(session_policy, new Date(0))).length;
  if (length > sessionPolicyLimit)
    throw new ProviderError(
      'bad_params',
      `The session policy has ${length} characters, AWS takes ${sessionPolicyLimit}.`,
      {
        path: params.service === 'custom' ? 'statements' : 'service',
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

/** What the parameters allow, as STS is asked for it. */
export const sessionPolicyOf = (params: AwsParams): AwsPermission['session_policy'] => ({
  Version: '2012-10-17',
  Statement: [...allowed(params), neverAssume],
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
    case 'custom':
      return params.statements.map((statement) =>
        allow(statement.actions, [
          ...(statement.resources ?? []).map(literal),
          ...[...(statement.resource_prefixes ?? []), ...(statement.resource_beginnings ?? [])].map(
            (beginning) => `${literal(beginning)}*`,
          ),
        ]),
      );
  }
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
  if (access === 'write' || access === 'read_write') actions.push('s3:PutObject');
  if (access === 'delete') actions.push('s3:DeleteObject');
  const statements: JsonObject[] = [];
  if (actions.length > 0)
    statements.push(
      allow(actions, [
        `${bucket}/${params.key === undefined ? `${literal(params.prefix ?? '')}*` : literal(params.key)}`,
      ]),
    );
  // Who may read all objects under a prefix may see their names; who may read one object needs no list.
  if ((access === 'list' || access === 'read' || access === 'read_write') && params.key === undefined) {
    const within = { StringLike: { 's3:prefix': `${literal(params.prefix ?? '')}*` } };
    statements.push(allow(['s3:ListBucket'], [bucket], params.prefix === undefined ? undefined : within));
  }
  return statements;
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

export const partitionOf = (roleArn: string) => roleArn.split(':')[1] ?? 'aws';
