/**
 * Facts of a tool call for the team's own policies (`cedar`): their types, and their values. The manifest's
 * own policies look at none of them, so they are worked out only where there are others.
 */
import type { CedarValueJson, Type } from '@cedar-policy/cedar-wasm/nodejs';
import { plainAddress } from '../core/network.ts';
import type { Task } from '../core/vocabulary.ts';
import { valuesAt } from './call-arguments.ts';
import type { CallFacts } from './compile-calls.ts';
import type { Manifest } from './manifest.ts';
import { wholeReference } from './template.ts';
import type { Argument, Tool } from './tool-schema.ts';

type Attributes = { [name: string]: Type<string> & { required?: boolean } };
type Kind = 'string' | 'number' | 'boolean';

const text: Type<string> = { type: 'String' };
const number: Type<string> = { type: 'Long' };
const texts: Type<string> = { type: 'Set', element: text };
const cedarTypes: { [kind in Kind]: Type<string> } = { string: text, number, boolean: { type: 'Boolean' } };
const optional = (types: readonly (readonly [string, Kind])[]): Type<string> => ({
  type: 'Record',
  attributes: Object.fromEntries(types.map(([name, kind]) => [name, { ...cedarTypes[kind], required: false }])),
});

/** What a call is known by, besides its arguments. */
export interface CallCircumstances {
  task: Task;
  /** Of the session and of what the call touches. */
  labels: readonly string[];
  /** As vouched: `user:…`. */
  onBehalfOf: string | null;
  now: Date;
}

export function callFactTypes(manifest: Manifest, tool: Tool): Attributes {
  return {
    args: optional(argumentKinds(manifest, tool)),
    inputs: optional(inputKinds(manifest)),
    entity: { ...text, required: false },
    destinations: texts,
    unknown_destinations: texts,
    labels: texts,
    sensitivity: number,
    cost_micro_usd: number,
    on_behalf_of: { ...text, required: false },
    address: { type: 'Extension', name: 'ipaddr', required: false },
    now: { type: 'Extension', name: 'datetime' },
  };
}

/**
 * The values.
 * @returns the path of an argument that is not one value of its type, where there is one: no policy could
 *   tell what it is
 */
export function callFactValues(
  manifest: Manifest,
  tool: Tool,
  call: CallFacts,
  { task, labels, onBehalfOf, now }: CallCircumstances,
): { values: { [name: string]: CedarValueJson } } | { lacks: string } {
  const args: { [path: string]: CedarValueJson } = {};
  for (const [path, kind] of argumentKinds(manifest, tool)) {
    const [value, ...more] = valuesAt(call.args, path);
    if (value === undefined) continue;
    if (more.length > 0 || typeof value !== kind || (kind === 'number' && !Number.isSafeInteger(value)))
      return { lacks: `context.arguments.${path}` };
    args[path] = value as string | number | boolean;
  }
  const address = call.address === null ? null : plainAddress(call.address);
  if (call.address !== null && address === null) return { lacks: 'network' };
  const known = new Map(inputKinds(manifest));
  const inputs = Object.entries(task.inputs).filter(([name, value]) => typeof value === known.get(name));
  return {
    values: {
      args,
      inputs: Object.fromEntries(inputs),
      ...(call.entity === null ? {} : { entity: call.entity }),
      destinations: [...call.destinations],
      unknown_destinations: [...call.unknownDestinations],
      labels: [...labels],
      sensitivity: call.sensitivity,
      cost_micro_usd: call.costMicroUsd,
      ...(onBehalfOf === null ? {} : { on_behalf_of: onBehalfOf }),
      ...(address === null ? {} : { address: { __extn: { fn: 'ip', arg: address } } }),
      now: { __extn: { fn: 'datetime', arg: now.toISOString() } },
    },
  };
}

/** Arguments whose type the manifest tells: by a value, a pattern or a bound. */
function argumentKinds(manifest: Manifest, tool: Tool): [path: string, kind: Kind][] {
  const inputs = new Map(inputKinds(manifest));
  return Object.entries(tool.args).flatMap(([path, limit]): [string, Kind][] => {
    const kind = kindOf(limit, inputs);
    return kind === undefined ? [] : [[path, kind]];
  });
}

function kindOf(limit: Argument, inputs: Map<string, Kind>): Kind | undefined {
  if (typeof limit !== 'object') return kindOfValue(limit, inputs);
  if (limit.pattern !== undefined) return 'string';
  if (limit.min !== undefined || limit.max !== undefined) return 'number';
  const kinds = new Set(
    [limit.equals ?? [], limit.enum ?? []].flat().map((value) => kindOfValue(value, inputs) ?? null),
  );
  const [one] = kinds;
  return kinds.size === 1 && one !== null ? one : undefined;
}

function kindOfValue(value: string | number | boolean, inputs: Map<string, Kind>): Kind | undefined {
  const input = typeof value === 'string' ? wholeReference(value) : undefined;
  return input === undefined ? (typeof value as Kind) : inputs.get(input);
}

/** Inputs of the task types; one that two of them have by different types has none here. */
function inputKinds(manifest: Manifest): [name: string, kind: Kind][] {
  const kinds = new Map<string, Kind | null>();
  for (const { inputs } of Object.values(manifest.task_types))
    for (const [name, { type }] of Object.entries(inputs)) {
      const kind = type === 'integer' ? 'number' : type;
      kinds.set(name, kinds.has(name) && kinds.get(name) !== kind ? null : kind);
    }
  return [...kinds].flatMap(([name, kind]): [string, Kind][] => (kind === null ? [] : [[name, kind]]));
}
