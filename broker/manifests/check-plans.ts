/**
 * Asks the provider for its plan before anybody needs one: where parameters are constant as they are, and
 * where the task or the agent gives them with the least, the longest and each listed value. What a provider
 * refuses there it would refuse every time, or every time for that value.
 */
import { duration } from '../core/duration.ts';
import type { Json, JsonObject, Task } from '../core/vocabulary.ts';
import { type Extremes, extremesOf } from './extreme-values.ts';
import { type Capability, type Manifest, member } from './manifest.ts';
import { partsOf } from './param-faults.ts';
import type { Path } from './parse.ts';
import type { Lifetimes, ProviderShapes } from './provider-shapes.ts';
import { referencesOf, substitute, textsOf } from './template.ts';

type Report = (path: Path, message: string) => void;
type Shape = ProviderShapes[string];

/** So many plans are asked for at most, for one capability: lists of values may be long. */
const maxPlans = 512;

/** A value that is not constant: `inputs.NAME`, or the name of a parameter that the agent chooses. */
interface Variable extends Extremes {
  name: string;
}
type Values = { readonly [name: string]: Json };

/** Reports plans that the provider would refuse, and lifetimes that it cannot give. */
export function checkPlans(manifest: Manifest, capability: Capability, shape: Shape, path: Path, report: Report): void {
  const told = new Set<string>();
  const tell = (at: Path, fault: string, words: string) => {
    const key = `${at.join('.')} ${fault}`;
    if (!told.has(key)) report([...path, ...at], words + fault);
    told.add(key);
  };
  const lifetime = (params?: JsonObject) => {
    const fault = lifetimeFault(capability, shape.lifetimes?.(params));
    if (fault !== null) tell(['max_ttl'], fault, '');
  };
  lifetime();
  let left = maxPlans;
  for (const variables of variablesByTask(manifest, capability)) {
    const paramsOf = (values: Values) => paramsFor(capability, shape, values);
    const ask = (values: Values, words: string) => {
      const params = paramsOf(values);
      if (params === null || left === 0) return;
      left -= 1;
      lifetime(params);
      const fault = shape.planFault?.(params, lifetimeOf(capability, shape, params)) ?? null;
      if (fault === null) return;
      const message = `the provider ${capability.provider} does not take this: ${fault.message}`;
      tell(placeOf(capability, fault.path, params), message, words);
    };
    const least = leastThatFits(variables, paramsOf);
    if (least === null) continue;
    ask(least, '');
    for (const { name, others } of variables)
      for (const value of others) ask({ ...least, [name]: value }, `with ${name} ${JSON.stringify(value)}, `);
    const { values, longer } = longestThatFits(variables, least, paramsOf);
    if (longer.length > 0) ask(values, `with the longest values that it may get (${longer.join(', ')}), `);
  }
}

/**
 * Parameters that may be asked for, as the provider's schema leaves them: the least, and each listed value.
 * What nobody can make out is left out.
 */
export function sampleParams(manifest: Manifest, capability: Capability, shape: Shape): JsonObject[] {
  return variablesByTask(manifest, capability).flatMap((variables) => {
    const paramsOf = (values: Values) => paramsFor(capability, shape, values);
    const least = leastThatFits(variables, paramsOf);
    if (least === null) return [];
    const others = variables.flatMap(({ name, others: listed }) =>
      listed.map((value) => ({ ...least, [name]: value })),
    );
    return [least, ...others].map(paramsOf).filter((params) => params !== null);
  });
}

