/** Which rules are about a call, what they look at, and whether they hold. Pure. */
import type { ArgumentOrigin } from '../core/questions.ts';
import type { Json, JsonObject, Task } from '../core/vocabulary.ts';
import { attestedAs } from '../manifests/attested-claims.ts';
import { clearanceOf, manifestWords, valuesAt } from '../manifests/call-arguments.ts';
import { mayConcern } from '../manifests/call-policies.ts';
import { touchesDecoy } from '../manifests/canaries.ts';
import {
  type CallFacts,
  type CompiledClause,
  type CompiledRule,
  compiledCalls,
  type Tracker,
  toolOf,
} from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import { memoize } from '../manifests/memoize.ts';
import { isWithinNetworks } from '../manifests/networks.ts';
import type { EventKind } from '../manifests/tool-schema.ts';
import {
  type CellRef,
  type Cells,
  cellKey,
  type Digest,
  outCell,
  saidCell,
  trackerCell,
  trustedCell,
  unique,
  unseenOutput,
} from './cells.ts';
import { argumentMatches, type CellState, cannotBeTold, concerns, holds, keysOf, type Moment } from './monitors.ts';
import { wordsOfValue } from './origin.ts';

/** Of the session, what a call's decision looks at. */
export interface CallSession {
  agent: string;
  rootId: string;
  task: Task;
  /** The root of its tree: a sub-agent’s session starts no clock anew. */
  rootOpenedAt: Date;
  onBehalfOf: object | null;
  declaredOnBehalfOf: string | null;
  /** Claims of the platform's token that the manifest asked for when it opened. */
  attested?: JsonObject | null;
  facts: { withheld: readonly string[] };
}

/** What a rule is held against. */
export interface Scene {
  manifest: Manifest;
  session: CallSession;
  call: CallFacts;
  cells: Cells;
  digest: Digest;
  moment: Moment;
  /** What it would add to counts. */
  asking: readonly EventKind[];
  labels: readonly string[];
}

export const rulesFor = (manifest: Manifest, call: CallFacts): CompiledRule[] =>
  compiledCalls(manifest).rules.filter(
    (rule) => (call.tool === null || mayConcern(rule, call.tool)) && concerns(rule.on, call),
  );

export const clausesOf = (rule: CompiledRule): readonly CompiledClause[] =>
  rule.unless === null ? rule.when : [...rule.when, rule.unless];

export const touches = (tracker: Tracker, call: CallFacts): boolean =>
  concerns(tracker.event, call) || (tracker.without !== null && concerns(tracker.without, call));

/** Words of an argument that nobody trustworthy is known to have said. */
export function doubtfulWords(manifest: Manifest, task: Task, call: CallFacts, name: string): string[] {
  const values = name === 'destination' ? call.destinations : valuesAt(call.args, name).map((value) => textOf(value));
  const trusted = trustedWords(manifest, task);
  return values.flatMap(wordsOfValue).filter((word) => !trusted.has(word));
}

const textOf = (value: unknown) => (typeof value === 'object' ? JSON.stringify(value) : String(value));

function trustedWords(manifest: Manifest, task: Task): Set<string> {
  const own = ownWords(manifest);
  const given = inputWords(task);
  return given.size === 0 ? own : new Set([...own, ...given]);
}

const inputWords = ({ inputs }: Task): Set<string> =>
  new Set(Object.values(inputs).flatMap((value) => wordsOfValue(String(value))));

export const hasInputWord = (task: Task, word: string): boolean => inputWords(task).has(word);

const ownWords = memoize((manifest: Manifest) => new Set(manifestWords(manifest).flatMap(wordsOfValue)));

