/**
 * Whatever one version of a manifest lets pass and the one before it does not, `diffManifests` reports as
 * wider: random versions, each changed in a few places, under random histories and requests, decided by the
 * real decisions.
 *
 * @long-calculation
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { z } from 'zod';
import type { JsonObject } from '../core/vocabulary.ts';
import { decide } from '../decide/decide.ts';
import { freshSession, planOf } from '../decide/request.test-support.ts';
import { bindParams } from '../manifests/bind.ts';
import type { CompiledManifest } from '../manifests/compile.ts';
import type { CallFacts } from '../manifests/compile-calls.ts';
import { diffManifests, isWidening } from '../manifests/diff.ts';
import type { Change } from '../manifests/diff-change.ts';
import { type Manifest, member } from '../manifests/manifest.ts';
import { readManifest } from '../manifests/read.ts';
import type { EventKind } from '../manifests/tool-schema.ts';
import { type Cell, type CellRef, type Cells, type CellWrite, cellKey, labelsIn, labelWrite } from './cells.ts';
import { callFacts, cellsFor, evaluateCall, movesOfGrant } from './evaluate-call.ts';
import {
  agents,
  compiledFor,
  digest,
  duty,
  Folded,
  follow,
  history,
  manifestSource,
  type Recorded,
  rule,
  type Step,
  tools,
} from './histories.test-support.ts';
import { lineageWrites, touchedLabels } from './lineage.ts';
import { wordsOf } from './origin.ts';
import { type Awaited, awaitedOutcome, finishCall, reportedCells } from './outcome.ts';
import { storedScope } from './rebuild.ts';

const seed = 20261126;
const deep = process.env.TEST_DEPTH === 'all';
const pick = <T>(...values: readonly T[]) => fc.constantFrom(...values);

// biome-ignore lint/suspicious/noExplicitAny: a manifest as it is written, before anybody has read it
type Written = any;
/** Changes a manifest in one place. */
type Mutation = (written: Written) => void;

const names = Object.keys(tools);
const limit = pick<unknown>(
  undefined,
  'x',
  '1',
  { enum: ['1', '2'] },
  { enum: ['1'] },
  { pattern: '[0-9]', optional: true },
  { pattern: '[0-9]' },
  { pattern: '.*', optional: true },
  { equals: '2', optional: true },
  { min: 1, max: 2 },
  { min: 1 },
);
/** Sets a member of a tool, or takes it away. */
const toolMember = (name: string, values: fc.Arbitrary<unknown>) =>
  fc.tuple(pick(...names), values).map(
    ([tool, value]): Mutation =>
      ({ tools: all }) => {
        if (all[tool] === undefined) return;
        if (value === undefined) delete all[tool][name];
        else all[tool][name] = value;
      },
  );
const argument = fc.tuple(pick(...names), pick('id', 'to', 'note'), limit).map(
  ([tool, arg, value]): Mutation =>
    ({ tools: all }) => {
      if (all[tool] === undefined) return;
      all[tool].args = { ...all[tool].args };
      if (value === undefined) delete all[tool].args[arg];
      else all[tool].args[arg] = value;
    },
);
const aClass = fc.tuple(pick('reading', 'egress'), fc.subarray(names)).map(
  ([name, listed]): Mutation =>
    (written) => {
      written.classes[name] = { tools: listed };
    },
);
const section = (name: string, values: fc.Arbitrary<unknown>) =>
  values.map(
    (value): Mutation =>
      (written) => {
        written[name] = { ...written[name], ...(value as object) };
      },
  );
/** Another rule's part in the place of this one's, or none. */
const partOfRule = fc.tuple(fc.nat(), pick('on', 'when', 'unless', 'effect'), rule, fc.boolean()).map(
  ([at, part, other, away]): Mutation =>
    ({ rules }) => {
      const one = rules[at % rules.length];
      if (one === undefined) return;
      if (away && part === 'unless') delete one.unless;
      else if ((other as Written)[part] !== undefined) one[part] = (other as Written)[part];
    },
);
/** One condition of a rule more, less, or with another window or number. */
const condition = fc.tuple(fc.nat(), fc.nat(), pick('drop', 'window', 'number', 'same'), pick(1, 10, 64)).map(
  ([at, which, how, value]): Mutation =>
    ({ rules }) => {
      const one = rules[at % rules.length];
      if (one === undefined) return;
      const clauses = Array.isArray(one.when) ? one.when : [one.when];
      const clause = clauses[which % clauses.length];
      const members = Object.keys(clause);
      const name = members[which % members.length]!;
      if (how === 'drop' && members.length > 1) delete clause[name];
      const inner = clause[name];
      if (typeof inner !== 'object' || inner === null) return;
      if (how === 'window' && 'within' in inner) inner.within = `${value}s`;
      if (how === 'number' && 'more_than' in inner) inner.more_than = value % 4;
      if (how === 'same' && 'same' in inner) inner.same = inner.same.slice(1);
    },
);
const without = (of: 'rules' | 'separation_of_duties') =>
  fc.nat().map(
    (at): Mutation =>
      (written) => {
        written[of]?.splice(at % Math.max(1, written[of].length), 1);
      },
  );
