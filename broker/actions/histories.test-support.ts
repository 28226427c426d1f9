/** Random manifests and random histories under them, and the compiled monitors folded over one. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { z } from 'zod';
import type { JsonObject } from '../core/vocabulary.ts';
import type { CompiledManifest } from '../manifests/compile.ts';
import { readManifest } from '../manifests/read.ts';
import type { EventKind } from '../manifests/tool-schema.ts';
import { type Cell, type CellRef, type Cells, type CellWrite, cellKey } from './cells.ts';
import {
  type CallEvaluation,
  callFacts,
  cellsFor,
  evaluateCall,
  grantFacts,
  hitsOnGrant,
  movesOfGrant,
} from './evaluate-call.ts';
import { wordsOf } from './origin.ts';
import { type Awaited, awaitedOutcome, finishCall, reportedCells } from './outcome.ts';
import { movesOf, type RecordedAction, type RecordedGrant, storedScope } from './rebuild.ts';
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

/** By what a grant has. */
const afterGrant = (within: fc.Arbitrary<string>) =>
  fc.record({
    formerly: fc.record({
      capability: pick<string | string[]>('deploy', ['deploy', 'audit']),
      kind: pick('call', 'attempt', 'denied'),
      within,
      same: fc.constant([]),
    }),
  });

/** @param grants whether rules look at grants too, of which there must be some */
const clauseIn = (scope: string, grants: boolean) => {
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
    ...(grants ? [afterGrant(within)] : []),
    fc.record({ first_time: pick('tool', 'capability', 'destination', 'entity', 'resource_family') }),
  );
  return fc
    .tuple(fc.oneof(now, fc.constant({})), fc.array(history, { minLength: 1, maxLength: 2 }), fc.nat(5))
    .map(([one, many, n]) => (n === 0 ? { ...one, match: { note: '.*' } } : Object.assign({}, one, ...many)));
};

const ruleOf = (grants: boolean) =>
  pick('session', 'agent', 'principal', 'owner').chain((scope) =>
    fc.record(
      {
        on: fc.oneof(fc.constant('*'), selector),
        when: fc.oneof(clauseIn(scope, grants), fc.array(clauseIn(scope, grants), { minLength: 1, maxLength: 2 })),
        unless: fc.oneof(clauseIn(scope, grants), pick({ destination: 'known' }, { label: 'files' })),
        scope: fc.constant(scope),
        effect: pick(
          'deny',
          'deny',
          'flag',
          'flag',
          'terminate',
          'approve',
          'approve',
          'allow',
          'suspend',
          'downgrade',
        ),
      },
      { requiredKeys: ['on', 'when', 'scope', 'effect'] },
    ),
  );
export const rule = ruleOf(false);
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
const provider = 'plain';
const described = { description: 'Tries things.', provider, tasks: ['work', 'rest'], max_ttl: '15m' };
const capabilities = { deploy: { ...described, tier: 2 }, audit: { ...described, tier: 1 } };

const sourceOf = (grants: boolean) =>
  fc.record({
    ...(grants ? { capabilities: fc.constant(capabilities) } : {}),
    rules: fc.array(ruleOf(grants), { minLength: 1, maxLength: 5 }).map(numbered('rule')),
    separation_of_duties: fc.array(duty, { maxLength: 1 }).map(numbered('duty')),
    envelope: some({ max_calls: pick(3, 6), max_cost_usd: pick(0.2, 0.6) }).map((all) => ({
      wall_time: '30m',
      ...all,
    })),
    egress: fc.record({
      known: pick(['*.example.com', '*@example.org'], []),
      clearance: pick({}, { '*.example.com': ['files'] }),
    }),
  });
export const manifestSource = sourceOf(false);

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
  const read = readManifest(sourceFor(source, agent), { [provider]: { params: z.looseObject({}) } });
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
    classes: {
      reading: { tools: ['read', 'list'] },
      egress: { tools: ['send'] },
    },
    ...source,
  };
  return JSON.stringify(whole);
}

/** The manifests of `randomManifests` of one agent, as they are written. */
export const randomSources = (count: number, seed: number, agent: string): string[] =>
  fc.sample(manifestSource, { numRuns: count, seed }).map((source) => sourceFor(source, agent));

export type Manifests = { [agent: string]: CompiledManifest };
export const agents = ['first-bot', 'second-bot'] as const;
/**
 * @param grants whether there are capabilities, and rules about them
 * @returns manifests of both agents, the same ones for the same seed
 */
export const randomManifests = (
  count: number,
  seed: number,
  grants: 'with grants' | 'calls alone' = 'calls alone',
): Manifests[] =>
  fc
    .sample(sourceOf(grants === 'with grants'), { numRuns: count, seed })
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

export const capabilityNames = ['deploy', 'audit'] as const;

