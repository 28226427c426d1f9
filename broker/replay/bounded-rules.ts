/**
 * Rules held against a call on record, as far as its arguments can be told: `actions/rules.ts` with three
 * answers instead of two. Where all of them are known, it answers what a decision would (a property test
 * holds both equal).
 */
import { argumentMatches, cannotBeTold, concerns, keysOf, type Moment } from '../actions/monitors.ts';
import {
  type CallSession,
  clausesOf,
  doubtfulWords,
  hasInputWord,
  isWithin,
  standing,
  touches,
} from '../actions/rules.ts';
import { attestedAs } from '../manifests/attested-claims.ts';
import { clearanceOf, entityReferences } from '../manifests/call-arguments.ts';
import { mayConcern } from '../manifests/call-policies.ts';
import { touchesDecoy } from '../manifests/canaries.ts';
import {
  type CallFacts,
  type CompiledClause,
  type CompiledRule,
  compiledCalls,
  type EventTest,
  type Tracker,
  toolOf,
} from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import type { EventKind } from '../manifests/tool-schema.ts';
import type { BoundedHistory, Cost, Event, Keys } from './bounded-history.ts';
import { allKnown, isKnownAt, type KnownArguments } from './known-arguments.ts';
import { every, some, type Told } from './told.ts';

/** A call or a grant, as the rules of a manifest see it. */
export interface BoundedCall {
  manifest: Manifest;
  /** Made of the arguments that are known. */
  facts: CallFacts;
  known: KnownArguments;
  cost: Cost;
}

/** `null`: nobody can tell. `lacks`: it lacks what the rule compares. */
export type Verdict = Told | { lacks: string };

/** What rules look at besides the call. */
export interface BoundedScene {
  call: BoundedCall;
  session: CallSession;
  /** What the call itself would add to counts. */
  asking: readonly EventKind[];
  /** Those that the session surely has; where labels follow entities, it may have more. */
  labels: readonly string[];
  moreLabels: boolean;
  moment: Moment;
  history: BoundedHistory;
  /** The tracker's scope as it is stored, and whether all that it may remember is on the record. */
  scopeOf(tracker: Tracker): string;
  isComplete(tracker: Tracker): boolean;
}

export interface RuleOnRecord {
  rule: CompiledRule;
  verdict: Verdict;
  /** What the call may lack of what the rule compares; null = nothing. */
  mayLack: string | null;
}

/** Rules of the manifest that may be about the call, each with whether it holds. */
export function rulesOnRecord(scene: BoundedScene): RuleOnRecord[] {
  const { manifest, facts } = scene.call;
  return compiledCalls(manifest)
    .rules.filter((rule) => facts.tool === null || mayConcern(rule, facts.tool))
    .flatMap((rule) => {
      const about = concernsTold(rule.on, scene.call);
      if (about === false) return [];
      const verdict = ruleTold(rule, scene);
      return [
        { rule, verdict: about === true || verdict === false ? verdict : null, mayLack: lackOf(rule, scene.call) },
      ];
    });
}

function lackOf(rule: CompiledRule, call: BoundedCall): string | null {
  const trackers = clausesOf(rule).flatMap(({ sequence }) => sequence.map(({ tracker }) => tracker));
  const lacking = trackers.find((tracker) => {
    const { lacks, mayLack } = keysTold(tracker, call);
    return tracker.op !== 'first' && (lacks || mayLack);
  });
  if (lacking !== undefined) return lacking.same.join(', ');
  const asks = clausesOf(rule).find(({ now }) => now.network !== undefined || now.attested !== undefined);
  return asks === undefined ? null : asks.now.network === undefined ? 'attested' : 'network';
}

/** Rules that could not recognise the call later: see `untold` of `actions/rules.ts`. */
export function untoldOnRecord(call: BoundedCall): { rule: CompiledRule; path: string; told: Told }[] {
  const { manifest, facts } = call;
  const hasEntity = facts.tool !== null && toolOf(manifest, facts.tool)?.entity !== undefined;
  const hidden = (tracker: Tracker): Told => {
    if (tracker.op === 'first') return false;
    const touched = touchesTold(tracker, call);
    if (touched === false) return false;
    // Of what is known alone: a single value that nobody knows is one value all the same.
    const known = tracker.same.filter((name) => !isUnknown(name, call));
    if (cannotBeTold({ ...tracker, same: known }, facts, hasEntity)) return touched;
    return tracker.same.every((name) => known.includes(name) || isSingle(name, call)) ? false : null;
  };
  return compiledCalls(manifest).rules.flatMap((rule) => {
    const all = clausesOf(rule)
      .flatMap(({ sequence }) => sequence)
      .map(({ tracker }) => ({ tracker, told: hidden(tracker) }));
    const one = all.find(({ told }) => told === true) ?? all.find(({ told }) => told === null);
    return one === undefined ? [] : [{ rule, path: one.tracker.same.join(', '), told: one.told }];
  });
}

