/**
 * Decides the requests of one session one after another: each must see what the one before it did. The
 * database would serialise them too (the second finds that the session has moved on), but all but one of many
 * concurrent requests would be decided in vain. Between processes, the database still does.
 */

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
