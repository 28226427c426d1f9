/**
 * Random manifests and random histories: what a snapshot lets through, the real evaluation allows at every
 * moment, and history without that call decides the same on every other.
 *
 * @long-calculation
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  agents,
  compiledFor,
  Folded,
  follow,
  history,
  type Manifests,
  manifestSource,
  type Step,
  silent,
  tools,
} from '../broker/actions/histories.test-support.ts';
import { snapshotTools } from '../broker/actions/snapshot.ts';
import type { JsonObject } from '../broker/core/vocabulary.ts';
import { argumentsOutside } from '../broker/manifests/call-arguments.ts';
import { snapshotOf } from './snapshot.test-support.ts';
import { covers, type Snapshot } from './snapshot.ts';

const seed = 20261126;
const deep = process.env.TEST_DEPTH === 'all';
const manifests = deep ? 150 : 50;
const pick = <T>(...values: readonly T[]) => fc.constantFrom(...values);

/** Beside those of the histories: some that a snapshot may hold, and some that differ in one thing. */
const more = {
  plain: {},
  bound: {
    args: {
      place: '$' + '{inputs.place}',
      page: { min: 1, max: 9, optional: true },
      word: { pattern: '[a-c]{1,3}', optional: true },
      'deep.kind': { enum: ['one', 'two'], optional: true },
    },
    no_other_args: true,
    tasks: ['work'],
  },
  chosen: { args: { id: { enum: ['1', 2, true] } }, tasks: ['work'] },
  sensitive: { sensitivity: 2 },
  labelled: { labels: ['files'] },
  costly: { cost_usd: 0.2 },
};
const names = Object.keys(more);
const anyTool = [...Object.keys(tools), ...names];

/** Rules about other tools that remember the further ones. */
const remembered = fc.record({
  selected: fc.oneof(
    fc.record({ tool: pick(...names) }),
    pick({ sensitivity: 2 }, { label: 'files' }, { class: 'egress' }, { destination: 'known' }, { tool: 'read' }),
    pick({}),
  ),
  kind: pick('call', 'call', 'attempt', 'response', 'denied'),
});
const remembering = fc
  .tuple(remembered, remembered, pick('formerly', 'count', 'since'), pick('session', 'agent', 'owner'))
  .chain(([one, other, what, scope]) => {
    const event = { ...one.selected, kind: one.kind };
    const when = {
      formerly: { formerly: { ...event, within: '2m' } },
      count: { count: { of: event, more_than: 1, within: '2m' } },
      since: { since: { event: { tool: 'read' }, without: { ...other.selected, kind: other.kind }, within: '2m' } },
    }[what];
    return fc.record({
      on: fc.record({ tool: pick('read', 'list', 'send', 'approve') }),
      when: fc.constant(when),
      scope: fc.constant(scope),
      effect: pick('deny', 'flag', 'terminate'),
    });
  });

/** Rules that name the further tools as well. */
const source = fc
  .record({
    source: manifestSource,
    kept: pick(0, 0, 1, 2),
    remembering: fc.array(remembering, { maxLength: 2 }),
    without: fc.boolean(),
    named: fc.array(pick(...anyTool), { minLength: 1, maxLength: 3 }),
  })
  .map(({ source: whole, kept, without, named, remembering: looksBack }) => ({
    ...whole,
    rules: [
      ...whole.rules.slice(0, kept).map((rule, n) => (n === 0 ? { ...rule, on: { tool: [...new Set(named)] } } : rule)),
      ...looksBack.map((rule, n) => ({ id: `remembers-${n}`, ...rule })),
    ],
    ...(without ? { envelope: { wall_time: '30m' } } : {}),
    tools: { ...tools, ...more },
  }));

