/** The folder that WRIT_MANIFEST_DIR names, looked at before anything is opened. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigurationError } from '../config/settings.ts';
import { agentOf, isManifest, nameFault } from '../manifests/read.ts';

/** @throws ConfigurationError when it cannot be read, or holds a file that only looks like a manifest */
export async function findManifestFolder(folder: string | undefined): Promise<void> {
  if (folder === undefined) return;
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    throw new ConfigurationError([`WRIT_MANIFEST_DIR: ${folder} is no folder that can be read (${error.code})`]);
  });
  const faults = names.sort().flatMap((name) => {
    const fault = nameFault(name);
    return fault === null ? [] : [`WRIT_MANIFEST_DIR: ${name} in ${folder}: ${fault}`];
  });
  const fileOf = new Map<string, string>();
  for (const name of names.filter(isManifest)) {
    const agent = agentOf(await readFile(join(folder, name), 'utf8').catch(() => ''));
    const other = agent === null ? undefined : fileOf.get(agent);
    if (other !== undefined)
      faults.push(
        `WRIT_MANIFEST_DIR: ${other} and ${name} in ${folder} are both manifests of ${agent}: an agent has one; take the other out`,
      );
    else if (agent !== null) fileOf.set(agent, name);
  }
  if (faults.length > 0) throw new ConfigurationError(faults);
}
