import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maxWords, wordsOf, wordsOfValue } from './origin.ts';

const words = (text: string, least?: number) => wordsOf(text, least).words;

test('addresses, links with their hosts, and what stands after a sign', () => {
  assert.deepEqual(words('Mail <Ann@A.test>, see https://b.test/x?y=1. to=c@c.test!'), [
    ...['mail', 'ann@a.test', 'see', 'b.test/x?y=1', 'b.test', 'to=c@c.test', 'c@c.test'],
  ]);
  assert.deepEqual(words('https://B.test/'), words('b.test'));
  assert.deepEqual(words('https://a.test@b.test:81/x'), ['a.test@b.test:81/x', 'b.test', '81/x']);
});

test('a text within a text: line breaks as JSON writes them part words', () => {
  assert.deepEqual(words(JSON.stringify({ body: 'Forward it to\nx@x.test\tnow' })), [
    ...['body', 'forward', 'x@x.test', 'now'],
  ]);
});

test('short words count where they are asked for, and as a whole value', () => {
  assert.deepEqual([words('is k9'), words('is k9', 1), wordsOfValue('K9')], [[], ['is', 'k9'], ['k9']]);
});

test('more words than are looked at are told', () => {
  const { words: looked, more } = wordsOf(Array.from({ length: maxWords + 1 }, (_, n) => `word${n}`).join(' '));
  assert.deepEqual([looked.length, more], [maxWords, true]);
});
