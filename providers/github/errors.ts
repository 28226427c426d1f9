/** GitHub's refusals → ProviderError. */
import { ProviderError } from '../contract.ts';
import type { ApiAnswer } from './api.ts';

/**
 * `doing` completes "GitHub answered 422 when …". `minting`: a 5xx may have come after the token was made.
 *
 * Rate limits come as 403 or 429 with `retry-after`, with `x-ratelimit-remaining: 0`, or with a text on
 * "secondary rate" limits (docs.github.com, "Rate limits for the REST API"); every other 4xx is final.
 */
export function refusalOf(answer: ApiAnswer, doing: string, minting = false): ProviderError {
  const { status, headers } = answer;
  const said = textOf(answer);
  const limited =
    status === 429 ||
    (status === 403 &&
      (headers.retryAfter !== undefined ||
        headers.rateRemaining === '0' ||
        /secondary rate|abuse detection/i.test(said)));
  const wait = /^[0-9]{1,6}$/.test(headers.retryAfter ?? '') ? `, retry after ${headers.retryAfter} s` : '';
  const message = `GitHub answered ${status} when ${doing}${limited ? ` (rate limit${wait})` : ''}: ${said}`;
  const providerCode = String(status);
  if (limited || status >= 500)
    return new ProviderError('upstream_unavailable', message, {
      providerCode,
      mayHaveMinted: minting && status >= 500,
    });
  return new ProviderError('upstream_refused', message, { providerCode });
}

export const isSuspended = (answer: ApiAnswer) => answer.status === 403 && /suspended/i.test(textOf(answer));

/** GitHub's own message: one short line, and nothing in it that looks like a credential, whoever answered. */
function textOf({ body }: ApiAnswer): string {
  const message = typeof body === 'object' && body !== null ? (body as { message?: unknown }).message : undefined;
  if (typeof message !== 'string') return 'no message';
  return message
    .slice(0, 2_000)
    .replace(/\b(?:gh[a-z]_|github_pat_|eyJ)[\w.~+/=-]*/g, '[redacted]')
    .replace(/[\p{Cc}\p{Cf}]+/gu, ' ')
    .slice(0, 200);
}
