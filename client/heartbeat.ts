/** Says in the background that the agent lives, and so gets the next token before the last one expires. */
import type { Clock } from './clock.ts';

/** What the latest token said about the next beat. */
export interface Rhythm {
  heartbeatSeconds: number;
  /** Lifetime of the token in seconds; it shrinks towards the end of the session. */
  expiresIn: number;
}

/**
 * One beat after another, never two at once, until the signal aborts. Does not keep the process alive.
 * @param beat one heartbeat; when it fails for want of an answer the next one is tried, and whether the
 *   session has ended is its own to notice
 */
export async function keepAlive(
  clock: Clock,
  first: Rhythm,
  beat: () => Promise<Rhythm>,
  signal: AbortSignal,
): Promise<void> {
  let rhythm = first;
  while (!signal.aborted) {
    try {
      await clock.sleep(pauseMs(rhythm), signal, true);
      rhythm = await beat();
    } catch {
      // Ended: the loop's condition says so. Not reached: the next beat tries again.
    }
  }
}

/** As often as the broker asks, and at least twice in the life of a token. */
export const pauseMs = ({ heartbeatSeconds, expiresIn }: Rhythm): number =>
  Math.max(1, Math.min(heartbeatSeconds, expiresIn / 2)) * 1000;