const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  argument,
  argument,
  toolMember('no_other_args', pick(true, false)),
  toolMember('entity', pick(undefined, `order:\${args.id}`, `note:\${args.note}`)),
  toolMember('destination', pick([], ['to'], ['to', 'cc'])),
  toolMember('sensitivity', pick(0, 1, 2, 3)),
  toolMember('labels', pick([], ['files'], ['pii', 'files'])),
  toolMember('output', pick('trusted', 'untrusted')),
  toolMember('cost_usd', pick(0, 0.05, 0.2)),
  toolMember('writes', pick(true, false)),
  toolMember('canary', pick(true, false, false)),
  toolMember('tasks', pick(undefined, ['work'], ['work', 'rest'])),
  toolMember('description', pick('Does it.', 'Does it well.')),
  aClass,
  section(
    'egress',
    fc.record({ known: fc.subarray(['*.example.com', '*@example.org', 'evil.test', 'new.example.com']) }),
  ),
  section('egress', fc.record({ inputs: fc.boolean() })),
  section(
    'egress',
    fc.record({ clearance: pick({}, { '*.example.com': ['files'] }, { 'evil.test': ['pii', 'files'] }) }),
  ),
  section('envelope', fc.record({ max_calls: pick(2, 4, undefined) })),
  section('envelope', fc.record({ max_cost_usd: pick(0.1, 0.4, undefined) })),
  partOfRule,
  partOfRule,
  condition,
  condition,
  without('rules'),
  without('separation_of_duties'),
  rule.map(
    (one): Mutation =>
      ({ rules }) =>
        rules.push({ id: 'new-rule', ...one }),
  ),
  duty.map(
    (one): Mutation =>
      (written) => {
        written.separation_of_duties = [...(written.separation_of_duties ?? []), { id: 'new-duty', ...one }];
      },
  ),
  fc.nat(names.length - 1).map(
    (at): Mutation =>
      ({ tools: all, classes }) => {
        delete all[names[at]!];
        for (const one of Object.values(classes) as { tools: string[] }[])
          one.tools = one.tools.filter((name) => name !== names[at]);
      },
  ),
);

const plain = (written: Written) => JSON.parse(JSON.stringify(written));
/** @param agent the two versions have an agent each: Cedar keeps one version of an agent's policies ready */
const manifestOf = (written: Written, agent: string): CompiledManifest | null => {
  try {
    return compiledFor(plain(written), agent);
  } catch {
    // A change that makes no manifest: a rule about a tool that is gone, say.
    return null;
  }
};
const changesOf = (before: CompiledManifest, after: CompiledManifest): Change[] =>
  diffManifests({ ...before.manifest, agent: after.agent }, after.manifest);

/** Rules that histories meet often: random ones mostly ask for what is seldom. */
const often = fc.record({
  on: pick<Written>('*', { class: 'egress' }, { class: 'reading' }, { tool: ['send', 'read'] }, { sensitivity: 1 }),
  when: pick<Written>(
    { destination: 'unknown' },
    { label: 'files' },
    { uncleared: true },
    { match: { id: '1|2' } },
    { match: { id: '1|2' }, destination: 'unknown' },
    { untrusted: ['to'] },
    { count: { more_than: 1, within: '64s', same: [] } },
    { count: { more_than: 2, within: '64s', same: [] } },
    { count: { more_than: 0, within: '64s', same: ['entity'] } },
    { formerly: { tool: 'read', within: '64s', same: [] } },
    { formerly: { class: 'reading', within: '64s', same: [] } },
    [{ destination: 'unknown' }, { label: 'files' }],
  ),
  unless: pick<Written>(undefined, undefined, { destination: 'known' }, { label: 'files' }, { match: { id: '1' } }),
  effect: pick('deny', 'deny', 'terminate', 'suspend', 'approve', 'allow', 'flag'),
});
/** The rule, and the same with a member or two of another. */
const oftenChanged = fc
  .record({ one: often, other: often, changed: fc.subarray(['on', 'when', 'unless', 'effect'], { maxLength: 2 }) })
  .map(({ one, other, changed }) => [
    { id: 'often', ...one },
    { id: 'often', ...one, ...Object.fromEntries(changed.map((name) => [name, (other as Written)[name]])) },
  ]);

