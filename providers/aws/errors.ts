/**
 * Converts AWS errors to ProviderError. The SDK's own message is dropped: whatever answers at an endpoint
 * could put a token into it.
 */
import { ProviderError } from '../contract.ts';

interface SdkError {
  name?: string;
  code?: string;
  $metadata?: { httpStatusCode?: number; requestId?: string };
}

/**
 * Faults that waiting may cure although the status is a client's (STS API reference, "Common errors" and
 * AssumeRoleWithWebIdentity).
 */
const retryableNames =
  /^(?:Throttling|ThrottlingException|ThrottledException|RequestLimitExceeded|TooManyRequestsException|SlowDown|IDPCommunicationErrorException|IDPCommunicationError|ConcurrentModificationException|ConcurrentModification|EntityTemporarilyUnmodifiableException|RequestTimeTooSkewed)$/;

/** Connection faults after which the request cannot have arrived. */
const neverSent = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']);

/** `call` names what was tried, e.g. `sts:AssumeRole`. */
export function toProviderError(error: unknown, call: string, signal: AbortSignal): ProviderError {
  if (error instanceof ProviderError) return error;
  const { name, code, $metadata } = (typeof error === 'object' && error !== null ? error : {}) as SdkError;
  const status = $metadata?.httpStatusCode;
  const request = $metadata?.requestId === undefined ? '' : `, request ${clean($metadata.requestId)}`;
  if (signal.aborted || name === 'AbortError' || name === 'TimeoutError')
    return new ProviderError('upstream_timeout', `${call}: no answer in time`, { mayHaveMinted: true });
  const providerCode = clean(status === undefined ? (code ?? name ?? 'NoAnswer') : (name ?? String(status)));
  if (status === undefined)
    return new ProviderError('upstream_unavailable', `${call}: no answer (${providerCode})`, {
      providerCode,
      mayHaveMinted: !neverSent.has(code ?? ''),
    });
  const text = `${call}: ${providerCode} (HTTP ${status}${request})`;
  // An answer that could not be read may have carried a credential.
  if (status < 300) return new ProviderError('upstream_mismatch', text, { providerCode, mayHaveMinted: true });
  if (status >= 500 || status === 429 || retryableNames.test(providerCode))
    return new ProviderError('upstream_unavailable', text, {
      providerCode,
      mayHaveMinted: mayStillHappen(call, status),
    });
  return new ProviderError('upstream_refused', text, { providerCode });
}

/**
 * Behind a 5xx of STS a session may have been opened. A write to IAM that was answered is over, unless a
 * gateway answered for IAM.
 */
const mayStillHappen = (call: string, status: number) => (call.startsWith('iam:') ? status === 504 : status >= 500);

/** Codes and request ids are short words; anything else is not repeated. */
const clean = (word: string) => (/^[\w.:-]{1,100}$/.test(word) ? word : 'Unreadable');
