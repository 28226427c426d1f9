import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openApiFaults } from './openapi.ts';

const committed = join(import.meta.dirname, '../../docs/reference/openapi.json');

test('the document passes; a scheme and a schema that are nowhere do not', async (t) => {
  assert.deepEqual(await openApiFaults(committed), []);
  const document = JSON.parse(await readFile(committed, 'utf8'));
  delete document.components.securitySchemes.receiver;
  delete document.components.schemas.Task;
  const folder = await mkdtemp(join(tmpdir(), 'writ-openapi-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, 'openapi.json'), JSON.stringify(document));
  const faults = (await openApiFaults(join(folder, 'openapi.json'))).join('\n');
  assert.match(faults, /security-defined/);
  assert.match(faults, /no-unresolved-refs/);
});
