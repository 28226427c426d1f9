/**
 * Rules under two versions of a manifest: whether whatever the old ones stood against, the new ones still
 * stand against, on the same history. Pure. Errs towards no: what is not proven here counts as wider.
 */
import {
  type CompiledClause,
  type CompiledRule,
  compiledCalls,
  type EventTest,
  type Tracker,
} from './compile-calls.ts';
import { isAsStrictApproval } from './diff-approval.ts';
import type { Change } from './diff-change.ts';
import { isEqual } from './diff-limits.ts';
import type { Manifest } from './manifest.ts';
import type { Effect } from './tool-schema.ts';

/** How much a rule does against a call. */
const strictness: { [effect in Effect]?: number } = { flag: 0, approve: 1, deny: 2, suspend: 3, terminate: 4 };
/** Lets pass what a person would be asked about: more of such rules is more that passes. */
const isLift = ({ effect }: CompiledRule) => effect === 'allow';

export function diffRules(before: Manifest, after: Manifest): Change[] {
  const [old, now] = [rulesOf(before), rulesOf(after)];
  const listed = new Set(Object.keys(after.tools ?? {}));
  const changes: Change[] = [];
  for (const rule of old) {
    const named = now.find(({ id }) => id === rule.id);
    if (named !== undefined && isSameRule(rule, named)) {
      if (named.message !== rule.message)
        changes.push({ path: pathOf(rule), verdict: 'neither', text: `${nameOf(rule)} is told in other words` });
      continue;
    }
    changes.push(changeOf(rule, named ?? null, now, listed));
  }
  for (const rule of now)
    if (!old.some(({ id }) => id === rule.id)) {
      const verdict = isLift(rule) ? 'widens' : rule.effect === 'flag' && !compares(rule) ? 'neither' : 'narrows';
      changes.push({ path: pathOf(rule), verdict, text: `${nameOf(rule)} added: ${effectInWords(rule)}` });
    }
  return changes;
}

/** Bounds of the envelope are rules too, and are compared as the numbers they are. */
const rulesOf = (manifest: Manifest) =>
  compiledCalls(manifest).rules.filter(({ reason }) => reason !== 'envelope_spent');

function changeOf(
  rule: CompiledRule,
  named: CompiledRule | null,
  now: readonly CompiledRule[],
  listed: ReadonlySet<string>,
): Change {
  const path = pathOf(rule);
  const what = named === null ? 'removed' : 'changed';
  if (isLift(rule))
    return named === null && !compares(rule)
      ? { path, verdict: 'narrows', text: `${nameOf(rule)} removed: it let calls pass` }
      : { path, verdict: 'unknown', text: `${nameOf(rule)} ${what}, which lets calls pass` };
  if (rule.effect === 'flag' && !compares(rule) && (named === null || !isLift(named)))
    return {
      path,
      verdict: named === null || named.effect === 'flag' ? 'neither' : 'narrows',
      text: flagText(rule, named),
    };
  if ((rule.effect === 'deny' || rule.effect === 'approve') && concernsNothing(rule.on, listed))
    return { path, verdict: 'neither', text: `${nameOf(rule)} ${what}: nothing that it was about is left` };
  const covering = [...(named === null ? [] : [named]), ...now].find((one) => whyNot(rule, one, listed) === null);
  if (covering !== undefined) {
    const by =
      covering === named
        ? `${nameOf(rule)} is stricter: ${effectInWords(covering)}`
        : `${nameOf(rule)} ${what}; ${nameOf(covering)} stands against the same and more`;
    return { path, verdict: 'narrows', text: by };
  }
  if (named === null) return { path, verdict: 'widens', text: `${nameOf(rule)} removed: it ${effectInWords(rule)}` };
  const why = whyNot(rule, named, listed)!;
  return { path, verdict: why.verdict, text: `${nameOf(rule)} changed: ${why.text}` };
}

