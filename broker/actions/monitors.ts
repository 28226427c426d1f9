/**
 * History as state: what each tracker remembers, moved on with every event, so that a decision costs the same
 * after a million calls as after ten. Pure; times are milliseconds.
 *
 * A cell is what one tracker remembers in one scope for one value of what it correlates by. Windows of counts
 * and sums end on steps of a 64th of their length: an event counts until the step it is in has left the
 * window, so it may count for one step longer than written, and never for less.
 */
import canonicalize from 'canonicalize';
import type { Json } from '../core/vocabulary.ts';
import { alike, hostOf, plainValues, valuesAt } from '../manifests/call-arguments.ts';
import type { CallFacts, EventTest, Tracker } from '../manifests/compile-calls.ts';
import { matchesWhole } from '../manifests/pattern.ts';
import type { EventKind } from '../manifests/tool-schema.ts';

/** What a cell holds, as JSON. */
export type CellState =
  | { t: number }
  /** Amounts by step; of a tracker without a window, all under step 0. */
  | { steps: { [step: string]: number } }
  /** The same, and what is usual. */
  | { steps: { [step: string]: number }; usual: Usual }
  /** The root session in which it was first, and when. */
  | { first: string; t: number };

/**
 * What is usual in one window: a mean in which each window weighs 7/8 of the one after it. Windows stand one
 * after another here; `n` is counted in the one with the number `window`, which is not over.
 */
interface Usual {
  window: number;
  n: number;
  mean: number;
  /** Weight of all windows so far, to be divided by: below one while there are few. */
  weight: number;
}

export interface Moment {
  now: number;
  /** Root of the session's tree. */
  rootId: string;
}

/** Parts of a window. */
const steps = 64;

const stepOf = (at: number, windowMs: number | null): number =>
  windowMs === null ? 0 : Math.floor(at / Math.max(1, Math.floor(windowMs / steps)));

const firstStep = (now: number, windowMs: number): number => stepOf(now - windowMs, windowMs);

/** Whether the event is one that the test takes. */
export function takes(test: EventTest, call: CallFacts, kinds: readonly EventKind[]): boolean {
  if (!kinds.some((kind) => test.kinds.includes(kind))) return false;
  return concerns(test, call);
}

/** The same, whatever came of it. */
export function concerns(test: EventTest, call: CallFacts): boolean {
  const { tools, capabilities } = test;
  if (call.tool !== null && tools !== null && !tools.includes(call.tool)) return false;
  if (call.capability !== null && capabilities !== null && !capabilities.includes(call.capability)) return false;
  if (test.sensitivity !== null && call.sensitivity < test.sensitivity) return false;
  if (test.label !== null && !call.labels.includes(test.label)) return false;
  if (test.destination === 'unknown' && call.unknownDestinations.length === 0) return false;
  if (test.destination === 'known' && !(call.destinations.length > 0 && call.unknownDestinations.length === 0))
    return false;
  if (test.providers !== undefined && (call.provider === null || !test.providers.includes(call.provider))) return false;
  if (test.tier !== undefined && (call.tier === null || call.tier < test.tier)) return false;
  return test.match.every(([path, pattern]) => argumentMatches(call.args, path, pattern, test.strictly));
}

/**
 * One value at the path is a text that matches as a whole, however spelled; `strictly`, where it lets a call
 * through: there is one, and all of them match as they are.
 */
export function argumentMatches(args: CallFacts['args'], path: string, pattern: string, strictly = false): boolean {
  const values = valuesAt(args, path).flatMap(plainValues).map(String);
  if (strictly) return values.length > 0 && values.every((value) => matchesWhole(pattern, value));
  return values.some((value) => spellings(value).some((spelling) => matchesWhole(pattern, spelling, 'lines too')));
}

/** A pattern speaks of a text, however its letters are encoded. */
const spellings = (text: string): string[] => {
  const plain = text.normalize('NFKC');
  return plain === text ? [text] : [text, plain];
};

