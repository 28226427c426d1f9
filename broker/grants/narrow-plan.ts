/**
 * What an approver may leave out of a request: members of the lists among its parameters; and what they may
 * lower: a level, or a prefix by a longer one. What is left is planned anew by the provider, which then says
 * whether that is surely less. Pure.
 */
import type { Level, Provider } from '../../providers/contract.ts';
import { WritError } from '../core/errors.ts';
import type { Json, JsonObject, Plan } from '../core/vocabulary.ts';

export type { Level } from '../../providers/contract.ts';

/** A member of a list. */
export interface Part {
  /** JSON Pointer (RFC 6901) into the parameters as they were asked for. */
  pointer: string;
  /** The list, as people read it: `tables 1, read`. */
  list: string;
  text: string;
}

/** More than that nobody ticks off. */
const maxParts = 100;

/** Members of lists that have others beside them, in their order; none of more than a hundred. */
export function partsOf(params: JsonObject, leftOut: readonly string[] = []): Part[] {
  const parts: Part[] = [];
  walk(params, '', '');
  return parts.length > maxParts ? [] : parts;

  function walk(value: Json, pointer: string, name: string): void {
    if (typeof value !== 'object' || value === null) return;
    if (!Array.isArray(value)) {
      for (const [key, member] of Object.entries(value))
        walk(member, `${pointer}/${escaped(key)}`, name === '' ? key : `${name}, ${key}`);
      return;
    }
    const kept = value
      .map((member, index) => ({ member, index }))
      .filter(({ index }) => !leftOut.includes(`${pointer}/${index}`));
    for (const { member, index } of kept) {
      if (kept.length > 1)
        parts.push({
          pointer: `${pointer}/${index}`,
          list: name,
          text: typeof member === 'string' ? member : JSON.stringify(member),
        });
      walk(member, `${pointer}/${index}`, `${name} ${index + 1}`);
    }
  }
}

const escaped = (key: string) => key.replaceAll('~', '~0').replaceAll('/', '~1');

function without(value: Json, leftOut: ReadonlySet<string>, pointer = ''): Json {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value))
    return value.flatMap((member, index) => {
      const at = `${pointer}/${index}`;
      return leftOut.has(at) ? [] : [without(member, leftOut, at)];
    });
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [key, without(member, leftOut, `${pointer}/${escaped(key)}`)]),
  );
}

/** What reviews lowered: a JSON Pointer into the parameters → the key of a step, or what was typed. */
export type Lowered = { readonly [pointer: string]: string };

/** What may still be lowered, given what reviews left out and lowered already. */
export function levelsOf(
  provider: Provider,
  params: JsonObject,
  leftOut: readonly string[],
  lowered: Lowered,
): Level[] {
  if (provider.levels === undefined || provider.narrower === undefined) return [];
  const parsed = provider.params.safeParse(lower(provider, params, lowered));
  if (!parsed.success) return [];
  const isLeft = ({ pointer }: Level) => !leftOut.some((out) => pointer === out || pointer.startsWith(`${out}/`));
  return provider.levels(parsed.data).filter(isLeft);
}

/** @returns the parameters with each level lowered; null where one is not on offer */
function lower(provider: Provider, params: JsonObject, lowered: Lowered): JsonObject | null {
  if (Object.keys(lowered).length === 0) return params;
  const parsed = provider.params.safeParse(params);
  const levels = parsed.success ? (provider.levels?.(parsed.data) ?? []) : [];
  const changed = structuredClone(params);
  for (const [pointer, to] of Object.entries(lowered)) {
    const level = levels.find((one) => one.pointer === pointer);
    const step = level?.steps?.find(({ key }) => key === to);
    if (step !== undefined) put(changed, pointer, step.value);
    else if (level?.begins !== undefined && isLonger(to, level.begins)) put(changed, pointer, to);
    else return null;
  }
  return changed;
}

const longestTyped = 1024;

/**
 * Whether a typed text goes on where the other ends, by whole names that mean the same wherever they are
 * read: nothing that some reader takes for a pattern, an escape or a way up.
 */
function isLonger(typed: string, begins: string): boolean {
  const names = typed.slice(begins.length).split('/');
  return (
    typed.length <= longestTyped &&
    typed.length > begins.length &&
    typed.startsWith(begins) &&
    typed.isWellFormed() &&
    !/[\\%*?${}\p{C}\p{Zl}\p{Zp}]/u.test(typed.slice(begins.length)) &&
    names.every((name, index) => (name !== '' || index === names.length - 1) && name !== '.' && name !== '..')
  );
}

/** Sets a member, or leaves it out. Its parents are there, or it is a new member of one that is. */
function put(root: JsonObject, pointer: string, value: Json | undefined): void {
  const names = pointer
    .slice(1)
    .split('/')
    .map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~'));
  const last = names.pop() as string;
  const parent = names.reduce<Json | undefined>(
    (at, name) =>
      typeof at === 'object' && at !== null && Object.hasOwn(at, name) ? (at as JsonObject)[name] : undefined,
    root,
  );
  if (typeof parent !== 'object' || parent === null) return;
  if (value === undefined) delete (parent as JsonObject)[last];
  else Object.defineProperty(parent, last, { value, writable: true, enumerable: true, configurable: true });
}

/**
 * The plan of what is left, with the lifetime of the one that stands.
 * @param leftOut pointers of all parts that are left out, by whomever
 * @param lowered all that is lowered, by whomever
 * @throws WritError `bad_request`: a part that is not there, nothing of a list is left, or the provider does
 *   not say that it is less
 */
export function narrowedPlan(
  provider: Provider,
  params: JsonObject,
  plan: Plan,
  leftOut: readonly string[],
  lowered: Lowered = {},
): Plan {
  const refused = (message: string, path = 'keep') =>
    new WritError('bad_request', { detail: message, errors: [{ path, message }] });
  const known = new Set(partsOf(params).map(({ pointer }) => pointer));
  if (leftOut.some((pointer) => !known.has(pointer))) throw refused('Only what was asked for can be left out.');
  if (provider.narrower === undefined) throw refused(`Nothing can be left out of a permission of ${provider.name}.`);
  const lowerParams = lower(provider, params, lowered);
  if (lowerParams === null)
    throw refused(
      'A longer prefix begins with the one that was asked for and goes on to the letter: no ., .., //, *, ?, %, $, { } or \\. Of a level, one of the lower ones.',
      'lower',
    );
  const parsed = provider.params.safeParse(without(lowerParams, new Set(leftOut)));
  if (!parsed.success) throw refused(faultOf(parsed.error.issues, lowered));
  let narrowed: Plan;
  try {
    // Of what it is about nothing has changed by leaving some out.
    const state = plan.state === undefined ? {} : { state: plan.state };
    narrowed = { ...provider.plan(parsed.data, plan.ttl_seconds), ttl_seconds: plan.ttl_seconds, ...state };
  } catch {
    throw refused('What is left is no permission that the provider gives.');
  }
  if (!provider.narrower(narrowed, plan)) throw refused('The provider does not say that this is less.');
  return narrowed;
}

/** What is wrong with what was typed, in the provider's words; else nothing of a list is left. */
function faultOf(issues: readonly { path: PropertyKey[]; message: string }[], lowered: Lowered): string {
  const typed = issues.find(({ path }) => Object.hasOwn(lowered, `/${path.join('/')}`));
  return typed === undefined
    ? 'Leave something of each list, or deny it.'
    : `${String(typed.path.at(-1))}: ${typed.message}`;
}
