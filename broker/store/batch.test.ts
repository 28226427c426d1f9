import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { batch, maxBatch, maxQueued } from './batch.ts';
import type { Statement, Store } from './open.ts';
import { bothBackends, openTestStore } from './store.test-support.ts';

const statement: Statement = { name: 'test_together', text: 'not looked at' };

/** A store whose executions are answered by hand. */
function handStore() {
  const executions: {
    rows: { n: number; value: string }[];
    answer(rows: object[]): void;
    fail(error: unknown): void;
  }[] = [];
  const store = {
    run: (_statement: Statement, [json]: [string]) =>
      new Promise((answer, fail) => executions.push({ rows: JSON.parse(json), answer, fail })),
  } as unknown as Store;
  const ask = (value: string, apart: string | null = null) =>
    batch<{ n: number; said: string }>(store, statement, { value }, apart).then((row) => row?.said);
  const values = (at: number) => executions[at]?.rows.map((row) => row.value);
  const answerAll = (at: number) =>
    executions[at]!.answer(executions[at]!.rows.map(({ n, value }) => ({ n, said: `${value}!` })));
  return { executions, ask, values, answerAll };
}

test('who asks in the same turn shares an execution, and each gets its own answer', async () => {
  const { executions, ask, values } = handStore();
  const asked = [ask('a'), ask('b'), ask('c')];
  await turn();
  assert.equal(executions.length, 1);
  assert.deepEqual(values(0), ['a', 'b', 'c']);
  // In any order, and one of them with nothing said of it.
  executions[0]!.answer([
    { n: 2, said: 'C' },
    { n: 0, said: 'A' },
  ]);
  assert.deepEqual(await Promise.all(asked), ['A', undefined, 'C']);
});

test('one who comes alone does not wait', async () => {
  const { ask, values, answerAll } = handStore();
  const asked = ask('a');
  await turn();
  assert.deepEqual(values(0), ['a']);
  answerAll(0);
  assert.equal(await asked, 'a!');
});

test('rows that must see one another are apart, in the order they came; others pass them', async () => {
  const { ask, values, answerAll } = handStore();
  const asked = [ask('a1', 'a'), ask('a2', 'a'), ask('a3', 'a'), ask('b1', 'b'), ask('c')];
  await turn();
  assert.deepEqual(values(0), ['a1', 'b1', 'c']);
  await turn();
  assert.deepEqual(values(1), ['a2']);
  await turn();
  assert.deepEqual(values(2), ['a3']);
  for (const at of [0, 1, 2]) answerAll(at);
  assert.deepEqual(await Promise.all(asked), ['a1!', 'a2!', 'a3!', 'b1!', 'c!']);
});

test('an execution takes so many; while several are under way, those who come wait for one to end', async () => {
  const { executions, ask, values, answerAll } = handStore();
  const asked = Array.from({ length: maxBatch * 4 }, (_, n) => ask(String(n)));
  for (let i = 0; i < 6; i += 1) await turn();
  assert.deepEqual(
    executions.map((one) => one.rows.length),
    [maxBatch, maxBatch, maxBatch, maxBatch],
  );
  const late = [ask('late'), ask('later')];
  for (let i = 0; i < 6; i += 1) await turn();
  assert.equal(executions.length, 4);
  answerAll(2);
  for (let i = 0; i < 3; i += 1) await turn();
  assert.deepEqual(values(4), ['late', 'later']);
  for (const at of [0, 1, 3, 4]) answerAll(at);
  assert.equal((await Promise.all([...asked, ...late])).length, maxBatch * 4 + 2);
});

test('a row that the database refuses fails alone, and the lane goes on', async () => {
  const { executions, ask, values, answerAll } = handStore();
  const asked = [ask('good'), ask('bad'), ask('fine')];
  await turn();
  executions[0]!.fail(Object.assign(new Error('value out of range'), { severity: 'ERROR' }));
  for (let i = 0; i < 3; i += 1) await turn();
  assert.deepEqual([1, 2, 3].map(values), [['good'], ['bad'], ['fine']]);
  answerAll(1);
  executions[2]!.fail(Object.assign(new Error('value out of range'), { severity: 'ERROR' }));
  answerAll(3);
  const settled = await Promise.allSettled(asked);
  assert.deepEqual(
    settled.map((one) => (one.status === 'fulfilled' ? one.value : (one.reason as Error).message)),
    ['good!', 'value out of range', 'fine!'],
  );
  const after = ask('after');
  for (let i = 0; i < 3; i += 1) await turn();
  answerAll(4);
  assert.equal(await after, 'after!');
});

test('what may have been done is not done again: a lost connection fails all of them', async () => {
  const { executions, ask } = handStore();
  const asked = [ask('a'), ask('b')];
  await turn();
  executions[0]!.fail(new Error('Connection terminated unexpectedly'));
  const settled = await Promise.allSettled(asked);
  assert.deepEqual(
    settled.map((one) => one.status),
    ['rejected', 'rejected'],
  );
  await turn();
  assert.equal(executions.length, 1);
});

test('a row that cannot be written as JSON fails alone', async () => {
  const { executions, ask, answerAll } = handStore();
  const all = Promise.allSettled([ask('a'), ask(1n as never), ask('b')]);
  await turn();
  assert.equal(executions.length, 1);
  answerAll(0);
  const settled = await all;
  assert.deepEqual(
    settled.map((one) => one.status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
});

test('when the database answers nobody, those who come are turned away instead of queueing for ever', async () => {
  const { executions, ask } = handStore();
  const crowd = (length: number) => Array.from({ length }, () => ask('x').catch(() => 'failed'));
  const asked = crowd(4 * maxBatch);
  for (let i = 0; i < 6; i += 1) await turn();
  asked.push(...crowd(maxQueued));
  await assert.rejects(ask('late'), { code: 'ETIMEDOUT' });
  for (let at = 0; at < executions.length; at += 1) {
    executions[at]!.fail(new Error('Query read timeout'));
    for (let i = 0; i < 3; i += 1) await turn();
  }
  assert.deepEqual([...new Set(await Promise.all(asked))], ['failed']);
  const next = ask('next');
  await turn();
  executions.at(-1)!.answer([{ n: 0, said: 'next!' }]);
  assert.equal(await next, 'next!');
});

for (const backend of await bothBackends()) {
  test(`${backend}: a real refusal is one that may be tried again row by row`, async () => {
    const store = await openTestStore(backend);
    const divide: Statement = {
      name: 'test_divide',
      text: 'SELECT n, (100 / by)::int AS got FROM json_to_recordset($1::json) AS r (n int, by int) LIMIT 16',
    };
    const ask = (by: number) => batch<{ n: number; got: number }>(store, divide, { by }, null);
    const settled = await Promise.allSettled([5, 0, 20].map(ask));
    assert.deepEqual(
      settled.map((one) => (one.status === 'fulfilled' ? one.value?.got : (one.reason as Error).message)),
      [20, 'division by zero', 5],
    );
    await store.close();
  });
}
