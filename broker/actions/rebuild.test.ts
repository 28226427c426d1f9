/** History made anew from the calls on record is the history that was moved on call by call. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Folded, follow, history, randomManifests } from './histories.test-support.ts';
import { rebuildCells } from './rebuild.ts';

const seed = 20261127;
const manifests = 80;
const histories = 130;

test('the same states, however the calls on record are ordered', () => {
  const seen = { actions: 0, moved: 0, forgotten: 0, labels: 0 };
  for (const [n, under] of randomManifests(manifests, seed).entries()) {
    const manifestOf = (agent: string) => under[agent]!.manifest;
    const holds = fc.property(history, fc.infiniteStream(fc.nat(1)), (steps, coin) => {
      const folded = new Folded(under);
      follow(folded, steps, () => {});
      const moved = [...folded.cells].filter(([key, { state }]) => state !== null && !key.includes('/out:'));
      const shuffled: typeof folded.recorded = [];
      for (const one of folded.recorded) coin.next().value === 0 ? shuffled.push(one) : shuffled.unshift(one);
      const rebuilt = [...rebuildCells(shuffled, manifestOf)];
      assert.deepEqual(
        Object.fromEntries(rebuilt.filter(([, state]) => state !== null)),
        Object.fromEntries(moved.map(([key, { state }]) => [key, state])),
      );
      seen.actions += shuffled.length;
      seen.moved += moved.length;
      seen.forgotten += rebuilt.filter(([, state]) => state === null).length;
      seen.labels += moved.filter(([key]) => key.endsWith('/labels')).length;
    });
    const found = fc.check(holds, { numRuns: histories, seed: seed + n });
    assert.ok(
      !found.failed,
      JSON.stringify([found.counterexample]) + String((found as { errorInstance?: unknown }).errorInstance),
    );
  }
  console.log(`${manifests * histories} histories: ${JSON.stringify(seen)}`);
  for (const [what, count] of Object.entries(seen)) assert.ok(count > 100, `hardly any ${what}`);
});
