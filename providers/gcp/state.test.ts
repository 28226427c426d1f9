/** What is read of buckets, with how little, and what cannot be read. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonObject } from '../contract.ts';
import { type GcpHarness, gcpBench, poolAccounts, sharedAccount, storage } from './harness.test-support.ts';

const never = () => new AbortController().signal;
const orders = { bucket: 'orders', prefix: 'customers/42/' };

async function withBench(body: (harness: GcpHarness) => Promise<void>, environment = {}) {
  const harness = await gcpBench(environment);
  try {
    await body(harness);
  } finally {
    await harness.close();
  }
}

const read = async (harness: GcpHarness, params: object) =>
  (await harness.provider.state!(harness.plan(params), never())).buckets as JsonObject[];
const wordsOf = (harness: GcpHarness, params: object, buckets: JsonObject[]) => {
  const plan = harness.plan(params);
  const { length } = harness.provider.describe(plan).summary;
  return harness.provider.describe({ ...plan, state: { round: 0, seen: { buckets } } }).summary.slice(length);
};

test('objects by their generations, and what the account may do', async () => {
  await withBench(async (harness) => {
    const [before] = await read(harness, orders);
    assert.deepEqual([before?.count, before?.bytes], [1, 9]);
    assert.deepEqual(before?.may, ['create', 'delete', 'get', 'list']);
    const [line, may] = wordsOf(harness, orders, [before!]);
    assert.match(
      line!,
      /^The objects under customers\/42\/ in orders as they are: 1 with 9 bytes, the newest customers\/42\/a\.txt of generation \d{16}, listing [0-9a-f]{12}$/,
    );
    assert.equal(may, 'The service account in orders as it is: it may create, delete, get, list');
    // The same content again is another generation; what is beside the prefix is nothing.
    harness.sandbox.setObject('orders', 'customers/43/a.txt', 'other');
    assert.deepEqual(await read(harness, orders), [before]);
    harness.sandbox.setObject('orders', 'customers/42/a.txt', 'forty-two');
    const [again] = await read(harness, orders);
    assert.notEqual(again?.listing, before?.listing);
    harness.sandbox.setObject('orders', 'customers/42/a.txt', null);
    const [none] = await read(harness, orders);
    assert.equal(wordsOf(harness, orders, [none!])[0], 'The objects under customers/42/ in orders as they are: none');
  });
});

test('a role that is taken away or given is a change, although no object has changed', async () => {
  await withBench(async (harness) => {
    const params = { ...orders, service_account: sharedAccount };
    const [before] = await read(harness, params);
    harness.sandbox.setRoles(sharedAccount, [{ bucket: 'orders', role: 'roles/storage.objectViewer' }]);
    const [after] = await read(harness, params);
    assert.deepEqual(after, { ...before, may: ['get', 'list'] });
    harness.sandbox.setRoles(sharedAccount, [{ bucket: 'orders', role: 'roles/storage.objectCreator' }]);
    await assert.rejects(read(harness, params), { code: 'upstream_refused', providerCode: '403' });
  });
});

test('what it is read with is bounded to reading, ends after a minute, and lives on no account that is disabled', async () => {
  await withBench(async (harness) => {
    const { sandbox, clock } = harness;
    sandbox.setDisabled(poolAccounts[0]!, true);
    const before = new Set(sandbox.tokens());
    await read(harness, orders);
    const made = sandbox.tokens().filter((token) => !before.has(token));
    const bounded = made.filter((token) => token.startsWith('ya29.d.'));
    assert.equal(bounded.length, 1);
    const use = (token: string, ...what: ['GET' | 'LIST' | 'PUT', string, string]) =>
      storage(sandbox, { access_token: token }, ...what);
    assert.equal(await use(bounded[0]!, 'LIST', 'orders', 'customers/42/'), 200);
    assert.equal(await use(bounded[0]!, 'LIST', 'orders', 'customers/'), 403);
    assert.equal(await use(bounded[0]!, 'PUT', 'orders', 'customers/42/new.txt'), 403);
    assert.equal(await use(bounded[0]!, 'LIST', 'archive', ''), 403);
    clock.advance(60_000);
    // The broker’s own, which calls IAM, has no right in Cloud Storage.
    for (const token of made) assert.notEqual(await use(token, 'LIST', 'orders', 'customers/42/'), 200);
    for (const account of poolAccounts) sandbox.setDisabled(account, true);
    await assert.rejects(read(harness, orders), { code: 'pool_exhausted' });
  });
});

test('a listing is read whole, page after page, and not beyond 10,000', async () => {
  await withBench(async (harness) => {
    const { sandbox } = harness;
    const put = (n: number) => sandbox.setObject('archive', `many/${String(n).padStart(5, '0')}`, 'x');
    for (let n = 0; n < 2_500; n += 1) put(n);
    const many = { bucket: 'archive', prefix: 'many/' };
    const [before] = await read(harness, many);
    assert.equal(before?.count, 2_500);
    put(2_400);
    const [after] = await read(harness, many);
    assert.equal(after?.count, 2_500);
    assert.notEqual(after?.listing, before?.listing);
    for (let n = 2_500; n <= 10_000; n += 1) put(n);
    await assert.rejects(read(harness, many), /More than 10000 objects in archive: no state is read/);
    assert.equal((await read(harness, { bucket: 'orders' }))[0]?.count, 2, 'a whole bucket');
  });
});

test('a plan of no bucket, a refusal, and a Google that gives longer than asked: nothing is read', async () => {
  await withBench(async (harness) => {
    const { sandbox } = harness;
    const scopes = ['https://www.googleapis.com/auth/cloud-platform'];
    const before = sandbox.requests();
    await assert.rejects(read(harness, { scopes }), /the plan names no bucket/);
    assert.equal(sandbox.requests(), before);
    for (const endpoint of ['mint', 'exchange', 'storage'] as const) {
      sandbox.fail('unavailable', endpoint);
      await assert.rejects(read(harness, orders), { name: 'ProviderError' }, endpoint);
      sandbox.fail(null, endpoint);
    }
    sandbox.lengthenTokensBy(7_200);
    await assert.rejects(read(harness, orders), { code: 'upstream_mismatch' });
  });
});

test('foreign names are plain words', async () => {
  await withBench(async (harness) => {
    harness.sandbox.setObject('orders', `customers/42/\u202e${'n'.repeat(300)}`, 'x');
    const [line] = wordsOf(harness, orders, await read(harness, orders));
    assert.match(line!, /^\P{C}{3,400}$/u);
    assert.match(line!, /the newest customers\/42\/\ufffdn+…n+ of generation/);
  });
});
