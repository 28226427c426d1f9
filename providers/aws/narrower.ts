/**
 * Whether one AWS plan is surely within another: each statement that allows has its actions and resources in
 * one that did, under the same condition, and every denial stands. Pure.
 */
import { isDeepStrictEqual } from 'node:util';
import type { JsonObject, Plan } from '../contract.ts';
import { awsParams } from './params.ts';
import { type AwsPermission, sessionPolicyOf } from './session-policy.ts';

export function narrower(plan: Plan, than: Plan): boolean {
  const [one, other] = [plan.permission as AwsPermission, than.permission as AwsPermission];
  const [statements, wider] = [one.session_policy.Statement, other.session_policy.Statement];
  return (
    plan.ttl_seconds <= than.ttl_seconds &&
    isExact(one) &&
    one.role === other.role &&
    one.region === other.region &&
    one.session_policy.Version === other.session_policy.Version &&
    wider
      .filter(({ Effect }) => Effect !== 'Allow')
      .every((denial) => statements.some((kept) => isDeepStrictEqual(kept, denial))) &&
    statements
      .filter(({ Effect }) => Effect !== 'Deny')
      .every((statement) => wider.some((all) => isWithin(statement, all)))
  );
}

/** What people read and what AWS is asked for are the same. */
function isExact({ role, region, params, session_policy }: AwsPermission): boolean {
  const read = awsParams.safeParse({ ...params, role, ...(region === null ? {} : { region }) });
  return read.success && isDeepStrictEqual(JSON.parse(JSON.stringify(sessionPolicyOf(read.data))), session_policy);
}

function isWithin(statement: JsonObject, wider: JsonObject): boolean {
  const { Action, Resource, ...rest } = statement;
  const { Action: actions, Resource: resources, ...others } = wider;
  return isDeepStrictEqual(rest, others) && isSubset(Action, actions) && isSubset(Resource, resources);
}

/** Letter by letter: what only a pattern would take is not surely less. */
const isSubset = (some: unknown, all: unknown): boolean =>
  Array.isArray(some) && Array.isArray(all) && some.length > 0 && some.every((one) => all.includes(one));
