/** The folder that WRIT_MANIFEST_DIR names, looked at before anything is opened. */
import { readdir } from 'node:fs/promises';
import { ConfigurationError } from '../config/settings.ts';

/** @throws ConfigurationError when it cannot be read, or holds a file that only looks like a manifest */
export async function findManifestFolder(folder: string | undefined): Promise<void> {
  if (folder === undefined) return;
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    throw new ConfigurationError([`WRIT_MANIFEST_DIR: ${folder} is no folder that can be read (${error.code})`]);
  });
  const faults = names
    .filter((name) => name.endsWith('.yml'))
    .sort()
    .map((name) => `WRIT_MANIFEST_DIR: ${name} in ${folder}: a manifest’s name ends in .yaml; rename it`);
  if (faults.length > 0) throw new ConfigurationError(faults);
}