/** Two versions, in either order: what is wider one way is narrower the other. */
const pairs = fc
  .record({
    source: manifestSource,
    rules: fc.oneof(fc.constant(null), oftenChanged),
    mutations: fc.array(mutation, { maxLength: 2 }),
    flip: fc.boolean(),
  })
  .map(({ source, rules, mutations, flip }) => {
    const written: Written = {
      ...structuredClone(source),
      ...(rules === null ? {} : { rules: [rules[0]], separation_of_duties: [] }),
      tools: structuredClone(tools),
      classes: { reading: { tools: ['read', 'list'] }, egress: { tools: ['send'] } },
    };
    const changed = structuredClone(written);
    if (rules !== null) changed.rules = [rules[1]];
    for (const mutate of mutations) mutate(changed);
    const [before, after] = flip ? [changed, written] : [written, changed];
    return { before: manifestOf(before, agents[1]), after: manifestOf(after, agents[0]) };
  });

/** What an allowed call labels: the session, and what it writes into. */
function labelsOf(manifest: Manifest, facts: CallFacts, cells: Cells, now: number): CellWrite[] {
  const touched = touchedLabels(manifest, facts, cells, digest);
  const held = [...labelsIn(cells), ...touched];
  const session = labelWrite(cells, [...facts.labels, ...touched], { now });
  return [...session, ...lineageWrites(manifest, facts, held, cells, { now }, digest)];
}

/** What a version decides on a history that another one decided: it looks, and the log moves it. */
class Follower {
  readonly #compiled: CompiledManifest;
  readonly #cells = new Map<string, Cell>();
  readonly #awaited = new Map<Recorded, Awaited[]>();

  constructor(compiled: CompiledManifest) {
    this.#compiled = compiled;
  }

  /** @returns what it would have decided on a call that was allowed */
  ask(recorded: Recorded, at: number): string | null {
    const { who, call } = recorded;
    const { manifest, agent, sha256 } = this.#compiled;
    const published = { agent, version: 1, sha256, compiled: this.#compiled };
    const session = { ...who, agent, rootOpenedAt: new Date(who.openedAt), facts: { withheld: [] } };
    const facts = callFacts(manifest, who.task, call);
    const cells = this.#read(recorded, cellsFor(manifest, who.task, facts, digest));
    const allowed = recorded.effect === 'allow';
    const decided = () => evaluateCall(published, session, call, facts, cells, new Date(at), digest).decision.effect;
    const effect = allowed ? decided() : null;
    // A call that a person is asked about is an attempt, and nothing else yet.
    const came: EventKind[] = allowed ? ['call'] : recorded.effect === 'approve' ? [] : ['denied'];
    const kinds: EventKind[] = ['attempt', ...came];
    const moves = movesOfGrant(manifest, session, facts, kinds, cells, new Date(at), digest);
    this.#write(recorded, [...moves, ...(allowed ? labelsOf(manifest, facts, cells, at) : [])]);
    if (allowed) this.#awaited.set(recorded, awaitedOutcome(manifest, facts, digest));
    return effect;
  }

  finish(recorded: Recorded, step: Extract<Step, { do: 'finish' }>, at: number): void {
    const { manifest } = this.#compiled;
    const { words, more } = wordsOf(step.output);
    const report = { ...step, words, moreWords: more, vouchedWords: [] };
    const awaited = this.#awaited.get(recorded) ?? [];
    const { call, who } = recorded;
    const { costMicroUsd } = callFacts(manifest, who.task, call);
    const action = { tool: call.tool, costMicroUsd, askedAt: recorded.askedAt, rootId: who.rootId, awaited };
    const cells = this.#read(recorded, [...reportedCells(manifest, action, report, digest), ...awaited]);
    this.#write(recorded, finishCall(manifest, action, report, cells, new Date(at), digest));
  }

  #name(recorded: Recorded, { scope, cell }: CellRef): string {
    return `${storedScope(scope, recorded, { owner: 'team:billing' })}/${cell}`;
  }
  #read(recorded: Recorded, refs: readonly CellRef[]): Cells {
    return new Map(
      refs.flatMap((ref) => {
        const cell = this.#cells.get(this.#name(recorded, ref));
        return cell === undefined ? [] : [[cellKey(ref), cell]];
      }),
    );
  }
  #write(recorded: Recorded, writes: readonly CellWrite[]): void {
    for (const { state, version, ...ref } of writes)
      this.#cells.set(this.#name(recorded, ref), { state, version: version + 1 });
  }
}

