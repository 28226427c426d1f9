/**
 * One writer at a time for an upstream document (a role's policy): the upstream has no conditional write, so two workers that rewrite it at once would lose one
 * of the denials. The lock is a row with an end, longer than any attempt, so that a dead holder blocks nobody for long.
 */
import type { Statement, Store } from '../store/open.ts';
import type { Clock } from '../vocabulary.ts';

const takeStatement: Statement = {
  name: 'writer_lock_take',
  text: `
    INSERT INTO writer_lock (key, holder, until) VALUES ($1, $2, $3)
    ON CONFLICT (key) DO UPDATE SET holder = EXCLUDED.holder, until = EXCLUDED.until WHERE writer_lock.until <= $4
    RETURNING key`,
};

const dropStatement: Statement = {
  name: 'writer_lock_drop',
  text: 'DELETE FROM writer_lock WHERE key = $1 AND holder = $2',
};

/**
 * Runs `work` while holding the lock. `holder` must be unique per call or per worker that never runs two at once for a key.
 * @returns false when somebody else holds it: nothing was run
 */
export async function withWriterLock(
  store: Store,
  clock: Clock,
  lock: { key: string; holder: string; seconds: number },
  work: () => Promise<void>,
): Promise<boolean> {
  const now = clock.now();
  const until = new Date(now.getTime() + lock.seconds * 1000);
  const taken = await store.run(takeStatement, [lock.key, lock.holder, until, now]);
  if (taken.length === 0) return false;
  try {
    await work();
  } finally {
    await store.run(dropStatement, [lock.key, lock.holder]);
  }
  return true;
}
