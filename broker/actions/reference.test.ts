/** The compiled monitors, folded call by call, and the rules read over the whole log say the same. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Folded, follow, history, type Manifests, randomManifests, type Step } from './histories.test-support.ts';
import { decideByLog, type Entry } from './reference.test-support.ts';

const seed = 20261126;
const manifests = 80;
const histories = 130;

const cameOf = (effect: string) =>
  effect === 'allow' ? (['call'] as const) : effect === 'approve' ? [] : (['denied'] as const);

/** Walks both through a history. @returns how often which effect was decided, and how many rules hit */
function walk(under: Manifests, steps: readonly Step[]) {
  const log: Entry[] = [];
  const seen = { allow: 0, deny: 0, approve: 0, downgrade: 0, suspend: 0, terminate: 0, hits: 0, missing: 0 };
  follow(new Folded(under), steps, (step, { who, call, evaluation: { decision, hits } }, at) => {
    if (step.do === 'finish') {
      log.push({ at, who, call, kinds: [step.outcome], labels: step.labels, output: step.output });
      return;
    }
    const expected = decideByLog(under[who.agent]!.manifest, log, who, call, at);
    assert.deepEqual({ effect: decision.effect, hits }, { effect: expected.effect, hits: expected.hits });
    const lacking = decision.reasons.filter(({ code }) => code === 'field_missing');
    const rules = lacking.map(({ policy_id }) => policy_id?.split('.rule.')[1]);
    if (expected.missing.length > 0) assert.deepEqual(rules, expected.missing);
    log.push({
      at,
      who,
      call,
      kinds: ['attempt', ...cameOf(decision.effect)],
      labels: [],
      output: '',
    });
    seen[decision.effect] += 1;
    seen.hits += hits.length;
    seen.missing += lacking.length;
  });
  return seen;
}

test('in every history, at every step: the same hits and the same decision', () => {
  const total = { allow: 0, deny: 0, approve: 0, downgrade: 0, suspend: 0, terminate: 0, hits: 0, missing: 0 };
  for (const [n, under] of randomManifests(manifests, seed).entries()) {
    const holds = fc.property(history, (steps) => {
      for (const [name, count] of Object.entries(walk(under, steps))) total[name as keyof typeof total] += count;
    });
    const found = fc.check(holds, { numRuns: histories, seed: seed + n });
    const { rules, separation_of_duties, envelope, egress } = Object.values(under)[0]!.manifest;
    assert.ok(
      !found.failed,
      JSON.stringify({ rules, separation_of_duties, envelope, egress, history: found.counterexample }, null, 1) +
        String((found as { errorInstance?: unknown }).errorInstance),
    );
  }
  console.log(`${manifests * histories} histories: ${JSON.stringify(total)}`);
  for (const [what, count] of Object.entries(total)) assert.ok(count > 500, `hardly any ${what}`);
});
