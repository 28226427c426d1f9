/**
 * From what an agent declares to typed values: the task's inputs against its type, and a capability's
 * parameters with the task's inputs put in. Faults here mean the request is malformed (400); whether a
 * well-formed request is allowed is Cedar's to say, in `decide/`.
 */
import type { FieldFault } from '../core/errors.ts';
import { didYouMean } from '../core/field-words.ts';
import type { Json, JsonObject, Task } from '../core/vocabulary.ts';
import { type Capability, type Choice, type Input, type Manifest, member } from './manifest.ts';
import { memoize } from './memoize.ts';
import { matchesWhole } from './pattern.ts';
import { referencesOf, substitute, textsOf } from './template.ts';
import { isPlainText, unsafeText } from './unsafe-text.ts';

const maxParamLength = 2048;
const maxParamDepth = 16;
const maxFaults = 50;

type Faults = { ok: false; faults: FieldFault[] };

/**
 * Checks a declared task. Every input of the task type is required, none besides is taken. Paths:
 * `task_type`, `inputs.<name>`.
 */
export function checkTask(manifest: Manifest, taskType: unknown, inputs: unknown): { ok: true; task: Task } | Faults {
  const type = typeof taskType === 'string' ? member(manifest.task_types, taskType) : undefined;
  if (type === undefined || typeof taskType !== 'string') {
    const message = `is not a task type of this agent${didYouMean(taskType, Object.keys(manifest.task_types))}`;
    return { ok: false, faults: [{ path: 'task_type', message }] };
  }
  if (inputs !== undefined && !isRecord(inputs)) {
    return { ok: false, faults: [{ path: 'inputs', message: 'must be an object' }] };
  }
  const given: Record<string, unknown> = inputs ?? {};
  const faults: FieldFault[] = unknownKeys(given, type.inputs).map((key) => ({
    path: `inputs.${key}`,
    message: `is not an input of this task type${didYouMean(key, Object.keys(type.inputs))}`,
  }));
  const task: Task = { task_type: taskType, inputs: {} };
  for (const [name, shape] of Object.entries(type.inputs)) {
    const value = member(given, name);
    const fault = inputFault(shape, value);
    if (fault === undefined) task.inputs[name] = value as string | number | boolean;
    else faults.push({ path: `inputs.${name}`, message: fault });
  }
  return faults.length > 0 ? { ok: false, faults } : { ok: true, task };
}

function inputFault(shape: Input, value: unknown): string | undefined {
  if (value === undefined) return 'is required';
  const wrongType = typeFault(shape.type, value);
  if (wrongType !== undefined) return wrongType;
  if (shape.type === 'string') {
    const text = value as string;
    // Checked before the pattern, whose author may not have considered these characters.
    const fault = unsafeText(text);
    if (fault !== undefined) return fault;
    if (shape.enum !== undefined) return shape.enum.includes(text) ? undefined : 'must be one of the listed values';
    return shape.pattern !== undefined && matchesWhole(shape.pattern, text) ? undefined : 'does not match the pattern';
  }
  if (shape.type === 'integer') {
    const number = value as number;
    if (shape.min !== undefined && number < shape.min) return `must not be less than ${shape.min}`;
    if (shape.max !== undefined && number > shape.max) return `must not be greater than ${shape.max}`;
  }
  return undefined;
}

/**
 * What the manifest fixes for a task: its parameters with the task's inputs put in. Throws if the task lacks
 * an input.
 */
export function boundParams(capability: Capability, task: Task): JsonObject {
  return substitute(capability.params, task.inputs) as JsonObject;
}

export interface BoundParams {
  ok: true;
  /**
   * The complete provider parameters as requested: what the agent gave, else what is bound or the default.
   */
  params: JsonObject;
  /** What the manifest fixes or binds, whatever the agent gave. */
  bound: JsonObject;
  /** The values of the parameters that the agent may choose. */
  chosen: JsonObject;
}

/**
 * Completes the parameters of a request. What the agent repeats is taken as it stands, right or wrong, so
 * that a wrong value is denied with its reason (and never quietly corrected). `task` must have passed
 * `checkTask`. Paths: `params.<name>`, or `capability` when the task lacks an input it needs.
 */