const flagText = (rule: CompiledRule, named: CompiledRule | null) =>
  named === null ? `${nameOf(rule)} removed: it only flagged` : `${nameOf(rule)} changed: ${effectInWords(named)}`;

interface Why {
  verdict: 'widens' | 'unknown';
  text: string;
}

/** Why `now` may let something pass that `old` stands against; null = it does not. */
function whyNot(old: CompiledRule, now: CompiledRule, listed: ReadonlySet<string>): Why | null {
  const unknown = (text: string): Why => ({ verdict: 'unknown', text });
  if (!isAsStrict(now.effect, old.effect))
    return { verdict: 'widens', text: `it ${effectInWords(now)}; before, it ${effectInWords(old)}` };
  if (now.effect === 'approve' && old.effect === 'approve' && !isAsStrictApproval(now.approval, old.approval))
    return {
      verdict: 'widens',
      text: isAsStrictApproval({ ...now.approval, expires: undefined }, { ...old.approval, expires: undefined })
        ? 'it waits for people longer, or for a time that is set elsewhere'
        : 'fewer people, or others, approve it now',
    };
  if (old.scope !== now.scope)
    return unknown(`it looks at the history of the ${now.scope}; before: of the ${old.scope}`);
  // A call that is ended for the attempt alone is another thing than one that is denied as unlisted.
  const ends = old.effect === 'terminate' || old.effect === 'suspend' || old.effect === 'downgrade';
  if (!isWithin(ends ? old.on : reduced(old.on, listed), now.on)) {
    const lost = (old.on.tools ?? []).filter((tool) => now.on.tools !== null && !now.on.tools.includes(tool));
    return lost.length > 0
      ? { verdict: 'widens', text: `it is not about ${lost.join(', ')} any more` }
      : unknown('it is about other calls than before');
  }
  const uncovered = old.when.find((clause) => !now.when.some((other) => clauseImplies(clause, other)));
  if (uncovered !== undefined) {
    const forgets = old.when.every((clause) =>
      now.when.some((other) => clauseImplies(clause, other, 'whatever it remembers')),
    );
    return unknown(
      forgets
        ? 'it is stricter, but begins with no memory of what was before: keep the old rule beside it for as long as that looks back'
        : 'it holds under other conditions than before',
    );
  }
  if (now.unless !== null && (old.unless === null || !clauseImplies(now.unless, old.unless)))
    return old.unless === null
      ? { verdict: 'widens', text: 'it has an exception now' }
      : unknown('its exception is another than before');
  // A call that hides what a rule compares by is denied by each rule that compares by it.
  if (
    !trackersOf(old).every(
      (tracker) => tracker.same.length === 0 || trackersOf(now).some(({ id }) => id === tracker.id),
    )
  )
    return unknown('it compares by something else than before');
  if (old.effect === 'flag' && !isSameRule(old, { ...now, effect: old.effect }))
    return unknown('what it flags, and what it denies for lack of something, is not the same');
  return null;
}

/**
 * To take something from a session is to deny the call, and more; how it compares with a freeze nobody can
 * say.
 */
function isAsStrict(now: Effect, old: Effect): boolean {
  if (now === old) return true;
  const rank = (effect: Effect) => strictness[effect === 'downgrade' ? 'deny' : effect];
  const [more, less] = [rank(now), rank(old)];
  if (more === undefined || less === undefined) return false;
  return old === 'downgrade' ? now === 'terminate' : more >= less;
}

/** Whether the rule denies calls that lack what it compares by, whatever its effect. */
const compares = (rule: CompiledRule) => trackersOf(rule).some(({ same, op }) => same.length > 0 && op !== 'first');

const clausesOf = ({ when, unless }: CompiledRule) => (unless === null ? when : [...when, unless]);
const trackersOf = (rule: CompiledRule): Tracker[] =>
  clausesOf(rule).flatMap(({ sequence }) => sequence.map(({ tracker }) => tracker));

