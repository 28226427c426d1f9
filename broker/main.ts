/** The process: starts a broker from its environment, and stops it on a signal. */
import { exit, startBroker } from './compose/start.ts';
import { ConfigurationError } from './config/settings.ts';

try {
  const broker = await startBroker(process.env);
  if (broker.bootstrapToken !== null) {
    process.stderr.write(
      `\nThe bootstrap token, printed this once; it is stored only as a hash:\n\n    ${broker.bootstrapToken}\n\n`,
    );
  }
  let stops = 0;
  const stop = async () => {
    stops += 1;
    if (stops > 1) process.exit(1);
    await broker.stop();
    await exit();
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
} catch (error) {
  process.stderr.write(`${error instanceof ConfigurationError ? error.message : (error as Error).stack}\n`);
  process.exit(1);
}
