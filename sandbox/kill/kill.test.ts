/**
 * Kill tests: SIGKILL between each pair of steps of issue and of revoke, at every provider. After a restart the reconciler leaves no live credential that no lease row
 * explains, and in the end none at all.
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { testBackends } from '../../broker/store/store.test-support.ts';
import type { ProviderName } from './holds.test-support.ts';
import { type Lane, openLane } from './lane.test-support.ts';
import { killAfter, steps } from './scenario.test-support.ts';
import { type Flow, table } from './table.test-support.ts';

interface Killing {
  provider: ProviderName;
  flow: Flow;
  /** 0 = not killed: only the order of steps is looked at. */
  n: number;
}

const flows = ['issue', 'redeem', 'revoke', 'expire'] as const;
const all = (['aws', 'github', 'gcp'] as const).flatMap((provider) =>
  flows.flatMap((flow) => [0, ...table[provider][flow].map((_, at) => at + 1)].map((n) => ({ provider, flow, n }))),
);

/** What differs with the database is what is on disk when the process dies: on the embedded one a killing per kind of row is enough. */
const onDisk: Killing[] = [
  { provider: 'github', flow: 'issue', n: 1 },
  { provider: 'github', flow: 'issue', n: 2 },
  { provider: 'github', flow: 'issue', n: 3 },
  { provider: 'github', flow: 'revoke', n: 1 },
  { provider: 'github', flow: 'revoke', n: 4 },
  { provider: 'gcp', flow: 'redeem', n: 3 },
  { provider: 'aws', flow: 'issue', n: 2 },
  { provider: 'aws', flow: 'revoke', n: 4 },
  { provider: 'aws', flow: 'revoke', n: 7 },
];

async function run(lane: Lane, { provider, flow, n }: Killing): Promise<void> {
  const names = table[provider][flow];
  if (n > 0) return killAfter(lane, provider, flow, names, n);
  assert.deepEqual(
    await steps(lane, provider, flow),
    names.filter((name) => name !== 'answered'),
  );
}

const title = ({ provider, flow, n }: Killing) => {
  const step = table[provider][flow][n - 1];
  return `${provider} ${flow}: ${step === undefined ? 'its steps' : `killed after ${n}, ${step}`}`;
};

const lanes = (await testBackends()).flatMap((backend): { backend: typeof backend; killings: Killing[] }[] => {
  if (backend === 'pglite') return [{ backend, killings: onDisk }];
  return [0, 1, 2].map((lane) => ({ backend, killings: all.filter((_, at) => at % 3 === lane) }));
});

suite('killed between any two steps', { concurrency: lanes.length }, () => {
  for (const [at, { backend, killings }] of lanes.entries()) {
    test(`lane ${at + 1}, ${backend}`, async (t) => {
      const lane = await openLane(backend);
      t.after(() => lane.close());
      for (const killing of killings) await t.test(title(killing), () => run(lane, killing));
    });
  }
});
