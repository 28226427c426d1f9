/**
 * Runs after every `npm ci`: puts this repository's own `writ` beside the programs of its dependencies.
 * Without it `npx writ` first installs the repository into npm's cache, which takes seconds.
 */
import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

const folder = join(import.meta.dirname, '../node_modules/.bin');
// Windows runs no symbolic links to scripts; npx finds the command there by itself, only slower.
if (process.platform !== 'win32') {
  mkdirSync(folder, { recursive: true });
  rmSync(join(folder, 'writ'), { force: true });
  symlinkSync('../../broker/cli/writ.ts', join(folder, 'writ'));
}