test('of calls: what passes under a version and not under the one before it is reported as wider', () => {
  const seen = { unread: 0, same: 0, wider: 0, notWider: 0, passed: 0 };
  const told = new Map<string, number>();
  const histories = fc.sample(history, { numRuns: 400, seed });
  for (const [n, { before, after }] of fc.sample(pairs, { numRuns: deep ? 130 : 50, seed }).entries()) {
    if (before === null || after === null) {
      seen.unread += 1;
      continue;
    }
    const changes = changesOf(before, after);
    for (const { verdict } of changes) told.set(verdict, (told.get(verdict) ?? 0) + 1);
    const wider = isWidening(changes);
    seen[changes.length === 0 ? 'same' : wider ? 'wider' : 'notWider'] += 1;
    // What is wider anyway is followed now and then, to see that such differences are met at all.
    const from = (n * 20) % 380;
    const followed = wider ? (n % 4 === 0 ? 10 : 0) : 20;
    for (const steps of histories.slice(from, from + followed)) {
      const follower = new Follower(before);
      const under = { [agents[0]]: after };
      const mine = steps.filter((step) => step.do === 'finish' || step.who.agent === agents[0]);
      follow(new Folded(under), mine, (step, recorded, at) => {
        if (step.do === 'finish') {
          follower.finish(recorded, step, at);
          return;
        }
        const would = follower.ask(recorded, at);
        if (would === null || would === 'allow') return;
        seen.passed += 1;
        assert.ok(wider, explain(changes, before, after, steps, recorded.call));
      });
    }
  }
  console.log(JSON.stringify({ ...seen, changes: Object.fromEntries(told) }));
  assert.ok(Math.min(seen.notWider, seen.wider, seen.passed) > (deep ? 20 : 8), 'hardly any of a kind');
});

const explain = (changes: Change[], before: CompiledManifest, after: CompiledManifest, ...more: unknown[]) => {
  const written = ({
    manifest: { tools: all, rules, separation_of_duties, egress, envelope, classes },
  }: CompiledManifest) => JSON.stringify({ all, rules, separation_of_duties, egress, envelope, classes });
  return `not reported as wider: ${JSON.stringify(changes, null, 1)}\nbefore ${written(before)}\nafter  ${written(after)}\n${JSON.stringify(more)}`;
};

/** A capability as it is written. */
const choice = pick<Written>(
  { type: 'string', enum: ['a', 'b'] },
  { type: 'string', enum: ['a'] },
  { type: 'string', enum: ['a', 'b', 'c'], default: 'c' },
  { type: 'string', pattern: '[ab]', default: 'a' },
  { type: 'string', pattern: '[a-c]' },
  { type: 'integer', min: 1, max: 3 },
  { type: 'integer', min: 2, max: 2, default: 2 },
  { type: 'boolean', default: true },
);
const fixed = pick<Written>('a', 'b', 2, true, [1], `\${inputs.place}`, `x/\${inputs.place}`);
const value = fc.oneof(
  fixed.map((one) => ({ fixed: one })),
  choice.map((one) => ({ choice: one })),
  fc.constant(null),
);
const capability = fc
  .record({
    values: fc.record({ one: value, two: value }),
    tier: pick(1, 1, 2, 3),
    max_ttl: pick('5m', '10m', '15m'),
    max_grants: pick(undefined, 1, 2),
    tasks: pick(['work'], ['work', 'rest'], ['rest']),
    provider: pick('store', 'store', 'other'),
    owner: pick(undefined, 'team:storage'),
  })
  .map(({ values, ...rest }) => {
    const given = Object.entries(values);
    return {
      description: 'Does it.',
      ...rest,
      params: Object.fromEntries(given.flatMap(([name, one]) => (one && 'fixed' in one ? [[name, one.fixed]] : []))),
      choose: Object.fromEntries(given.flatMap(([name, one]) => (one && 'choice' in one ? [[name, one.choice]] : []))),
    };
  });
