/** Bounds the time of a provider call, whether or not the provider honours its signal. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ProviderError } from '../../providers/contract.ts';
import type { Clock } from '../core/vocabulary.ts';

/** Created once: a stack trace for each deadline would cost more than the deadline. */
const answered = new Error('answered');

/**
 * Turns of the event loop in which a provider that honours the signal is done; what it has got by then (some
 * of a batch, say) counts.
 */
const lastTurns = 100;

/**
 * Runs `work` with a signal that aborts after `seconds`, and once it has settled.
 * @returns what `work` resolved with, also when it did so because of the signal
 * @throws ProviderError what the provider says of its giving up, which knows what had been sent by then;
 *   `upstream_timeout` when it says nothing; whatever `work` throws before
 */
export async function withDeadline<T>(
  clock: Clock,
  seconds: number,
  name: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = new AbortController();
  const working = work(deadline.signal);
  const timeout = clock.sleep(seconds * 1000, deadline.signal).then(
    async () => {
      const error = new ProviderError('upstream_timeout', `${name} did not answer in ${seconds} s`);
      deadline.abort(error);
      return Promise.race([
        working.catch((own) => fail(own instanceof ProviderError ? own : error)),
        turns(lastTurns).then(() => fail(error)),
      ]);
    },
    () => new Promise<never>(() => {}),
  );
  try {
    return await Promise.race([working.catch((error) => (deadline.signal.aborted ? timeout : fail(error))), timeout]);
  } finally {
    deadline.abort(answered);
  }
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await nextTurn();
}

function fail(error: unknown): never {
  throw error;
}
