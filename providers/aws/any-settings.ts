/** What AWS makes of parameters where the settings allow all that they can: nothing of a broker is known. */
import type { Plan } from '../contract.ts';
import type { AwsParams } from './params.ts';
import { planFor } from './session-policy.ts';
import { type AwsSettings, awsSettings } from './settings.ts';

/** The shortest that is useful, and the longest that STS gives any role. */
export const limits = { minTtlSeconds: 60, maxTtlSeconds: 43_200 };

/** What lets the most through: external ids, and roles of every partition. */
const most = { WRIT_AWS_AUTH: 'ambient', AWS_REGION: 'any', WRIT_AWS_MAX_TTL_SECONDS: '43200' };

const known = new Map<string, AwsSettings | null>();

/** @returns null where the role is none that a broker can list: whether it may be used is asked there */
export function plan(params: AwsParams, ttlSeconds: number): Plan | null {
  const { role } = params;
  if (known.size > 1000) known.clear();
  if (!known.has(role)) known.set(role, awsSettings.safeParse({ ...most, WRIT_AWS_ROLES: role }).data ?? null);
  const settings = known.get(role);
  return settings ? planFor(params, ttlSeconds, settings) : null;
}