/** Cells that the rules about a call look at: of their trackers, and of words where they ask for origins. */
export function lookedAt(manifest: Manifest, task: Task, call: CallFacts, digest: Digest): CellRef[] {
  const clauses = rulesFor(manifest, call).flatMap(clausesOf);
  const names = new Set(clauses.flatMap(({ now }) => [...(now.untrusted ?? []), ...(now.unvouched ?? [])]));
  // Whoever is asked about the call is told where each of its arguments comes from.
  if (rulesFor(manifest, call).some(({ effect }) => effect === 'approve'))
    for (const name of Object.keys(call.args)) names.add(name);
  const words = [...names].flatMap((name) => doubtfulWords(manifest, task, call, name));
  const origins = words.flatMap((word) => [outCell(word, digest), trustedCell(word, digest)]);
  const said = clauses.flatMap(({ now }) => now.unsaid ?? []).map((word) => saidCell(word, digest));
  const tracked = clauses.flatMap(({ sequence }) => sequence.map(({ tracker }) => tracker));
  const refs = trackerCells(new Set(tracked), call, digest);
  return unique([...refs, ...origins, ...said, ...(origins.length > 0 ? [unseenOutput] : [])]);
}

/**
 * Where the value of each argument was seen before. Cells of `lookedAt` of a rule that has a person asked.
 */
export function originsOf(
  manifest: Manifest,
  task: Task,
  call: CallFacts,
  cells: Cells,
  digest: Digest,
): { [argument: string]: ArgumentOrigin } {
  const seen = (ref: CellRef) => (cells.get(cellKey(ref))?.version ?? 0) > 0;
  const inputs = inputWords(task);
  const trusted = trustedWords(manifest, task);
  const originOf = (value: Json): ArgumentOrigin => {
    const words = wordsOfValue(textOf(value));
    if (words.every((word) => inputs.has(word))) return 'task';
    const doubtful = words.filter((word) => !trusted.has(word) && !seen(trustedCell(word, digest)));
    if (doubtful.length === 0) return 'person or manifest';
    return doubtful.some((word) => seen(outCell(word, digest)) || seen(unseenOutput)) ? 'output of a tool' : 'agent';
  };
  return Object.fromEntries(Object.entries(call.args).map(([name, value]) => [name, originOf(value)]));
}

/** The cells of these trackers for what the call correlates by. */
export const trackerCells = (trackers: Iterable<Tracker>, call: CallFacts, digest: Digest): CellRef[] =>
  [...trackers].flatMap((tracker) => (keysOf(tracker, call) ?? []).map((key) => trackerCell(tracker, key, digest)));

/** Whether a condition holds, or what the call lacks without which nobody can say. */
type Verdict = boolean | { lacks: string };

export function ruleHolds(rule: CompiledRule, scene: Scene): Verdict {
  const when = anyOf(rule.when.map((clause) => clauseHolds(clause, scene)));
  if (when === false || rule.unless === null) return when;
  const unless = clauseHolds(rule.unless, scene);
  return unless === true ? false : unless === false ? when : unless;
}

const isLack = (verdict: Verdict): verdict is { lacks: string } => typeof verdict === 'object';
/** What holds whatever is lacking does not depend on it. */
const anyOf = (verdicts: Verdict[]): Verdict => verdicts.includes(true) || (verdicts.find(isLack) ?? false);
const allOf = (verdicts: Verdict[]): Verdict => !verdicts.includes(false) && (verdicts.find(isLack) ?? true);

