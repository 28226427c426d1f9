/**
 * The rules of a manifest, read as they are written, over the whole log: no trackers, no cells, nothing
 * remembered. Slow, and plain enough to be held against the words of `tool-schema.ts`; `monitors.ts` is held
 * against it.
 *
 * It shares with what it checks the reading of arguments (`call-arguments.ts`) and of texts (`origin.ts`),
 * and nothing else.
 */

import type { Json, JsonObject, Task } from '../core/vocabulary.ts';
import type { CallEffect } from '../decide/effects.ts';
import {
  alike,
  argumentsOutside,
  clearanceOf,
  destinationsOf,
  entityOf,
  hostOf,
  isNamed,
  knownDestinations,
  manifestWords,
  valuesAt,
} from '../manifests/call-arguments.ts';
import type { Manifest } from '../manifests/manifest.ts';
import { matchesWhole } from '../manifests/pattern.ts';
import type { Clause, EventKind, EventSelector, Rule, Scope, Selector } from '../manifests/tool-schema.ts';
import { wordsOf } from './origin.ts';

/** Who called. The owner is everybody's: the log is one owner's. */
export interface Who {
  rootId: string;
  agent: string;
  principal: string;
  task: Task;
  /** Of the root. */
  openedAt: number;
  onBehalfOf: object | null;
  declaredOnBehalfOf: string | null;
  attested?: JsonObject | null;
}

export interface AskedCall {
  tool: string;
  args: JsonObject;
  costMicroUsd: number | null;
  address?: string | null;
  /** Of a grant, which is no call of a tool: `tool` is empty, `args` are its parameters. */
  capability?: string;
}

/** One line of the log: a call as it was decided, or as it came out. */
export interface Entry {
  at: number;
  who: Who;
  call: AskedCall;
  kinds: readonly EventKind[];
  /** Of an outcome, what was reported. */
  labels: readonly string[];
  output: string;
  /** What it really cost, once that was reported: of the asking too. */
  costMicroUsd?: number | null;
  /** Of an outcome, what else it turned out to touch. */
  entities?: readonly string[];
  /** A reported entity, read as an event of its own (`touching`). */
  touched?: string;
}

export interface Verdict {
  effect: CallEffect;
  hits: string[];
  /** Rules that look at something the call lacks. */
  missing: string[];
}

/** Nobody can say: the call lacks what the condition compares. */
type Truth = boolean | 'lacks';

type Spelling = (value: Json) => string;
const exactly: Spelling = (value) => JSON.stringify(value);