export function bindParams(capability: Capability, task: Task, given: unknown): BoundParams | Faults {
  if (given !== undefined && !isRecord(given)) {
    return { ok: false, faults: [{ path: 'params', message: 'must be an object' }] };
  }
  const asked: Record<string, unknown> = given ?? {};
  const known = { ...capability.params, ...capability.choose };
  const faults: FieldFault[] = unknownKeys(asked, known).map((key) => ({
    path: `params.${key}`,
    message: `is not a parameter of this capability${didYouMean(key, Object.keys(known))}`,
  }));
  // Possible where the task type may not ask for it, or where a later manifest gave the task type other
  // inputs.
  const missing = missingInputs(capability, task);
  if (missing.length > 0) {
    const message = `needs the input ${missing.join(', ')}, which this session's task does not have`;
    return { ok: false, faults: [{ path: 'capability', message }] };
  }
  const bound = boundParams(capability, task);
  const params: JsonObject = { ...bound };
  const chosen: JsonObject = {};
  const fault = (name: string, message: string) => {
    faults.push({ path: `params.${name}`, message });
  };
  for (const [name, value] of Object.entries(bound)) {
    const repeated = member(asked, name);
    if (repeated === undefined) continue;
    const message = repeatFault(value, repeated);
    if (message === undefined) params[name] = repeated as Json;
    else fault(name, message);
  }
  for (const [name, choice] of Object.entries(capability.choose)) {
    const value = member(asked, name) ?? choice.default;
    const message = choiceFault(choice, value);
    if (message !== undefined) {
      fault(name, message);
      continue;
    }
    chosen[name] = value as Json;
    params[name] = value as Json;
  }
  return faults.length > 0 ? { ok: false, faults } : { ok: true, params, bound, chosen };
}

const neededInputs = memoize((capability: Capability) => [
  ...new Set(textsOf(capability.params).flatMap(({ text }) => referencesOf(text).inputs)),
]);

/** Inputs that the capability needs and the task does not have. */
export function missingInputs(capability: Capability, task: Task): string[] {
  return neededInputs(capability).filter((input) => !Object.hasOwn(task.inputs, input));
}

/** A repeated parameter must be of the bound one's type; whether it is equal is Cedar's question. */
function repeatFault(bound: Json, repeated: unknown): string | undefined {
  if (typeof bound === 'string') return typeFault('string', repeated) ?? textFault(repeated as string);
  if (typeof bound === 'boolean') return typeFault('boolean', repeated);
  if (typeof bound === 'number') return typeFault('integer', repeated);
  const sameKind =
    bound === null ? repeated === null : Array.isArray(bound) ? Array.isArray(repeated) : isRecord(repeated);
  if (!sameKind) return `must be ${bound === null ? 'null' : Array.isArray(bound) ? 'a list' : 'an object'}`;
  if (deeperThan(repeated, maxParamDepth)) return 'must not be nested so deeply';
  const texts = [...textsOf(repeated as Json).map(({ text }) => text), ...keysOf(repeated)];
  return texts.map(textFault).find((message) => message !== undefined);
}

function choiceFault(choice: Choice, value: unknown): string | undefined {
  // A choice left out must not become a parameter left out: without a prefix, say, a permission is wider.
  if (value === undefined) return 'is required';
  const wrongType = typeFault(choice.type, value);
  if (wrongType !== undefined || choice.type !== 'string') return wrongType;
  return choice.enum === undefined ? unsafeText(value as string) : textFault(value as string);
}

function typeFault(type: Input['type'], value: unknown): string | undefined {
  if (type === 'string') return typeof value === 'string' ? undefined : 'must be a string';
  if (type === 'boolean') return typeof value === 'boolean' ? undefined : 'must be true or false';
  return Number.isSafeInteger(value) ? undefined : 'must be a whole number';
}

function textFault(text: string): string | undefined {
  if (text.length > maxParamLength) return `must not be longer than ${maxParamLength} characters`;
  return isPlainText(text)
    ? undefined
    : 'must be Unicode text in normal form C without control or invisible characters';
}

/** Unknown keys, made safe to show: they are the caller's text. */
function unknownKeys(given: object, known: object): string[] {
  return Object.keys(given)
    .filter((key) => !Object.hasOwn(known, key))
    .slice(0, maxFaults)
    .map((key) => key.slice(0, 64).replaceAll(/[^A-Za-z0-9_.-]/gu, '?'));
}

function deeperThan(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return depth === 0 || Object.values(value).some((item) => deeperThan(item, depth - 1));
}

function keysOf(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  const own = Array.isArray(value) ? [] : Object.keys(value);
  return [...own, ...Object.values(value).flatMap(keysOf)];
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
