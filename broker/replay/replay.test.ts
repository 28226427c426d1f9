/**
 * What replaying says of random histories, held against what the candidate would really have decided.
 *
 * @long-calculation
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { agents, digest, history, randomManifests, type Step } from '../actions/histories.test-support.ts';
import { decideBeside } from '../decide/policy-slots.ts';
import type { CompiledManifest } from '../manifests/compile.ts';
import { publishedAs, reasonsOf, recordOf } from './record.test-support.ts';
import { replay } from './replay.ts';

const seed = 20261126;
const deep = process.env.TEST_DEPTH === 'all';
const pairs = deep ? 20 : 10;
const histories = deep ? 25 : 12;
const [agent] = agents;

function replayed(under: { [agent: string]: CompiledManifest }, candidate: CompiledManifest, steps: readonly Step[]) {
  const { record, truth } = recordOf(under, agent, steps, candidate);
  const before = publishedAs(under[agent]!, 1);
  const found = replay({
    record,
    candidate: publishedAs(candidate, 2),
    versionOf: () => before,
    providers: new Map(),
    digest,
    ownerHasOthers: false,
  });
  return { record, truth, found };
}

test('what replaying tells is what would have been decided, and the rest it does not tell', () => {
  const manifests = randomManifests(pairs + 1, seed);
  const seen = { calls: 0, told: 0, changed: 0, undecidable: 0 };
  for (let n = 0; n < pairs; n += 1) {
    const [under, candidate] = [manifests[n]!, manifests[n + 1]![agent]!];
    decideBeside(candidate, 'replay');
    const holds = fc.property(history, (steps) => {
      const { record, truth, found } = replayed(under, candidate, steps);
      const differences = new Map(
        Object.values(found.groups)
          .flat()
          .map((one) => [one.id, one]),
      );
      for (const call of record.all) {
        const really = truth.get(call.id)!;
        const difference = differences.get(call.id);
        const told = difference?.now.effects ?? [call.effect];
        assert.ok(
          told.includes(really),
          `${call.id}: ${really}, and not ${told} (was ${call.effect}) ${reasonsOf.get(call.id)} ${JSON.stringify(candidate.manifest.rules)} ${JSON.stringify(call.reasons)}`,
        );
        seen.calls += 1;
        if (told.length === 1) seen.told += 1;
        else seen.undecidable += 1;
        if (really !== call.effect) seen.changed += 1;
      }
      assert.equal(found.decided, record.all.length);
    });
    const run = fc.check(holds, { numRuns: histories, seed: seed + n });
    assert.ok(
      !run.failed,
      String((run as { errorInstance?: unknown }).errorInstance) + JSON.stringify(run.counterexample),
    );
  }
  console.log(`${pairs * histories} histories: ${JSON.stringify(seen)}`);
  for (const [what, count] of Object.entries(seen)) assert.ok(count > 100, `hardly any ${what}`);
});

test('the version that decided, replayed, changes nothing and leaves nothing untold', () => {
  const manifests = randomManifests(pairs, seed + 1);
  let calls = 0;
  for (const [n, under] of manifests.entries()) {
    const holds = fc.property(history, (steps) => {
      const { found } = replayed(under, under[agent]!, steps);
      assert.deepEqual(found.groups, { newly_denied: [], newly_allowed: [], other_effect: [], undecidable: [] });
      calls += found.decided;
    });
    const run = fc.check(holds, { numRuns: histories, seed: seed + n });
    assert.ok(
      !run.failed,
      String((run as { errorInstance?: unknown }).errorInstance) + JSON.stringify(run.counterexample),
    );
  }
  assert.ok(calls > (deep ? 1000 : 200), `${calls} calls`);
});
