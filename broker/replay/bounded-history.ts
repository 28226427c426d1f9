/**
 * What a manifest's rules would remember of a record whose arguments are not all known: two histories at
 * once. In one is only what surely happened, in the other all that may have. Where both say the same, it is
 * so; where they differ, nobody can tell. The states are those of `actions/monitors.ts`.
 */
import { add, advance, type CellState, holds, type Moment } from '../actions/monitors.ts';
import type { CallFacts, Tracker } from '../manifests/compile-calls.ts';
import type { Told } from './told.ts';

/** By what a tracker correlates a call, as far as it can be told. */
export interface Keys {
  /** Keys that it surely has. */
  names: readonly string[];
  /** It has keys that nobody can tell. */
  loose: boolean;
  /** It lacks what is compared: it has no key at all. */
  lacks: boolean;
  /** Nobody can tell whether it lacks what is compared. */
  mayLack: boolean;
}

/** What an event is to a tracker. */
export interface Event {
  event: Told;
  without: Told;
}

/** Cost of a call, where it depends on what is not known. */
export interface Cost {
  least: number;
  most: number;
}

interface Remembered {
  sure: Map<string, CellState | null>;
  possible: Map<string, CellState | null>;
  /** Events whose key nobody can tell. */
  loose: CellState | null;
  /** Events of any key. */
  all: CellState | null;
}

export interface BoundedHistory {
  note(tracker: Tracker, scope: string, keys: Keys, event: Event, cost: Cost, moment: Moment): void;
  /**
   * Whether what a rule asks of the tracker holds before a call.
   * @param own whether the tracker takes the call itself, as counts and sums do
   * @param complete whether all that the tracker may remember is on the record
   */
  holds(
    tracker: Tracker,
    moreThan: number | null,
    scope: string,
    keys: Keys,
    own: Told,
    cost: Cost,
    complete: boolean,
    moment: Moment,
  ): Told;
}

/** Some key of several sessions was first in one of them: nobody can tell in which. */
const someRoot = '';

export function boundedHistory(): BoundedHistory {
  const cells = new Map<string, Remembered>();
  const cellOf = (tracker: Tracker, scope: string): Remembered => {
    const name = `${scope}/${tracker.id}`;
    const known = cells.get(name) ?? { sure: new Map(), possible: new Map(), loose: null, all: null };
    cells.set(name, known);
    return known;
  };
  return {
    note: (tracker, scope, { names, loose, lacks }, { event, without }, cost, moment) => {
      // What is usual, and so what is far from it, cannot be told from a part of what was.
      if (tracker.op === 'rate' || lacks || (event === false && without === false)) return;
      const cell = cellOf(tracker, scope);
      const moved = (state: CellState | null, is: { event: boolean; without: boolean }, amount: number) =>
        advance(tracker, state, is, amount, moment);
      // What surely happened: an end that may have come has come, an event that may have come has not.
      const surely = { event: event === true, without: without !== false };
      if (surely.event || surely.without)
        for (const name of surely.without && loose && !surely.event ? [...cell.sure.keys()] : names)
          cell.sure.set(name, moved(cell.sure.get(name) ?? null, surely, cost.least));
      // What may have: the other way round.
      const maybe = { event: event !== false, without: without === true };
      for (const name of names)
        cell.possible.set(name, either(cell.possible.get(name) ?? null, maybe, cell.sure.get(name)));
      if (maybe.event) {
        cell.all = either(cell.all, { event: true, without: false });
        if (loose) cell.loose = either(cell.loose, { event: true, without: false });
      }

      function either(
        state: CellState | null,
        is: { event: boolean; without: boolean },
        sure: CellState | null = null,
      ): CellState | null {
        if (tracker.op !== 'first' || !is.event) return moved(state, is, cost.most);
        // Where it was surely first in one session before, it stays that one.
        if (state !== null && 'first' in state && state.first !== moment.rootId && sure === null)
          return { first: someRoot, t: state.t };
        return moved(state, is, 0);
      }
    },
    holds: (tracker, moreThan, scope, { names, loose, lacks }, own, cost, complete, moment) => {
      if (tracker.op === 'rate') return null;
      if (lacks) return tracker.op === 'first' ? false : null;
      const { sure, possible, loose: anywhere, all } = cellOf(tracker, scope);
      const held = (state: CellState | null, counted: number) =>
        holds(unasked(tracker), { moreThan: (moreThan ?? 0) - counted }, state, nobody, moment, []);
      if (tracker.op === 'first') return firstTime();
      const amount = (each: number) => (tracker.op === 'count' ? 1 : tracker.op === 'sum' ? each : 0);
      const least = own === true ? amount(cost.least) : 0;
      const most = own === false ? 0 : amount(cost.most);
      if (names.some((name) => held(sure.get(name) ?? null, least))) return true;
      if (names.length === 0 && least > (moreThan ?? 0) && (tracker.op === 'count' || tracker.op === 'sum'))
        return true;
      const may = loose
        ? held(all, most)
        : names.some((name) => held(together(tracker, possible.get(name) ?? null, anywhere, moment), most));
      return may || !complete ? null : false;

      function firstTime(): Told {
        const of = (name: string): Told => {
          const [surely, maybe] = [sure.get(name) ?? null, possible.get(name) ?? null];
          const here = (state: CellState | null) => state !== null && 'first' in state && state.first === moment.rootId;
          const seen = [maybe, anywhere].filter((state) => state !== null);
          if (
            surely !== null &&
            !here(surely) &&
            seen.every((state) => 'first' in state && state.first !== moment.rootId && state.first !== someRoot)
          )
            return false;
          return complete && seen.every(here) ? true : null;
        };
        if (loose) return all === null && complete ? true : null;
        const each = names.map(of);
        return each.includes(true) ? true : each.includes(null) ? null : false;
      }
    },
  };
}

/** The tracker without events of its own: what a call adds to its counts is counted apart. */
const unasked = (tracker: Tracker): Tracker => ({ ...tracker, event: { ...tracker.event, kinds: [] } });
const nobody: CallFacts = {
  tool: null,
  capability: null,
  args: {},
  entity: null,
  destinations: [],
  unknownDestinations: [],
  sensitivity: 0,
  labels: [],
  costMicroUsd: 0,
  provider: null,
  tier: null,
  family: null,
  address: null,
};

/** As if what happened in either had happened in one. */
function together(tracker: Tracker, a: CellState | null, b: CellState | null, { now }: Moment): CellState | null {
  if (a === null || b === null) return a ?? b;
  if ('steps' in a && 'steps' in b) {
    const steps = { ...a.steps };
    for (const [step, amount] of Object.entries(b.steps)) steps[step] = (steps[step] ?? 0) + amount;
    return add(tracker, { steps }, 0, now);
  }
  return 'first' in a || 'first' in b || 'steps' in a || 'steps' in b ? a : { t: Math.max(a.t, b.t) };
}
