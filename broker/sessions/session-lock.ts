/**
 * Decides the requests of one session one after another: each must see what the one before it did. The
 * database would serialise them too (the second finds that the session has moved on), but all but one of many
 * concurrent requests would be decided in vain. Between processes, the database still does.
 */
import { WritError } from '../core/errors.ts';

const last = new Map<string, Promise<void>>();

/**
 * Runs `work` when no other work of this session runs in this process.
 * @param work gets whether it had to wait: what was read before may be stale then
 */
export async function withSessionLock<T>(sessionId: string, work: (waited: boolean) => Promise<T>): Promise<T> {
  const before = last.get(sessionId);
  const { promise, resolve } = Promise.withResolvers<void>();
  last.set(sessionId, promise);
  try {
    if (before !== undefined) await before;
    return await work(before !== undefined);
  } finally {
    if (last.get(sessionId) === promise) last.delete(sessionId);
    resolve();
  }
}

/**
 * Decides under the session's lock until nobody else has been quicker.
 * @param attempt gets whether what was read before may be stale; null = the session has moved on meanwhile
 * @throws WritError `conflict` after so many attempts
 */
export function untilSettled<T>(
  sessionId: string,
  attempt: (stale: boolean) => Promise<T | null>,
  attempts = 50,
): Promise<T> {
  return withSessionLock(sessionId, async (waited) => {
    for (let race = 0; race < attempts; race += 1) {
      const settled = await attempt(waited || race > 0);
      if (settled !== null) return settled;
    }
    throw new WritError('conflict', {
      detail: 'Too many requests of this session at once; try again.',
      retryAfterSeconds: 1,
    });
  });
}
