/**
 * `npm run dev`: starts the broker, again whenever one of its files changes, and prints its log for people.
 * Settings come from the environment, as with `npm start`; so do its answers to options.
 */
import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { readableLog } from './readable-log.ts';

const root = join(import.meta.dirname, '..');
const options = process.argv.slice(2);
if (options.length > 0) {
  const { status } = spawnSync(process.execPath, ['broker/main.ts', ...options], { cwd: root, stdio: 'inherit' });
  process.exit(status ?? 1);
}

const broker = spawn(
  process.execPath,
  ['--watch', '--watch-preserve-output', '--disable-warning=ExperimentalWarning', 'broker/main.ts'],
  // Detached, so that a terminal's Ctrl-C reaches this process only, which hands it on once: told twice, the
  // broker stops without finishing what is in flight.
  { cwd: root, detached: true, stdio: ['ignore', 'pipe', 'inherit'] },
);

const colours = process.stdout.isTTY === true;
createInterface({ input: broker.stdout }).on('line', (line) => console.log(readableLog(line, colours)));

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => broker.kill(signal));
// `node --watch` leaves its child running on SIGHUP.
process.on('SIGHUP', () => broker.kill('SIGTERM'));

broker.on('close', (code) => {
  process.exitCode = code ?? 1;
});
