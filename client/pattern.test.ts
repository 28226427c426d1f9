/** Patterns that leave the broker as programs match what RE2 matches, and nothing else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { matchesWhole, patternProgram } from '../broker/manifests/pattern.ts';
import { matchesProgram } from './pattern.ts';

const pick = (...all: string[]) => fc.constantFrom(...all);
const atom = pick('a', 'b', '[ab]', '[^a]', '.', '\\d', '\\w', 'é', '𝒳', '\\pL', '\\.', '^', '$', '\\A', '\\z');
const pattern = fc.letrec<{ any: string }>((tie) => ({
  any: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    atom,
    fc.tuple(tie('any'), tie('any')).map(([one, two]) => one + two),
    fc.tuple(tie('any'), tie('any')).map(([one, two]) => `(?:${one}|${two})`),
    fc.tuple(tie('any'), pick('*', '+', '?', '{2}', '{1,3}', '*?')).map(([one, times]) => `(${one})${times}`),
    tie('any').map((one) => `(?s:${one})`),
  ),
})).any;
const text = fc
  .array(pick('a', 'b', 'A', '1', '.', '\n', 'é', '𝒳', ' ', 'Σ'), { maxLength: 8 })
  .map((letters) => letters.join(''));

test('a program and RE2 agree on random patterns and texts', () => {
  const said = { yes: 0, no: 0 };
  fc.assert(
    fc.property(pattern, fc.array(text, { minLength: 1, maxLength: 8 }), (written, texts) => {
      const program = patternProgram(written);
      assert.ok(program !== null, written);
      for (const one of texts) {
        const expected = matchesWhole(written, one);
        said[expected ? 'yes' : 'no'] += 1;
        assert.equal(matchesProgram(program, one), expected, JSON.stringify([written, one]));
      }
    }),
    { numRuns: 4000, seed: 20261126 },
  );
  assert.ok(said.yes > 1000 && said.no > 1000, JSON.stringify(said));
});

test('a pattern that the steps cannot say has no program', () => {
  for (const written of ['(?i)a', '\\ba', '(?m)^a$', `a{900}`]) assert.equal(patternProgram(written), null, written);
});

test('what would take long, and what readers disagree on, does not match', () => {
  const program = patternProgram('(?:a|b|ab)*')!;
  assert.equal(matchesProgram(program, 'ab'.repeat(40)), true);
  assert.equal(matchesProgram(program, 'ab'.repeat(40_000)), false);
  assert.equal(matchesProgram(patternProgram('.*')!, 'a\ud800'), false);
  assert.equal(matchesProgram({ start: 0, steps: [['leap', 1], ['match']] }, ''), false);
});
