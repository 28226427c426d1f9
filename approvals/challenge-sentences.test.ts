/** The one sentence that a plan says, among others that it does not; anywhere among them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { challengeSentences, generator, sentencesOf } from './challenge-sentences.ts';

const alike = (line: string) => line.normalize('NFKC').replace(/\s+/gu, ' ').trim().toLowerCase();
const seedOf = (n: number) => Buffer.from(`seed ${n}`);
const lines = ['Read objects under customers/42/ in the S3 bucket orders', 'As the AWS role writ-orders'];
const others = ['7', '420', '43', '9'].map((id) => [
  `Read objects under customers/${id}/ in the S3 bucket orders`,
  lines[1]!,
]);

test('whatever plans say: the plan’s own sentence is there once, and nothing else that it says', () => {
  const word = fc.constantFrom(
    'Read',
    'read',
    'Write',
    'all',
    'orders',
    '42',
    '7',
    'customers/42/',
    '  ',
    'ﬁle',
    'file',
  );
  const line = fc.oneof(
    fc.array(word, { minLength: 1, maxLength: 4 }).map((words) => words.join(' ')),
    fc.string(),
  );
  const plan = fc.array(line, { maxLength: 4 });
  fc.assert(
    fc.property(
      plan,
      fc.array(plan, { maxLength: 6 }),
      fc.constantFrom(30, 60, 300, 900, 7200),
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      (said, elsewhere, ttlSeconds, seed) => {
        const { own, shown } = challengeSentences({ lines: said, ttlSeconds }, elsewhere, seed);
        const true_ = sentencesOf(said, ttlSeconds);
        assert.ok(true_.includes(own));
        assert.deepEqual(
          shown.filter((sentence) => true_.map(alike).includes(alike(sentence))),
          [own],
        );
        assert.equal(new Set(shown.map(alike)).size, 4, 'four, and no two that look the same');
        assert.deepEqual(challengeSentences({ lines: said, ttlSeconds }, elsewhere, seed), { own, shown });
      },
    ),
    { numRuns: 2_000, seed: 11 },
  );
});

test('its place is any of the four as often, and so is each decoy', () => {
  const places = [0, 0, 0, 0];
  const used = new Map<string, number>();
  const rounds = 8_000;
  for (let n = 0; n < rounds; n += 1) {
    const { own, shown } = challengeSentences({ lines, ttlSeconds: 900 }, others, seedOf(n));
    places[shown.indexOf(own)]! += 1;
    for (const sentence of shown) if (sentence !== own) used.set(sentence, (used.get(sentence) ?? 0) + 1);
  }
  // Chi-square with three degrees of freedom: 16.3 is one in a thousand. The seeds are fixed.
  const chiSquare = (counts: number[], each: number) =>
    counts.reduce((sum, count) => sum + (count - each) ** 2 / each, 0);
  assert.ok(chiSquare(places, rounds / 4) < 16.3, String(places));
  assert.ok(chiSquare([...used.values()], (rounds * 3) / 4) < 16.3, String([...used.values()]));
  assert.equal(used.size, 4);
});

test('of what other plans say too nothing is asked; what they say is what stands beside it', () => {
  const { own, shown } = challengeSentences({ lines, ttlSeconds: 900 }, others, seedOf(1));
  assert.equal(own, lines[0]);
  const elsewhere = others.map(([line]) => line);
  assert.ok(shown.every((sentence) => sentence === own || elsewhere.includes(sentence)));
});

test('the first request of an agent has decoys as well: other numbers, other verbs, other lifetimes', () => {
  const first = challengeSentences({ lines: [lines[0]!], ttlSeconds: 900 }, [], seedOf(2));
  for (const decoy of first.shown.filter((sentence) => sentence !== first.own)) {
    assert.notEqual(decoy, lines[0]);
    assert.match(decoy, /^\w+ objects under customers\/\d\d\/ in the S3 bucket orders$|^\w+ objects under customers/);
  }
  const worded = challengeSentences({ lines: ['Delete the queue'], ttlSeconds: 900 }, [], seedOf(3));
  assert.equal(worded.own, 'Delete the queue');
  assert.ok(
    worded.shown.every((sentence) => /^[A-Z][a-z]+ the queue$/.test(sentence)),
    String(worded.shown),
  );
  const bare = challengeSentences({ lines: ['Everything'], ttlSeconds: 900 }, [], seedOf(4));
  assert.equal(bare.own, 'It lives for 15 min');
  assert.ok(bare.shown.every((sentence) => sentence.startsWith('It lives for ')));
});

test('the generator draws each number as often', () => {
  const draw = generator(seedOf(5));
  const counts = Array.from({ length: 7 }, () => 0);
  for (let n = 0; n < 14_000; n += 1) counts[draw(7)]! += 1;
  // Six degrees of freedom.
  const chiSquare = counts.reduce((sum, count) => sum + (count - 2_000) ** 2 / 2_000, 0);
  assert.ok(chiSquare < 22.5, String(counts));
});