/** @param asking what it would add to counts: what was asked for before is an attempt already */
export function decideByLog(
  manifest: Manifest,
  log: readonly Entry[],
  who: Who,
  call: AskedCall,
  now: number,
  asking: readonly EventKind[] = ['attempt', 'call'],
): Verdict {
  const tool = (name: string) => manifest.tools?.[name];
  const asked: Entry = { at: now, who, call, kinds: asking, labels: [], output: '' };
  const list = <T>(one: T | readonly T[] | undefined): readonly T[] =>
    one === undefined ? [] : Array.isArray(one) ? one : [one as T];

  const destinations = ({ call: { tool: name, args } }: Entry) => {
    const listed = tool(name);
    return listed === undefined ? [] : destinationsOf(listed, args);
  };
  const unknown = (entry: Entry) =>
    destinations(entry).filter((one) => !isNamed(one, knownDestinations(manifest, entry.who.task.inputs)));
  const capability = ({ capability: name }: AskedCall) =>
    name === undefined ? undefined : manifest.capabilities[name];
  const labelsOf = (entry: Entry) => [...(tool(entry.call.tool)?.labels ?? []), ...entry.labels];
  const costOf = ({ call: { tool: name, costMicroUsd }, costMicroUsd: real }: Entry) =>
    tool(name) === undefined ? 0 : (real ?? costMicroUsd ?? tool(name)!.cost_usd);

  function isSelected(selector: Selector | EventSelector, entry: Entry, spares = false): boolean {
    const { tool: name, args } = entry.call;
    const classes = list(selector.class).map((one) => manifest.classes?.[one]);
    if (selector.tool !== undefined || selector.class !== undefined || selector.capability !== undefined) {
      const tools = [...list(selector.tool), ...classes.flatMap((one) => one?.tools ?? [])];
      const capabilities = [...list(selector.capability), ...classes.flatMap((one) => one?.capabilities ?? [])];
      const { capability: granted } = entry.call;
      if (granted === undefined ? !tools.includes(name) : !capabilities.includes(granted)) return false;
    }
    if (selector.sensitivity !== undefined && (tool(name)?.sensitivity ?? 0) < selector.sensitivity) return false;
    if (selector.label !== undefined && !labelsOf(entry).includes(selector.label)) return false;
    if (!sendsTo(selector.destination, entry)) return false;
    return isMatch(selector.match, args, spares);
  }
  const sendsTo = (to: 'known' | 'unknown' | undefined, entry: Entry) =>
    to === undefined ||
    (to === 'unknown' ? unknown(entry).length > 0 : destinations(entry).length > 0 && unknown(entry).length === 0);
  /** @param spares whether a call passes by it: then every value must match */
  const isMatch = (patterns: { [path: string]: string } | undefined, args: JsonObject, spares = false) =>
    Object.entries(patterns ?? {}).every(([path, pattern]) => {
      const values = valuesAt(args, path).map(String);
      if (spares) return values.length > 0 && values.every((value) => matchesWhole(pattern, value));
      return values.some((value) => matchesWhole(pattern, value, 'lines too'));
    });
  const isEvent = (event: EventSelector, entry: Entry) => {
    const kinds = event.kind === undefined ? ['call'] : list(event.kind);
    return entry.kinds.some((kind) => kinds.includes(kind)) && isSelected(event, entry);
  };

  /** What denies takes all that is alike, what lets pass only the very same. */
  function valuesOf(name: string, entry: Entry, as: Spelling): string[] {
    const { tool: called, args } = entry.call;
    const listed = tool(called);
    const granted = capability(entry.call);
    if (name === 'tool') return granted === undefined ? [called] : [];
    if (name === 'capability') return granted === undefined ? [] : [entry.call.capability!];
    if (name === 'provider') return granted === undefined ? [] : [granted.provider];
    if (name === 'resource_family')
      return granted !== undefined ? [granted.provider] : listed?.entity === undefined ? [] : ['order'];
    if (name === 'entity') {
      const entity = entry.touched ?? (listed === undefined ? null : entityOf(listed, args));
      return entity === null ? [] : [as(entity)];
    }
    if (name === 'destination') return destinations(entry).map((one) => hostOf(one) ?? as(one));
    return valuesAt(args, name.slice('arg:'.length)).map(as);
  }
  const isSame = (same: readonly string[], entry: Entry, as: Spelling) =>
    same.every((name) => valuesOf(name, asked, as).some((value) => valuesOf(name, entry, as).includes(value)));
  const lacks = (same: readonly string[]) => same.some((name) => valuesOf(name, asked, alike).length === 0);

  /** Labels of sessions and of entities, after the whole log; `null` = those of all entities together. */
  function labelled() {
    const sessions = new Map<string, Set<string>>();
    const entities = new Map<string | null, Set<string>>();
    const of = <Key>(all: Map<Key, Set<string>>, key: Key) => all.get(key) ?? all.set(key, new Set()).get(key)!;
    const touched = (entry: Entry): string[] => {
      const listed = tool(entry.call.tool);
      const reported = (entry.entities ?? []).flatMap((one) => [...of(entities, alike(one))]);
      if (listed?.entity === undefined) return reported;
      const entity = entityOf(listed, entry.call.args);
      return [...of(entities, entity === null ? null : alike(entity)), ...reported];
    };
    for (const entry of log) {
      const asks = entry.kinds.includes('call');
      // Refused, or waiting for a person.
      if (!asks && entry.kinds.includes('attempt')) continue;
      const session = of(sessions, entry.who.rootId);
      const listed = tool(entry.call.tool);
      const carried = [...session, ...touched(entry)];
      if (asks && listed?.writes === true)
        for (const label of carried) {
          of(entities, alike(entityOf(listed, entry.call.args)!)).add(label);
          of(entities, null).add(label);
        }
      const put = listed?.writes === true ? [...carried, ...entry.labels] : entry.labels;
      for (const entity of entry.entities ?? [])
        for (const label of put) {
          of(entities, alike(entity)).add(label);
          of(entities, null).add(label);
        }
      for (const label of [...carried, ...(asks ? (listed?.labels ?? []) : entry.labels)]) session.add(label);
    }
    return [...of(sessions, who.rootId), ...touched(asked)];
  }

  /** What the scope's history has, oldest first. */
  const within = (scope: Scope): Entry[] =>
    log.filter(
      (entry) =>
        scope === 'owner' ||
        (scope === 'session' && entry.who.rootId === who.rootId) ||
        (scope === 'agent' && entry.who.agent === who.agent) ||
        (scope === 'principal' && entry.who.principal === who.principal),
    );
  /**
   * The same, where entities are compared, with those that were reported: all that a call is, at the time of
   * the report. Its word counts where it can only stand against what comes later.
   */
  const touching = (scope: Scope, same: readonly string[], as: Spelling, bars: boolean): Entry[] =>
    !same.includes('entity') || bars !== (as === alike)
      ? within(scope)
      : within(scope).flatMap((entry) => {
          const [own] = valuesOf('entity', entry, as);
          const others = new Map((entry.entities ?? []).map((entity) => [as(entity), entity]));
          if (own !== undefined) others.delete(own);
          const kinds: EventKind[] = ['attempt', 'call', ...entry.kinds];
          return [entry, ...[...others.values()].map((touched) => ({ ...entry, kinds, touched }))];
        });
  const since = (seconds: number | 'session') => (seconds === 'session' ? -Infinity : now - seconds * 1000);
  /** An event counts until the step of a 64th of the window in which it was has left the window. */
  const inSteps = (seconds: number | 'session', at: number) => {
    if (seconds === 'session') return true;
    const step = Math.max(1, Math.floor((seconds * 1000) / 64));
    return Math.floor(at / step) >= Math.floor((now - seconds * 1000) / step);
  };

  function formerlyHolds(
    { within: back, same, ...event }: NonNullable<Clause['formerly']>,
    scope: Scope,
    as: Spelling,
  ): Truth {
    if (lacks(same)) return 'lacks';
    return touching(scope, same, as, true).some(
      (entry) => entry.at >= since(back) && isEvent(event, entry) && isSame(same, entry, as),
    );
  }
  function sinceHolds(
    { event, without, within: back, same }: NonNullable<Clause['since']>,
    scope: Scope,
    as: Spelling,
  ): Truth {
    if (lacks(same)) return 'lacks';
    // Of a call that bars nothing, an entity that was reported is no event; it may make one forgotten.
    const bars = as === alike;
    const history = touching(scope, same, as, bars).filter((entry) => isSame(same, entry, as));
    const [begins, forgets] = [
      (entry: Entry) => (entry.touched === undefined || bars) && isEvent(event, entry),
      (entry: Entry) => (entry.touched === undefined || !bars) && isEvent(without, entry),
    ];
    return history.some(
      (entry, index) => entry.at >= since(back) && begins(entry) && !history.slice(index + 1).some(forgets),
    );
  }
  function amount(
    of: EventSelector | undefined,
    on: Selector,
    {
      back,
      same,
      scope,
      each,
      as,
    }: { back: number | 'session'; same: readonly string[]; scope: Scope; each: typeof costOf; as: Spelling },
  ): number {
    const event = of ?? on;
    // Of several values of this call (`same`), the one with the most decides.
    const kinds = of?.kind === undefined ? ['call'] : list(of.kind);
    const own = kinds.some((kind) => asking.includes(kind as EventKind)) && isSelected(event, asked) ? each(asked) : 0;
    const past = touching(scope, same, as, true).filter((entry) => inSteps(back, entry.at) && isEvent(event, entry));
    const keys = same.reduce<string[][]>(
      (all, name) => all.flatMap((key) => valuesOf(name, asked, as).map((value) => [...key, value])),
      [[]],
    );
    return Math.max(
      ...keys.map((key) =>
        past
          .filter((entry) => same.every((name, index) => valuesOf(name, entry, as).includes(key[index]!)))
          .reduce((sum, entry) => sum + each(entry), own),
      ),
    );
  }
  /** The usual number is worked out from all windows since the first event, oldest first. */
  function rateHolds(
    { of, over, times, at_least, same }: NonNullable<Clause['rate']>,
    on: Selector,
    scope: Scope,
    as: Spelling,
  ): Truth {
    if (lacks(same)) return 'lacks';
    const kinds = of?.kind === undefined ? ['call'] : list(of.kind);
    const event = of ?? on;
    const asks = kinds.some((kind) => asking.includes(kind as EventKind)) && isSelected(event, asked);
    const windowOf = (at: number) => Math.floor(at / (over * 1000));
    const keys = same.reduce<string[][]>(
      (all, name) => all.flatMap((key) => valuesOf(name, asked, as).map((value) => [...key, value])),
      [[]],
    );
    return keys.some((key) => {
      const past = touching(scope, same, as, true).filter(
        (entry) =>
          isEvent(event, entry) && same.every((name, index) => valuesOf(name, entry, as).includes(key[index]!)),
      );
      const recent = past.filter((entry) => inSteps(over, entry.at)).length + (asks ? 1 : 0);
      let [mean, weight] = [0, 0];
      for (let window = windowOf(past[0]?.at ?? now); window < windowOf(now); window += 1) {
        const n = past.filter((entry) => windowOf(entry.at) === window).length;
        mean += (n - mean) / 8;
        weight += (1 - weight) / 8;
      }
      return recent > Math.max(at_least, weight === 0 ? 0 : (times * mean) / weight);
    });
  }
  function isFirst(what: NonNullable<Clause['first_time']>, scope: Scope, as: Spelling): Truth {
    return valuesOf(what, asked, as).some((value) => {
      const [first] = within(scope).filter(
        (entry) => entry.kinds.includes('call') && valuesOf(what, entry, as).includes(value),
      );
      return first === undefined || first.who.rootId === who.rootId;
    });
  }
  function isUntrusted(name: string): boolean {
    const tree = within('session');
    const said = (trusted: boolean) =>
      tree
        .filter((entry) => (tool(entry.call.tool)?.output === 'trusted') === trusted)
        .flatMap((entry) => wordsOf(entry.output).words);
    const good = [...manifestWords(manifest), ...Object.values(who.task.inputs).map(String)].flatMap(
      (text) => wordsOf(text).words,
    );
    const values = name === 'destination' ? destinations(asked) : valuesAt(call.args, name).map(String);
    return values
      .flatMap((value) => (wordsOf(value).words.length > 0 ? wordsOf(value).words : [value.toLowerCase()]))
      .some((word) => said(false).includes(word) && ![...said(true), ...good].includes(word));
  }
  function isInHours({ from, to, days }: NonNullable<Clause['hours']>): boolean {
    // The tests' zone is UTC.
    const at = new Date(now);
    const time = at.toISOString().slice(11, 16);
    const day = (['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const)[at.getUTCDay()]!;
    const inside = from <= to ? from <= time && time < to : from <= time || time < to;
    return inside && (days === undefined || days.includes(day));
  }

  function clauseHolds(clause: Clause, on: Selector, scope: Scope, spares = false): Truth {
    const read = labelled();
    const standing = who.onBehalfOf !== null ? 'vouched' : who.declaredOnBehalfOf !== null ? 'declared' : 'nobody';
    const { formerly, since: sequence, count, sum, rate, first_time } = clause;
    const as = spares ? exactly : alike;
    const truths: Truth[] = [
      clause.task_types?.includes(who.task.task_type) ?? true,
      sendsTo(clause.destination, asked),
      clause.label === undefined || read.includes(clause.label),
      clause.uncleared === undefined ||
        destinations(asked).some((one) => read.some((label) => !clearanceOf(manifest, one).includes(label))),
      clause.on_behalf_of === undefined || clause.on_behalf_of === standing,
      clause.elapsed === undefined || now - who.openedAt > clause.elapsed * 1000,
      clause.hours === undefined || isInHours(clause.hours),
      isMatch(clause.match, call.args, spares),
      clause.untrusted?.some(isUntrusted) ?? true,
      formerly === undefined || formerlyHolds(formerly, scope, as),
      sequence === undefined || sinceHolds(sequence, scope, as),
      rate === undefined || rateHolds(rate, on, scope, as),
      first_time === undefined || isFirst(first_time, scope, spares ? alike : exactly),
    ];
    if (count !== undefined) {
      const { of, more_than, within: back, same } = count;
      truths.push(lacks(same) ? 'lacks' : amount(of, on, { back, same, scope, each: () => 1, as }) > more_than);
    }
    if (sum !== undefined) {
      const { of, cost_usd_more_than, within: back, same } = sum;
      truths.push(lacks(same) ? 'lacks' : amount(of, on, { back, same, scope, each: costOf, as }) > cost_usd_more_than);
    }
    return truths.includes(false) ? false : truths.includes('lacks') ? 'lacks' : true;
  }
  const anyOf = (truths: Truth[]): Truth => truths.includes(true) || (truths.includes('lacks') ? 'lacks' : false);

  const found: { id: string; effect: Rule['effect']; truth: Truth }[] = [];
  for (const { id, on: written, when, unless, scope, effect } of manifest.rules ?? []) {
    const on = written === '*' ? {} : written;
    const allows = effect === 'allow';
    if (!isSelected(on, asked, allows)) continue;
    const held = when === undefined ? true : anyOf(list(when).map((clause) => clauseHolds(clause, on, scope, allows)));
    const spared = unless === undefined ? false : clauseHolds(unless, on, scope, !allows);
    const truth = held === false || spared === true ? false : held === 'lacks' || spared === 'lacks' ? 'lacks' : true;
    // What cannot be told lets nothing through.
    found.push({ id, effect, truth: allows && truth === 'lacks' ? false : truth });
  }
  for (const { id, duties, same, scope, within: back } of manifest.separation_of_duties ?? [])
    for (const [index, duty] of duties.entries()) {
      if (!isSelected(duty, asked)) continue;
      const others = duties.filter((_, other) => other !== index);
      const truth = anyOf(others.map((other) => formerlyHolds({ ...other, within: back, same }, scope, alike)));
      found.push({ id: `${id}.${index + 1}`, effect: 'deny', truth });
    }
  const { max_calls, max_cost_usd } = manifest.envelope;
  // Grants are no calls.
  const isCall = (entry: Entry) => entry.call.capability === undefined;
  const spent = within('session').filter((entry) => entry.kinds.includes('call') && isCall(entry));
  // Of a tool that is not listed, too: it is one more, whatever else is wrong with it.
  const own = [asked].filter(isCall);
  if (max_calls !== undefined)
    found.push({ id: 'envelope.max-calls', effect: 'terminate', truth: spent.length + own.length > max_calls });
  if (max_cost_usd !== undefined) {
    const cost = [...spent, ...own].reduce((sum, entry) => sum + costOf(entry), 0);
    found.push({ id: 'envelope.max-cost', effect: 'terminate', truth: cost > max_cost_usd });
  }

  const hits = found.filter(({ truth }) => truth === true);
  const missing = found.filter(({ truth }) => truth === 'lacks').map(({ id }) => id);
  const listed = tool(call.tool);
  if (listed?.writes === true && entityOf(listed, call.args) === null) missing.push('lineage');
  const refused =
    listed === undefined ||
    !(listed.tasks?.includes(who.task.task_type) ?? true) ||
    argumentsOutside(listed, call.args, who.task.inputs).length > 0 ||
    missing.length > 0 ||
    hasNoEntity() ||
    hits.some(({ effect }) => effect === 'deny');
  const has = (wanted: Rule['effect']) => hits.some(({ effect }) => effect === wanted);
  const strongest = (['terminate', 'suspend', 'downgrade'] as const).find(has);
  const asks = has('approve') && !has('allow');
  return {
    effect: strongest ?? (refused ? 'deny' : asks ? 'approve' : 'allow'),
    hits: hits.map(({ id }) => id),
    missing,
  };

  /** A call that touches nobody knows what is denied where a rule would look for it by what it touches. */
  function hasNoEntity(): boolean {
    if (listed?.entity === undefined || entityOf(listed, call.args) !== null) return false;
    const seen = (event: Selector | EventSelector, same: readonly string[]) =>
      same.includes('entity') && isSelected(event, asked);
    const looked = ({ formerly, since: sequence, count, sum, rate }: Clause, on: Selector) =>
      (formerly !== undefined && seen(formerly, formerly.same)) ||
      (sequence !== undefined && (seen(sequence.event, sequence.same) || seen(sequence.without, sequence.same))) ||
      (count !== undefined && seen(count.of ?? on, count.same)) ||
      (sum !== undefined && seen(sum.of ?? on, sum.same)) ||
      (rate !== undefined && seen(rate.of ?? on, rate.same));
    return (
      (manifest.rules ?? []).some(({ on, when, unless }) =>
        [...list(when), ...list(unless)].some((clause) => looked(clause, on === '*' ? {} : on)),
      ) || (manifest.separation_of_duties ?? []).some(({ duties, same }) => duties.some((duty) => seen(duty, same)))
    );
  }
}
