/** What a pattern proves about the texts it matches. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RE2JS } from 're2js';
import { anyCharacter, patternEnds } from './pattern-ends.ts';

/** With `…` after what is not the whole text, and `·` for any character. */
const texts = (ends: { text: string; whole: boolean }[] | null) =>
  ends?.map(({ text, whole }) => `${text.replaceAll(anyCharacter, '·')}${whole ? '' : '…'}`) ?? null;

test('beginnings and ends that every matched text has', () => {
  const cases: [pattern: string, starts: string[] | null, finishes: string[] | null][] = [
    ['repo:octo/.*', ['repo:octo/…'], ['…']],
    ['a.c/.*', ['a·c/…'], ['…']],
    ['.*/x', ['…'], ['/x…']],
    ['(octo|acme)/[a-z]+', ['octo/…', 'acme/…'], ['…']],
    ['octo|.*', ['octo', '…'], ['octo', '…']],
    ['octo/?x', ['octo…'], ['x…']],
    ['octo/+x', ['octo/…'], ['/x…']],
    ['oc(to)*', ['oc…'], ['…']],
    ['47[.]1\\.2', ['47.1.2'], ['47.1.2']],
    ['^octo/x$', ['octo/x'], ['octo/x']],
    ['a{1}b{2}', ['ab…'], ['b…']],
    ['', [''], ['']],
    ['(?i)octo/x', null, null],
    ['(?i:octo)/x', null, null],
    ['\\Qocto\\E/x', null, null],
    ['\\x6fcto/x', null, null],
    ['[]]x', ['…'], ['x…']],
    ['(?P<owner>octo)/.*', ['octo/…'], ['…']],
  ];
  for (const [pattern, starts, finishes] of cases) {
    const ends = patternEnds(pattern);
    assert.deepEqual([texts(ends.starts), texts(ends.finishes)], [starts, finishes], pattern);
  }
});

test('property: what it says holds for whatever RE2 matches', () => {
  const alphabet = [
    'a',
    'b',
    '/',
    ':',
    '.',
    '*',
    '+',
    '?',
    '|',
    '(',
    ')',
    '[ab]',
    '[^a]',
    '\\.',
    '\\w',
    '(?:',
    '{2}',
    '^',
    '$',
  ];
  const pattern = fc.array(fc.constantFrom(...alphabet), { maxLength: 8 }).map((parts) => parts.join(''));
  const text = fc.array(fc.constantFrom('a', 'b', '/', ':', '.', '*'), { maxLength: 6 }).map((parts) => parts.join(''));
  let matched = 0;
  fc.assert(
    fc.property(pattern, fc.array(text, { minLength: 8, maxLength: 8 }), (source, candidates) => {
      let compiled: RE2JS;
      try {
        compiled = RE2JS.compile(source);
      } catch {
        return;
      }
      const { starts, finishes } = patternEnds(source);
      for (const candidate of candidates) {
        if (!compiled.matches(candidate)) continue;
        matched += 1;
        const same = (part: string, text: string) =>
          part.length === text.length && [...text].every((char, i) => char === anyCharacter || char === part[i]);
        const begins = starts?.some(({ text, whole }) =>
          same(whole ? candidate : candidate.slice(0, text.length), text),
        );
        const finishesSo = finishes?.some(({ text, whole }) =>
          same(whole || text === '' ? (whole ? candidate : '') : candidate.slice(-text.length), text),
        );
        assert.ok(begins !== false && finishesSo !== false, JSON.stringify({ source, candidate, starts, finishes }));
      }
    }),
    { numRuns: 20_000, seed: 7 },
  );
  assert.ok(matched > 1_000, String(matched));
});
