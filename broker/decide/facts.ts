/**
 * The typed facts of a decision, and their pure mapping to a Cedar request. Which facts there are, of what
 * type and from where, says the table in `manifests/facts-table.ts`. There is no field for the agent's
 * justification: text that an agent wrote decides nothing (invariant 4).
 *
 * What the manifest says (tier, bound parameters, pattern matches) is derived here from the manifest in force
 * and never taken from the caller.
 */
import type { CedarValueJson, StatefulAuthorizationCall } from '@cedar-policy/cedar-wasm/nodejs';
import type { Json, JsonObject } from '../core/vocabulary.ts';
import { boundParams } from '../manifests/bind.ts';
import { canonicalText, entity, inputBoundParams, type ParamKind, patternChoices } from '../manifests/cedar-schema.ts';
import type { CompiledManifest } from '../manifests/compile.ts';
import {
  type FactEntry,
  factEntries,
  type PlanFactValues,
  type PlannedFacts,
  type RecordName,
  type SessionFactValues,
  type StatedFacts,
  sessionFacts,
} from '../manifests/facts-table.ts';
import { type Capability, member } from '../manifests/manifest.ts';
import { matchesWhole } from '../manifests/pattern.ts';

export interface DecisionFacts extends StatedFacts {
  agent: string;
  /** Version of the manifest passed beside the facts. */
  manifest_version: number;
  capability: string;
  /** The complete parameters as requested (`bindParams(…).params`), from which the plan was made. */
  params: JsonObject;
  plan: PlanFactValues;
  session: SessionFactValues;
}

/**
 * The Cedar request, without the ids of the policy set and schema. Throws when a fact is not of its type: a
 * deny.
 */
export type CedarRequest = Pick<
  StatefulAuthorizationCall,
  'principal' | 'action' | 'resource' | 'context' | 'entities'
>;

type Context = { [name: string]: CedarValueJson };

/**
 * Facts → Cedar request. The capability must be one of the manifest's, and the task of a type that may ask
 * for it.
 */
export function cedarRequest(facts: DecisionFacts, compiled: CompiledManifest): CedarRequest {
  const capability = member(compiled.manifest.capabilities, facts.capability);
  const part = member(compiled.capabilities, facts.capability);
  if (capability === undefined || part === undefined) throw new TypeError('unknown capability');
  return {
    principal: entity.agent(facts.agent),
    action: entity.action(facts.capability),
    resource: entity.provider(facts.plan.provider),
    entities: [],
    context: contextOf(facts, capability, recordsOf(facts, capability, part.kinds)),
  };
}

/** Every fact of the table at its place, each checked to be of its type. */
function contextOf(
  facts: DecisionFacts,
  capability: Capability,
  records: { [name in RecordName]: CedarValueJson },
): Context {
  const context: Context = {};
  for (const { name, group, short, fact } of factEntries) {
    const into = group === null ? context : ((context[group] ?? {}) as Context);
    if (group !== null) context[group] = into;
    if (fact.type === 'Record') {
      into[short] = records[name as RecordName];
      continue;
    }
    const value = factValue(facts, capability, short, fact);
    if (value === undefined && fact.optional === true) continue;
    into[short] = checked[fact.type](value);
  }
  return context;
}

function factValue(facts: DecisionFacts, capability: Capability, short: string, fact: FactEntry): unknown {
  switch (fact.from) {
    case 'plan':
      return facts.plan[short as keyof PlanFactValues];
    case 'session':
    case 'history':
      return facts.session[short as keyof SessionFactValues];
    default:
      return 'value' in fact ? fact.value(facts, capability) : undefined;
  }
}

/** The records whose members differ from capability to capability. */
function recordsOf(
  { params, task }: DecisionFacts,
  capability: Capability,
  kinds: { [param: string]: ParamKind },
): { [name in RecordName]: CedarValueJson } {
  if (Object.keys(params).some((param) => !Object.hasOwn(kinds, param))) wrongType();
  const matches = patternChoices(capability).map(([param, pattern]) => {
    const value = member(params, param);
    return [param, typeof value === 'string' && matchesWhole(pattern, value)] as const;
  });
  return {
    inputs: Object.fromEntries(Object.entries(task.inputs).map(([name, value]) => [name, scalar(value)])),
    params: typed(params, kinds, Object.keys(kinds)),
    bound: typed(boundParams(capability, task), kinds, inputBoundParams(capability)),
    matches: Object.fromEntries(matches),
  };
}

/** The facts about a plan, computed as the table says. */
export function planFacts(planned: PlannedFacts): PlanFactValues {
  const computed = factEntries.flatMap(({ short, fact }) =>
    fact.from === 'plan' ? [[short, fact.value(planned)] as const] : [],
  );
  return Object.fromEntries(computed) as unknown as PlanFactValues;
}

/**
 * The session's facts without what a request has itself added to them: an approved grant was counted when it
 * was asked for, and must not stand in its own way.
 */
export function withoutOwnShare(session: SessionFactValues): SessionFactValues {
  const rest: { [short: string]: unknown } = { ...session };
  for (const { short, fact } of sessionFacts) {
    const value = rest[short];
    // Returns anything but a number unchanged, so that the type check refuses it.
    if (fact.ownShare !== undefined && typeof value === 'number') rest[short] = value - fact.ownShare;
  }
  return rest as unknown as SessionFactValues;
}

/**
 * The named parameters, each of its declared kind, or a throw. This is the type check of every request:
 * Cedar's own, of a request against the schema, would double the time of a decision. Cedar's JSON gives
 * `{"__entity":…}` and `{"__extn":…}` a meaning, so nothing but scalars may pass.
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

/**
 * Cedar 4.13 throws on a lone surrogate; replacing it, as text encoders do, would make unequal texts equal.
 * Not left to its version.
 */
function text(value: unknown): string {
  return typeof value === 'string' && value.isWellFormed() ? value : wrongType();
}

/** A value of each type of the table, as Cedar's JSON has it, or a throw. */
const checked: { [type in Exclude<FactEntry['type'], 'Record'>]: (value: unknown) => CedarValueJson } = {
  String: text,
  Long: assertInteger,
  Boolean: assertBoolean,
  'Set<String>': (value) => (Array.isArray(value) ? value.map(text) : wrongType()),
  datetime: (value) => (value instanceof Date ? { __extn: { fn: 'datetime', arg: value.toISOString() } } : wrongType()),
};

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
