/**
 * One writer at a time for an upstream document (a role's policy): the upstream has no conditional write, so
 * two workers that rewrite it at once would lose one of the denials. The lock is a row with an end, longer
 * than any attempt, so that the lock of a crashed holder expires soon.
 */
import { ProviderError } from '../../providers/contract.ts';
import { largestSkewMs } from '../core/clock-guard.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';

const takeStatement: Statement = {
  name: 'upstream_lock_take',
  text: `
    INSERT INTO upstream_lock (key, holder, until) VALUES ($1, $2, $3)
    ON CONFLICT (key) DO UPDATE SET holder = EXCLUDED.holder, until = EXCLUDED.until WHERE upstream_lock.until <= $4
    RETURNING key`,
};

/**
 * Two workers may be so far apart by their clocks (core/clock-guard.ts): while the work is under way, the
 * lock of the one that is behind is no shorter for the one that is ahead.
 */
const apartMs = 2 * largestSkewMs;

const keepStatement: Statement = {
  name: 'upstream_lock_keep',
  text: 'UPDATE upstream_lock SET until = $3 WHERE key = $1 AND holder = $2',
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
  const until = now.getTime() + lock.seconds * 1000;
  const taken = await store.run(takeStatement, [lock.key, lock.holder, new Date(until + apartMs), now]);
  if (taken.length === 0) return false;
  let after: AfterWork = 'keep';
  try {
    after = await work();
  } finally {
    if (after === 'release') await store.run(dropStatement, [lock.key, lock.holder]);
    else await store.run(keepStatement, [lock.key, lock.holder, new Date(until)]).catch(() => {});
  }
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
