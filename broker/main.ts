/** The process: starts a broker from its environment, and stops it on a signal. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { keepCompiled } from './compile-cache.ts';
import type { Broker } from './compose/start.ts';

keepCompiled();

const [option] = process.argv.slice(2);
if (option !== undefined) {
  const known = { '--help': usage, '-h': usage, '--version': version }[option];
  if (known === undefined) {
    process.stderr.write(`✘ ${option}: the broker takes no such option\n\n${usage()}`);
    process.exit(2);
  }
  process.stdout.write(known());
  process.exit(0);
}

let broker: Broker | null = null;
let leave: (code: number, patienceMs: number) => Promise<void> | void = (code) => process.exit(code);
let stops: 'not yet' | 'just now' | 'asked' = 'not yet';
const stop = async () => {
  // Nothing is in flight before it has started.
  if (broker === null || stops === 'asked') return leave(1, 0);
  // A terminal's Ctrl-C comes twice under `npm start`: from the terminal, and from npm, which hands it on.
  if (stops === 'just now') return;
  stops = 'just now';
  setTimeout(() => {
    stops = 'asked';
  }, 1000).unref();
  await broker.stop();
  await exit();
};
// Before it starts: whoever reads that it is up may send one at once.
process.on('SIGTERM', stop);
process.on('SIGINT', stop);

const { exit, startBroker, whyNotStarted } = await import('./compose/start.ts');
leave = exit;

try {
  broker = await startBroker(process.env);
  if (broker.bootstrapToken !== null) {
    process.stderr.write(
      `\nThe bootstrap token, printed this once; it is stored only as a hash:\n\n    ${broker.bootstrapToken}\n\n`,
    );
  }
} catch (error) {
  process.stderr.write(`${whyNotStarted(error, process.env)}\n`);
  await exit(1);
}

function usage(): string {
  return `npm start: the broker of Writ

It takes no options but --help and --version. Environment variables say the rest, each is in
docs/reference/configuration.md; with none it runs on an embedded database in the folder .writ, at
http://127.0.0.1:8420. Ctrl-C stops it.
`;
}

function version(): string {
  const text = readFileSync(join(import.meta.dirname, '../package.json'), 'utf8');
  return `writ ${(JSON.parse(text) as { version: string }).version}\n`;
}
