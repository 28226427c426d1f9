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

/** Another condition beside none asks for more; a prefix to list may only be longer. */
function isAsStrict(condition: unknown, than: unknown): boolean {
  if (than === undefined || isDeepStrictEqual(condition, than)) return true;
  const [one, all] = [listedPrefix(condition), listedPrefix(than)];
  return one !== null && all !== null && isUnder(one, all);
}

/** The pattern of a condition that is about nothing but the prefix to list. */
function listedPrefix(condition: unknown): string | null {
  const pattern = (condition as { StringLike?: { 's3:prefix'?: unknown } } | undefined)?.StringLike?.['s3:prefix'];
  if (typeof pattern !== 'string') return null;
  return isDeepStrictEqual(condition, { StringLike: { 's3:prefix': pattern } }) ? pattern : null;
}