const value = pick<unknown>('1', 2, true, 'a', 'abc', 'abcd', 'one', 'park.test', 'evil.test', 0, 5, 10, null, ['a'], {
  kind: 'one',
});
const argument = fc.dictionary(pick('place', 'page', 'word', 'id', 'deep', 'note'), value, {
  maxKeys: 3,
}) as fc.Arbitrary<JsonObject>;
const right = fc.record(
  { place: pick('park.test'), page: pick(1, 9), word: pick('a', 'cab'), deep: pick({ kind: 'one' }, {}) },
  { requiredKeys: ['place'] },
) as fc.Arbitrary<JsonObject>;
const tried = fc.record({
  tool: pick(...names),
  args: fc.oneof(argument, right, right, fc.record({ id: pick<unknown>('1', 2, true) }) as fc.Arbitrary<JsonObject>),
  at: fc.nat(12),
});

test('let through locally = allowed at every moment, and missed by nobody', () => {
  const seen = { snapshots: 0, empty: 0, covered: 0, refused: 0, decisions: 0 };
  for (const [n, one] of fc.sample(source, { numRuns: manifests, seed }).entries()) {
    const under = manifestsOf(one);
    if (under === null) continue;
    const holds = fc.property(history, fc.array(tried, { minLength: 4, maxLength: 12 }), (steps, calls) =>
      compare(under, steps, calls, seen),
    );
    const found = fc.check(holds, { numRuns: 20, seed: seed + n });
    assert.ok(
      !found.failed,
      JSON.stringify({ one, counterexample: found.counterexample }, null, 1) +
        String((found as { errorInstance?: unknown }).errorInstance),
    );
  }
  console.log(`histories: ${JSON.stringify(seen)}`);
  assert.ok(Math.min(seen.snapshots, seen.covered, seen.refused, seen.decisions) > (deep ? 500 : 200));
});

/** Null where a rule compares by what one of the further tools lacks: no manifest. */
function manifestsOf(one: object): Manifests | null {
  try {
    return Object.fromEntries(agents.map((agent) => [agent, compiledFor(one, agent)]));
  } catch {
    return null;
  }
}

interface Seen {
  snapshots: number;
  empty: number;
  covered: number;
  refused: number;
  decisions: number;
}

function compare(
  under: Manifests,
  steps: readonly Step[],
  calls: readonly { tool: string; args: JsonObject; at: number }[],
  seen: Seen,
): void {
  const snapshots = new Map<string, Snapshot>();
  const snapshotFor = (who: (Step & { do: 'ask' })['who']): Snapshot => {
    const key = JSON.stringify([who.agent, who.task]);
    const known = snapshots.get(key) ?? snapshotOf(snapshotTools(under[who.agent]!.manifest, who.task, []));
    if (!snapshots.has(key)) seen[known.tools.size === 0 ? 'empty' : 'snapshots'] += 1;
    snapshots.set(key, known);
    return known;
  };
  const [without, withThem] = [new Folded(under), new Folded(under)];
  const decided: string[] = [];
  follow(without, steps, (step, { evaluation }) => {
    if (step.do === 'ask') decided.push(JSON.stringify([evaluation.decision, evaluation.hits, evaluation.writes]));
  });
  let asked = 0;
  follow(withThem, steps, (step, { who, evaluation }, at) => {
    if (step.do !== 'ask') return;
    const same = JSON.stringify([evaluation.decision, evaluation.hits, evaluation.writes]);
    assert.equal(same, decided[asked], 'a call that was let through changed a later decision');
    asked += 1;
    seen.decisions += 1;
    if (evaluation.decision.effect === 'terminate') return;
    for (const { tool, args, at: when } of calls) {
      if (when % 4 !== asked % 4) continue;
      if (!covers(snapshotFor(who), tool, args)) {
        seen.refused += 1;
        continue;
      }
      seen.covered += 1;
      const { manifest } = under[who.agent]!;
      assert.deepEqual(argumentsOutside(manifest.tools![tool]!, args, who.task.inputs), []);
      const recorded = withThem.ask(who, { tool, args, costMicroUsd: null }, at);
      const made = recorded.evaluation;
      assert.equal(made.decision.effect, 'allow', `${tool} ${JSON.stringify(args)}`);
      assert.deepEqual([made.hits, made.labels, made.writes], [[], [], []]);
      withThem.finish(recorded, silent, at);
      assert.deepEqual(recorded.outcomeMoves, []);
    }
  });
  assert.equal(asked, decided.length);
}
