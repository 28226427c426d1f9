/**
 * The narrowest manifest that covers what an agent really used: the one in force, cut. Each cut is a small
 * edit of its YAML with its reason, so that an admin can take or leave it. Pure.
 *
 * It takes away what was not used, and never touches what rules look at: a tool or a capability that a rule,
 * a class or a duty names stays, since without it the rule would say something else.
 */
import { type Document, parseDocument } from 'yaml';
import { WritError } from '../core/errors.ts';
import type { Json } from '../core/vocabulary.ts';
import { argumentsOutside, isNamed, manifestWords } from '../manifests/call-arguments.ts';
import type { ProviderShapes } from '../manifests/check.ts';
import type { Capability, Choice, Manifest } from '../manifests/manifest.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import { readManifest } from '../manifests/read.ts';
import type { Argument, Tool } from '../manifests/tool-schema.ts';
import type { RecordedGrant } from './recorded.ts';
import type { Difference, Replay } from './replay.ts';
import { distinctValues, type Usage, type UsedCall } from './usage.ts';

/** One cut. */
export interface Cut {
  /** Where in the manifest. */
  path: (string | number)[];
  /** null = taken away. */
  to: Json | null;
  why: string;
  /** The tool or capability whose calls or grants it is about; null = all of them. */
  about: string | null;
}

/** Something that could not be cut, and why. */
export interface Kept {
  path: (string | number)[];
  why: string;
}

export interface Suggestion {
  source: string;
  /** The YAML that is suggested; the one in force where there is nothing to cut. */
  suggested: string;
  cuts: (Cut & { from: Json })[];
  kept: Kept[];
  /** The same time under the suggestion. */
  replay: Replay;
}

/** More values than these are no enumeration. */
const maxValues = 8;

/**
 * Cuts what was not used, and leaves out cuts until what is left changes nothing of what was let through.
 * @param replayUnder the same record, decided anew by a manifest
 * @throws WritError `unavailable` where the manifest in force does not hold any more
 */
export function suggest(
  inForce: PublishedManifest,
  source: string,
  shapes: ProviderShapes,
  usage: Usage,
  replayUnder: (candidate: PublishedManifest) => Replay,
): Suggestion {
  const { cuts: all, kept } = cutsOf(inForce.compiled.manifest, usage);
  let cuts = [...all];
  const dropped: Kept[] = [];
  const before = parseDocument(source);
  for (;;) {
    const suggested = cuts.length === 0 ? source : applyCuts(source, cuts);
    const read = readManifest(suggested, shapes);
    if (read.ok) {
      const candidate = {
        ...inForce,
        version: inForce.version + 1,
        sha256: read.compiled.sha256,
        compiled: read.compiled,
      };
      const replay = replayUnder(candidate);
      const broken = brokenBy(replay);
      if (broken.length === 0 || cuts.length === 0) {
        const from = (path: Cut['path']): Json => plain(before.getIn(path));
        return {
          source,
          suggested,
          cuts: cuts.map((cut) => ({ ...cut, from: from(cut.path) })),
          kept: [...kept, ...dropped],
          replay,
        };
      }
      leaveOut(broken);
    } else if (cuts.length > 0) leaveOut([]);
    else throw new WritError('unavailable', { cause: new Error('the manifest in force does not hold any more') });
  }

  function leaveOut(broken: readonly Difference[]): void {
    const names = new Set(broken.map(({ name }) => name));
    const about = cuts.filter((cut) => cut.about !== null && names.has(cut.about));
    // Then those about nothing in particular, then whatever is left.
    const general = cuts.filter((cut) => cut.about === null || (cut.to === null && cut.path.length === 2));
    const [first] = [about, general, cuts].filter((some) => some.length > 0);
    const out = new Set(first);
    for (const { path } of out) dropped.push({ path, why: 'without it, something that was let through might not be' });
    cuts = cuts.filter((cut) => !out.has(cut));
  }
}

/**
 * What was let through and may not be, or ends more than itself: what came after in its session would be
 * lost.
 */
const brokenBy = ({ groups }: Replay): Difference[] =>
  [...groups.newly_denied, ...groups.other_effect, ...groups.undecidable].filter(
    ({ was, now }) =>
      was.effect === 'allow' ||
      was.effect === 'approve' ||
      now.effects.some(
        (effect) => effect !== was.effect && effect !== 'deny' && effect !== 'allow' && effect !== 'approve',
      ),
  );

const plain = (node: unknown): Json => {
  const value = node as { toJSON?(): Json } | Json | undefined;
  if (typeof value === 'object' && value !== null && 'toJSON' in value && typeof value.toJSON === 'function')
    return value.toJSON();
  return (value as Json | undefined) ?? null;
};