function isSameRule(one: CompiledRule, other: CompiledRule): boolean {
  const { message: _one, ...a } = one;
  const { message: _other, ...b } = other;
  return isEqual(a, b);
}

/** Whether whatever `inner` takes, `outer` takes. A member that is not known here must be the same. */
function isWithin(inner: EventTest, outer: EventTest): boolean {
  const { kinds, tools, capabilities, sensitivity, label, destination, match, ...rest } = inner;
  const { kinds: k, tools: t, capabilities: c, sensitivity: s, label: l, destination: d, match: m, ...more } = outer;
  return (
    kinds.every((one) => k.includes(one)) &&
    (t === null || tools?.every((one) => t.includes(one)) === true) &&
    (c === null || capabilities?.every((one) => c.includes(one)) === true) &&
    (s === null || (sensitivity !== null && sensitivity >= s)) &&
    (l === null || label === l) &&
    (d === null || destination === d) &&
    m.every((pair) => match.some((one) => isEqual(one, pair))) &&
    isEqual(rest, more)
  );
}

/** Without the tools that the new version denies anyway. */
const reduced = (test: EventTest, listed: ReadonlySet<string>): EventTest =>
  test.tools === null ? test : { ...test, tools: test.tools.filter((tool) => listed.has(tool)) };

const concernsNothing = (test: EventTest, listed: ReadonlySet<string>) =>
  reduced(test, listed).tools?.length === 0 && test.capabilities?.length === 0;

type Now = CompiledClause['now'];

/** Whether `outer` holds wherever `inner` does. */
function clauseImplies(inner: CompiledClause, outer: CompiledClause, remembering?: 'whatever it remembers'): boolean {
  return (
    nowImplies(inner.now, outer.now) &&
    inner.spares === outer.spares &&
    (outer.decoy === undefined || isEqual(inner.decoy, outer.decoy)) &&
    outer.sequence.every((want) =>
      inner.sequence.some(
        (have) =>
          trackerImplies(have.tracker, want.tracker, remembering !== undefined) &&
          (want.moreThan === null || (have.moreThan !== null && want.moreThan <= have.moreThan)) &&
          (want.times === undefined || (have.times !== undefined && want.times <= have.times)),
      ),
    )
  );
}

function nowImplies(inner: Now, outer: Now): boolean {
  const { task_types, untrusted, unvouched, unsaid, match, elapsed, ...rest } = outer;
  return (
    (task_types === undefined || inner.task_types?.every((one) => task_types.includes(one)) === true) &&
    (untrusted === undefined || inner.untrusted?.every((one) => untrusted.includes(one)) === true) &&
    (unvouched === undefined || inner.unvouched?.every((one) => unvouched.includes(one)) === true) &&
    (unsaid === undefined || unsaid.every((word) => inner.unsaid?.includes(word))) &&
    (elapsed === undefined || (inner.elapsed !== undefined && inner.elapsed >= elapsed)) &&
    Object.entries(match ?? {}).every(([path, pattern]) => inner.match?.[path] === pattern) &&
    Object.entries(rest).every(([name, value]) => isEqual(inner[name as keyof Now], value))
  );
}

/**
 * What another tracker remembers of the past is nothing at first, however much it takes: so it must be the
 * very same, but for those that ask what would be so if both had always been there.
 */
function trackerImplies(inner: Tracker, outer: Tracker, remembers: boolean): boolean {
  if (inner.id === outer.id) return true;
  // What is usual depends on all that is counted: more of it makes a rate no higher.
  if (
    !remembers ||
    inner.op === 'rate' ||
    inner.op !== outer.op ||
    inner.scope !== outer.scope ||
    inner.compares !== outer.compares
  )
    return false;
  // Windows of counts end on steps of their own length: only a much longer one surely has what a shorter has.
  const longer = inner.op === 'count' || inner.op === 'sum' ? 2 : 1;
  const covers =
    outer.windowMs === null ||
    inner.windowMs === outer.windowMs ||
    (inner.windowMs !== null && outer.windowMs >= inner.windowMs * longer);
  const forgets = outer.without === null || (inner.without !== null && isWithin(outer.without, inner.without));
  return covers && forgets && isWithin(inner.event, outer.event) && isEqual(inner.same, outer.same);
}

