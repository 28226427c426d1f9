import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readOptions } from './options.ts';

test('what the command line does not know is refused', () => {
  assert.throws(() => readOptions(['--only', 'nothing']), /nothing is none of/);
  assert.throws(() => readOptions(['--clients', '0']), /is not a number/);
  assert.throws(() => readOptions(['--clients', '1.5']), /whole numbers/);
  assert.deepEqual(readOptions(['--processes', '1,2,3', '--only', 'reference']).processes, [1, 2, 3]);
});
