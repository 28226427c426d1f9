/**
 * Which of a provider's credentials have ended. They end by the provider's clock, so an end counts as past
 * only when it is past by the provider's clock and by ours.
 */
import type { Provider } from '../../providers/contract.ts';
import type { Clock } from '../core/vocabulary.ts';
import { withDeadline } from './deadline.ts';

interface TimeDeps {
  clock: Clock;
  providerTimeoutSeconds: number;
}

/**
 * What ends before this has ended. Asks the provider for its time where that was not learnt lately; ours
 * alone where a provider's answers tell no time by nature. Where they should and do not, nothing of the last
 * day has ended.
 * @throws ProviderError when it must be asked and does not answer: then no end can be judged now
 */
export async function endedBefore(deps: TimeDeps, provider: Provider): Promise<Date> {
  const { clock } = provider;
  if (clock === undefined) return deps.clock.now();
  const theirs = await withDeadline(deps.clock, deps.providerTimeoutSeconds, provider.name, (signal) =>
    clock.askNow(signal),
  );
  const ours = deps.clock.now();
  if (clock.skewMs() === null) return dayBefore(ours);
  return theirs < ours ? theirs : ours;
}

/** The same where an answer must be had at once: while it is not known, nothing of the last day has ended. */
export async function surelyEndedBefore(deps: TimeDeps, provider: Provider): Promise<Date> {
  return endedBefore(deps, provider).catch(() => dayBefore(deps.clock.now()));
}

/** What is known without asking, for what a provider judges once more by its own answers. */
export function knownEndedBefore({ clock }: Pick<TimeDeps, 'clock'>, provider: Provider): Date {
  const now = clock.now();
  if (provider.clock === undefined) return now;
  const skewMs = provider.clock.skewMs();
  return skewMs === null ? dayBefore(now) : new Date(now.getTime() + Math.min(skewMs, 0));
}

const dayBefore = (now: Date) => new Date(now.getTime() - 24 * 3600_000);
