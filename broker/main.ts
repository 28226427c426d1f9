/** The process: starts a broker from its environment, and stops it on a signal. */
import { keepCompiled } from './compile-cache.ts';
import type { Broker } from './compose/start.ts';

keepCompiled();

let broker: Broker | null = null;
let stops: 'not yet' | 'just now' | 'asked' = 'not yet';
const stop = async () => {
  // Nothing is in flight before it has started.
  if (broker === null || stops === 'asked') process.exit(1);
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

const { exit, startBroker } = await import('./compose/start.ts');
const { ConfigurationError } = await import('./config/settings.ts');

try {
  broker = await startBroker(process.env);
  if (broker.bootstrapToken !== null) {
    process.stderr.write(
      `\nThe bootstrap token, printed this once; it is stored only as a hash:\n\n    ${broker.bootstrapToken}\n\n`,
    );
  }
} catch (error) {
  process.stderr.write(`${error instanceof ConfigurationError ? error.message : (error as Error).stack}\n`);
  process.exit(1);
}