/** What an event of these kinds is to a tracker. */
export const eventTold = (tracker: Tracker, call: BoundedCall, kinds: readonly EventKind[]): Event => ({
  event: takesTold(tracker.event, call, kinds),
  without: tracker.without === null ? false : takesTold(tracker.without, call, kinds),
});

const takesTold = (test: EventTest, call: BoundedCall, kinds: readonly EventKind[]): Told =>
  kinds.some((kind) => test.kinds.includes(kind)) ? concernsTold(test, call) : false;

const touchesTold = (tracker: Tracker, call: BoundedCall): Told => {
  if (allKnown(call.known)) return touches(tracker, call.facts);
  return some([
    concernsTold(tracker.event, call),
    tracker.without === null ? false : concernsTold(tracker.without, call),
  ]);
};

function concernsTold(test: EventTest, call: BoundedCall): Told {
  const { facts } = call;
  if (!concerns({ ...test, destination: null, match: [] }, facts)) return false;
  return every([
    sendsTo(test.destination, call),
    ...test.match.map(([path, pattern]) => matchesTold(path, pattern, call, test.strictly)),
  ]);
}

function sendsTo(to: 'known' | 'unknown' | null | undefined, call: BoundedCall): Told {
  if (to === null || to === undefined) return true;
  const { destinations, unknownDestinations } = call.facts;
  if (unknownDestinations.length > 0) return to === 'unknown';
  if (isUnknown('destination', call)) return null;
  return to === 'known' && destinations.length > 0;
}

/** Strictly, where it lets a call through: then every value must match, those that nobody knows too. */
function matchesTold(path: string, pattern: string, { facts, known }: BoundedCall, strictly = false): Told {
  const whole = isKnownAt(known, path);
  if (argumentMatches(facts.args, path, pattern, strictly)) return whole || !strictly ? true : null;
  return whole ? false : null;
}

/** Arguments that a name of `same` stands for, or `destination` of a clause. */
function pathsOf(name: string, { manifest, facts }: BoundedCall): readonly string[] {
  const tool = facts.tool === null ? undefined : toolOf(manifest, facts.tool);
  if (name === 'destination') return tool?.destination ?? [];
  if (name === 'entity') return tool?.entity === undefined ? [] : entityReferences(tool.entity);
  return name.startsWith('arg:') ? [name.slice('arg:'.length)] : [];
}

const isUnknown = (name: string, call: BoundedCall): boolean =>
  pathsOf(name, call).some((path) => !isKnownAt(call.known, path));

/** Whether what the call touches can be told to be one thing, whatever it is. */
export const entityTold = (call: BoundedCall): Told =>
  call.facts.entity !== null || (isUnknown('entity', call) ? (isSingle('entity', call) ? true : null) : false);

const scalars = new Set(['string', 'number', 'boolean']);
/** Not known, and surely one plain value. */
const isSingle = (name: string, call: BoundedCall): boolean =>
  pathsOf(name, call).every(
    (path) => isKnownAt(call.known, path) || scalars.has(call.known.unknown.get(path)?.type ?? ''),
  );

/** By what a tracker correlates the call. Two values of one digest are the same, whatever they are. */
export function keysTold(tracker: Tracker, call: BoundedCall): Keys {
  const { facts, known } = call;
  const { same } = tracker;
  const unknown = same.filter((name) => isUnknown(name, call));
  if (unknown.length === 0) {
    const names = keysOf(tracker, facts);
    return { names: names ?? [], loose: false, lacks: names === null, mayLack: false };
  }
  const rest = same.filter((name) => !unknown.includes(name));
  if (keysOf({ ...tracker, same: rest }, facts) === null)
    return { names: [], loose: false, lacks: true, mayLack: false };
  const [only] = unknown;
  const path = only?.startsWith('arg:') ? only.slice('arg:'.length) : '';
  const argument = known.unknown.get(path);
  const token =
    same.length === 1 && argument !== undefined && scalars.has(argument.type) ? [`#${argument.digest}`] : [];
  return { names: token, loose: true, lacks: false, mayLack: !unknown.every((name) => isSingle(name, call)) };
}

