/** Ends the process. */
import { systemClock } from '../core/clock.ts';
import { logTaken } from '../core/log.ts';

/**
 * An ordinary exit waits for what is being written of the log, and so for a reader who takes nothing as long
 * as he likes.
 */
export async function exit(code = 0, patienceMs = 2_000): Promise<void> {
  const taken = await Promise.race([logTaken().then(() => true), systemClock.sleep(patienceMs).then(() => false)]);
  if (taken) process.exit(code);
  process.kill(process.pid, 'SIGKILL');
}