/** A text and a number are two things here; the order of members tells none apart. */
const exactly = (value: Json): string => canonicalize(value) ?? 'null';

/** A value as a tracker compares it. */
export const comparedBy = ({ compares }: Pick<Tracker, 'compares'>, value: Json): string =>
  compares === 'alike' ? alike(value) : exactly(value);

/** More combinations than this are a call that nobody makes in earnest. */
const maxKeys = 256;

/**
 * The values by which a tracker correlates a call: one key for each combination.
 * @returns null when the call lacks one of them
 */
export function keysOf({ same, compares }: Compared, call: CallFacts): string[] | null {
  let keys: Json[][] = [[]];
  for (const name of same) {
    const values = valuesOf(name, call, compares);
    if (values.length === 0 || keys.length * values.length > maxKeys) return null;
    keys = keys.flatMap((key) => values.map((value) => [...key, value]));
  }
  return keys.map((key) => JSON.stringify(key));
}

/**
 * Whether a call would go unseen by a tracker that it moves: it has too many values to keep one by one, or
 * should have touched something and does not say what. A call without the argument at all is none of those.
 */
export function cannotBeTold(tracker: Compared, call: CallFacts, hasEntity: boolean): boolean {
  const { same, compares } = tracker;
  if (same.includes('entity') && hasEntity && call.entity === null) return true;
  return same.every((name) => valuesOf(name, call, compares).length > 0) && keysOf(tracker, call) === null;
}

type Compared = Pick<Tracker, 'same' | 'compares'>;

function valuesOf(name: string, call: CallFacts, compares: Tracker['compares']): Json[] {
  const as = compares === 'alike' ? alike : exactly;
  switch (name) {
    case 'entity':
      return call.entity === null ? [] : [as(call.entity)];
    case 'tool':
      return call.tool === null ? [] : [call.tool];
    case 'capability':
      return call.capability === null ? [] : [call.capability];
    case 'provider':
      return call.provider === null ? [] : [call.provider];
    case 'resource_family':
      return call.family === null ? [] : [call.family];
    case 'destination':
      return [...new Set(call.destinations.map((destination) => hostOf(destination) ?? as(destination)))];
    default:
      return [...new Set(valuesAt(call.args, name.slice('arg:'.length)).map(as))];
  }
}

/** What an event is to a tracker: the one it waits for, or the one that makes it forget. */
export interface Happened {
  event: boolean;
  without: boolean;
}

export const happened = (tracker: Tracker, call: CallFacts, kinds: readonly EventKind[]): Happened => ({
  event: takes(tracker.event, call, kinds),
  without: tracker.without !== null && takes(tracker.without, call, kinds),
});

/**
 * The state after an event.
 * @param state before it; null = nothing yet
 * @returns the very same state where nothing changes
 */
export function advance(
  tracker: Tracker,
  state: CellState | null,
  { event, without }: Happened,
  costMicroUsd: number,
  { now, rootId }: Moment,
): CellState | null {
  switch (tracker.op) {
    case 'last':
      return event ? { t: now } : state;
    case 'since':
      return event ? { t: now } : without ? null : state;
    case 'first':
      return event && state === null ? { first: rootId, t: now } : state;
    case 'count':
    case 'sum':
      return event ? add(tracker, state, tracker.op === 'count' ? 1 : costMicroUsd, now) : state;
    case 'rate':
      return event ? addToRate(tracker, state, now) : state;
  }
}

/** Puts an amount into its step, and drops steps that have left the window. */
export function add(tracker: Tracker, state: CellState | null, amount: number, now: number): CellState {
  const before = state !== null && 'steps' in state ? state.steps : {};
  const { windowMs } = tracker;
  const kept = Object.entries(before).filter(([step]) => windowMs === null || Number(step) >= firstStep(now, windowMs));
  const step = String(stepOf(now, windowMs));
  const next = Object.fromEntries(kept);
  return { steps: { ...next, [step]: (next[step] ?? 0) + amount } };
}

