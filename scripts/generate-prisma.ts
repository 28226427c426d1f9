/**
 * Runs after every `npm ci`: writes the Prisma client (`broker/store/prisma/`, not in git) from
 * `prisma/schema.prisma`.
 *
 * `prisma generate` would first download a schema engine that it does not need for generating, which fails
 * wherever only a package registry can be reached. Naming any executable that exists as that engine skips the
 * download; nothing of it is run.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const prisma = join(root, 'node_modules/prisma/build/index.js');

if (!existsSync(prisma)) {
  // `npm ci --omit=dev`: an image copies the client that the build stage generated (infra/Dockerfile).
  console.log('prisma is not installed here: the generated client must be brought along');
} else {
  const { status, stdout, stderr, error } = spawnSync(process.execPath, [prisma, 'generate'], {
    cwd: root,
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
  });
  if (status !== 0) {
    console.error(stdout, stderr, error ?? '');
    console.error('prisma generate failed: the broker cannot start without its database client');
    process.exit(1);
  }
  console.log('generated broker/store/prisma from prisma/schema.prisma');
}
