/**
 * `npm run generate`: writes the database client (`broker/store/prisma/`) from `prisma/schema.prisma`. It is
 * in git, so that nothing need be generated where the broker is installed; `npm run check` holds it to the
 * schema.
 *
 * `prisma generate` would first download a schema engine that it does not need for generating, which fails
 * wherever only a package registry can be reached. Naming any executable that exists as that engine skips the
 * download; nothing of it is run.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { installToolchain } from './install-toolchain.ts';

const root = join(import.meta.dirname, '..');
export const prismaCommand = join(import.meta.dirname, 'toolchain/node_modules/prisma/build/index.js');

/**
 * @param schema path of a schema; its generator says where the client goes
 * @param folder where packages are found from
 * @throws Error with what Prisma said
 */
export function generateClient(schema: string, folder = root): void {
  installToolchain();
  const { status, stdout, stderr, error } = spawnSync(
    process.execPath,
    [prismaCommand, 'generate', '--schema', schema],
    {
      cwd: folder,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
        // No question to the vendor's server about newer versions, no advertisement in the output.
        CHECKPOINT_DISABLE: '1',
        PRISMA_HIDE_UPDATE_MESSAGE: '1',
        // The engine's own check would compare this Node with a checksum of theirs.
        PRISMA_ENGINES_CHECKSUM_IGNORE_MISSING: '1',
      },
    },
  );
  if (status !== 0) throw new Error(`prisma generate failed: ${stdout}${stderr}`, { cause: error });
}

if (import.meta.main) {
  generateClient('prisma/schema.prisma');
  console.log('generated broker/store/prisma from prisma/schema.prisma');
}