const pathOf = ({ id, reason }: CompiledRule) =>
  reason === 'separation_of_duties' ? `separation_of_duties.${id}` : `rules.${id}`;
const nameOf = ({ id, reason, canary }: CompiledRule) =>
  canary !== undefined ? `canary ${canary}` : `${reason === 'separation_of_duties' ? 'duty' : 'rule'} ${id}`;

const effects: { [effect in Effect]: string } = {
  allow: 'lets calls pass that a person would be asked about',
  flag: 'only flags',
  approve: 'asks a person',
  deny: 'denies',
  downgrade: 'takes something from the session',
  suspend: 'suspends the session',
  terminate: 'ends the session',
};
function effectInWords({ effect, on }: CompiledRule): string {
  const about = [...(on.tools ?? []), ...(on.capabilities ?? [])];
  const which = on.tools === null && on.capabilities === null ? '' : ` (${about.join(', ') || 'nothing'})`;
  return `${effects[effect]}${which}`;
}

/**
 * Facts of calls that rules look at, and in which direction: `+label`: the more labels, the more the rules
 * stand against. Without a sign: a rule looks at it, and nobody can tell the direction.
 */
export function usesOf(manifest: Manifest): ReadonlySet<string> {
  const uses = new Set<string>();
  // Policies of the team's own may look at every fact, either way.
  if (manifest.cedar !== undefined)
    for (const fact of ['label', 'sensitivity', 'unknown', 'cost', 'destination', 'entity'])
      uses.add(fact).add(`+${fact}`).add(`-${fact}`);
  for (const rule of compiledCalls(manifest).rules) {
    if (rule.effect === 'flag' && !compares(rule)) continue;
    const stands: Sign = isLift(rule) ? '-' : '+';
    noteTest(uses, rule.on, stands);
    for (const one of rule.when) noteClause(uses, one, stands);
    if (rule.unless !== null) noteClause(uses, rule.unless, flip(stands));
  }
  return uses;
}

type Sign = '+' | '-';
const flip = (sign: Sign): Sign => (sign === '+' ? '-' : '+');

function noteTest(uses: Set<string>, { label, sensitivity, destination }: EventTest, sign: Sign): void {
  if (label !== null) uses.add(`${sign}label`);
  if (sensitivity !== null) uses.add(`${sign}sensitivity`);
  if (destination !== null) uses.add('destination').add(`${destination === 'unknown' ? sign : flip(sign)}unknown`);
}

function noteClause(uses: Set<string>, { now, sequence, decoy }: CompiledClause, sign: Sign): void {
  const { label, uncleared, destination, untrusted, unvouched } = now;
  if (label !== undefined || uncleared !== undefined) uses.add(`${sign}label`);
  if (uncleared !== undefined) uses.add('destination').add(`${sign}uncleared`);
  if (destination !== undefined) uses.add('destination').add(`${destination === 'unknown' ? sign : flip(sign)}unknown`);
  if (decoy?.entity !== undefined) uses.add('entity');
  const origins = [...(untrusted ?? []), ...(unvouched ?? [])];
  if (origins.length > 0) uses.add(`${sign}origin`);
  if (origins.includes('destination')) uses.add('destination');
  for (const { tracker } of sequence) {
    const { op, event, without, same } = tracker;
    // More of what is usual makes a rate lower, and more of what is new makes it higher.
    const signs: Sign[] = op === 'rate' ? ['+', '-'] : [sign];
    for (const one of signs) {
      noteTest(uses, event, one);
      if (without !== null) noteTest(uses, without, flip(one));
      if (op === 'sum') uses.add(`${one}cost`);
    }
    for (const name of same) uses.add(name === 'resource_family' ? 'entity' : name);
  }
}
