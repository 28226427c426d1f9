import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ConfigurationError } from '../config/settings.ts';
import { findManifestFolder } from './manifest-folder.ts';

async function faultsWith(names: string[]): Promise<string[]> {
  const folder = await mkdtemp(join(tmpdir(), 'writ-folder-'));
  try {
    for (const name of names) await writeFile(join(folder, name), '');
    await findManifestFolder(folder);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return error.faults.map((fault) => fault.replaceAll(folder, 'FOLDER'));
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('no other spelling of a manifest’s name is passed over in silence', async () => {
  const ends = 'a manifest’s name ends in .yaml';
  const faults: [name: string, fault: string][] = [
    ['a.JSON', `${ends}; write it as YAML, or take it out of the folder`],
    ['b.YAML', `${ends}; rename it`],
    ['c.Yml', `${ends}; rename it`],
    ['d.cases.YAML', 'the name of a manifest’s cases ends in .cases.yaml; rename it'],
    ['e.json', `${ends}; write it as YAML, or take it out of the folder`],
    ['f.yml', `${ends}; rename it`],
  ];
  assert.deepEqual(
    await faultsWith(faults.map(([name]) => name)),
    faults.map(([name, fault]) => `WRIT_MANIFEST_DIR: ${name} in FOLDER: ${fault}`),
  );
});

test('manifests, their cases and what is of another kind are left alone', async () => {
  assert.deepEqual(await faultsWith(['a.yaml', 'a.cases.yaml', 'README.md', '.gitkeep', 'yaml', 'yml.txt']), []);
});
