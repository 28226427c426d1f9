/**
 * What PostgreSQL makes of parameters where the settings allow whatever they can: nothing of a broker is
 * known here.
 */
import type { Plan } from '../contract.ts';
import type { PostgresParams } from './params.ts';
import { planFor } from './plan.ts';

export const limits = { minTtlSeconds: 10, maxTtlSeconds: 43_200 };

export const plan = (params: PostgresParams, ttlSeconds: number): Plan =>
  planFor(params, ttlSeconds, { database: 'any', hasReplica: true });
