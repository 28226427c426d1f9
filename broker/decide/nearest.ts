/** For a denied request: the nearest one that policy alone would allow, if there is one. */

import type { Json, JsonObject } from '../core/vocabulary.ts';
import { boundParams } from '../manifests/bind.ts';
import type { CompiledManifest } from '../manifests/compile.ts';
import { type Choice, member } from '../manifests/manifest.ts';
import { matchesWhole } from '../manifests/pattern.ts';
import { decide } from './decide.ts';
import type { DecisionFacts } from './facts.ts';

export interface Nearest {
  capability: string;
  params: JsonObject;
  ttl_seconds: number;
}

/**
 * Makes the plan for other parameters, as the grant flow did for the asked ones; undefined (or a throw) when
 * the provider cannot.
 */
export type PlanFor = (params: JsonObject, ttlSeconds: number) => DecisionFacts['plan'] | undefined;

/**
 * Puts bound values back, brings choices within their limits, shortens the TTL, plans anew and decides again.
 * Returned only if that decision is an allow without anybody's approval; never throws.
 */
export function nearest(facts: DecisionFacts, compiled: CompiledManifest, planFor: PlanFor): Nearest | undefined {
  const capability = member(compiled.manifest.capabilities, facts.capability);
  if (capability === undefined) return undefined;
  try {
    const params = boundParams(capability, facts.task);
    for (const [param, choice] of Object.entries(capability.choose)) {
      const value = nearestChoice(choice, member(facts.params, param));
      if (value === undefined) return undefined;
      params[param] = value;
    }
    const ttl = Math.max(1, Math.min(facts.plan.ttl_seconds, capability.max_ttl));
    const plan = planFor(params, ttl);
    if (plan === undefined) return undefined;
    const again = decide({ ...facts, params, plan, approved: false }, compiled);
    return again.effect === 'allow'
      ? { capability: facts.capability, params, ttl_seconds: plan.ttl_seconds }
      : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The asked value where it is within the choice, else the closest number, the default, or the only member.
 */
function nearestChoice(choice: Choice, asked: Json | undefined): Json | undefined {
  if (choice.type === 'boolean') return typeof asked === 'boolean' ? asked : choice.default;
  if (choice.type === 'integer') {
    return typeof asked === 'number' ? Math.min(Math.max(asked, choice.min), choice.max) : choice.default;
  }
  const within =
    typeof asked === 'string' &&
    (choice.enum?.includes(asked) ?? (choice.pattern !== undefined && matchesWhole(choice.pattern, asked)));
  if (within) return asked;
  return choice.default ?? (choice.enum?.length === 1 ? choice.enum[0] : undefined);
}
