/** A provider is waited for so long and no longer, whether or not it honours the signal it was given. */
import { ProviderError } from '../../providers/contract.ts';
import type { Clock } from '../vocabulary.ts';

/** Made once: a stack for each kept deadline would cost more than the deadline. */
const answered = new Error('answered');

/**
 * Runs `work` with a signal that aborts after `seconds`, and once it has settled.
 * @throws ProviderError `upstream_timeout` when it has not settled by then; whatever `work` throws otherwise
 */
export async function withDeadline<T>(
  clock: Clock,
  seconds: number,
  name: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = new AbortController();
  const timeout = clock.sleep(seconds * 1000, deadline.signal).then(
    () => {
      const error = new ProviderError('upstream_timeout', `${name} did not answer in ${seconds} s`);
      deadline.abort(error);
      throw error;
    },
    () => new Promise<never>(() => {}),
  );
  try {
    return await Promise.race([work(deadline.signal), timeout]);
  } finally {
    deadline.abort(answered);
  }
}
