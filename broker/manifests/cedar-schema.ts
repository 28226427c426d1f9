/**
 * The facts of a request for one capability, as a Cedar schema: names and types of everything its policies
 * may look at.
 */
import type { SchemaJson, Type } from '@cedar-policy/cedar-wasm/nodejs';
import canonicalize from 'canonicalize';
import type { Json } from '../core/vocabulary.ts';
import { factEntries, type RecordName } from './facts-table.ts';
import { type Capability, type Input, type Manifest, member } from './manifest.ts';
import { memoize } from './memoize.ts';
import { isConstant, wholeReference } from './template.ts';

/**
 * Cedar has strings, 64-bit integers, booleans; everything else is compared as one canonical JSON string
 * (`json`).
 */
export type ParamKind = 'string' | 'integer' | 'boolean' | 'json';
/**
 * The entities of a request: agent, action and provider are named, none has attributes. Facts travel in the
 * context.
 */
export const entity = {
  agent: (agent: string) => ({ type: 'Writ::Agent', id: agent }),
  action: (capability: string) => ({ type: 'Writ::Action', id: `grant:${capability}` }),
  provider: (provider: string) => ({ type: 'Writ::Provider', id: provider }),
  call: (tool: string) => ({ type: 'Writ::Action', id: `call:${tool}` }),
  /** What a call touches, as the manifest names it; the tool itself where it names nothing. */
  resource: (touched: string) => ({ type: 'Writ::Resource', id: touched }),
};
const cedarTypes: Record<ParamKind, Type<string>> = {
  string: { type: 'String' },
  integer: { type: 'Long' },
  boolean: { type: 'Boolean' },
  json: { type: 'String' },
};

type Attributes = { [name: string]: Type<string> & { required?: boolean } };
const record = (attributes: Attributes): Type<string> => ({ type: 'Record', attributes });
/** Types of the table of facts, as a Cedar schema writes them. */
const factTypes = {
  String: { type: 'String' },
  Long: { type: 'Long' },
  Boolean: { type: 'Boolean' },
  'Set<String>': { type: 'Set', element: { type: 'String' } },
  datetime: { type: 'Extension', name: 'datetime' },
} as const satisfies { [type: string]: Type<string> };

/** The schema of a request for the capability: one action, with its own typed context. */
export function schemaOf(
  manifest: Manifest,
  name: string,
  capability: Capability,
  kinds: { [param: string]: ParamKind },
): SchemaJson<string> {
  const typed = (params: Iterable<string>) =>
    record(Object.fromEntries([...params].map((param) => [param, cedarTypes[kinds[param] as ParamKind]])));
  const context = contextType({
    // Task types differ in their inputs.
    inputs: record(
      Object.fromEntries(
        [...inputTypes(manifest, capability)].map(([input, type]) => [input, { ...cedarTypes[type], required: false }]),
      ),
    ),
    params: typed(Object.keys(kinds)),
    bound: typed(inputBoundParams(capability)),
    matches: record(Object.fromEntries(patternChoices(capability).map(([param]) => [param, factTypes.Boolean]))),
  });
  const appliesTo = { principalTypes: ['Agent'], resourceTypes: ['Provider'], context };
  return {
    Writ: { entityTypes: { Agent: {}, Provider: {} }, actions: { [entity.action(name).id]: { appliesTo } } },
  };
}
/** The table of facts as the type of the context; the records that differ by capability are given. */
function contextType(records: { [name in RecordName]: Type<string> }): Type<string> {
  const top: Attributes = {};
  const groups: { [group: string]: Attributes } = {};
  for (const { name, group, short, fact } of factEntries) {
    const type = fact.type === 'Record' ? records[name as RecordName] : factTypes[fact.type];
    const attributes = group === null ? top : (groups[group] ?? {});
    if (group !== null) groups[group] = attributes;
    attributes[short] = fact.optional === true ? { ...type, required: false } : type;
  }
  for (const [group, attributes] of Object.entries(groups)) top[group] = record(attributes);
  return record(top);
}
/** The choices that a pattern limits, with the pattern. */
export function patternChoices(capability: Capability): [param: string, pattern: string][] {
  return Object.entries(capability.choose).flatMap(([param, choice]): [string, string][] =>
    choice.type === 'string' && choice.pattern !== undefined ? [[param, choice.pattern]] : [],
  );
}
/** The parameters that the task's inputs decide. */
export const inputBoundParams: (capability: Capability) => string[] = memoize((capability) =>
  Object.keys(capability.params).filter((param) => !isConstant(capability.params[param] as Json)),
);
/** One text per JSON value (RFC 8785), so that Cedar can compare what it has no type for. */
export function canonicalText(value: Json): string {
  const text = canonicalize(value);
  if (text === undefined) throw new TypeError('not a JSON value');
  return text;
}
/** The inputs that the capability's task types have, by name. */
function inputTypes(manifest: Manifest, capability: Capability): Map<string, Input['type']> {
  const tasks = capability.tasks.map((task) => member(manifest.task_types, task)?.inputs ?? {});
  return new Map(tasks.flatMap((inputs) => Object.entries(inputs).map(([input, { type }]) => [input, type] as const)));
}
/** How each parameter of the capability is passed to Cedar. */
export function paramKinds(manifest: Manifest, capability: Capability): { [param: string]: ParamKind } {
  const inputs = inputTypes(manifest, capability);
  return Object.fromEntries([
    ...Object.entries(capability.params).map(([param, value]) => [param, kindOf(value, inputs)] as const),
    ...Object.entries(capability.choose).map(([param, { type }]) => [param, type] as const),
  ]);
}

function kindOf(value: Json, inputs: Map<string, Input['type']>): ParamKind {
  if (typeof value === 'string') {
    const whole = wholeReference(value);
    return whole === undefined ? 'string' : (inputs.get(whole) ?? 'string');
  }
  if (typeof value === 'boolean') return 'boolean';
  return Number.isSafeInteger(value) ? 'integer' : 'json';
}