const input = pick<Written>(
  { type: 'string', pattern: '[a-z]{1,5}' },
  { type: 'string', pattern: '[a-z]{1,9}' },
  { type: 'string', enum: ['park', 'zoo'] },
  { type: 'string', enum: ['park'] },
);
const anything = { params: z.looseObject({}) };
function withCapability(agent: string, reads: Written, place: Written, max_grants: number | undefined) {
  const whole = {
    apiVersion: 'writ/v1',
    agent,
    owner: 'team:billing',
    description: 'Tries things.',
    envelope: { wall_time: '30m', max_grants },
    task_types: {
      work: { description: 'Work.', inputs: { place } },
      rest: { description: 'Rest.', inputs: { place } },
    },
    capabilities: { reads },
  };
  const read = readManifest(JSON.stringify(whole), { store: anything, other: anything });
  return read.ok ? read.compiled : null;
}
/** Version and changed version, which differ in a member or two. */
const grantPairs = fc
  .record({
    one: capability,
    other: capability,
    kept: fc.subarray(['params', 'choose', 'tier', 'max_ttl', 'max_grants', 'tasks', 'provider', 'owner'], {
      minLength: 5,
    }),
    inputs: fc.tuple(input, input),
    sameInput: fc.boolean(),
    bounds: fc.tuple(pick(undefined, 1, 5), pick(undefined, 1, 5)),
  })
  .map(({ one, other, kept, inputs, sameInput, bounds }) => {
    const mixed: Written = { ...other, ...Object.fromEntries(kept.map((name) => [name, (one as Written)[name]])) };
    // A parameter is in one of the two.
    for (const name of Object.keys(mixed.params)) if (name in mixed.choose) mixed.choose = {};
    return {
      before: withCapability(agents[1], one, inputs[0], bounds[0]),
      after: withCapability(agents[0], mixed, sameInput ? inputs[0] : inputs[1], bounds[1]),
    };
  });
const request = fc.record({
  task: fc.record({ task_type: pick('work', 'rest'), inputs: fc.record({ place: pick('park', 'zoo', 'gardens') }) }),
  given: fc.record(
    {
      one: pick<Written>('a', 'b', 'c', 1, 2, true, false),
      two: pick<Written>('a', 'c', 3, true, [1], 'park', 'x/zoo'),
    },
    { requiredKeys: [] },
  ),
  ttl: pick(200, 500, 900),
  grants: pick(0, 1, 3),
});

test('of grants: what passes, or passes without a person, is reported as wider', () => {
  const rank = { deny: 0, approve: 1, allow: 2 };
  const seen = { unread: 0, wider: 0, notWider: 0, passed: 0 };
  const decided = ({ manifest, agent, ...rest }: CompiledManifest, { task, given, ttl, grants }: Written) => {
    const known = member(manifest.capabilities, 'reads')!;
    const bound = bindParams(known, task, given);
    if (!bound.ok) return 'deny';
    const session = { ...freshSession, grants, capability_grants: grants };
    const facts = {
      agent,
      owner: manifest.owner,
      manifest_version: 1,
      task,
      capability: 'reads',
      params: bound.params as JsonObject,
      plan: { ...planOf(bound.params, ttl), provider: known.provider },
      now: new Date(0),
      approved: false,
      session,
    };
    return decide(facts, { manifest, agent, ...rest }).effect;
  };
  const requests = fc.sample(request, { numRuns: 60, seed });
  for (const { before, after } of fc.sample(grantPairs, { numRuns: deep ? 250 : 100, seed })) {
    if (before === null || after === null) {
      seen.unread += 1;
      continue;
    }
    const changes = changesOf(before, after);
    const wider = isWidening(changes);
    seen[wider ? 'wider' : 'notWider'] += 1;
    for (const asked of requests) {
      const now = decided(after, asked);
      if (now === 'deny') continue;
      if (rank[now] <= rank[decided(before, asked)]) continue;
      seen.passed += 1;
      const capabilities = [before, after].map(({ manifest }) => [manifest.capabilities, manifest.task_types]);
      assert.ok(wider, JSON.stringify({ asked, changes, capabilities }, null, 1));
    }
  }
  console.log(JSON.stringify(seen));
  assert.ok(Math.min(seen.notWider, seen.wider, seen.passed) > (deep ? 20 : 8), 'hardly any of a kind');
});
