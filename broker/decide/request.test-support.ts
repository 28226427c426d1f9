/** Requests on the example manifest, for the tests of this folder. */
import assert from 'node:assert/strict';
import type { JsonObject } from '../core/vocabulary.ts';
import { bindParams } from '../manifests/bind.ts';
import type { CompiledManifest } from '../manifests/compile.ts';
import { sessionFacts } from '../manifests/facts-table.ts';
import { member } from '../manifests/manifest.ts';
import type { DecisionFacts } from './facts.ts';
import { planDigest } from './plan-digest.ts';

export const at = new Date('2026-03-01T12:00:00Z');

export function planOf(params: JsonObject, ttlSeconds: number): DecisionFacts['plan'] {
  const plan = { provider: 'store', permission: params, ttl_seconds: ttlSeconds };
  return { provider: 'store', digest: planDigest(plan), ttl_seconds: ttlSeconds, revocability: 'immediate' };
}

/**
 * A session without a bound of its own that has asked for nothing yet: what the table gives as its examples,
 * of all that is never absent.
 */
export const freshSession = Object.fromEntries(
  sessionFacts.flatMap(({ short, fact }) => (fact.optional === true ? [] : [[short, fact.example]])),
) as unknown as DecisionFacts['session'];

/** The facts of a request as the grant flow makes them: parameters bound, plan made from them. */
export function factsFor(
  compiled: CompiledManifest,
  capability: string,
  given: unknown = {},
  change: Partial<DecisionFacts> = {},
): DecisionFacts {
  const task = {
    task_type: 'answer-invoice-question',
    inputs: { customer_id: '42', region: 'eu-west-1', year: 2026, urgent: false },
  };
  const shape = member(compiled.manifest.capabilities, capability);
  assert.ok(shape);
  const bound = bindParams(shape, task, given);
  assert.ok(bound.ok, JSON.stringify(bound));
  return {
    agent: 'invoice-bot',
    owner: 'team:billing',
    manifest_version: 7,
    task,
    on_behalf_of: 'user:a@example.com',
    capability,
    params: bound.params,
    plan: planOf(bound.params, 300),
    now: at,
    approved: false,
    session: freshSession,
    ...change,
  };
}