function ruleTold(rule: CompiledRule, scene: BoundedScene): Verdict {
  const when = anyOf(rule.when.map((clause) => clauseTold(clause, scene)));
  if (when === false || rule.unless === null) return when;
  const unless = clauseTold(rule.unless, scene);
  if (unless === true) return false;
  if (unless === false) return when;
  // One of them cannot be told, or lacks something: both deny, or neither can be told.
  return when === null || unless === null ? null : unless;
}

const isLack = (verdict: Verdict): verdict is { lacks: string } => typeof verdict === 'object' && verdict !== null;
const anyOf = (verdicts: Verdict[]): Verdict =>
  verdicts.includes(true) ? true : verdicts.includes(null) ? null : (verdicts.find(isLack) ?? false);
const allOf = (verdicts: Verdict[]): Verdict =>
  verdicts.includes(false) ? false : verdicts.includes(null) ? null : (verdicts.find(isLack) ?? true);

function clauseTold({ now, sequence, spares, decoy }: CompiledClause, scene: BoundedScene): Verdict {
  const { session, call, labels, moreLabels, moment, history } = scene;
  const { manifest, facts, known } = call;
  const point: Told[] = [
    now.task_types === undefined || now.task_types.includes(session.task.task_type),
    sendsTo(now.destination, call),
    now.label === undefined || labels.includes(now.label) || (moreLabels ? null : false),
    decoy === undefined || touchesDecoy(decoy, facts) || (allKnown(known) ? false : null),
    // Where a call came from is not kept.
    now.network === undefined ? true : null,
    now.on_behalf_of === undefined || now.on_behalf_of === standing(session),
    now.elapsed === undefined || moment.now - session.rootOpenedAt.getTime() > now.elapsed * 1000,
    now.hours === undefined || isWithin(now.hours, new Date(moment.now)),
    ...Object.entries(now.match ?? {}).map(([path, pattern]) => matchesTold(path, pattern, call, spares)),
    now.uncleared !== true || uncleared(),
    // Words are kept as marks without a time: what was said before a call, nobody can tell.
    now.unsaid === undefined ? true : now.unsaid.some((word) => hasInputWord(session.task, word)) ? false : null,
    now.untrusted === undefined || doubtful(now.untrusted),
    now.unvouched === undefined || doubtful(now.unvouched),
  ];
  // Claims that nobody asked for then were not kept.
  const claims = now.attested === undefined ? true : attestedAs(now.attested, session.attested ?? null);
  const attested = typeof claims === 'object' ? null : claims;
  return allOf([
    every(point),
    attested,
    ...sequence.map(({ tracker, moreThan }): Verdict => {
      const keys = keysTold(tracker, call);
      if (keys.lacks) return tracker.op === 'first' ? false : { lacks: tracker.same.join(', ') };
      const own = takesTold(tracker.event, call, scene.asking);
      const scope = scene.scopeOf(tracker);
      const told = history.holds(tracker, moreThan, scope, keys, own, call.cost, scene.isComplete(tracker), moment);
      return keys.mayLack && !(tracker.op === 'first' && told === false) ? null : told;
    }),
  ]);

  function uncleared(): Told {
    const barred = facts.destinations.some((destination) => {
      const cleared = clearanceOf(manifest, destination);
      return labels.some((label) => !cleared.includes(label));
    });
    if (barred) return true;
    if (moreLabels && (facts.destinations.length > 0 || isUnknown('destination', call))) return null;
    return labels.length > 0 && isUnknown('destination', call) ? null : false;
  }
  function doubtful(names: readonly string[]): Told {
    const told = names.map((name): Told => {
      const unknown = name === 'destination' ? isUnknown(name, call) : !isKnownAt(known, name);
      return !unknown && doubtfulWords(manifest, session.task, facts, name).length === 0 ? false : null;
    });
    return some(told);
  }
}
