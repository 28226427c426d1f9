/** GitHub's refusals → ProviderError. */

import { mayHaveMade, passes } from '../answer-absent.ts';
import { answerText } from '../answer-text.ts';
import { waitSeconds } from '../answer-wait.ts';
import { type Minted, ProviderError } from '../contract.ts';
import type { ApiAnswer } from './api.ts';

/** GitHub's advice for a secondary limit that comes without a time: "wait for at least one minute". */
const secondaryLimitSeconds = 60;

export interface RefusalAbout {
  /** A 5xx may have come after the token was made. */
  minting?: boolean;
  /** Default: by the status. */
  retryable?: boolean;
  minted?: Minted;
}

/**
 * `doing` completes "GitHub answered 422 when …".
 *
 * Rate limits come as 403 or 429 with `retry-after`, with `x-ratelimit-remaining: 0`, or with a text on
 * "secondary rate" limits (docs.github.com, "Rate limits for the REST API"); a 4xx that is not about what was
 * asked for passes as well, and every other is final.
 */
export function refusalOf(answer: ApiAnswer, doing: string, about: RefusalAbout = {}): ProviderError {
  const { status } = answer;
  const said = textOf(answer);
  const limited = isLimited(answer);
  const later = limited || passes(status);
  const retryAfterSeconds = later ? waitOf(answer, limited) : null;
  const wait = retryAfterSeconds === null ? '' : `, retry after ${retryAfterSeconds} s`;
  const message = `GitHub answered ${status} when ${doing}${limited ? ` (rate limit${wait})` : ''}: ${said ?? 'no message'}`;
  return new ProviderError(later ? 'upstream_unavailable' : 'upstream_refused', message, {
    providerCode: String(status),
    providerText: said,
    retryAfterSeconds,
    mayHaveMinted: about.minting === true && mayHaveMade(status),
    ...(about.retryable === undefined ? {} : { retryable: about.retryable }),
  });
}

/** Is the answer about how much was asked, and not about what was asked for? */
export function isLimited(answer: ApiAnswer): boolean {
  const { status, headers } = answer;
  return (
    status === 429 ||
    (status === 403 &&
      (headers.retryAfter !== undefined ||
        headers.rateRemaining === '0' ||
        /secondary rate|abuse detection/i.test(textOf(answer) ?? '')))
  );
}

function waitOf({ headers, at }: ApiAnswer, limited: boolean): number | null {
  const reset = headers.rateRemaining === '0' && /^\d{9,11}$/.test(headers.rateReset ?? '');
  const told = waitSeconds(headers.retryAfter, reset ? new Date(Number(headers.rateReset) * 1000) : null, at);
  return told ?? (limited ? secondaryLimitSeconds : null);
}

export const isSuspended = (answer: ApiAnswer) => answer.status === 403 && /suspended/i.test(textOf(answer) ?? '');

/** GitHub's own message, whoever answered in its name. */
function textOf({ body }: ApiAnswer): string | null {
  return answerText(typeof body === 'object' && body !== null ? (body as { message?: unknown }).message : undefined);
}
