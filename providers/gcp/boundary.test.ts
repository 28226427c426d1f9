import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compileCel } from '../../sandbox/gcp/cel.ts';
import { celString, prefixCondition } from './boundary.ts';
import { gcpBench, storage } from './harness.test-support.ts';

// Every run the same; another seed looks elsewhere.
fc.configureGlobal({ seed: 20261121 });

const attacks = [
  "x') || true || resource.name.startsWith('",
  "x\\') || true || resource.name.startsWith(\\'",
  'x\\',
  "\\') || true || ('",
  "x'.startsWith('') || resource.name.startsWith('projects/_/buckets/orders",
  "', '').startsWith('') || true || api.getAttribute('x",
];

test('a prefix written as an attack on the condition widens nothing', async () => {
  const harness = await gcpBench();
  try {
    for (const attack of attacks) {
      const prefix = `${attack}/`;
      const { credential } = await harness.issue(harness.plan({ bucket: 'orders', prefix }));
      assert.equal(await storage(harness.sandbox, credential, 'GET', 'orders', 'customers/42/a.txt'), 403, prefix);
      assert.equal(await storage(harness.sandbox, credential, 'LIST', 'orders', ''), 403, prefix);
      assert.equal(await storage(harness.sandbox, credential, 'LIST', 'orders', `${prefix}x`), 200, prefix);
    }
  } finally {
    await harness.close();
  }
});

test('the same attack would succeed if the prefix were not quoted, so the test above can fail', () => {
  const naive = `resource.name.startsWith('projects/_/buckets/orders/objects/${attacks[0]}')`;
  assert.equal(compileCel(naive)({ resourceName: 'projects/_/buckets/orders/objects/secret', attributes: {} }), true);
});

test('a condition means exactly: the name, or the listed prefix, starts with the prefix', () => {
  const text = fc.string({ unit: fc.constantFrom("'", '\\', '"', '`', ')', ' ', '|', 'a', '/', 'é', '💠', '.', 'n') });
  fc.assert(
    fc.property(text, text, (prefix, other) => {
      const condition = compileCel(prefixCondition('orders', prefix));
      const named = (name: string) =>
        condition({ resourceName: `projects/_/buckets/orders/objects/${name}`, attributes: {} });
      const listed = (value: string) =>
        condition({
          resourceName: 'projects/_/buckets/orders',
          attributes: { 'storage.googleapis.com/objectListPrefix': value },
        });
      assert.equal(named(prefix + other), true);
      assert.equal(listed(prefix + other), true);
      if (prefix !== '') {
        assert.equal(named(other), other.startsWith(prefix));
        assert.equal(listed(other), other.startsWith(prefix));
      }
    }),
    { seed: 7, numRuns: 500 },
  );
});

test('what cannot be quoted is not quoted', () => {
  assert.throws(() => celString('a\nb'), TypeError);
  assert.throws(() => celString('\ud800'), TypeError);
});
