/** An AWS plan in words. */
import type { Plan, PlanDescription } from '../contract.ts';
import { caveatOf } from './conditions.ts';
import { type AwsParams, anyRegion } from './params.ts';
import type { AwsPermission } from './session-policy.ts';
import { type AwsSettings, canRevoke } from './settings.ts';

/** @param limits what the store was found not to hold */
export function describe(plan: Plan, settings: AwsSettings, limits: readonly string[]): PlanDescription {
  const permission = plan.permission as AwsPermission;
  const params = { ...permission.params, role: permission.role, region: permission.region } as unknown as AwsParams;
  return {
    summary: [
      ...inWords(params),
      ...aboutSession(params),
      `As the AWS role ${permission.role}, never more than this role may do`,
      ...limits,
    ],
    revocability: revocability(plan, settings),
  };
}

function inWords(params: AwsParams): string[] {
  switch (params.service) {
    case 's3': {
      const verbs = {
        get: 'Read',
        list: 'List',
        read: 'Read and list',
        write: 'Write',
        delete: 'Delete',
        read_write: 'Read, list and write',
      };
      const verb = params.key === undefined ? verbs[params.access] : verbs[params.access].replace(/( and|,) list/, '');
      const where = `in the S3 bucket ${params.bucket}`;
      const what =
        params.key !== undefined
          ? `the one object ${params.key}`
          : params.prefix === undefined
            ? 'every object'
            : `objects under ${params.prefix}`;
      const usesKey = params.kms_key !== undefined && !['list', 'delete'].includes(params.access);
      return [
        `${verb} ${what} ${where}`,
        ...(usesKey ? [`Through S3 alone, for these, use the key ${params.kms_key}`] : []),
      ];
    }
    case 'dynamodb': {
      const verb = { read: 'Read', write: 'Write', read_write: 'Read and write' }[params.access];
      const items =
        params.leading_key === undefined ? 'all items' : `items with the partition key ${params.leading_key}`;
      return [`${verb} ${items} in the DynamoDB table ${params.table} (${params.region})`];
    }
    case 'sqs': {
      const verb = {
        send: 'Send messages to',
        receive: 'Receive and delete messages of',
        send_receive: 'Send messages to, and receive and delete messages of,',
      };
      return [`${verb[params.access]} the queue ${params.queue}`];
    }
    case 'secretsmanager':
      return [`Read the secret ${params.secret}`];
    case 'managed':
      return [
        ...params.policies.map(
          (arn) =>
            `Whatever the managed policy ${arn} allows when AWS is asked, on whatever it names: Writ does not read it`,
        ),
        'Of several policies, what any one of them allows; nothing of iam, sts, organizations or sso',
      ];
    case 'custom':
      return params.statements.flatMap((statement) => {
        const actions = [
          ...(statement.actions ?? []),
          ...(statement.every_action_of ?? []).map(
            (service) => `Every action of ${service}, those that AWS adds later too,`,
          ),
        ];
        const onlyIf = (statement.only_if ?? []).map(
          ({ test, key, values = [], patterns = [] }) =>
            `${key} ${test} ${[...values, ...patterns.map(patternInWords)].join(' or ')}${caveatOf(test, values)}`,
        );
        const rest = onlyIf.length === 0 ? '' : `, only if ${onlyIf.join(' and ')}`;
        const each = (where: string) => actions.map((action) => `${action} ${where}${rest}`);
        return [
          ...(statement.resources ?? []).flatMap((arn) => each(`on exactly ${arn}${regions(arn)}`)),
          ...(statement.resource_prefixes ?? []).flatMap((arn) =>
            each(`on everything whose ARN begins with ${arn}${regions(arn)}`),
          ),
          ...(statement.resource_beginnings ?? []).flatMap((arn) =>
            each(`on everything whose ARN begins with ${arn}${regions(arn)}, whatever follows, neighbours too`),
          ),
          ...(statement.every_resource === true ? each('on every resource there is, none is named') : []),
        ];
      });
  }
}

const regions = (arn: string): string => (anyRegion.test(arn) ? ', in every region' : '');

type Pattern = readonly (string | { any: 'text' | 'character' })[];

/** A gap reads unlike the character that IAM writes for it, which is a literal in the texts beside it. */
const patternInWords = (pieces: Pattern): string =>
  pieces
    .map((piece) => (typeof piece === 'string' ? piece : piece.any === 'text' ? '(any text)' : '(any character)'))
    .join('');

/** What is said to AWS of the session itself. */
const aboutSession = ({ session_tags, external_id }: AwsParams): string[] => [
  ...Object.entries(session_tags ?? {}).map(
    ([key, value]) =>
      `With the session tag ${key} = ${value}: whatever the role’s policies give to aws:PrincipalTag/${key} of that value`,
  ),
  ...(external_id === undefined ? [] : [`With the external id ${external_id}, which the role’s trust policy asks for`]),
];

function revocability(plan: Plan, settings: AwsSettings): PlanDescription['revocability'] {
  const end = `AWS itself refuses it after ${plan.ttl_seconds} seconds.`;
  if (!canRevoke(settings)) return { kind: 'expiry', text: `It cannot be ended early. ${end}` };
  const lag = settings.WRIT_AWS_REVOKE_LAG_SECONDS;
  if (lag === 0)
    return { kind: 'immediate', text: `A deny for this one credential in the role’s policy ends it at once. ${end}` };
  return {
    kind: 'eventual',
    text: `A deny for this one credential is put into the role’s policy and read back. AWS enforces that within seconds as a rule, but promises no time; it counts as revoked ${lag} s after. ${end}`,
  };
}
