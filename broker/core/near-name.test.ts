import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nearName } from './near-name.ts';

test('one letter added, left out, replaced, or two swapped is near; another word is not', () => {
  const known = ['max_ttl', 'tier', 'tasks', 'WRIT_REQUIRE_DPOP'];
  for (const [written, meant] of [
    ['max_tll', 'max_ttl'],
    ['maxttl', 'max_ttl'],
    ['teir', 'tier'],
    ['task', 'tasks'],
    ['WRIT_REQUIRE_DPOPP', 'WRIT_REQUIRE_DPOP'],
    ['WRIT_REQIURE_DOPP', 'WRIT_REQUIRE_DPOP'],
    ['writ_require_dpop', 'WRIT_REQUIRE_DPOP'],
    ['owner', null],
    ['', null],
    ['x', null],
  ] as const)
    assert.equal(nearName(written, known), meant, written);
});

test('of several the nearest is meant', () => {
  assert.equal(nearName('read-file', ['read-files-now', 'read-files', 'read-tiles']), 'read-files');
});
