/**
 * Whether one AWS plan is surely within another: each statement that allows has its actions in one that did,
 * its resources the same or under a longer prefix, its condition the same or more, and every denial stands.
 * Pure.
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
    isExact(other) &&
    one.role === other.role &&
    one.region === other.region &&
    // Which tags open more, and whom an external id means, nobody here can tell.
    isDeepStrictEqual(one.params.session_tags, other.params.session_tags) &&
    one.params.external_id === other.params.external_id &&
    areAmong(one.params.policies, other.params.policies) &&
    one.session_policy.Version === other.session_policy.Version &&
    wider
      .filter(({ Effect }) => Effect !== 'Allow')
      .every((denial) => statements.some((kept) => isDeepStrictEqual(kept, denial))) &&
    statements
      .filter(({ Effect }) => Effect !== 'Deny')
      .every((statement) => wider.some((all) => isWithin(statement, all)))
  );
}

/** What any of a session's managed policies allows is allowed: fewer are narrower, none is another thing. */
function areAmong(some: unknown, all: unknown): boolean {
  if (!Array.isArray(some) || !Array.isArray(all)) return some === undefined && all === undefined;
  return some.length > 0 && some.every((arn) => all.includes(arn));
}

/** What people read and what AWS is asked for are the same. */
function isExact({ role, region, params, session_policy }: AwsPermission): boolean {
  const read = awsParams.safeParse({ ...params, role, ...(region === null ? {} : { region }) });
  return read.success && isDeepStrictEqual(JSON.parse(JSON.stringify(sessionPolicyOf(read.data))), session_policy);
}

function isWithin(statement: JsonObject, wider: JsonObject): boolean {
  const { Action, Resource, Condition, ...rest } = statement;
  const { Action: actions, Resource: resources, Condition: condition, ...others } = wider;
  return (
    isDeepStrictEqual(rest, others) &&
    isSubset(Action, actions, (one, all) => one === all) &&
    isSubset(Resource, resources, isUnder) &&
    isAsStrict(Condition, condition)
  );
}

const isSubset = (some: unknown, all: unknown, within: (one: string, all: string) => boolean): boolean =>
  Array.isArray(some) &&
  Array.isArray(all) &&
  some.length > 0 &&
  some.every((one) => all.some((wider) => within(one as string, wider as string)));

/**
 * Letter by letter the same, or under what all begin with. In an exact plan every `*`, `?` and `$` of a value
 * is written out (`literal`), so that a `*` at the end is ours, and what stands before it is to the letter.
 */
function isUnder(one: string, all: string): boolean {
  return one === all || (all.endsWith('*') && one.startsWith(all.slice(0, -1)));
}

/**
 * Another condition beside none asks for more, and so does one more key. Of a pattern, fewer and longer ones
 * are stricter; of any other comparison only the same is surely no less.
 */
function isAsStrict(condition: unknown, than: unknown): boolean {
  if (than === undefined || isDeepStrictEqual(condition, than)) return true;
  const strict = condition as { [test: string]: { [key: string]: unknown } } | undefined;
  return (
    strict !== undefined &&
    Object.entries(than as object).every(([test, keys]) =>
      Object.entries(keys as object).every(([key, values]) => {
        const own = strict[test]?.[key];
        if (isDeepStrictEqual(own, values)) return true;
        return test === 'StringLike' && own !== undefined && isSubset([own].flat(), [values].flat(), isUnder);
      }),
    )
  );
}