function cutsOf(manifest: Manifest, usage: Usage): { cuts: Cut[]; kept: Kept[] } {
  const cuts: Cut[] = [];
  const kept: Kept[] = [];
  const named = namesInRules(manifest);
  const tasks = new Set(usage.sessions.map(({ task }) => task.task_type));
  // What stays without having been used needs a task type that it may be used in.
  const staying = [
    ...Object.entries(manifest.capabilities).filter(([name]) => named.capabilities.has(name)),
    ...Object.entries(manifest.tools ?? {}).filter(([name]) => named.tools.has(name)),
  ];
  for (const [, { tasks: its }] of staying)
    if (its?.every((task) => !tasks.has(task))) for (const task of its) named.tasks.add(task);

  for (const name of Object.keys(manifest.task_types)) {
    if (tasks.has(name)) continue;
    const path = ['task_types', name];
    if (named.tasks.has(name)) kept.push({ path, why: 'no session was opened for it, but what stays names it' });
    else cuts.push({ path, to: null, why: 'no session was opened for it', about: null });
  }
  const gone = (task: string) =>
    cuts.some(({ path, to }) => path.length === 2 && path[0] === 'task_types' && path[1] === task && to === null);

  for (const [name, capability] of Object.entries(manifest.capabilities)) {
    const path = ['capabilities', name];
    const grants = usage.grants.get(name) ?? [];
    if (grants.length > 0) cuts.push(...cutCapability(name, capability, grants));
    else if (!named.capabilities.has(name)) cuts.push({ path, to: null, why: 'was never granted', about: name });
    else {
      kept.push({ path, why: 'was never granted, but a rule, a class or a duty names it' });
      cuts.push(
        ...cutTasks(
          path,
          capability.tasks,
          capability.tasks.filter((task) => !gone(task)),
          name,
        ),
      );
    }
  }
  for (const [name, tool] of Object.entries(manifest.tools ?? {})) {
    const path = ['tools', name];
    const calls = usage.calls.get(name) ?? [];
    if (calls.length > 0) cuts.push(...cutTool(manifest, name, tool, calls));
    else if (!named.tools.has(name)) cuts.push({ path, to: null, why: 'was never called', about: name });
    else {
      kept.push({ path, why: 'was never called, but a rule, a class or a duty names it' });
      if (tool.tasks !== undefined)
        cuts.push(
          ...cutTasks(
            path,
            tool.tasks,
            tool.tasks.filter((task) => !gone(task)),
            name,
          ),
        );
    }
  }
  cuts.push(...cutEgress(manifest, usage), ...cutEnvelope(manifest, usage));
  return { cuts, kept };
}

/** The YAML with the cuts made; comments and order stay. */
function applyCuts(source: string, cuts: readonly Cut[]): string {
  const document: Document = parseDocument(source);
  // From the end on, so that places in lists stay what they are.
  for (const { path, to } of cuts.toReversed()) {
    if (to === null) document.deleteIn(path);
    else document.setIn(path, document.createNode(to));
  }
  return document.toString({ lineWidth: 0 });
}

/** Whatever `rules`, `classes` and `separation_of_duties` name. */
function namesInRules(manifest: Manifest) {
  const names = { tools: new Set<string>(), capabilities: new Set<string>(), tasks: new Set<string>() };
  const add = (into: Set<string>, value: unknown) => {
    for (const one of [value].flat()) if (typeof one === 'string') into.add(one);
  };
  const walk = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    for (const [key, below] of Object.entries(value)) {
      if (key === 'tool' || key === 'tools') add(names.tools, below);
      else if (key === 'capability' || key === 'capabilities') add(names.capabilities, below);
      else if (key === 'task_types') add(names.tasks, below);
      walk(below);
    }
  };
  walk([manifest.rules ?? [], manifest.classes ?? {}, manifest.separation_of_duties ?? []]);
  return names;
}

function cutTasks(path: (string | number)[], has: readonly string[], uses: readonly string[], about: string): Cut[] {
  if (uses.length === 0 || uses.length >= has.length) return [];
  const unused = has.filter((task) => !uses.includes(task));
  return [{ path: [...path, 'tasks'], to: [...uses], why: `not used in ${unused.join(', ')}`, about }];
}

