/** What an AWS plan may do at most: its session policy, as patterns. The role itself may allow less. */
import { type JsonObject, literally, type Plan, type Reach } from '../contract.ts';
import type { AwsPermission } from './session-policy.ts';

export function reach(plan: Plan): Reach[] {
  const { session_policy, params } = plan.permission as AwsPermission;
  if (params.service === 'managed')
    return [{ actions: ['*'], resources: ['*'], uncertain: 'managed policies say it, which Writ does not read' }];
  // Its denials are of sts:AssumeRole, which no plan allows.
  return session_policy.Statement.filter(({ Effect }) => Effect === 'Allow').map((statement) => ({
    actions: statement.Action as string[],
    resources: (statement.Resource as string[]).map(patternOf),
    ...(statement.Condition === undefined ? {} : { onlyIf: conditionText(statement.Condition as JsonObject) }),
  }));
}

/** `${*}`, `${?}` and `${$}` are the characters themselves (literal.ts). */
const patternOf = (resource: string): string =>
  resource.replace(/\$\{([*?$])\}|\\/g, (whole, char?: string) => literally(char ?? whole));

function conditionText(condition: JsonObject): string {
  return Object.entries(condition)
    .flatMap(([operator, keys]) =>
      Object.entries(keys as JsonObject).map(([key, value]) => `${key} ${operator} ${[value].flat().join(', ')}`),
    )
    .join('; ');
}
