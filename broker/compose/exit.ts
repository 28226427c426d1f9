/** Ends the process. */
import { systemClock } from '../core/clock.ts';
import { logTaken } from '../core/log.ts';

/**
 * An ordinary exit writes out what is left of the log, and would wait for a reader who takes nothing as long
 * as he likes.
 */
export async function exit(): Promise<void> {
  const taken = await Promise.race([logTaken().then(() => true), systemClock.sleep(2_000).then(() => false)]);
  if (taken) process.exit(0);
  process.kill(process.pid, 'SIGKILL');
}
