/** The process: starts a broker from its environment, and stops it on a signal. */
import { startBroker } from './compose/start.ts';
import { ConfigurationError } from './config/settings.ts';

try {
  const broker = await startBroker(process.env);
  if (broker.bootstrapToken !== null) {
    process.stderr.write(
      `\nThe bootstrap token, printed this once; it is stored only as a hash:\n\n    ${broker.bootstrapToken}\n\n`,
    );
  }
  let stops: 'not yet' | 'just now' | 'asked' = 'not yet';
  const stop = async () => {
    if (stops === 'asked') process.exit(1);
    // A terminal's Ctrl-C comes twice under `npm start`: from the terminal, and from npm, which hands it on.
    if (stops === 'just now') return;
    stops = 'just now';
    setTimeout(() => {
      stops = 'asked';
    }, 1000).unref();
    await broker.stop();
    process.exit(0);
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
} catch (error) {
  process.stderr.write(`${error instanceof ConfigurationError ? error.message : (error as Error).stack}\n`);
  process.exit(1);
}
