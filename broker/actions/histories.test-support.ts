/** Random manifests and random histories under them, and the compiled monitors folded over one. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { JsonObject } from '../core/vocabulary.ts';
import type { CompiledManifest } from '../manifests/compile.ts';
import { readManifest } from '../manifests/read.ts';
import { type Cell, type CellRef, type Cells, type CellWrite, cellKey } from './cells.ts';
import { type CallEvaluation, callFacts, cellsFor, evaluateCall } from './evaluate-call.ts';
import { wordsOf } from './origin.ts';
import { type Awaited, awaitedOutcome, finishCall, reportedCells } from './outcome.ts';
import { movesOf, type RecordedAction, storedScope } from './rebuild.ts';
import type { AskedCall, Who } from './reference.test-support.ts';

const pick = <T>(...values: readonly T[]) => fc.constantFrom(...values);
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 });
/** Members that are absent as often as not. */
const some = (parts: { [name: string]: fc.Arbitrary<unknown> }) => fc.record(parts, { requiredKeys: [] });
const windows = pick('1s', '10s', '64s', '2m');

const toolNames = ['read', 'list', 'send', 'submit', 'approve'] as const;
const labels = ['files', 'pii', 'news'] as const;
const selector = some({
  tool: fc.oneof(pick(...toolNames), fc.uniqueArray(pick(...toolNames), { minLength: 1, maxLength: 3 })),
  class: pick('reading', 'egress'),
  sensitivity: pick(1, 2, 3),
  label: pick(...labels),
  destination: pick('known', 'unknown'),
  match: pick({ id: '1|2' }, { note: 'sudo .*' }),
}).map((all) => {
  // More than two at once match nothing any more.
  const kept = Object.entries(all).slice(0, 2);
  return Object.fromEntries(kept);
});
const kind = pick<string | string[] | undefined>(
  undefined,
  'attempt',
  'call',
  'denied',
  'response',
  'error',
  ['attempt', 'error'],
  ['call', 'response'],
  ['response', 'error'],
);
const event = fc.tuple(selector, kind).map(([one, of]) => (of === undefined ? one : { ...one, kind: of }));
const same = fc.uniqueArray(pick('entity', 'destination', 'tool', 'arg:id', 'arg:to'), { maxLength: 2 });

const clauseIn = (scope: string) => {
  const within = scope === 'session' ? fc.oneof(windows, pick('session')) : windows;
  const now = some({
    task_types: pick(['work'], ['rest']),
    destination: pick('known', 'unknown'),
    untrusted: pick(['destination'], ['note', 'to']),
    label: pick(...labels),
    uncleared: pick(true),
    on_behalf_of: pick('vouched', 'declared', 'nobody'),
    elapsed: pick('30s', '2m'),
    hours: pick(
      { zone: 'UTC', from: '08:00', to: '08:01' },
      { zone: 'UTC', from: '23:00', to: '08:02', days: ['mon', 'tue'] },
    ),
    match: pick({ note: 'sudo .*' }, { id: '[0-9]' }),
  }).map((all) => Object.fromEntries(Object.entries(all).slice(0, 1)));
  const history = fc.oneof(
    fc.record({ formerly: fc.tuple(event, within, same).map(([one, w, s]) => ({ ...one, within: w, same: s })) }),
    fc.record({ since: fc.record({ event, without: event, within, same }) }),
    fc.record({
      count: fc
        .tuple(maybe(event), fc.nat(3), within, same)
        .map(([of, more_than, w, s]) => ({ ...(of === undefined ? {} : { of }), more_than, within: w, same: s })),
    }),
    fc.record({
      sum: fc.tuple(maybe(event), pick(0, 0.1, 0.25, 0.5), within, same).map(([of, most, w, s]) => ({
        ...(of === undefined ? {} : { of }),
        cost_usd_more_than: most,
        within: w,
        same: s,
      })),
    }),
    fc.record({
      rate: fc
        .tuple(maybe(event), fc.nat(2), pick('1s', '10s', '64s'), same)
        .map(([of, at_least, over, s]) => ({ ...(of === undefined ? {} : { of }), at_least, over, times: 2, same: s })),
    }),
    fc.record({ first_time: pick('tool', 'capability', 'destination', 'entity', 'resource_family') }),
  );
  return fc
    .tuple(fc.oneof(now, fc.constant({})), fc.array(history, { minLength: 1, maxLength: 2 }), fc.nat(5))
    .map(([one, many, n]) => (n === 0 ? { ...one, match: { note: '.*' } } : Object.assign({}, one, ...many)));
};

