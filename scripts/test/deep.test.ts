import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { saysDeep } from './deep.ts';

test('a file is left to test:deep by a line of its head, and not because it speaks of it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'writ-deep-'));
  const says = async (text: string) => {
    const file = join(folder, 'one.test.ts');
    await writeFile(file, text);
    return saysDeep(file);
  };
  try {
    assert.equal(await says('/**\n * Packs.\n *\n * @deep\n */\n'), true);
    assert.equal(await says('/**\n * Runs beside what says @deep.\n */\n'), false);
    assert.equal(await says("/**\n * Packs.\n */\nconst word = '@deep';\n"), false);
    assert.equal(await says(`${'// many words\n'.repeat(200)} * @deep\n`), false, 'not in its head');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
