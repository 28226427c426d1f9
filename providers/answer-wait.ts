/** How long a provider asks us to wait, from whatever header it says it in. */
import { httpDate } from './answer-date.ts';

/** GitHub's hourly budget is the longest wait that is told; what says more is not believed. */
const longestSeconds = 3_600;

/**
 * @param retryAfter the header `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3)
 * @param resetAt a moment at which a rate limit ends, when one was told
 * @param providerNow the provider's own time, which its dates are by; null = only seconds are understood
 * @returns whole seconds, at least one; null when nothing readable was said
 */
export function waitSeconds(
  retryAfter: string | null | undefined,
  resetAt: Date | null,
  providerNow: Date | null,
): number | null {
  const until = (moment: number) => (providerNow === null ? null : bounded((moment - providerNow.getTime()) / 1000));
  const text = retryAfter?.trim() ?? '';
  // Two headers are joined into one: the longer of the two is kept to.
  const told = text.split(/\s*,\s*/);
  if (told.every((part) => /^\d{1,30}(?:\.\d{1,9})?$/.test(part))) return bounded(Math.max(...told.map(Number)));
  const date = httpDate(text);
  if (!Number.isNaN(date)) return until(date);
  if (resetAt !== null && !Number.isNaN(resetAt.getTime())) return until(resetAt.getTime());
  return null;
}

const bounded = (seconds: number) => Math.min(longestSeconds, Math.max(1, Math.ceil(seconds)));
