import assert from 'node:assert/strict';
import { test } from 'node:test';
import { extremesOf } from './extreme-values.ts';
import { matchesWhole } from './pattern.ts';
import { unsafeText } from './unsafe-text.ts';

test('the least and the longest text of a pattern match it, and may be inputs', () => {
  const lengths: [pattern: string, least: number, longest: number][] = [
    ['[0-9]{1,12}', 1, 12],
    ['.*', 1, 256],
    ['(?s).*', 1, 256],
    ['[a-z]+/', 2, 256],
    ['^customers/[0-9]{3}$', 13, 13],
    ['a|bcd|ef', 1, 3],
    ['(ab)*', 2, 256],
    ['[^a-zA-Z0-9]{2,4}', 2, 4],
    ['[ä-ü]{2}', 2, 2],
  ];
  for (const [pattern, least, longest] of lengths) {
    const found = extremesOf({ type: 'string', pattern });
    assert.ok(found !== null, pattern);
    assert.deepEqual([String(found.least).length, String(found.longest).length], [least, longest], pattern);
    for (const text of [found.least, found.longest]) {
      assert.ok(matchesWhole(pattern, String(text)), `${pattern}: ${text}`);
      assert.equal(unsafeText(String(text)), undefined, `${pattern}: ${text}`);
    }
  }
});

test('where nobody can tell, or nothing may be given, there is none', () => {
  for (const pattern of ['(?i)abc', '\\bx\\b', '[*?]+', 'a{300}'])
    assert.equal(extremesOf({ type: 'string', pattern }), null, pattern);
});

test('lists give each member, numbers both bounds', () => {
  assert.deepEqual(extremesOf({ type: 'string', enum: ['long-one', 'b', 'mid'] }), {
    least: 'b',
    longest: 'long-one',
    others: ['mid', 'long-one'],
  });
  assert.deepEqual(extremesOf({ type: 'integer', min: 3, max: 9 }), { least: 3, longest: 9, others: [9] });
  assert.deepEqual(extremesOf({ type: 'boolean' }), { least: false, longest: false, others: [true] });
});
