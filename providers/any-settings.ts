/**
 * What each provider takes, and what it makes of it, whatever a broker’s settings are: manifests are checked
 * against it where no provider, broker or SDK is installed. What hangs on the settings is asked at a broker.
 */
import * as aws from './aws/any-settings.ts';
import type { AwsParams } from './aws/params.ts';
import type { Advice, Plan } from './contract.ts';
import * as gcp from './gcp/any-settings.ts';
import type { GcpParams } from './gcp/params.ts';
import * as github from './github/any-settings.ts';
import type { GithubParams } from './github/params.ts';
import { providerAdvice, providerParams } from './params.ts';
import { planFault } from './plan-fault.ts';
import * as postgres from './postgres/any-settings.ts';
import type { PostgresParams } from './postgres/params.ts';

type Lifetimes = { minTtlSeconds: number; maxTtlSeconds: number };
type MakePlan = (params: unknown, ttlSeconds: number) => Plan | null;

/** Parameters reach `plan` after they have passed the schema of the same name. */
const made: Record<keyof typeof providerParams, { limits: Lifetimes; plan: MakePlan }> = {
  aws: { limits: aws.limits, plan: (params, ttl) => aws.plan(params as AwsParams, ttl) },
  gcp: { limits: gcp.limits, plan: (params, ttl) => gcp.plan(params as GcpParams, ttl) },
  github: { limits: github.limits, plan: (params, ttl) => github.plan(params as GithubParams, ttl) },
  postgres: { limits: postgres.limits, plan: (params, ttl) => postgres.plan(params as PostgresParams, ttl) },
};

/** By the provider's name, in the form in which manifests are checked (broker/manifests/check.ts). */
export const anySettings = Object.fromEntries(
  Object.entries(providerParams).map(([name, params]) => {
    const { limits, plan } = made[name as keyof typeof providerParams];
    const advise = (providerAdvice as { [name: string]: (params: unknown) => Advice[] })[name];
    return [
      name,
      {
        params,
        ...(advise === undefined ? {} : { advise }),
        lifetimes: () => limits,
        planFault: (asked: unknown, ttlSeconds: number) => planFault(() => plan(asked, ttlSeconds)),
      },
    ];
  }),
);
