/**
 * `scripts/toolchain/` as its lock says, installed when it is not there: before tests, and wherever the
 * database client is written. A folder that is there already costs one comparison of two files.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = join(import.meta.dirname, 'toolchain');

interface Packages {
  [path: string]: { version?: string; optional?: boolean };
}

function packagesIn(file: string): Packages {
  try {
    return (JSON.parse(readFileSync(join(folder, file), 'utf8')) as { packages: Packages }).packages;
  } catch {
    return {};
  }
}

/** Optional packages are of one platform each, and may be of another. */
function isInstalled(): boolean {
  const installed = packagesIn('node_modules/.package-lock.json');
  return Object.entries(packagesIn('package-lock.json')).every(
    ([path, { version, optional }]) => path === '' || optional || installed[path]?.version === version,
  );
}

/** @throws Error when npm cannot install it */
export function installToolchain(): void {
  if (isInstalled()) return;
  console.log('installing scripts/toolchain, once');
  const { status, error } = spawnSync('npm', ['ci', '--prefix', folder], { stdio: 'inherit' });
  if (status !== 0) throw new Error('npm could not install scripts/toolchain', { cause: error });
}

if (import.meta.main) installToolchain();
