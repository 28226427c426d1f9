import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { policySetTextToParts } from '@cedar-policy/cedar-wasm/nodejs';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { z } from 'zod';
import { complaintsOf } from './compile.ts';
import { compileSource, exampleSource, hostileTexts } from './example.test-support.ts';
import { readManifest } from './read.ts';
import { isPlainText } from './unsafe-text.ts';

// Every run the same; another seed looks elsewhere.
fc.configureGlobal({ seed: 20261121 });

test('every policy explains itself, under its own id', () => {
  const compiled = compileSource(exampleSource);
  const policies = Object.values(compiled.capabilities).flatMap(({ policies }) => Object.entries(policies));
  assert.equal(Object.keys(compiled.annotations).length, policies.length);
  for (const [id, policy] of policies) {
    const notes = policy.annotations as Record<string, string>;
    assert.equal(notes.id, id);
    assert.match(notes.reason ?? '', /^[a-z_]+$/);
    assert.ok(notes.advice);
    assert.equal(typeof notes.path, 'string');
  }
  assert.equal(policies.filter(([, { effect }]) => effect === 'permit').length, 3);
  assert.deepEqual(
    Object.values(compiled.annotations).flatMap(({ id, effect }) => (effect === undefined ? [] : [id])),
    ['close-account.approval'],
  );
});

test('the hash is of the source to the letter, and what is compiled survives being stored', () => {
  const compiled = compileSource(exampleSource);
  assert.equal(compiled.sha256, createHash('sha256').update(exampleSource).digest('hex'));
  assert.notEqual(compileSource(`${exampleSource}\n`).sha256, compiled.sha256);
  assert.deepEqual(JSON.parse(JSON.stringify(compiled)), compiled);
});

test('Cedar checks every policy against the schema', () => {
  const part = compileSource(exampleSource).capabilities['close-account'];
  assert.ok(part);
  assert.deepEqual(complaintsOf(part), []);
  const [id, policy] = Object.entries(part.policies)[0] as [string, (typeof part.policies)[string]];
  const wrong = (body: object) =>
    ({ ...part, policies: { [id]: { ...policy, conditions: [{ kind: 'when', body }] } } }) as typeof part;
  const context = { Var: 'context' };
  assert.equal(
    complaintsOf(wrong({ '==': { left: { '.': { left: context, attr: 'nothing' } }, right: { Value: 1 } } })).length,
    1,
  );
  assert.equal(complaintsOf(wrong({ '.': { left: context, attr: 'owner' } })).length, 1);
});

const plainText = fc
  .array(fc.oneof(fc.constantFrom(...hostileTexts), fc.string({ unit: 'grapheme', maxLength: 6 })), {
    minLength: 1,
    maxLength: 4,
  })
  .map((parts) => parts.join(''))
  .filter((text) => text !== '' && isPlainText(text) && !text.includes('$'));
const fieldName = fc.stringMatching(/^[a-z][a-z0-9_]{0,8}$/);
const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/);

const choice = fc.oneof(
  fc.record({ type: fc.constant('string'), enum: fc.uniqueArray(plainText, { minLength: 1, maxLength: 3 }) }),
  fc.record({ type: fc.constant('integer'), min: fc.integer({ max: -1 }), max: fc.nat() }),
  fc.record({ type: fc.constant('boolean'), default: fc.boolean() }),
);
const fixed = fc.oneof(
  plainText,
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
  fc.array(plainText),
  fc.dictionary(fieldName, plainText),
);
const anyManifest = fc
  .record({
    agent: name,
    task: name,
    description: plainText,
    capabilities: fc.dictionary(
      name,
      fc.record({
        description: plainText,
        tier: fc.constantFrom(1, 2, 3),
        canary: fc.constant(false),
        params: fc.dictionary(fieldName, fixed, { maxKeys: 4 }),
        choose: fc.dictionary(fieldName, choice, { maxKeys: 3 }),
      }),
      { minKeys: 1, maxKeys: 3 },
    ),
  })
  .map(({ agent, task, description, capabilities }) => ({
    apiVersion: 'writ/v1',
    agent,
    owner: 'team:a',
    description,
    envelope: { wall_time: '1h' },
    task_types: { [task]: { description, inputs: {} } },
    capabilities: Object.fromEntries(
      Object.entries(capabilities).map(([id, { params, choose, ...rest }]) => [
        id,
        {
          ...rest,
          provider: 'any',
          tasks: [task],
          max_ttl: '5m',
          params,
          choose: Object.fromEntries(Object.entries(choose).filter(([key]) => !Object.hasOwn(params, key))),
        },
      ]),
    ),
  }));

test('a manifest comes back as it was written, and none of its texts becomes policy', () => {
  const providers = { any: { params: z.looseObject({}) } };
  fc.assert(
    fc.property(anyManifest, (generated) => {
      const written = JSON.parse(JSON.stringify(generated)) as typeof generated;
      const read = readManifest(stringify(written, { aliasDuplicateObjects: false }), providers);
      assert.ok(read.ok, JSON.stringify(read));
      const { manifest, capabilities, policiesText } = read.compiled;
      assert.deepEqual(JSON.parse(JSON.stringify(manifest)), {
        ...written,
        envelope: { wall_time: 3600 },
        capabilities: Object.fromEntries(
          Object.entries(written.capabilities).map(([id, rest]) => [id, { ...rest, max_ttl: 300 }]),
        ),
      });
      const parts = policySetTextToParts(policiesText);
      assert.equal(parts.type, 'success');
      const count = Object.values(capabilities).reduce((sum, part) => sum + Object.keys(part.policies).length, 0);
      assert.equal(parts.type === 'success' ? parts.policies.length : -1, count);
    }),
    // Shrinking takes minutes here; the counterexample comes with its seed.
    { numRuns: 100, endOnFailure: true },
  );
});

test('a long value is cut in its advice without breaking a character', () => {
  for (const lead of ['', 'x']) {
    const value = `${lead}${'\u{1F7E6}'.repeat(200)}`;
    const source = exampleSource.replace('["orders/', `["${value}/`);
    assert.match(
      compileSource(source).annotations['read-customer-files.bound.statements']?.advice ?? '',
      /\u{1F7E6}…/u,
    );
  }
});