/**
 * Sets right an amount that was put into a step at `countedAt`; nothing where that step has left the window.
 * @param amount by which it was too little, or (negative) too much
 */
export function correct(
  { windowMs }: Tracker,
  state: CellState | null,
  amount: number,
  countedAt: number,
  now: number,
): CellState | null {
  if (amount === 0 || state === null || !('steps' in state)) return state;
  const step = stepOf(countedAt, windowMs);
  if (windowMs !== null && step < firstStep(now, windowMs)) return state;
  return { ...state, steps: { ...state.steps, [step]: Math.max(0, (state.steps[step] ?? 0) + amount) } };
}

function addToRate(tracker: Tracker, state: CellState | null, now: number): CellState {
  const { steps: counted } = add(tracker, state, 1, now) as { steps: { [step: string]: number } };
  const usual = usualBy(tracker, state, now);
  return { steps: counted, usual: { ...usual, n: usual.n + 1 } };
}

/** Part of the mean that a new window is. */
const newest = 1 / 8;
/** After so many windows of nothing, nothing is usual. */
const forgotten = 256;

/** What is usual, with every window that is over by now. */
function usualBy({ windowMs }: Tracker, state: CellState | null, now: number): Usual {
  const window = Math.floor(now / windowMs!);
  if (state === null || !('usual' in state)) return { window, n: 0, mean: 0, weight: 0 };
  let { n, mean, weight } = state.usual;
  const over = window - state.usual.window;
  if (over > forgotten) return { window, n: 0, mean: 0, weight: 1 };
  for (let passed = 0; passed < over; passed += 1) {
    mean += (n - mean) * newest;
    weight += (1 - weight) * newest;
    n = 0;
  }
  return { window: Math.max(window, state.usual.window), n, mean, weight };
}

/**
 * Whether what a rule asks of the tracker holds before this call.
 * @param state of the cell of this call's key
 * @param call that is asked for: counted itself by counts and sums, as what it is `asking` to be
 */
export function holds(
  tracker: Tracker,
  { moreThan, times }: { moreThan: number | null; times?: number | undefined },
  state: CellState | null,
  call: CallFacts,
  { now, rootId }: Moment,
  asking: readonly EventKind[],
): boolean {
  switch (tracker.op) {
    case 'last':
    case 'since':
      return state !== null && 't' in state && (tracker.windowMs === null || now - state.t <= tracker.windowMs);
    case 'first':
      return state === null || ('first' in state && state.first === rootId);
    case 'count':
    case 'sum': {
      const asked = takes(tracker.event, call, asking);
      const own = asked ? (tracker.op === 'count' ? 1 : call.costMicroUsd) : 0;
      return total(tracker, state, now) + own > (moreThan ?? 0);
    }
    case 'rate': {
      const { mean, weight } = usualBy(tracker, state, now);
      const fine = weight === 0 ? 0 : ((times ?? 0) * mean) / weight;
      const own = takes(tracker.event, call, asking) ? 1 : 0;
      return total(tracker, state, now) + own > Math.max(moreThan ?? 0, fine);
    }
  }
}

function total({ windowMs }: Tracker, state: CellState | null, now: number): number {
  if (state === null || !('steps' in state)) return 0;
  return Object.entries(state.steps)
    .filter(([step]) => windowMs === null || Number(step) >= firstStep(now, windowMs))
    .reduce((sum, [, amount]) => sum + amount, 0);
}

/** Clocks of several brokers, and calls that were being decided. */
const marginMs = 3_600_000;

/**
 * How long a cell of the tracker says something, from its last move on, in milliseconds; null = for good. A
 * count goes on for up to a 64th of its window.
 */
export function keptFor({ op, windowMs }: Pick<Tracker, 'op' | 'windowMs'>): number | null {
  if (windowMs === null || op === 'first' || op === 'rate') return null;
  return windowMs + Math.ceil(windowMs / 32) + marginMs;
}
