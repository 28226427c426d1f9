/** Waits for a person, by long polls of the broker. */
import type { Clock } from './clock.ts';
import { WritError } from './errors.ts';

const longestPollSeconds = 30;

/**
 * Polls until what a person decides is pending no more.
 * @param poll what it is now, or after so many seconds; and when to ask again, where the broker says
 * @throws WritError `approval_timeout` when `waitSeconds` have passed without a decision; the signal's reason
 */
export async function untilDecided<T extends { status: string }>(
  clock: Clock,
  poll: (waitSeconds: number) => Promise<{ seen: T; retryAfterSeconds?: number | undefined }>,
  {
    waitSeconds,
    signal,
    grantId,
  }: { waitSeconds?: number | undefined; signal?: AbortSignal | undefined; grantId: string },
): Promise<T> {
  const startedAt = clock.now().getTime();
  const secondsSince = (at: number) => (clock.now().getTime() - at) / 1000;
  for (;;) {
    const left = waitSeconds === undefined ? longestPollSeconds : Math.floor(waitSeconds - secondsSince(startedAt));
    if (left < 0) throw new WritError('approval_timeout', `Nobody decided within ${waitSeconds} s`, { grantId });
    const polledAt = clock.now().getTime();
    // A session waits only so often at once; who is one too many has not been denied.
    const polled = await poll(Math.min(longestPollSeconds, left)).catch((error) => {
      if (!(error instanceof WritError) || error.code !== 'rate_limited') throw error;
      return { seen: null, retryAfterSeconds: error.retryAfterSeconds };
    });
    if (polled.seen !== null && polled.seen.status !== 'pending') return polled.seen;
    // A broker that answers early (it is shutting down, say) must not be asked in a tight loop.
    if (secondsSince(polledAt) < 1) await clock.sleep((polled.retryAfterSeconds ?? 1) * 1000, signal);
  }
}
