/**
 * The compiled monitors, folded call by call; the rules read over the whole log; and history made anew from
 * the calls on record: in every history, all three say the same.
 *
 * @long-calculation
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  Folded,
  type FoldedGrant,
  follow,
  type GrantStep,
  historyWithGrants,
  type Manifests,
  type Recorded,
  randomManifests,
  type Step,
} from './histories.test-support.ts';
import { rebuildCells } from './rebuild.ts';
import { decideByLog, type Entry } from './reference.test-support.ts';

const seed = 20261126;
const deep = process.env.TEST_DEPTH === 'all';
const manifests = deep ? 80 : 40;
const histories = deep ? 130 : 60;

const cameOf = (effect: string) =>
  effect === 'allow' ? (['call'] as const) : effect === 'approve' ? [] : (['denied'] as const);

/** How often which effect was decided, rules hit, and cells were what. */
const nothingYet = () => ({
  ...{ allow: 0, deny: 0, approve: 0, downgrade: 0, suspend: 0, terminate: 0, hits: 0, missing: 0 },
  ...{ actions: 0, moved: 0, forgotten: 0, labels: 0, corrected: 0, touched: 0, grants: 0, redeemed: 0, barred: 0 },
});

/** Walks the monitors and the log through a history. */
function walk(
  folded: Folded,
  under: Manifests,
  steps: readonly (Step | GrantStep)[],
  seen: ReturnType<typeof nothingYet>,
): void {
  const log: Entry[] = [];
  const asked = new Map<Recorded, Entry>();
  follow(
    folded,
    steps,
    (step, recorded, at) => {
      const { who, call, evaluation } = recorded;
      const { decision, hits } = evaluation;
      if (step.do === 'finish') {
        const { outcome, labels, output, costMicroUsd, entities } = step;
        asked.get(recorded)!.costMicroUsd = costMicroUsd;
        log.push({ at, who, call, kinds: [outcome], labels, output, costMicroUsd, entities });
        seen.corrected += costMicroUsd === null ? 0 : 1;
        seen.touched += entities.length;
        return;
      }
      const expected = decideByLog(under[who.agent]!.manifest, log, who, call, at);
      assert.deepEqual({ effect: decision.effect, hits }, { effect: expected.effect, hits: expected.hits });
      const lacking = decision.reasons.filter(({ code }) => code === 'field_missing');
      const rules = lacking.map(({ policy_id }) => policy_id?.split('.rule.')[1]);
      if (expected.missing.length > 0) assert.deepEqual(rules, expected.missing);
      const entry = { at, who, call, kinds: ['attempt', ...cameOf(decision.effect)] as const, labels: [], output: '' };
      asked.set(recorded, entry);
      log.push(entry);
      seen[decision.effect] += 1;
      seen.hits += hits.length;
      seen.missing += lacking.length;
    },
    granted,
  );

  function granted(step: GrantStep, { who, capability, params, hits, kinds }: FoldedGrant, at: number): void {
    const call = { tool: '', capability, args: params, costMicroUsd: null };
    const again = step.do === 'redeem';
    const expected = decideByLog(under[who.agent]!.manifest, log, who, call, at, again ? ['call'] : undefined);
    assert.deepEqual([...hits].sort(), [...expected.hits, ...expected.missing].filter(bars).sort());
    log.push({ at, who, call, kinds: again ? ['call'] : kinds, labels: [], output: '' });
    seen[again ? 'redeemed' : 'grants'] += 1;
    seen.barred += hits.length;

    /** What cannot be told lets nothing through, and nothing else. */
    function bars(id: string): boolean {
      const allows = under[who.agent]!.manifest.rules?.find((rule) => rule.id === id)?.effect === 'allow';
      return !allows || expected.hits.includes(id);
    }
  }
}

/** Makes the cells anew from the calls on record, in any order. */
function rebuild(folded: Folded, under: Manifests, coin: Iterator<number>, seen: ReturnType<typeof nothingYet>): void {
  const moved = [...folded.cells].filter(([key, { state }]) => state !== null && !key.includes('/out:'));
  const shuffled: typeof folded.recorded = [];
  for (const one of folded.recorded) coin.next().value === 0 ? shuffled.push(one) : shuffled.unshift(one);
  const rebuilt = [...rebuildCells(shuffled, folded.grants.toReversed(), (agent) => under[agent]!.manifest)];
  assert.deepEqual(
    Object.fromEntries(rebuilt.filter(([, state]) => state !== null)),
    Object.fromEntries(moved.map(([key, { state }]) => [key, state])),
  );
  seen.actions += shuffled.length;
  seen.moved += moved.length;
  seen.forgotten += rebuilt.filter(([, state]) => state === null).length;
  seen.labels += moved.filter(([key]) => key.endsWith('/labels')).length;
}

test('at every step the same hits and the same decision; afterwards the same states, made anew', () => {
  const seen = nothingYet();
  for (const [n, under] of randomManifests(manifests, seed, 'with grants').entries()) {
    const holds = fc.property(historyWithGrants, fc.infiniteStream(fc.nat(1)), (steps, coin) => {
      const folded = new Folded(under);
      walk(folded, under, steps, seen);
      rebuild(folded, under, coin, seen);
    });
    const found = fc.check(holds, { numRuns: histories, seed: seed + n });
    const { rules, separation_of_duties, envelope, egress } = Object.values(under)[0]!.manifest;
    assert.ok(
      !found.failed,
      JSON.stringify({ rules, separation_of_duties, envelope, egress, history: found.counterexample }, null, 1) +
        String((found as { errorInstance?: unknown }).errorInstance),
    );
  }
  console.log(`${manifests * histories} histories: ${JSON.stringify(seen)}`);
  for (const [what, count] of Object.entries(seen)) assert.ok(count > (deep ? 100 : 50), `hardly any ${what}`);
});
