import assert from 'node:assert/strict';
import { test } from 'node:test';
import { goesDeeper, runsOnEither, saysDeep } from './deep.ts';

test('a file is left to test:deep by a line of its head, and not because it speaks of it', () => {
  assert.equal(saysDeep('/**\n * Packs.\n *\n * @deep\n */\n'), true);
  assert.equal(saysDeep('/**\n * Runs beside what says @deep.\n */\n'), false);
  assert.equal(saysDeep("/**\n * Packs.\n */\nconst word = '@deep';\n"), false);
  assert.equal(saysDeep(`${'// many words\n'.repeat(200)} * @deep\n`), false, 'not in its head');
});

test('a file is run again where it does more', () => {
  const read = 'const runs = process.env.TEST_DEPTH === "all" ? 9 : 1;';
  assert.equal(goesDeeper(read), true);
  assert.equal(goesDeeper('// speaks of TEST_DEPTH'), false);
  assert.equal(runsOnEither('for (const backend of await testBackends()) {'), true);
  assert.equal(runsOnEither("const skip = !(await testBackends()).includes('postgres');"), false);
});
