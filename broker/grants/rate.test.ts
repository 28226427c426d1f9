/**
 * The rate of one agent is counted in the statement that writes: whatever runs beside it, in whichever
 * process.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WritError } from '../core/errors.ts';
import { type Harness, openHarness } from '../harness.test-support.ts';
import { testBackends } from '../store/store.test-support.ts';

const limited = (error: unknown) => error instanceof WritError && error.code === 'rate_limited';
const given = (answers: PromiseSettledResult<unknown>[]) => {
  for (const one of answers) if (one.status === 'rejected') assert.ok(limited(one.reason), String(one.reason));
  return answers.filter(({ status }) => status === 'fulfilled').length;
};
/** Another process: its own queues, the same database. */
const processes = (harness: Harness) => [1, 2, 3].map(() => ({ ...harness.store }));

for (const backend of await testBackends()) {
  test(`parallel sessions of one agent get what the agent may have, and no more: ${backend}`, async () => {
    const harness = await openHarness(backend, {
      providers: [{ name: 'plain' }, { name: 'pooled', pool: Array.from({ length: 20 }, (_, n) => `member-${n}`) }],
    });
    try {
      const sessions = await Promise.all(Array.from({ length: 30 }, () => harness.open()));
      const stores = processes(harness);
      const ask = (n: number, provider: string) =>
        harness.askWith({ ...harness.grants, store: stores[n % 3]!, grantsPerMinute: 10 }, sessions[n]!, provider);
      const burst = (): Promise<PromiseSettledResult<unknown>[]> =>
        Promise.allSettled(sessions.map((_session, n) => ask(n, n % 10 === 0 ? 'pooled' : 'plain')));
      assert.equal(given(await burst()), 10);
      assert.equal(given(await burst()), 0, 'a refusal gives nothing back');
      harness.clock.advance(30_000);
      assert.equal(given(await burst()), 0);
      harness.clock.advance(30_000);
      assert.equal(given(await burst()), 10, 'and takes no place in the next minute');
      assert.equal((await harness.verify()).broken, null);
    } finally {
      await harness.close();
    }
  });

  test(`what a person must decide and what is denied counts too: ${backend}`, async () => {
    const harness = await openHarness(backend, { providers: [{ name: 'plain' }] });
    try {
      const stores = processes(harness);
      const sessions = await Promise.all(Array.from({ length: 24 }, () => harness.open({ maxGrants: 0 })));
      const answers = await Promise.allSettled(
        sessions.map((session, n) =>
          harness.askWith({ ...harness.grants, store: stores[n % 3]!, grantsPerMinute: 7 }, session, 'plain'),
        ),
      );
      const codes = answers.map((one) => (one.status === 'rejected' ? (one.reason as WritError).code : 'issued'));
      assert.deepEqual(
        [codes.filter((code) => code === 'denied').length, codes.filter((code) => code === 'rate_limited').length],
        [7, 17],
      );
    } finally {
      await harness.close();
    }
  });

  test(`sessions opened at once by several processes stay within the agent’s rate: ${backend}`, async () => {
    const harness = await openHarness(backend, { providers: [{ name: 'plain' }] });
    try {
      const stores = processes(harness);
      const burst = () =>
        Promise.allSettled(
          Array.from({ length: 40 }, (_, n) =>
            harness.open({ deps: { store: stores[n % 3]!, sessionsPerMinute: 10 } }),
          ),
        );
      assert.equal(given(await burst()), 10);
      assert.equal(given(await burst()), 0);
      harness.clock.advance(60_000);
      assert.equal(given(await burst()), 10);
    } finally {
      await harness.close();
    }
  });

  test(`so many requests of one agent reach people in an hour, from whichever sessions at once: ${backend}`, async () => {
    const harness = await openHarness(backend, { providers: [{ name: 'plain' }] });
    try {
      const stores = processes(harness);
      const sessions = await Promise.all(Array.from({ length: 30 }, () => harness.open()));
      const askLimits = { requestsPerHour: 5, cooldownSeconds: 0 };
      const burst = () =>
        Promise.allSettled(
          sessions.map((session, n) =>
            harness.askWith({ ...harness.grants, store: stores[n % 3]!, askLimits }, session, 'plain', { verb: 'ask' }),
          ),
        );
      const answers = await burst();
      const why = answers.map((one) =>
        one.status === 'fulfilled' ? one.value.outcome : (one.reason as WritError).extensions?.reasons,
      );
      assert.equal(why.filter((one) => one === 'pending').length, 5);
      assert.deepEqual(
        why.find((one) => one !== 'pending'),
        [{ code: 'asked_too_often' }],
      );
      assert.equal(await harness.store.prisma.grant.count({ where: { status: 'pending' } }), 5);
      assert.equal(await harness.store.prisma.grant.count({ where: { status: 'denied' } }), 25, 'each has its row');
      harness.clock.advance(3_600_001);
      const later = await harness.open();
      const again = await harness.askWith({ ...harness.grants, askLimits }, later, 'plain', { verb: 'ask' });
      assert.equal(again.outcome, 'pending');
    } finally {
      await harness.close();
    }
  });
}
