/** How the faults of the file are printed. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Settings } from '../config/settings.ts';
import { readTrustFile } from './trust-file.ts';

test('a fault without a path is its place and its words', async (context) => {
  const folder = await mkdtemp(join(tmpdir(), 'writ-trust-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, 'trust.yaml');
  await writeFile(file, '[]\n');
  const settings: Partial<Settings> = { WRIT_TRUST_FILE: file, WRIT_OIDC_ALIAS_CLAIMS: [] };
  await assert.rejects(readTrustFile(settings as Settings), (error: Error) => {
    assert.ok(error.message.includes(`WRIT_TRUST_FILE: ${file}:1:1: must be an object`), error.message);
    return true;
  });
});