export const rule = pick('session', 'agent', 'principal', 'owner').chain((scope) =>
  fc.record(
    {
      on: fc.oneof(fc.constant('*'), selector),
      when: fc.oneof(clauseIn(scope), fc.array(clauseIn(scope), { minLength: 1, maxLength: 2 })),
      unless: fc.oneof(clauseIn(scope), pick({ destination: 'known' }, { label: 'files' })),
      scope: fc.constant(scope),
      effect: pick('deny', 'deny', 'flag', 'flag', 'terminate', 'approve', 'approve', 'allow', 'suspend', 'downgrade'),
    },
    { requiredKeys: ['on', 'when', 'scope', 'effect'] },
  ),
);
export const duty = fc.record({
  duties: pick([{ tool: 'submit' }, { tool: 'approve' }], [{ tool: 'read' }, { class: 'egress' }, { tool: 'submit' }]),
  same: pick([], ['entity'], ['arg:id']),
  scope: pick('session', 'principal', 'owner'),
  within: windows,
});

const numbered = (id: string) => (all: readonly object[]) =>
  all.map((one, n) => ({
    id: `${id}-${n}`,
    ...one,
    ...('effect' in one && one.effect === 'downgrade' ? { withhold: { tools: ['send'] } } : {}),
  }));
export const manifestSource = fc.record({
  rules: fc.array(rule, { minLength: 1, maxLength: 5 }).map(numbered('rule')),
  separation_of_duties: fc.array(duty, { maxLength: 1 }).map(numbered('duty')),
  envelope: some({ max_calls: pick(3, 6), max_cost_usd: pick(0.2, 0.6) }).map((all) => ({ wall_time: '30m', ...all })),
  egress: fc.record({
    known: pick(['*.example.com', '*@example.org'], []),
    clearance: pick({}, { '*.example.com': ['files'] }),
  }),
});

const touching = { entity: `order:\${args.id}`, destination: ['to', 'cc'] };
export const tools = {
  read: { ...touching, sensitivity: 2, labels: ['files'], cost_usd: 0.1 },
  list: { ...touching, sensitivity: 1, output: 'trusted' },
  send: { ...touching, cost_usd: 0.05, tasks: ['work'] },
  submit: { ...touching, writes: true, args: { id: { pattern: '[0-9]', optional: true } } },
  approve: touching,
};

/** The same manifest for each of the owner's agents: rules that are written alike see each other's events. */
export function compiledFor(source: object, agent: string): CompiledManifest {
  const read = readManifest(sourceFor(source, agent), {});
  assert.ok(read.ok, JSON.stringify([read, source]));
  return read.compiled;
}

function sourceFor(source: object, agent: string): string {
  const whole = {
    apiVersion: 'writ/v1',
    agent,
    owner: 'team:billing',
    description: 'Tries things.',
    task_types: {
      work: { description: 'Work.', inputs: { place: { type: 'string', pattern: '.*' } } },
      rest: { description: 'Rest.', inputs: {} },
    },
    capabilities: {},
    tools,
    classes: { reading: { tools: ['read', 'list'] }, egress: { tools: ['send'] } },
    ...source,
  };
  return JSON.stringify(whole);
}

/** The manifests of `randomManifests` of one agent, as they are written. */
export const randomSources = (count: number, seed: number, agent: string): string[] =>
  fc.sample(manifestSource, { numRuns: count, seed }).map((source) => sourceFor(source, agent));

export type Manifests = { [agent: string]: CompiledManifest };
export const agents = ['first-bot', 'second-bot'] as const;
/** @returns manifests of both agents, the same ones for the same seed */
export const randomManifests = (count: number, seed: number): Manifests[] =>
  fc
    .sample(manifestSource, { numRuns: count, seed })
    .map((source) => Object.fromEntries(agents.map((agent) => [agent, compiledFor(source, agent)])));

