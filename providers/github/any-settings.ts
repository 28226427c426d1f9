/** What GitHub makes of parameters where every owner is allowed: nothing of a broker is known here. */
import type { Plan } from '../contract.ts';
import type { GithubParams } from './params.ts';
import { planFor, tokenLifetimeSeconds } from './plan.ts';

export const limits = { minTtlSeconds: 30, maxTtlSeconds: tokenLifetimeSeconds };

export const plan = (params: GithubParams, ttlSeconds: number): Plan => planFor(params, ttlSeconds, null);
