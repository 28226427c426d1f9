import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { keyedDigest } from './request-action.ts';
import { shownArguments } from './shown-arguments.ts';

const digest = keyedDigest(randomBytes(32));

test('what is kept of arguments has bounds: a name as long as a token is kept no more than a value is', () => {
  assert.deepEqual(Object.keys(shownArguments({ ['n'.repeat(128)]: 1 }, digest)), ['n'.repeat(128)]);
  for (const args of [
    { ['n'.repeat(129)]: 1, path: '/a' },
    Object.fromEntries(Array.from({ length: 65 }, (_, n) => [`a${n}`, n])),
  ]) {
    const shown = shownArguments(args, digest);
    assert.deepEqual(Object.keys(shown), ['*']);
    assert.ok(JSON.stringify(shown).length < 100);
  }
});
