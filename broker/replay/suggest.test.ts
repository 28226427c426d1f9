/**
 * What is suggested covers what was used, whatever was used.
 *
 * @long-calculation
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { agents, digest, history, randomManifests, randomSources } from '../actions/histories.test-support.ts';
import { decideBeside } from '../decide/policy-slots.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import { readManifest } from '../manifests/read.ts';
import { publishedAs, recordOf } from './record.test-support.ts';
import { replay } from './replay.ts';
import { suggest } from './suggest.ts';
import { usageOf } from './usage.ts';

const seed = 20261128;
const deep = process.env.TEST_DEPTH === 'all';
const manifests = deep ? 12 : 6;
const histories = deep ? 12 : 6;
const [agent] = agents;

test('a suggestion is a valid manifest, and what was let through comes out the same under it', () => {
  const seen = { histories: 0, cuts: 0, kept: 0, let_through: 0 };
  const sources = randomSources(manifests, seed, agent);
  for (const [n, under] of randomManifests(manifests, seed).entries()) {
    const holds = fc.property(history, (steps) => {
      const { record } = recordOf(under, agent, steps, under[agent]!);
      if (record.sessions.length === 0) return;
      const inForce = publishedAs(under[agent]!, 1);
      const replayUnder = (candidate: PublishedManifest) => {
        decideBeside(candidate.compiled, 'replay');
        const versionOf = () => inForce;
        return replay({ record, candidate, versionOf, providers: new Map(), digest, ownerHasOthers: false });
      };
      const usage = usageOf(record, inForce, () => inForce, digest);
      const { suggested, cuts, kept } = suggest(inForce, sources[n]!, {}, usage, replayUnder);
      const read = readManifest(suggested, {});
      assert.ok(read.ok, JSON.stringify(read));
      const { groups } = replayUnder(publishedAs(read.compiled, 2));
      const changed = Object.values(groups)
        .flat()
        .filter(({ was }) => was.effect === 'allow');
      assert.deepEqual(changed, []);
      seen.histories += 1;
      seen.cuts += cuts.length;
      seen.kept += kept.length;
      seen.let_through += record.all.filter(({ effect }) => effect === 'allow').length;
    });
    const run = fc.check(holds, { numRuns: histories, seed: seed + n });
    assert.ok(
      !run.failed,
      String((run as { errorInstance?: unknown }).errorInstance) + JSON.stringify(run.counterexample),
    );
  }
  console.log(JSON.stringify(seen));
  for (const [what, count] of Object.entries(seen)) assert.ok(count > (deep ? 100 : 25), `hardly any ${what}`);
});
