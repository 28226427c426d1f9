/**
 * One writer at a time for an upstream document (a role's policy): the upstream has no conditional write, so
 * two workers that rewrite it at once would lose one of the denials. The lock is a row with an end, longer
 * than any attempt, so that the lock of a crashed holder expires soon.
 */
import { ProviderError } from '../../providers/contract.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';

const takeStatement: Statement = {
  name: 'upstream_lock_take',
  text: `
    INSERT INTO upstream_lock (key, holder, until) VALUES ($1, $2, $3)
    ON CONFLICT (key) DO UPDATE SET holder = EXCLUDED.holder, until = EXCLUDED.until WHERE upstream_lock.until <= $4
    RETURNING key`,
};

const dropStatement: Statement = {
  name: 'upstream_lock_drop',
  text: 'DELETE FROM upstream_lock WHERE key = $1 AND holder = $2',
};

/**
 * `keep`: something that the work sent may still arrive, so nobody else may write before the lock's own end.
 */
export type AfterWork = 'release' | 'keep';

/**
 * Runs `work` while holding the lock. `holder` must be unique per call or per worker that never runs two at
 * once for a key.
 *
 * A write that was given up on can land after the next writer's document and take its denials away: then, as
 * when `work` throws, the lock stands until its end.
 * @returns false when somebody else holds it: nothing was run
 */
export async function withUpstreamLock(
  store: Store,
  clock: Clock,
  lock: { key: string; holder: string; seconds: number },
  work: () => Promise<AfterWork>,
): Promise<boolean> {
  const now = clock.now();
  const until = new Date(now.getTime() + lock.seconds * 1000);
  const taken = await store.run(takeStatement, [lock.key, lock.holder, until, now]);
  if (taken.length === 0) return false;
  if ((await work()) === 'release') await store.run(dropStatement, [lock.key, lock.holder]);
  return true;
}

/**
 * What a failed write means for the lock: an answered one is over, an unanswered one may still take effect.
 * What is no provider's error is not known to be over.
 */
export function afterFailure(error: unknown): AfterWork {
  if (!(error instanceof ProviderError)) return 'keep';
  return error.code === 'upstream_timeout' || error.mayHaveMinted ? 'keep' : 'release';
}
