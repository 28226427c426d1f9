/**
 * The typed facts of a decision, and their pure mapping to a Cedar request. There is no field for the agent's justification: text that an agent wrote
 * decides nothing (invariant 4).
 *
 * What the manifest says (tier, bound parameters, pattern matches) is derived here from the manifest in force and never taken from the caller.
 */
import type { CedarValueJson, StatefulAuthorizationCall } from '@cedar-policy/cedar-wasm/nodejs';
import type { Json, JsonObject, RevocabilityKind, Task } from '../core/vocabulary.ts';
import { boundParams } from '../manifests/bind.ts';
import { canonicalText, entity, inputBoundParams, type ParamKind, patternChoices } from '../manifests/cedar-schema.ts';
import type { CompiledManifest } from '../manifests/compile.ts';
import { member } from '../manifests/manifest.ts';
import { matchesWhole } from '../manifests/pattern.ts';

export interface DecisionFacts {
  agent: string;
  /** The agent's owner as registered: `team:…` or `user:…`. */
  owner: string;
  /** Version of the manifest passed beside the facts. */
  manifest_version: number;
  task: Task;
  /** The person the session acts for, e.g. `user:a@example.com`. */
  on_behalf_of?: string;
  capability: string;
  /** The complete parameters as requested (`bindParams(…).params`), from which the plan was made. */
  params: JsonObject;
  plan: { provider: string; digest: string; ttl_seconds: number; revocability: RevocabilityKind };
  now: Date;
  /** True once a person's approval of this very plan digest is on record. */
  approved: boolean;
  session: SessionFacts;
}

export interface SessionFacts {
  /** A child session may ask for `capabilities` only. */
  narrowed: boolean;
  capabilities: string[];
  /** Grants the session asked for before this one, and those of them for this capability. */
  grants: number;
  capability_grants: number;
  /** The session's own bound, narrower than the manifest's. */
  max_grants?: number;
}

/** The Cedar request, without the ids of the policy set and schema. Throws when a fact is not of its type: a deny. */
export type CedarRequest = Pick<
  StatefulAuthorizationCall,
  'principal' | 'action' | 'resource' | 'context' | 'entities'
>;

/** Facts → Cedar request. The capability must be one of the manifest's, and the task of a type that may ask for it. */
export function cedarRequest(facts: DecisionFacts, compiled: CompiledManifest): CedarRequest {
  const capability = member(compiled.manifest.capabilities, facts.capability);
  const part = member(compiled.capabilities, facts.capability);
  if (capability === undefined || part === undefined) throw new TypeError('unknown capability');
  const { plan, session, task } = facts;
  if (Object.keys(facts.params).some((param) => !Object.hasOwn(part.kinds, param))) wrongType();
  const matches = patternChoices(capability).map(([param, pattern]) => {
    const value = member(facts.params, param);
    return [param, typeof value === 'string' && matchesWhole(pattern, value)] as const;
  });
  return {
    principal: entity.agent(facts.agent),
    action: entity.action(facts.capability),
    resource: entity.provider(plan.provider),
    entities: [],
    context: {
      owner: text(facts.owner),
      ...(facts.on_behalf_of === undefined ? {} : { on_behalf_of: text(facts.on_behalf_of) }),
      task_type: text(task.task_type),
      inputs: Object.fromEntries(Object.entries(task.inputs).map(([name, value]) => [name, scalar(value)])),
      params: typed(facts.params, part.kinds, Object.keys(part.kinds)),
      bound: typed(boundParams(capability, task), part.kinds, inputBoundParams(capability)),
      matches: Object.fromEntries(matches),
      plan: {
        provider: text(plan.provider),
        digest: text(plan.digest),
        ttl_seconds: assertInteger(plan.ttl_seconds),
        revocability: text(plan.revocability),
      },
      tier: capability.tier,
      now: { __extn: { fn: 'datetime', arg: facts.now.toISOString() } },
      approved: facts.approved === true,
      session: {
        narrowed: assertBoolean(session.narrowed),
        capabilities: session.capabilities.map(text),
        grants: assertInteger(session.grants),
        capability_grants: assertInteger(session.capability_grants),
        // Only for a session with a bound of its own: without one, no policy looks at the count, and the same question stays the same.
        ...(session.max_grants === undefined
          ? {}
          : { grants_left: assertInteger(session.max_grants) - assertInteger(session.grants) }),
      },
    },
  };
}

/**
 * The named parameters, each of its declared kind, or a throw. This is the type check of every request: Cedar's own, of a request against the schema,
 * would double the time of a decision. Cedar's JSON gives `{"__entity":…}` and `{"__extn":…}` a meaning, so nothing but scalars may pass.
 */
function typed(
  params: JsonObject,
  kinds: { [param: string]: ParamKind },
  names: string[],
): Record<string, CedarValueJson> {
  return Object.fromEntries(
    names.map((name) => {
      const kind = member(kinds, name);
      const value = member(params, name);
      if (kind === undefined || value === undefined) return wrongType();
      return [name, kind === 'json' ? canonical(value) : kind === typeOf(value) ? scalar(value) : wrongType()];
    }),
  );
}

function typeOf(value: Json): ParamKind {
  if (typeof value === 'string') return 'string';
  if (typeof value === 'boolean') return 'boolean';
  return typeof value === 'number' ? 'integer' : 'json';
}

function scalar(value: Json): CedarValueJson {
  if (typeof value === 'string') return text(value);
  return typeof value === 'boolean' ? value : assertInteger(value);
}

/** Cedar 4.13 throws on a lone surrogate; replacing it, as text encoders do, would make unequal texts equal. Not left to its version. */
function text(value: unknown): string {
  return typeof value === 'string' && value.isWellFormed() ? value : wrongType();
}

function assertInteger(value: unknown): number {
  return Number.isSafeInteger(value) ? (value as number) : wrongType();
}

function assertBoolean(value: unknown): boolean {
  return typeof value === 'boolean' ? value : wrongType();
}

function canonical(value: Json): string {
  return text(canonicalText(value));
}

function wrongType(): never {
  throw new TypeError('a fact is not of its type');
}
