/**
 * Converts Google's errors, on either transport, to ProviderError. Writes its own messages: nothing that
 * Google echoes gets into them.
 */
import { ProviderError } from '../contract.ts';

/** The call that failed, as messages name it, and whether it may have created a credential. */
export interface Step {
  doing: string;
  mints: boolean;
}

/** google/rpc/code.proto, by number. */
const canonicalCodes = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
];
/**
 * FAILED_PRECONDITION: the account is disabled. A pool account that was put back into use answers so until
 * Google has noticed.
 */
const mayWorkLater = new Set([
  'CANCELLED',
  'UNKNOWN',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'INTERNAL',
  'UNAVAILABLE',
]);

export function gaveUp(step: Step): ProviderError {
  return new ProviderError('upstream_timeout', `No answer in time from Google while ${step.doing}.`, {
    mayHaveMinted: step.mints,
  });
}

/**
 * An HTTP answer other than 2xx. `body` is Google's error object, or OAuth's from the Security Token Service.
 */
export function httpFailure(step: Step, status: number, body: unknown): ProviderError {
  const error = (body as { error?: unknown } | null)?.error;
  const named = typeof error === 'string' ? error : (error as { status?: unknown } | undefined)?.status;
  const code = typeof named === 'string' && /^[A-Za-z_]{3,40}$/.test(named) ? named : String(status);
  if (status === 504 || code === 'DEADLINE_EXCEEDED') return timedOutThere(step, code);
  const later = [408, 409, 429].includes(status) || status >= 500 || code === 'FAILED_PRECONDITION';
  return answered(step, code, later, false);
}

/**
 * A gRPC status. 14 also stands for a connection lost after sending; only a refused connection is known to
 * have sent nothing.
 */
export function grpcFailure(step: Step, number: number, details: string): ProviderError {
  const code = canonicalCodes[number] ?? String(number);
  if (code === 'DEADLINE_EXCEEDED') return timedOutThere(step, code);
  const lost = code === 'UNAVAILABLE' && !details.startsWith('No connection established');
  return answered(step, code, mayWorkLater.has(code), step.mints && lost);
}

/** The connection failed before an answer. `code` is node's, e.g. ECONNREFUSED. */
export function connectionFailure(step: Step, code: string | undefined): ProviderError {
  const neverSent = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'UND_ERR_CONNECT_TIMEOUT'].includes(code ?? '');
  return new ProviderError('upstream_unavailable', `The connection to Google failed while ${step.doing}.`, {
    providerCode: code ?? 'NETWORK',
    mayHaveMinted: step.mints && !neverSent,
  });
}

export function unreadable(step: Step): ProviderError {
  return new ProviderError('upstream_mismatch', `Google's answer was not understood while ${step.doing}.`, {
    mayHaveMinted: step.mints,
  });
}

function timedOutThere(step: Step, providerCode: string): ProviderError {
  return new ProviderError('upstream_timeout', `Google ran out of time while ${step.doing}.`, {
    providerCode,
    mayHaveMinted: step.mints,
  });
}

function answered(step: Step, providerCode: string, retryable: boolean, mayHaveMinted: boolean): ProviderError {
  const code = retryable ? 'upstream_unavailable' : 'upstream_refused';
  return new ProviderError(code, `Google answered ${providerCode} while ${step.doing}.`, {
    providerCode,
    mayHaveMinted,
  });
}
