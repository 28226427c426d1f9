import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { paramPath, readParams } from './param-faults.ts';

const bucket = z.strictObject({ bucket: z.string().regex(/^[a-z]+$/, 'must be a bucket name') });
const schema = z.strictObject({ buckets: z.array(bucket) });

test('a fault is told where it is, and an unknown field by its name', () => {
  const read = readParams(schema, {
    buckets: [{ bucket: 'A' }, { bucket: 'a', bukets: 1, colour: 'red' }, { buckt: 'a', bucket: 'a' }],
    color: 'red',
  });
  assert.ok(!read.ok);
  assert.deepEqual(
    read.faults.map(({ path, message }) => `${path}: ${message}`),
    [
      'params.buckets[0].bucket: must be a bucket name',
      'params.buckets[1].bukets: is not a known field; did you mean bucket?',
      'params.buckets[1].colour: is not a known field',
      'params.buckets[2].buckt: is not a known field; did you mean bucket?',
      'params.color: is not a known field',
    ],
  );
  assert.deepEqual(readParams(schema, { buckets: [{ bucket: 'a' }] }), {
    ok: true,
    params: { buckets: [{ bucket: 'a' }] },
  });
});

test('a provider’s own fault is told in the same form', () => {
  assert.equal(paramPath('tables.0.schema'), 'params.tables[0].schema');
  assert.equal(paramPath(undefined), 'params');
});