function cutCapability(name: string, capability: Capability, grants: readonly RecordedGrant[]): Cut[] {
  const path = ['capabilities', name];
  const used = new Set(grants.map(({ session }) => session.task.task_type));
  const cuts = cutTasks(
    path,
    capability.tasks,
    capability.tasks.filter((task) => used.has(task)),
    name,
  );
  const longest = Math.max(...grants.map(({ plan }) => plan.ttl_seconds));
  if (longest < capability.max_ttl)
    cuts.push({
      path: [...path, 'max_ttl'],
      to: durationText(longest),
      why: 'no credential was asked for longer',
      about: name,
    });
  for (const [param, choice] of Object.entries(capability.choose)) {
    const values = grants.map(({ params, session }) => ({ value: params[param] ?? null, inputs: session.task.inputs }));
    const cut = narrowChoice(choice, distinctValues(values.map(({ value }) => value)));
    const to = (what: Json, why: string) => cuts.push({ path: [...path, 'choose', param], to: what, why, about: name });
    const input = sameInput(values, usedInputs(grants));
    if (input !== null && choice.type !== 'boolean') {
      const why = `was always the task’s input ${input}`;
      cuts.push({ path: [...path, 'choose', param], to: null, why, about: name });
      cuts.push({ path: [...path, 'params', param], to: `\${inputs.${input}}`, why, about: name });
    } else if (cut !== null) to(cut.choice, cut.why);
  }
  return cuts;
}

/** Inputs that every one of these sessions has. */
const usedInputs = (grants: readonly { session: { task: { inputs: object } } }[]): string[] =>
  Object.keys(grants[0]?.session.task.inputs ?? {}).filter((input) =>
    grants.every(({ session }) => Object.hasOwn(session.task.inputs, input)),
  );

/** An input that a value always was, in several sessions with several values: once may be chance. */
function sameInput(
  all: readonly { value: Json; inputs: { readonly [name: string]: Json } }[],
  candidates: readonly string[],
): string | null {
  if (distinctValues(all.map(({ value }) => value)).length < 2) return null;
  return candidates.find((input) => all.every(({ value, inputs }) => inputs[input] === value)) ?? null;
}

function narrowChoice(choice: Choice, values: readonly Json[]): { choice: Json; why: string } | null {
  const words = (kind: string) => `only ${kind} ${values.map(String).join(', ')} asked for`;
  const rest = { ...choice } as { [name: string]: Json };
  if (rest.default !== undefined && !values.includes(rest.default)) delete rest.default;
  if (choice.type === 'integer') {
    const numbers = values.filter((value) => typeof value === 'number');
    const [min, max] = [Math.min(...numbers), Math.max(...numbers)];
    if (numbers.length === 0 || (min === choice.min && max === choice.max)) return null;
    return { choice: { ...rest, min, max }, why: `only ${min} to ${max} was asked for` };
  }
  if (choice.type !== 'string' || values.length > maxValues) return null;
  if (choice.enum !== undefined && values.length >= choice.enum.length) return null;
  delete rest.pattern;
  return { choice: { ...rest, enum: [...values] }, why: words('these were:') };
}

function cutTool(manifest: Manifest, name: string, tool: Tool, calls: readonly UsedCall[]): Cut[] {
  const path = ['tools', name];
  const all = tool.tasks ?? Object.keys(manifest.task_types);
  const used = new Set(calls.map(({ call }) => call.session.task.task_type));
  const cuts = cutTasks(
    path,
    all,
    all.filter((task) => used.has(task)),
    name,
  );
  const names = [...new Set(calls.flatMap(({ call }) => Object.keys(call.shown)))];
  const countable = calls.every(({ known }) => !known.more);
  const limited = new Set([...Object.keys(tool.args), ...tool.destination].map((one) => one.split('.')[0]!));
  for (const arg of countable ? names : []) {
    const limit = limitOf(manifest, tool, arg, calls);
    if (limit !== null) {
      cuts.push({ path: [...path, 'args', arg], to: limit.to, why: limit.why, about: name });
      limited.add(arg);
    }
  }
  // What is free stays free, by its name: a plain value, that is, for no limit takes an object.
  const free = names.filter((arg) => !limited.has(arg));
  const plain = free.every((arg) => calls.every(({ call }) => !isNested(call.shown[arg]?.type)));
  if (!tool.no_other_args && countable && plain) {
    for (const arg of free)
      cuts.push({
        path: [...path, 'args', arg],
        to: { optional: calls.some(({ call }) => !Object.hasOwn(call.shown, arg)) },
        why: 'was given, with values that are not kept',
        about: name,
      });
    cuts.push({
      path: [...path, 'no_other_args'],
      to: true,
      why: `only ${names.join(', ') || 'no arguments'} was given`,
      about: name,
    });
  }
  return cuts;
}

const isNested = (type: string | undefined): boolean => type === 'object' || type === 'list' || type === 'null';

