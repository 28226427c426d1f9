/** One object, a managed folder, names that begin alike: what of a bucket can be said besides a prefix. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { JsonObject } from '../contract.ts';
import { type GcpHarness, gcpBench, sharedAccount, storage } from './harness.test-support.ts';
import { levels } from './levels.ts';
import { narrower } from './narrower.ts';
import { params } from './params.ts';

let harness: GcpHarness;
before(async () => {
  harness = await gcpBench(
    {},
    {
      buckets: {
        orders: {
          'customers/4/a.txt': 'four',
          'customers/42/a.txt': 'forty-two',
          'customers/42/a.txt.bak': 'neighbour',
          "it's.txt": 'quoted',
        },
      },
      managedFolders: { orders: ['customers/42/', 'customers/4/', 'customers/42/inner/'] },
    },
  );
});
after(() => harness.close());

const inOrders = (which: JsonObject) => ({ bucket: 'orders', service_account: sharedAccount, ...which });
const mint = async (which: JsonObject) => (await harness.issue(harness.plan(inOrders(which)))).credential;
const folder = async (credential: JsonObject, name: string) => {
  const url = `${harness.sandbox.url}/storage/v1/b/orders/managedFolders/${encodeURIComponent(name)}`;
  const response = await fetch(url, { headers: { authorization: `Bearer ${credential.access_token}` } });
  await response.arrayBuffer();
  return response.status;
};

test('one object is read, neither its neighbour nor any listing', async () => {
  const credential = await mint({ object: 'customers/42/a.txt' });
  const get = (name: string) => storage(harness.sandbox, credential, 'GET', 'orders', name);
  assert.equal(await get('customers/42/a.txt'), 200);
  for (const other of ['customers/42/a.txt.bak', 'customers/4/a.txt', 'customers/42/a.tx'])
    assert.equal(await get(other), 403, other);
  for (const listed of ['customers/42/a.txt', '', 'customers/'])
    assert.equal(await storage(harness.sandbox, credential, 'LIST', 'orders', listed), 403, listed);
  const quoted = await mint({ object: "it's.txt" });
  assert.equal(await storage(harness.sandbox, quoted, 'GET', 'orders', "it's.txt"), 200);
  const attack = await mint({ object: "x' || resource.name.startsWith('" });
  assert.equal(await storage(harness.sandbox, attack, 'GET', 'orders', 'customers/42/a.txt'), 403);
});

test('a managed folder is its objects and itself; a prefix is the objects alone', async () => {
  const managed = await mint({ managed_folder: 'customers/42/' });
  assert.equal(await storage(harness.sandbox, managed, 'GET', 'orders', 'customers/42/a.txt'), 200);
  assert.equal(await storage(harness.sandbox, managed, 'LIST', 'orders', 'customers/42/'), 200);
  assert.equal(await storage(harness.sandbox, managed, 'GET', 'orders', 'customers/4/a.txt'), 403);
  assert.equal(await folder(managed, 'customers/42/'), 200);
  assert.equal(await folder(managed, 'customers/42/inner/'), 200);
  assert.equal(await folder(managed, 'customers/4/'), 403);
  const prefixed = await mint({ prefix: 'customers/42/' });
  assert.equal(await folder(prefixed, 'customers/42/'), 403);
});

test('names that begin alike are reached where that is said, and the plan says so', async () => {
  const credential = await mint({ name_begins: 'customers/4' });
  for (const name of ['customers/4/a.txt', 'customers/42/a.txt'])
    assert.equal(await storage(harness.sandbox, credential, 'GET', 'orders', name), 200, name);
  assert.equal(await storage(harness.sandbox, credential, 'GET', 'orders', "it's.txt"), 403);
});

test('the words say which objects, and reach is as wide', () => {
  const told = (which: JsonObject) => {
    const plan = harness.plan(inOrders(which));
    return [harness.provider.describe(plan).summary[0], harness.provider.reach!(plan)[0]?.resources[0]];
  };
  assert.deepEqual(told({ object: 'a*b' }), [
    'Read objects: the one named "a*b" in the Cloud Storage bucket orders, none can be listed',
    'gs://orders/a\\*b',
  ]);
  assert.deepEqual(told({ managed_folder: 'customers/42/' }), [
    'Read and list objects in the managed folder "customers/42/", and the folder itself as far as roles/storage.objectViewer goes, in the Cloud Storage bucket orders',
    'gs://orders/customers/42/*',
  ]);
  assert.deepEqual(told({ name_begins: 'customers/4' }), [
    'Read and list objects whose names begin with "customers/4", whatever follows, neighbours too, in the Cloud Storage bucket orders',
    'gs://orders/customers/4*',
  ]);
});

test('which is within which', () => {
  const plan = (which: JsonObject) => harness.plan(inOrders(which));
  const object = plan({ object: 'customers/42/a.txt' });
  const managed = plan({ managed_folder: 'customers/42/' });
  const prefix = plan({ prefix: 'customers/42/' });
  const begins = plan({ name_begins: 'customers/4' });
  const whole = plan({});
  const within: [typeof whole, typeof whole][] = [
    [object, prefix],
    [object, managed],
    [object, begins],
    [object, whole],
    [prefix, managed],
    [prefix, begins],
    [managed, whole],
    [plan({ managed_folder: 'customers/42/inner/' }), managed],
    [plan({ prefix: 'customers/42/inner/' }), prefix],
  ];
  for (const [one, other] of within) {
    assert.equal(narrower(one, other), true, JSON.stringify([one.permission.buckets, other.permission.buckets]));
    assert.equal(narrower(other, one), false, JSON.stringify([other.permission.buckets, one.permission.buckets]));
  }
  assert.equal(narrower(managed, prefix), false, 'the folder itself is in no prefix');
  assert.equal(narrower(plan({ object: 'customers/42/a.txt.bak' }), object), false);
  const pointers = (which: JsonObject) =>
    levels(params.parse(inOrders(which))).map(({ pointer, begins }) => [pointer, begins]);
  assert.deepEqual(pointers({ object: 'a' }), []);
  assert.deepEqual(pointers({ managed_folder: 'a/' }), [['/managed_folder', 'a/']]);
  assert.deepEqual(pointers({}), [['/prefix', '']]);
});

test('one way to say it, with names that people can see', () => {
  const pathsOf = (given: JsonObject) =>
    params.safeParse(inOrders(given)).error?.issues.map(({ path }) => path.join('.')) ?? [];
  assert.deepEqual(pathsOf({ prefix: 'a/', object: 'a/b' }), ['object']);
  assert.deepEqual(pathsOf({ managed_folder: 'a' }), ['managed_folder']);
  assert.deepEqual(pathsOf({ object: '' }), ['object']);
  assert.deepEqual(pathsOf({ name_begins: 'a\u202e' }), ['name_begins']);
  const two = { buckets: [{ bucket: 'orders', object: 'a', name_begins: 'a' }] };
  assert.deepEqual(
    params.safeParse(two).error?.issues.map(({ path }) => path.join('.')),
    ['buckets.0.name_begins'],
  );
});

test('the state of one object is that object’s, absent or there', async () => {
  const seen = async (object: string) => {
    const state = await harness.provider.state!(harness.plan(inOrders({ object })), new AbortController().signal);
    return (state.buckets as { count: number; bytes: number }[])[0];
  };
  const there = await seen('customers/42/a.txt');
  assert.deepEqual([there?.count, there?.bytes], [1, 9], 'its neighbour, whose name begins so, is not counted');
  assert.equal((await seen('customers/42/none.txt'))?.count, 0);
});
