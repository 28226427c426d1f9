/**
 * Runs after every `npm ci`, also without development packages, on whatever Node there is: plain JavaScript.
 *
 * 1. Puts this repository's own `writ` beside the programs of its dependencies. Without it `npx writ` first
 *    installs the repository into npm's cache, which takes seconds.
 * 2. Removes what the database client brings for other databases than PostgreSQL, and for debuggers: five
 *    sixths of its 72 MB.
 */
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const modules = join(dirname(fileURLToPath(import.meta.url)), '../node_modules');

// 1. Windows runs no symbolic links to scripts; npx finds the command there by itself, only slower.
if (process.platform !== 'win32') {
  mkdirSync(join(modules, '.bin'), { recursive: true });
  rmSync(join(modules, '.bin/writ'), { force: true });
  symlinkSync('../../broker/cli/writ.ts', join(modules, '.bin/writ'));
}

// 2.
const runtime = join(modules, '@prisma/client/runtime');
const unused =
  /^(query_compiler_\w+\.(sqlserver|cockroachdb|mysql|sqlite)\.|query_compiler_small_|wasm-compiler-edge|.*\.map$)/;
for (const file of existsSync(runtime) ? readdirSync(runtime) : []) if (unused.test(file)) rmSync(join(runtime, file));
