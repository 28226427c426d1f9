/** Converts AWS errors to ProviderError. The SDK's own message goes through `answerText` alone. */

import { mayHaveMade, neverSent, passes } from '../answer-absent.ts';
import { httpDate } from '../answer-date.ts';
import { answerText } from '../answer-text.ts';
import { waitSeconds } from '../answer-wait.ts';
import { ProviderError } from '../contract.ts';

interface SdkError {
  name?: string;
  message?: string;
  code?: string;
  $metadata?: { httpStatusCode?: number; requestId?: string };
  $response?: { headers?: Record<string, string | undefined> };
}

/** What asks for fewer calls: nothing was taken on, whatever the status (SlowDown has 503). */
const throttles =
  /^(?:Throttling|ThrottlingException|ThrottledException|EC2ThrottledException|RequestThrottled|RequestThrottledException|RequestLimitExceeded|BandwidthLimitExceeded|TooManyRequests|TooManyRequestsException|PriorRequestNotComplete|SlowDown)$/;

/**
 * Faults that waiting may cure although the status is a client's (STS API reference, "Common errors" and
 * AssumeRoleWithWebIdentity).
 */
const retryableNames =
  /^(?:IDPCommunicationErrorException|IDPCommunicationError|ConcurrentModificationException|ConcurrentModification|EntityTemporarilyUnmodifiableException|EntityTemporarilyUnmodifiable|RequestTimeTooSkewed|RequestTimeout|RequestTimeoutException|ServiceUnavailable|ServiceUnavailableException|InternalFailure|InternalError)$/;

/**
 * AWS says `InvalidIdentityToken` of a token that is no good, and also when it could not fetch our keys just
 * now ("Couldn't retrieve verification key from your identity provider"). Only the text tells them apart.
 */
const keysNotFetched =
  /(?:retrieve|fetch|download|reach|connect|contact|communicat|timed? ?out)[^.]*(?:key|identity provider|idp|jwks|openid|discovery|issuer)/i;

/** The SDK's words for a connection that never stood; it has the name of an answer that is late. */
const neverConnected = /did not establish a connection/;

/** What the SDK calls having nothing to sign with. */
const noCredentials = /^(?:CredentialsProviderError|TokenProviderError|ProviderError)$/;

/** What the SDK calls an answer without AWS's words: whoever answered, it was not AWS itself. */
const unnamed = /^(?:Unknown|UnknownError|Error|SyntaxError)$/;

/** `call` names what was tried, e.g. `sts:AssumeRole`. `now`: AWS's own time, which its dates are by. */
export function toProviderError(
  error: unknown,
  call: string,
  signal: AbortSignal,
  now: Date | null = null,
): ProviderError {
  if (error instanceof ProviderError) return error;
  const { name, message, code, $metadata, $response } = (
    typeof error === 'object' && error !== null ? error : {}
  ) as SdkError;
  const status = $metadata?.httpStatusCode;
  const request = $metadata?.requestId === undefined ? '' : `, request ${clean($metadata.requestId)}`;
  if (name === 'TimeoutError' && neverConnected.test(message ?? ''))
    return new ProviderError('upstream_timeout', `${call}: no connection in time`, { mayHaveMinted: false });
  if (signal.aborted || name === 'AbortError' || name === 'TimeoutError')
    return new ProviderError('upstream_timeout', `${call}: no answer in time`, { mayHaveMinted: true });
  const named = name === undefined || unnamed.test(name) ? undefined : name;
  const providerCode = clean(status === undefined ? (code ?? name ?? 'NoAnswer') : (named ?? String(status)));
  if (status === undefined)
    return new ProviderError('upstream_unavailable', `${call}: no answer (${providerCode})`, {
      providerCode,
      mayHaveMinted: !neverSent(error) && !noCredentials.test(name ?? ''),
    });
  const text = `${call}: ${providerCode} (HTTP ${status}${request})`;
  // An answer that could not be read may have carried a credential: nothing of it is repeated. IAM gives
  // none.
  if (status < 300) {
    const retryable = call.startsWith('iam:');
    return new ProviderError('upstream_mismatch', text, { providerCode, mayHaveMinted: true, retryable });
  }
  const about = { providerCode, providerText: answerText(message) };
  const throttled = throttles.test(providerCode);
  if (throttled || passes(status) || retryableNames.test(providerCode) || couldNotFetchKeys(providerCode, message))
    return new ProviderError('upstream_unavailable', text, {
      ...about,
      mayHaveMinted: !throttled && mayStillHappen(call, status),
      retryAfterSeconds: waitSeconds($response?.headers?.['retry-after'], null, now ?? dateOf($response)),
    });
  return new ProviderError('upstream_refused', text, about);
}

/** AWS's own time, as this very answer tells it. */
function dateOf(response: SdkError['$response']): Date | null {
  const told = httpDate(response?.headers?.date ?? '');
  return Number.isNaN(told) ? null : new Date(told);
}

const couldNotFetchKeys = (providerCode: string, message: string | undefined) =>
  /^(?:InvalidIdentityToken|IDPCommunicationError)/.test(providerCode) && keysNotFetched.test(message ?? '');

/**
 * Refusals that minted nothing and that the same call, at once, may not meet again: AWS could not reach our
 * keys just now, or has not heard of a trust policy everywhere yet.
 */
export const worthOneMore = ({ providerCode = '', mayHaveMinted, retryable, retryAfterSeconds }: ProviderError) =>
  !mayHaveMinted &&
  retryAfterSeconds === null &&
  ((retryable && /^(?:InvalidIdentityToken|IDPCommunicationError)/.test(providerCode)) ||
    /^AccessDenied/.test(providerCode));

/** Refusals of a token that has the wrong time in it, by AWS's clock. */
export const saysWrongTime = ({ providerCode = '', retryable }: ProviderError) =>
  !retryable && /^(?:ExpiredToken|InvalidIdentityToken)/.test(providerCode);

/** Refusals of a session that was good before: it has ended sooner than we thought, or was ended. */
export const unknownSession = ({ providerCode = '' }: ProviderError) =>
  /^(?:ExpiredToken|InvalidClientTokenId|InvalidAccessKeyId|InvalidToken|UnrecognizedClient|AuthFailure)/.test(
    providerCode,
  );

/**
 * Behind a 5xx of STS a session may have been opened. A write to IAM that was answered is over, unless a
 * gateway answered for IAM.
 */
const mayStillHappen = (call: string, status: number) =>
  call.startsWith('iam:') ? status === 502 || status === 504 : mayHaveMade(status);

/** Nothing was sent yet when the broker gave up. @throws ProviderError */
export function unlessGivenUp(call: string, signal: AbortSignal): void {
  if (signal.aborted)
    throw new ProviderError('upstream_timeout', `${call}: no time left to ask`, { mayHaveMinted: false });
}

/** Codes and request ids are short words; anything else is not repeated. */
const clean = (word: string) => (/^[\w.:-]{1,100}$/.test(word) ? word : 'Unreadable');