/** What is not constant, for each task type where it may be something else; nothing where nobody can tell. */
function variablesByTask(manifest: Manifest, capability: Capability): Variable[][] {
  const needed = new Set(textsOf(capability.params).flatMap(({ text }) => referencesOf(text).inputs));
  const chosen = Object.entries(capability.choose);
  const tasks = needed.size === 0 ? capability.tasks.slice(0, 1) : capability.tasks;
  const found = new Map<string, Variable[]>();
  for (const task of tasks) {
    const inputs = member(manifest.task_types, task)?.inputs ?? {};
    const shapes = [
      ...[...needed].map((name) => [`inputs.${name}`, member(inputs, name)] as const),
      ...chosen.map(([name, choice]) => [name, choice] as const),
    ];
    const variables = shapes.flatMap(([name, one]) => {
      const extremes = one === undefined ? null : extremesOf(one);
      return extremes === null ? [] : [{ name, ...extremes }];
    });
    if (variables.length === shapes.length) found.set(JSON.stringify(variables), variables);
  }
  return [...found.values()];
}

/** @returns null where the provider refuses their shape: that is reported elsewhere, or nobody can tell */
function paramsFor(capability: Capability, shape: Shape, values: Values): JsonObject | null {
  const isInput = (name: string) => name.startsWith('inputs.');
  const named = Object.entries(values);
  const inputs = Object.fromEntries(
    named.flatMap(([name, value]) => (isInput(name) ? [[name.slice('inputs.'.length), value]] : [])),
  ) as Task['inputs'];
  const chosen = Object.fromEntries(named.filter(([name]) => !isInput(name)));
  const asked = { ...(substitute(capability.params, inputs) as JsonObject), ...chosen };
  const parsed = shape.params.safeParse(asked);
  return parsed.success ? (parsed.data as JsonObject) : null;
}

type ParamsOf = (values: Values) => JsonObject | null;

/** The least of everything; where that has not the provider's shape, with one other listed value. */
function leastThatFits(variables: readonly Variable[], paramsOf: ParamsOf): Values | null {
  const least: Values = Object.fromEntries(variables.map((one) => [one.name, one.least]));
  if (paramsOf(least) !== null) return least;
  for (const { name, others } of variables)
    for (const value of others.slice(0, 16)) {
      const other = { ...least, [name]: value };
      if (paramsOf(other) !== null) return other;
    }
  return null;
}

/** As many of the longest values as have the provider's shape together. */
function longestThatFits(
  variables: readonly Variable[],
  least: Values,
  paramsOf: ParamsOf,
): { values: Values; longer: string[] } {
  let values = least;
  const longer: string[] = [];
  for (const { name, longest } of variables) {
    if (values[name] === longest) continue;
    const next = { ...values, [name]: longest };
    if (paramsOf(next) === null) continue;
    values = next;
    longer.push(typeof longest === 'string' ? `${name}: ${longest.length} characters` : `${name}: ${longest}`);
  }
  return { values, longer };
}

const lifetimeOf = (capability: Capability, shape: Shape, params: JsonObject): number =>
  Math.min(capability.max_ttl, shape.lifetimes?.(params).maxTtlSeconds ?? capability.max_ttl);

function lifetimeFault({ provider, max_ttl }: Capability, limits: Lifetimes | undefined): string | null {
  if (limits === undefined) return null;
  const { minTtlSeconds, maxTtlSeconds } = limits;
  if (max_ttl < minTtlSeconds)
    return `must not be shorter than ${duration(minTtlSeconds)}: the provider ${provider} gives no less`;
  return limits.untried !== true && max_ttl > maxTtlSeconds
    ? `must not be longer than ${duration(maxTtlSeconds)}: the provider ${provider} gives no more`
    : null;
}

/** Where a fault is in the manifest, below the capability. */
function placeOf({ params, choose }: Capability, path: string | undefined, asked: JsonObject): (string | number)[] {
  const parts = partsOf(path ?? '');
  const first = String(parts[0]);
  const choice = member(choose, first);
  if (choice === undefined) return Object.hasOwn(params, first) ? ['params', ...parts] : ['params'];
  const index = choice.type === 'string' ? (choice.enum ?? []).indexOf(String(asked[first])) : -1;
  return ['choose', first, ...(index < 0 ? [] : ['enum', index])];
}