/** A Monday, a minute before eight. */
export const start = Date.UTC(2026, 10, 23, 7, 59);

const session = (rootId: string, agent: string, person: string | null, more: Partial<Who> = {}): Who => ({
  rootId,
  agent,
  principal: person === null ? agent : `${agent} for ${person}`,
  task: { task_type: 'work', inputs: { place: 'park.test' } },
  openedAt: start,
  onBehalfOf: person === null ? null : { sub: person },
  declaredOnBehalfOf: null,
  ...more,
});
/** Two of one tree, one of the same agent for somebody else, one of the same for the same, one of another. */
const sessions: readonly Who[] = [
  session('root-1', 'first-bot', 'ada'),
  session('root-1', 'first-bot', 'ada', { task: { task_type: 'rest', inputs: {} } }),
  session('root-2', 'first-bot', 'bob', { openedAt: start - 60_000 }),
  session('root-3', 'first-bot', 'ada', { onBehalfOf: null, declaredOnBehalfOf: 'user:ada' }),
  session('root-4', 'second-bot', null),
];

const texts = ['evil.test', 'new.example.com', 'bob@example.org', 'https://api.example.com/x', 'park.test'] as const;
const place = fc.oneof(pick(...texts), pick('EVIL.test', ' evil.test', 'https://evil.test/y'));
export const args = some({
  id: fc.oneof(pick<unknown>('1', '2', 1, 'x'), pick<unknown>(['1'], ['1', '2'])),
  to: fc.oneof(place, fc.array(place, { maxLength: 2 })),
  cc: place,
  note: pick('sudo ls', 'ls', 'see evil.test'),
}) as fc.Arbitrary<JsonObject>;

const wait = pick(0, 0, 1, 150, 500, 1000, 2500, 10_000, 20_000, 64_000);
export interface Reported {
  outcome: 'response' | 'error';
  labels: string[];
  costMicroUsd: number | null;
  entities: string[];
  output: string;
}
/** A report that says nothing more. */
export const silent: Reported = { outcome: 'response', labels: [], costMicroUsd: null, entities: [], output: '' };
export type Step = { wait: number } & (
  | { do: 'ask'; who: Who; call: AskedCall }
  | ({ do: 'finish'; which: number } & Reported)
);
export const history: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('ask' as const),
        wait,
        who: pick(...sessions),
        call: fc.record({
          tool: fc.oneof(
            { weight: 12, arbitrary: pick<string>(...toolNames) },
            { weight: 1, arbitrary: pick('other') },
          ),
          args,
          costMicroUsd: pick(null, null, 0, 150_000),
        }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant('finish' as const),
        wait,
        which: fc.nat(3),
        outcome: pick('response' as const, 'response' as const, 'error' as const),
        labels: fc.uniqueArray(pick<string>(...labels), { maxLength: 1 }),
        costMicroUsd: pick(null, null, 0, 50_000, 400_000),
        entities: fc.oneof(
          fc.constant<string[]>([]),
          fc.array(pick('order:1', 'order:2', 'ORDER:1', 'order:3'), { maxLength: 3 }),
        ),
        output: fc.array(pick(...texts), { maxLength: 2 }).map((all) => all.join(' ')),
      }),
    },
  ),
  { minLength: 1, maxLength: 12 },
);

/** Readable in failures, and keyed enough for a test. */
export const digest = (text: string): string => `<${text}>`;

/** A call as it is on record. */
export interface Recorded extends RecordedAction {
  who: Who;
  call: AskedCall;
  evaluation: CallEvaluation;
  awaited: Awaited[];
  touchedMore: boolean;
  outcome: 'response' | 'error' | null;
}

/** Follows a history. @param done called after each step that could be done */
export function follow(
  folded: Folded,
  steps: readonly Step[],
  done: (step: Step, recorded: Recorded, at: number) => void,
) {
  const ended = (rootId: string) => folded.recorded.some((one) => one.rootId === rootId && one.effect === 'terminate');
  let now = start;
  for (const step of steps) {
    now += step.wait;
    if (step.do === 'ask') {
      if (!ended(step.who.rootId)) done(step, folded.ask(step.who, step.call, now), now);
      continue;
    }
    const open = folded.recorded.filter(
      ({ outcome, effect, rootId }) => outcome === null && effect === 'allow' && !ended(rootId),
    );
    const recorded = open[step.which % Math.max(1, open.length)];
    if (recorded === undefined) continue;
    folded.finish(recorded, step, now);
    done(step, recorded, now);
  }
}

