/**
 * Requests of one session are decided one after another: each must see what the one before it did. The database would sort them out too (the one that comes second finds
 * that the session has moved on), but of many at once all but one would be decided in vain, again and again. Other processes it still sorts out.
 */

const last = new Map<string, Promise<void>>();

/** @returns called when this session's turn has come; ends it, however often it is called */
export async function takeTurn(sessionId: string): Promise<() => void> {
  const before = last.get(sessionId);
  const { promise, resolve } = Promise.withResolvers<void>();
  last.set(sessionId, promise);
  const end = () => {
    if (last.get(sessionId) === promise) last.delete(sessionId);
    resolve();
  };
  if (before !== undefined) await before;
  return end;
}
