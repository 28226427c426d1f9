/**
 * What a manifest says of tool calls, made ready to run: rules, and the trackers whose state they look at.
 * Derived from the manifest alone, once for each version.
 *
 * A tracker is one thing to remember of a history ("when was a call of this class last allowed"), named by
 * the hash of what it says: rules that say the same share it, in another version of the manifest and in the
 * manifest of another agent too. So a new version resets nothing, and rules of an owner's agents see each
 * other's events where they are written alike.
 */
import { hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import type { Json } from '../core/vocabulary.ts';
import type { Approval } from './approval-schema.ts';
import { canariesOf } from './canaries.ts';
import type { Manifest } from './manifest.ts';
import { member } from './manifest.ts';
import { memoize } from './memoize.ts';
import type { Canary, Clause, Effect, EventKind, EventSelector, Rule, Scope, Selector, Tool } from './tool-schema.ts';

/** Which events an event selector takes. `null` = any. */
export interface EventTest {
  kinds: readonly EventKind[];
  tools: readonly string[] | null;
  capabilities: readonly string[] | null;
  sensitivity: number | null;
  label: string | null;
  destination: 'known' | 'unknown' | null;
  match: readonly (readonly [path: string, pattern: string])[];
  /** Absent where nobody asks: trackers are named by what they say, and old ones must keep their names. */
  providers?: readonly string[];
  tier?: number;
  /** What it takes passes: every value must match, as it is spelled. */
  strictly?: true;
}

export interface Tracker {
  id: string;
  /**
   * `last`: when it last was; `since`: the same, forgotten when `without` is; `first`: who was the first;
   * `rate`: how many there are, and how many there usually are.
   */
  op: 'last' | 'since' | 'count' | 'sum' | 'first' | 'rate';
  scope: Scope;
  /** Milliseconds; null = since the session began. */
  windowMs: number | null;
  event: EventTest;
  without: EventTest | null;
  same: readonly string[];
  /** How values are compared: what denies takes all that is alike, what lets pass only the very same. */
  compares: 'alike' | 'exactly';
}

export interface CompiledClause {
  /** What needs no history. */
  now: Omit<Clause, 'formerly' | 'since' | 'count' | 'sum' | 'rate' | 'first_time'>;
  /** The call names this decoy. */
  decoy?: Canary;
  /** `times`: of a rate, how many times the usual number. */
  sequence: readonly { tracker: Tracker; moreThan: number | null; times?: number }[];
  /** Whether a call passes where it holds. */
  spares: boolean;
}

export interface CompiledRule {
  id: string;
  message: string;
  on: EventTest;
  /** One of these must hold; each is a conjunction. */
  when: readonly CompiledClause[];
  unless: CompiledClause | null;
  scope: Scope;
  effect: Effect;
  /** `tool:NAME` and `capability:NAME` that a session loses by it. */
  withholds: readonly string[];
  reason: 'rule' | 'separation_of_duties' | 'envelope_spent';
  /** How many of whom must approve; absent = as the capability or the agent says. */
  approval?: Approval;
  /** Of a canary, its name: for people, not for the agent. */
  canary?: string;
}

export interface CompiledCalls {
  rules: readonly CompiledRule[];
  trackers: readonly Tracker[];
  /** Whether any rule asks where a value came from: only then is output looked at. */
  looksAtOrigin: boolean;
}

/** What tests and rules may look at of the call that is asked for, or was. */
export interface CallFacts {
  tool: string | null;
  capability: string | null;
  args: { [name: string]: Json };
  entity: string | null;
  destinations: readonly string[];
  unknownDestinations: readonly string[];
  sensitivity: number;
  labels: readonly string[];
  costMicroUsd: number;
  /** Of a grant. */
  provider: string | null;
  tier: number | null;
  /** Of what it touches, the kind: `order` of `order:42`. */
  family: string | null;
  /** Where it comes from, as the broker sees it. */
  address: string | null;
}

/** The rules and trackers of a manifest; of one without any, none. */
export const compiledCalls: (manifest: Manifest) => CompiledCalls = memoize(compile);

function compile(manifest: Manifest): CompiledCalls {
  const trackers = new Map<string, Tracker>();
  const track = (parts: Omit<Tracker, 'id'>): Tracker => {
    const id = hash('sha256', canonicalize(parts)!, 'hex').slice(0, 24);
    const known = trackers.get(id) ?? { id, ...parts };
    trackers.set(id, known);
    return known;
  };
  const test = (selector: EventSelector | Selector, kinds: readonly EventKind[]) =>
    eventTest(manifest, selector, kinds);
  const clause = (written: Clause, scope: Scope, on: EventTest, spares = false): CompiledClause => {
    const { formerly, since, count, sum, rate, first_time, ...now } = written;
    const sequence: CompiledClause['sequence'][number][] = [];
    const add = (
      tracker: Omit<Tracker, 'id' | 'scope' | 'compares'>,
      bounds: { moreThan: number | null; times?: number } = { moreThan: null },
    ) => {
      // Whoever was seen before is not new: there it is the other way round.
      const compares = spares === (tracker.op === 'first') ? 'alike' : 'exactly';
      sequence.push({ tracker: track({ scope, ...tracker, compares }), ...bounds });
    };
    if (formerly !== undefined) {
      const event = test(formerly, kindsOf(formerly));
      add({ op: 'last', windowMs: windowOf(formerly.within), event, without: null, same: formerly.same });
    }
    if (since !== undefined) {
      const [event, without] = [test(since.event, kindsOf(since.event)), test(since.without, kindsOf(since.without))];
      add({ op: 'since', windowMs: windowOf(since.within), event, without, same: since.same });
    }
    if (count !== undefined) {
      const event = count.of === undefined ? on : test(count.of, kindsOf(count.of));
      const { more_than, within, same } = count;
      add({ op: 'count', windowMs: windowOf(within), event, without: null, same }, { moreThan: more_than });
    }
    if (sum !== undefined) {
      const event = sum.of === undefined ? on : test(sum.of, kindsOf(sum.of));
      const { cost_usd_more_than, within, same } = sum;
      add({ op: 'sum', windowMs: windowOf(within), event, without: null, same }, { moreThan: cost_usd_more_than });
    }
    if (rate !== undefined) {
      const event = rate.of === undefined ? on : test(rate.of, kindsOf(rate.of));
      const { over, times, at_least, same } = rate;
      add({ op: 'rate', windowMs: windowOf(over), event, without: null, same }, { moreThan: at_least, times });
    }
    if (first_time !== undefined)
      add({ op: 'first', windowMs: null, event: everything, without: null, same: [first_time] });
    return { now, sequence, spares };
  };

  const rules: CompiledRule[] = (manifest.rules ?? []).map((rule) => {
    const allows = rule.effect === 'allow';
    const named = rule.on === '*' ? everything : test(rule.on, ['call']);
    const on = allows ? { ...named, strictly: true as const } : named;
    const when = rule.when === undefined ? [{}] : Array.isArray(rule.when) ? rule.when : [rule.when];
    return {
      id: rule.id,
      message: rule.message ?? `The rule ${rule.id} of the manifest stands against it.`,
      on,
      when: when.map((one) => clause(one, rule.scope, named, allows)),
      unless: rule.unless === undefined ? null : clause(rule.unless, rule.scope, named, !allows),
      scope: rule.scope,
      effect: rule.effect,
      withholds: withheldBy(manifest, rule),
      reason: 'rule',
      ...(rule.approval === undefined ? {} : { approval: rule.approval }),
    };
  });
  for (const { id, duties, same, scope, within } of manifest.separation_of_duties ?? []) {
    for (const [index, duty] of duties.entries()) {
      const others = duties.filter((_, other) => other !== index);
      const on = test(duty, ['call']);
      rules.push({
        id: `${id}.${index + 1}`,
        message: `${id}: whoever did another of these duties may not do this one.`,
        on,
        when: others.map((other) => clause({ formerly: { ...other, within, same } }, scope, on)),
        unless: null,
        scope,
        effect: 'deny',
        withholds: [],
        reason: 'separation_of_duties',
      });
    }
  }
  const { max_calls, max_cost_usd } = manifest.envelope;
  const bound = (id: string, written: Clause): CompiledRule => ({
    id,
    message: 'The session has spent its envelope.',
    on: everything,
    when: [clause(written, 'session', anyCall)],
    unless: null,
    scope: 'session',
    effect: 'terminate',
    withholds: [],
    reason: 'envelope_spent',
  });
  // Not the tools by name: another list of them must not count anew.
  if (max_calls !== undefined)
    rules.push(bound('envelope.max-calls', { count: { more_than: max_calls, within: 'session', same: [] } }));
  if (max_cost_usd !== undefined)
    rules.push(bound('envelope.max-cost', { sum: { cost_usd_more_than: max_cost_usd, within: 'session', same: [] } }));
  for (const { ruleId, name, on, decoy } of canariesOf(manifest))
    rules.push({
      id: ruleId,
      message: 'A rule of the manifest stands against it.',
      on: on === null ? everything : { ...everything, ...on },
      when: [{ now: {}, sequence: [], spares: false, ...(decoy === null ? {} : { decoy }) }],
      unless: null,
      scope: 'session',
      effect: 'terminate',
      withholds: [],
      reason: 'rule',
      canary: name,
    });
  return {
    rules,
    trackers: [...trackers.values()],
    // A policy of the team's own, read as a text: what is too much only looks at more.
    looksAtOrigin:
      /@effect\s*\(\s*"approve"/.test(manifest.cedar ?? '') ||
      rules.some(
        (rule) =>
          rule.effect === 'approve' ||
          [...rule.when, ...(rule.unless === null ? [] : [rule.unless])].some(
            ({ now }) => now.untrusted !== undefined || now.unvouched !== undefined,
          ),
      ),
  };
}

const everything: EventTest = {
  kinds: ['call'],
  tools: null,
  capabilities: null,
  sensitivity: null,
  label: null,
  destination: null,
  match: [],
};

/** Grants are no calls of tools. */
const anyCall: EventTest = { ...everything, capabilities: [] };

const listOf = <T>(value: T | readonly T[] | undefined): readonly T[] =>
  value === undefined ? [] : Array.isArray(value) ? (value as readonly T[]) : [value as T];

const kindsOf = ({ kind }: EventSelector): readonly EventKind[] => (kind === undefined ? ['call'] : listOf(kind));

const windowOf = (within: number | 'session'): number | null => (within === 'session' ? null : within * 1000);

/** Names of tools and of capabilities are apart: either may be called like the other. */
export const withheldTool = (name: string): string => `tool:${name}`;
export const withheldCapability = (name: string): string => `capability:${name}`;

function withheldBy(manifest: Manifest, { withhold }: Rule): string[] {
  const classes = (withhold?.classes ?? []).map((name) => member(manifest.classes ?? {}, name));
  const tools = [...(withhold?.tools ?? []), ...classes.flatMap((one) => one?.tools ?? [])];
  const capabilities = [...(withhold?.capabilities ?? []), ...classes.flatMap((one) => one?.capabilities ?? [])];
  return [...new Set([...tools.map(withheldTool), ...capabilities.map(withheldCapability)])].sort();
}

/** Names of classes are resolved: a tracker is the same whatever a class is called. */
function eventTest(manifest: Manifest, selector: EventSelector | Selector, kinds: readonly EventKind[]): EventTest {
  const classes = listOf(selector.class).map((name) => member(manifest.classes ?? {}, name));
  const named = selector.tool !== undefined || selector.class !== undefined || selector.capability !== undefined;
  const tools = [...listOf(selector.tool), ...classes.flatMap((one) => one?.tools ?? [])];
  const capabilities = [...listOf(selector.capability), ...classes.flatMap((one) => one?.capabilities ?? [])];
  return {
    kinds: [...kinds].sort(),
    tools: named ? [...new Set(tools)].sort() : null,
    capabilities: named ? [...new Set(capabilities)].sort() : null,
    sensitivity: selector.sensitivity ?? null,
    label: selector.label ?? null,
    destination: selector.destination ?? null,
    match: Object.entries(selector.match ?? {}).sort(([a], [b]) => (a < b ? -1 : 1)),
    ...(selector.provider === undefined ? {} : { providers: [...listOf(selector.provider)].sort() }),
    ...(selector.tier === undefined ? {} : { tier: selector.tier }),
  };
}

/** Names of the canaries that a call touched. @param hits ids of the rules that hold for it */
export const canariesAmong = (manifest: Manifest, hits: readonly string[]): string[] =>
  compiledCalls(manifest).rules.flatMap(({ id, canary }) =>
    canary !== undefined && hits.includes(id) ? [canary] : [],
  );

/** The tool as the manifest has it; undefined for one that it does not list. */
export const toolOf = (manifest: Manifest, name: string): Tool | undefined => member(manifest.tools ?? {}, name);