/** A request for a credential, or the redemption of one that a person had to approve. */
export type GrantStep = { wait: number } & (
  | { do: 'grant'; who: Who; capability: string; params: JsonObject; needsPerson: boolean }
  | { do: 'redeem'; which: number }
);

/** The same histories, with grants among the calls. */
export const historyWithGrants: fc.Arbitrary<(Step | GrantStep)[]> = fc
  .tuple(
    history,
    fc.array(
      fc.oneof(
        {
          weight: 3,
          arbitrary: fc.record({
            do: fc.constant('grant' as const),
            wait,
            who: pick(...sessions),
            capability: pick<string>(...capabilityNames),
            params: args,
            needsPerson: fc.boolean(),
          }),
        },
        { weight: 1, arbitrary: fc.record({ do: fc.constant('redeem' as const), wait, which: fc.nat(3) }) },
      ),
      { minLength: 1, maxLength: 5 },
    ),
    fc.infiniteStream(fc.nat(12)),
  )
  .map(([calls, grants, places]) => {
    const all: (Step | GrantStep)[] = [...calls];
    for (const grant of grants) all.splice((places.next().value as number) % (all.length + 1), 0, grant);
    return all;
  });

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

/** A grant as it is on record, with what was found for it. */
export interface FoldedGrant extends RecordedGrant {
  who: Who;
  capability: string;
  params: JsonObject;
  hits: string[];
  kinds: readonly EventKind[];
  redemptions: { at: Date; manifestVersion: number; moves: readonly string[] }[];
}

/** Follows a history. @param done called after each step that could be done */
export function follow(
  folded: Folded,
  steps: readonly (Step | GrantStep)[],
  done: (step: Step, recorded: Recorded, at: number) => void,
  granted: (step: GrantStep, grant: FoldedGrant, at: number) => void = () => {},
) {
  const ended = (rootId: string) => folded.recorded.some((one) => one.rootId === rootId && one.effect === 'terminate');
  let now = start;
  for (const step of steps) {
    now += step.wait;
    if (step.do === 'grant') {
      if (!ended(step.who.rootId)) granted(step, folded.grant(step, now), now);
      continue;
    }
    if (step.do === 'redeem') {
      const waiting = folded.grants.filter(
        ({ kinds, redemptions, rootId }) => kinds.length === 1 && redemptions.length === 0 && !ended(rootId),
      );
      const grant = waiting[step.which % Math.max(1, waiting.length)];
      if (grant !== undefined && folded.redeem(grant, now)) granted(step, grant, now);
      continue;
    }
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
  readonly grants: FoldedGrant[] = [];
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

  /** As `grants/history.ts`: what a rule holds against denies it. */
  grant({ who, capability, params, needsPerson }: Extract<GrantStep, { do: 'grant' }>, at: number): FoldedGrant {
    const hits = this.#hitsOn(who, capability, params, at, false);
    const kinds: readonly EventKind[] =
      hits.length > 0 ? ['attempt', 'denied'] : needsPerson ? ['attempt'] : ['attempt', 'call'];
    const grant: FoldedGrant = {
      ...{ who, capability, params, hits, kinds, redemptions: [], manifestVersion: 1 },
      ...{ rootId: who.rootId, agent: who.agent, principalRoot: who.principal, askedAt: new Date(at) },
      askedMoves: this.#moveBy(who, capability, params, kinds, at),
    };
    this.grants.push(grant);
    return grant;
  }

  /** @returns false where a rule stands against it by now */
  redeem(grant: FoldedGrant, at: number): boolean {
    const { who, capability, params } = grant;
    grant.hits = this.#hitsOn(who, capability, params, at, true);
    if (grant.hits.length > 0) return false;
    const moves = this.#moveBy(who, capability, params, ['call'], at);
    grant.redemptions.push({ at: new Date(at), manifestVersion: 1, moves });
    return true;
  }

  #sceneOf(who: Who, capability: string, params: JsonObject) {
    const { manifest } = this.#manifests[who.agent]!;
    const facts = grantFacts(manifest, capability, params, null);
    const session = { ...who, rootOpenedAt: new Date(who.openedAt), facts: { withheld: [] } };
    const refs = cellsFor(manifest, who.task, facts, digest);
    return { manifest, facts, session, refs, cells: this.#read(who, refs) };
  }
  #hitsOn(who: Who, capability: string, params: JsonObject, at: number, again: boolean): string[] {
    const { manifest, facts, session, cells } = this.#sceneOf(who, capability, params);
    return hitsOnGrant(manifest, session, facts, cells, new Date(at), digest, again);
  }
  #moveBy(who: Who, capability: string, params: JsonObject, kinds: readonly EventKind[], at: number): string[] {
    const { manifest, facts, session, refs, cells } = this.#sceneOf(who, capability, params);
    const writes = movesOfGrant(manifest, session, facts, kinds, cells, new Date(at), digest);
    this.#write(who, refs, writes);
    return movesOf(writes);
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
