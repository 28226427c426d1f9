/** The process: starts a broker from its environment, and stops it on a signal. */
import { startBroker } from './compose/start.ts';
import { ConfigurationError } from './config/settings.ts';
import { systemClock } from './core/clock.ts';
import { logTaken } from './core/log.ts';

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

/**
 * An ordinary exit writes out what is left of the log, and would wait for a reader who takes nothing as long as
 * he likes.
 */
async function exit(): Promise<void> {
  const taken = await Promise.race([logTaken().then(() => true), systemClock.sleep(2_000).then(() => false)]);
  if (taken) process.exit(0);
  process.kill(process.pid, 'SIGKILL');
}