/** A narrower limit for an argument whose values were always known. */
function limitOf(
  manifest: Manifest,
  tool: Tool,
  arg: string,
  calls: readonly UsedCall[],
): { to: Json; why: string } | null {
  const present = calls.filter(({ call }) => Object.hasOwn(call.shown, arg));
  if (present.some(({ known }) => !Object.hasOwn(known.values, arg))) return null;
  const values = present.map(({ call, known }) => ({ value: known.values[arg]!, inputs: call.session.task.inputs }));
  if (values.some(({ value }) => value === null || typeof value === 'object')) return null;
  const optional = present.length < calls.length;
  const one = distinctValues(values.map(({ value }) => value));
  const input = sameInput(values, usedInputs(calls.map(({ call }) => call)));
  // The tool is cut to the task types in which it was called: those have the input.
  const put = (limit: { [name: string]: Json }, why: string) => {
    const to = optional ? { ...limit, optional } : (limit.equals ?? limit);
    return isNarrower(tool, arg, to as Argument, values) ? { to, why } : null;
  };
  if (input !== null) return put({ equals: `\${inputs.${input}}` }, `was always the task’s input ${input}`);
  // What a manifest writes is trusted wherever a rule asks for origins: nothing new is written.
  const written = new Set(manifestWords(manifest));
  if (one.length > maxValues || one.some((value) => typeof value !== 'boolean' && !written.has(String(value))))
    return null;
  const words = `was only ever ${one.map((value) => JSON.stringify(value)).join(', ')}`;
  return put(one.length === 1 ? { equals: one[0]! } : { enum: one }, words);
}

/** Takes what was used, and is not what the manifest says already. */
function isNarrower(
  tool: Tool,
  arg: string,
  limit: Argument,
  values: readonly { value: Json; inputs: { readonly [name: string]: string | number | boolean } }[],
): boolean {
  const before = tool.args[arg];
  if (before !== undefined && JSON.stringify(before) === JSON.stringify(limit)) return false;
  if (typeof before !== 'object' && before !== undefined) return false;
  if (before?.equals !== undefined) return false;
  if (before?.enum !== undefined && typeof limit === 'object' && (limit.enum?.length ?? 1) >= before.enum.length)
    return false;
  const alone: Tool = {
    ...tool,
    args: { [arg]: typeof limit === 'object' ? { ...limit, optional: limit.optional ?? false } : limit },
  };
  return values.every(
    ({ value, inputs }) => argumentsOutside({ ...alone, no_other_args: false }, { [arg]: value }, inputs).length === 0,
  );
}

/** Destinations that nothing went to, where all that anything went to is known. */
function cutEgress(manifest: Manifest, usage: Usage): Cut[] {
  const known = manifest.egress?.known ?? [];
  const sent = [...usage.calls].flatMap(([name, calls]) =>
    (manifest.tools?.[name]?.destination ?? []).flatMap((path) => calls.map(({ known: args }) => ({ args, path }))),
  );
  if (known.length === 0 || sent.some(({ args, path }) => args.more || args.unknown.has(path.split('.')[0]!)))
    return [];
  const values = sent
    .flatMap(({ args, path }) => [args.values[path] ?? []].flat())
    .map((value) => String(value).trim().toLowerCase());
  return known.flatMap((name, index): Cut[] => {
    if (name.includes('${') || values.some((value) => isNamed(value, [name.toLowerCase()]))) return [];
    return [{ path: ['egress', 'known', index], to: null, why: 'nothing was sent there', about: null }];
  });
}

function cutEnvelope({ envelope }: Manifest, { most, handedOn }: Usage): Cut[] {
  const cuts: Cut[] = [];
  const cut = (name: string, to: Json, why: string) => cuts.push({ path: ['envelope', name], to, why, about: null });
  const wallTime = Math.ceil(Math.max(60, most.wallTimeSeconds) / 60) * 60;
  if (wallTime < envelope.wall_time) cut('wall_time', durationText(wallTime), 'no session lasted longer');
  if (!handedOn && most.grants > 0 && most.grants < (envelope.max_grants ?? Number.POSITIVE_INFINITY))
    cut('max_grants', most.grants, 'no session asked for more');
  if (most.calls > 0 && most.calls < (envelope.max_calls ?? Number.POSITIVE_INFINITY))
    cut('max_calls', most.calls, 'no session made more calls');
  if (most.costMicroUsd > 0 && most.costMicroUsd < (envelope.max_cost_usd ?? Number.POSITIVE_INFINITY))
    cut('max_cost_usd', most.costMicroUsd / 1e6, 'no session cost more');
  return cuts;
}

function durationText(seconds: number): string {
  if (seconds % 3600 === 0) return `${seconds / 3600}h`;
  return seconds % 60 === 0 ? `${seconds / 60}m` : `${seconds}s`;
}
