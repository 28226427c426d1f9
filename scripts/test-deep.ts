/**
 * `npm run test:deep`: what `npm test` leaves out because it takes long. First the suites that have more to
 * try in depth; then, on the embedded database, those that `npm test` ran on PostgreSQL.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { goesDeeper, runsOnEither } from './test/deep.ts';
import { findTestFiles } from './test/files.ts';

const root = join(import.meta.dirname, '..');
process.chdir(root);
const files = [...(await findTestFiles([]))].map(async (file) => ({ file, text: await readFile(file, 'utf8') }));
const read = await Promise.all(files);
const whose = (fits: (text: string) => boolean) => read.filter(({ text }) => fits(text)).map(({ file }) => file);

const outcomes = [
  await run('in depth', whose(goesDeeper), { TEST_DEPTH: 'all' }),
  await run('on the embedded database', whose(runsOnEither), { TEST_BACKEND: 'pglite' }),
];
process.exit(outcomes.every((good) => good) ? 0 : 1);

async function run(how: string, files: string[], env: { [name: string]: string }): Promise<boolean> {
  console.log(`\n--- ${how}`);
  const args = ['--disable-warning=ExperimentalWarning', 'scripts/test.ts', ...files];
  const child = spawn(process.execPath, args, { stdio: 'inherit', env: { ...process.env, ...env } });
  return (await once(child, 'exit'))[0] === 0;
}
