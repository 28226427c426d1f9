import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { fieldWords } from './field-words.ts';

const schema = z.strictObject({
  text: z.string().min(2).max(3),
  whole: z.int(),
  one: z.enum(['read', 'write']),
  tier: z.literal([1, 2, 3]),
  fixed: z.literal('v1'),
  list: z.array(z.string()).min(1),
  tagged: z.discriminatedUnion('type', [
    z.strictObject({ type: z.literal('string') }),
    z.strictObject({ type: z.literal('boolean') }),
  ]),
  either: z.union([z.literal('all'), z.record(z.string(), z.int())]),
  matching: z.string().regex(/^a+$/),
  named: z.record(z.string().regex(/^a/, 'must begin with a'), z.int()),
  more: z.int().positive(),
  yes: z.boolean(),
  own: z.string('must be ours'),
  missing: z.string(),
});

test('everything a schema says is said in our words', () => {
  const near = new Map<string, string | null>();
  const written = {
    text: 'long text',
    whole: 1.5,
    one: 'wirte',
    tier: 4,
    fixed: 'v2',
    list: [],
    tagged: { type: 'strng' },
    either: 4,
    matching: 'b',
    named: { b: 1 },
    more: 0,
    yes: 'no',
    own: 7,
    lst: [],
    other: 1,
  };
  const parsed = schema.safeParse(written, { error: (issue) => fieldWords(issue, near) });
  assert.ok(!parsed.success);
  assert.deepEqual(
    parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`),
    [
      'text: must have at most 3 characters',
      'whole: must be a whole number, not the number 1.5',
      'one: must be one of read, write; did you mean write?',
      'tier: must be one of 1, 2, 3',
      'fixed: must be v1',
      'list: must not be empty',
      'tagged.type: must be one of string, boolean; did you mean string?',
      'either: must be all, or an object (names with values), not the number 4',
      'matching: must match /^a+$/',
      'named.b: is not a legal name: must begin with a',
      'more: must be more than 0',
      'yes: must be true or false, not a text',
      'own: must be ours',
      'missing: is required',
      ': is not a known field',
    ],
  );
  assert.deepEqual(
    [...near],
    [
      ['lst', 'list'],
      ['other', null],
    ],
  );
  for (const { message } of parsed.error.issues) assert.doesNotMatch(message, /expected|received|Invalid|undefined/);
});