function clauseHolds({ now, sequence, spares, decoy }: CompiledClause, scene: Scene): Verdict {
  const { session, call, manifest, cells, digest, moment } = scene;
  if (decoy !== undefined && !touchesDecoy(decoy, call)) return false;
  if (now.task_types !== undefined && !now.task_types.includes(session.task.task_type)) return false;
  if (now.destination === 'unknown' && call.unknownDestinations.length === 0) return false;
  if (now.destination === 'known' && (call.destinations.length === 0 || call.unknownDestinations.length > 0))
    return false;
  if (now.unsaid?.some((word) => seen(saidCell(word, digest)) || hasInputWord(session.task, word))) return false;
  const verdicts: Verdict[] = [];
  if (now.network !== undefined) {
    const inside = call.address === null ? null : isWithinNetworks(call.address, now.network);
    verdicts.push(inside ?? { lacks: 'network' });
  }
  if (now.attested !== undefined) verdicts.push(attestedAs(now.attested, session.attested ?? null));
  if (verdicts.includes(false)) return false;
  if (now.label !== undefined && !scene.labels.includes(now.label)) return false;
  if (now.uncleared === true && !isUncleared(scene)) return false;
  if (now.on_behalf_of !== undefined && now.on_behalf_of !== standing(session)) return false;
  if (now.elapsed !== undefined && moment.now - session.rootOpenedAt.getTime() <= now.elapsed * 1000) return false;
  if (now.hours !== undefined && !isWithin(now.hours, new Date(moment.now))) return false;
  for (const [path, pattern] of Object.entries(now.match ?? {}))
    if (!argumentMatches(call.args, path, pattern, spares)) return false;
  if (now.untrusted !== undefined && !now.untrusted.some((name) => unvouchedWords(name).some(returned))) return false;
  if (now.unvouched !== undefined && !now.unvouched.some((name) => unvouchedWords(name).length > 0)) return false;
  return allOf([
    ...verdicts,
    ...sequence.map(({ tracker, moreThan, times }): Verdict => {
      const keys = keysOf(tracker, call);
      // A first time of nothing is none.
      if (keys === null) return tracker.op === 'first' ? false : { lacks: tracker.same.join(', ') };
      return keys.some((key) => {
        const state = cells.get(cellKey(trackerCell(tracker, key, digest)))?.state ?? null;
        return holds(tracker, { moreThan, times }, state as CellState | null, call, moment, scene.asking);
      });
    }),
  ]);

  function seen(ref: CellRef): boolean {
    return (cells.get(cellKey(ref))?.version ?? 0) > 0;
  }
  function unvouchedWords(name: string): string[] {
    return doubtfulWords(manifest, session.task, call, name).filter((word) => !seen(trustedCell(word, digest)));
  }
  function returned(word: string): boolean {
    return seen(outCell(word, digest)) || seen(unseenOutput);
  }
}

/**
 * Rules that could not recognise this call later, when they look back at it: it has more values than are
 * compared, or the manifest says that it touches something and nobody can tell what.
 */
export function untold(manifest: Manifest, call: CallFacts): { rule: string; path: string }[] {
  // One that hides keeps being seen for the first time.
  const hidden = (tracker: Tracker) =>
    tracker.op !== 'first' &&
    touches(tracker, call) &&
    cannotBeTold(tracker, call, call.tool !== null && hasEntity(manifest, call.tool));
  return compiledCalls(manifest).rules.flatMap((rule) => {
    const one = clausesOf(rule)
      .flatMap(({ sequence }) => sequence)
      .find(({ tracker }) => hidden(tracker));
    return one === undefined ? [] : [{ rule: rule.id, path: one.tracker.same.join(', ') }];
  });
}

const hasEntity = (manifest: Manifest, tool: string) => toolOf(manifest, tool)?.entity !== undefined;

function isUncleared({ manifest, call, labels }: Scene): boolean {
  return call.destinations.some((destination) => {
    const cleared = clearanceOf(manifest, destination);
    return labels.some((label) => !cleared.includes(label));
  });
}

/** Who says for whom it acts. */
export const standing = ({ onBehalfOf, declaredOnBehalfOf }: CallSession) =>
  onBehalfOf !== null ? 'vouched' : declaredOnBehalfOf !== null ? 'declared' : 'nobody';

/** Whether a moment is within hours of a zone; `from` after `to` goes over midnight. */
export function isWithin(
  { zone, from, to, days: wanted }: NonNullable<CompiledClause['now']['hours']>,
  at: Date,
): boolean {
  const parts = formatOf(zone).formatToParts(at);
  const part = (type: string) => parts.find((one) => one.type === type)?.value ?? '';
  const time = `${part('hour')}:${part('minute')}`;
  const day = part('weekday').slice(0, 3).toLowerCase() as NonNullable<typeof wanted>[number];
  const inside = from <= to ? time >= from && time < to : time >= from || time < to;
  return inside && (wanted === undefined || wanted.includes(day));
}

const formats = new Map<string, Intl.DateTimeFormat>();
function formatOf(zone: string): Intl.DateTimeFormat {
  let format = formats.get(zone);
  if (format === undefined) {
    const options = { timeZone: zone, hour: '2-digit', minute: '2-digit', weekday: 'short', hourCycle: 'h23' } as const;
    format = new Intl.DateTimeFormat('en-GB', options);
    formats.set(zone, format);
  }
  return format;
}