/** What the database and the two flows (`request-action.ts`, `finish-action.ts`) do, in memory. */
export class Folded {
  readonly cells = new Map<string, Cell>();
  readonly recorded: Recorded[] = [];
  readonly #manifests: Manifests;

  constructor(manifests: Manifests) {
    this.#manifests = manifests;
  }

  ask(who: Who, call: AskedCall, at: number): Recorded {
    const compiled = this.#manifests[who.agent]!;
    const { manifest } = compiled;
    const facts = callFacts(manifest, who.task, call);
    const refs = cellsFor(manifest, who.task, facts, digest);
    const published = { agent: who.agent, version: 1, sha256: '', compiled };
    const seen = { ...who, rootOpenedAt: new Date(who.openedAt), facts: { withheld: [] } };
    const evaluation = evaluateCall(published, seen, call, facts, this.#read(who, refs), new Date(at), digest);
    this.#write(who, refs, evaluation.writes);
    const allowed = evaluation.decision.effect === 'allow';
    const awaited = allowed ? awaitedOutcome(manifest, facts, digest) : [];
    const recorded: Recorded = {
      who,
      call,
      evaluation,
      awaited,
      outcome: null,
      rootId: who.rootId,
      agent: who.agent,
      principalRoot: who.principal,
      manifestVersion: 1,
      tool: call.tool,
      effect: evaluation.decision.effect,
      costMicroUsd: facts.costMicroUsd,
      reportedCostMicroUsd: null,
      touchedMore: false,
      labels: evaluation.labels,
      askedAt: new Date(at),
      finishedAt: null,
      askedMoves: movesOf(evaluation.writes),
      outcomeMoves: [],
    };
    this.recorded.push(recorded);
    return recorded;
  }

  finish(recorded: Recorded, { outcome, labels, costMicroUsd, entities, output }: Reported, at: number): void {
    const { who, call, awaited, evaluation, askedAt } = recorded;
    const { manifest } = this.#manifests[who.agent]!;
    const { words, more } = wordsOf(output);
    const report = { outcome, labels, costMicroUsd, entities, words, moreWords: more, vouchedWords: [] };
    const { rootId } = who;
    const action = { tool: call.tool, costMicroUsd: evaluation.facts.costMicroUsd, askedAt, rootId, awaited };
    const refs = [...reportedCells(manifest, action, report, digest), ...awaited];
    const cells = this.#read(who, refs);
    const writes = finishCall(manifest, action, report, cells, new Date(at), digest);
    this.#write(who, refs, writes);
    recorded.outcome = outcome;
    recorded.reportedCostMicroUsd = costMicroUsd;
    recorded.touchedMore = entities.length > 0;
    recorded.labels = [...recorded.labels, ...labels];
    recorded.finishedAt = new Date(at);
    recorded.outcomeMoves = movesOf(writes);
  }

  #read(who: Who, refs: readonly CellRef[]): Cells {
    return new Map(
      refs.flatMap((ref) => {
        const cell = this.cells.get(stored(who, ref));
        return cell === undefined ? [] : [[cellKey(ref), cell]];
      }),
    );
  }

  /** As `monitor_cell` takes them: of a version that nobody has moved on, and only what was read. */
  #write(who: Who, refs: readonly CellRef[], writes: readonly CellWrite[]): void {
    const read = new Set(refs.map(cellKey));
    for (const { state, version, ...ref } of new Map(writes.map((write) => [cellKey(write), write])).values()) {
      assert.ok(read.has(cellKey(ref)), `wrote ${cellKey(ref)}, which it did not read`);
      assert.equal(version, this.cells.get(stored(who, ref))?.version ?? 0);
      this.cells.set(stored(who, ref), { state, version: version + 1 });
    }
  }
}

const stored = ({ rootId, agent, principal }: Who, { scope, cell }: CellRef): string =>
  `${storedScope(scope, { rootId, agent, principalRoot: principal }, { owner: 'team:billing' })}/${cell}`;
