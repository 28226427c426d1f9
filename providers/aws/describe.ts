/** An AWS plan in words. */
import type { Plan, PlanDescription } from '../contract.ts';
import type { AwsParams } from './params.ts';
import type { AwsPermission } from './session-policy.ts';
import { type AwsSettings, canRevoke } from './settings.ts';

/** @param limits what the store was found not to hold */
export function describe(plan: Plan, settings: AwsSettings, limits: readonly string[]): PlanDescription {
  const permission = plan.permission as AwsPermission;
  const params = { ...permission.params, role: permission.role, region: permission.region } as unknown as AwsParams;
  return {
    summary: [...inWords(params), `As the AWS role ${permission.role}, never more than this role may do`, ...limits],
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
      const what = params.key ?? params.prefix;
      if (what === undefined) return [`${verb} every object in the S3 bucket ${params.bucket}`];
      if (params.key !== undefined) return [`${verb} the one object ${params.key} in the S3 bucket ${params.bucket}`];
      return [`${verb} objects under ${params.prefix} in the S3 bucket ${params.bucket}`];
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
    case 'custom':
      return params.statements.flatMap((statement) => [
        ...(statement.resources ?? []).flatMap((arn) =>
          statement.actions.map((action) => `${action} on exactly ${arn}`),
        ),
        ...(statement.resource_prefixes ?? []).flatMap((arn) =>
          statement.actions.map((action) => `${action} on everything whose ARN begins with ${arn}`),
        ),
        ...(statement.resource_beginnings ?? []).flatMap((arn) =>
          statement.actions.map(
            (action) => `${action} on everything whose ARN begins with ${arn}, whatever follows, neighbours too`,
          ),
        ),
      ]);
  }
}

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
