/**
 * Converts Google's errors, on either transport, to ProviderError. Writes its own messages: what Google says
 * is kept beside them, through `answerText` alone.
 */

import { neverSent, passes } from '../answer-absent.ts';
import { answerText } from '../answer-text.ts';
import { waitSeconds } from '../answer-wait.ts';
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
 * Google could not fetch our keys, or reach our issuer, just now. It says so with the code of a token that is
 * no good; only the text tells them apart.
 */
const issuerNotReached =
  /connect\w* to the (?:given )?credential|(?:fetch|retriev|connect|reach|download|timed? ?out)[^.]*(?:jwks?|issuer|keys?\b|discovery|openid)|keys unreachable/i;

/** What an answer says besides its code. */
export interface Said {
  text: string | null;
  retryAfterSeconds: number | null;
}

/**
 * An HTTP answer other than 2xx. `body` is Google's error object, or OAuth's from the Security Token Service.
 */
export function httpFailure(step: Step, status: number, body: unknown, retryAfter: string | null, now: Date | null) {
  const { error, error_description } = (body ?? {}) as { error?: unknown; error_description?: unknown };
  const known = (typeof error === 'object' ? error : null) as ApiError | null;
  const named = typeof error === 'string' ? error : known?.status;
  const code = typeof named === 'string' && /^[A-Za-z_]{3,40}$/.test(named) ? named : String(status);
  if (status === 504 || code === 'DEADLINE_EXCEEDED') return timedOutThere(step, code);
  const text = answerText(error_description ?? known?.message);
  const later =
    status === 409 ||
    passes(status) ||
    code === 'FAILED_PRECONDITION' ||
    isLimited(known) ||
    (/^invalid_/.test(code) && issuerNotReached.test(text ?? ''));
  const told = waitSeconds(retryAfter, null, now) ?? retryInfo(known?.details);
  return answered(step, code, later, false, { text, retryAfterSeconds: later ? told : null });
}

interface ApiError {
  status?: unknown;
  message?: unknown;
  details?: unknown;
  errors?: unknown;
}

/**
 * Some of Google's services refuse too many calls with the 403 of a missing right; the reason tells them
 * apart (ErrorInfo among the details, or the older list of errors).
 */
const limits = /^(?:(?:user)?RateLimitExceeded|RATE_LIMIT_EXCEEDED|quotaExceeded|QUOTA_EXCEEDED)$/i;

function isLimited(error: ApiError | null): boolean {
  const told = [error?.details, error?.errors].flatMap((list) => (Array.isArray(list) ? list : []));
  return told.some((each: { reason?: unknown } | null) => limits.test(String(each?.reason)));
}

/** google.rpc.RetryInfo among an error's details: `"5s"` in JSON, seconds by themselves from gRPC. */
export function retryInfo(details: unknown): number | null {
  for (const detail of Array.isArray(details) ? details : []) {
    const delay = (detail as { retryDelay?: unknown } | null)?.retryDelay;
    const seconds =
      typeof delay === 'string' ? delay.replace(/s$/, '') : (delay as { seconds?: unknown } | undefined)?.seconds;
    const wait = seconds === undefined || seconds === null ? null : waitSeconds(String(seconds), null, null);
    if (wait !== null) return wait;
  }
  return null;
}

/** Of a status that the client makes itself: there was nobody to send anything to. */
const nobodyThere = /^(?:No connection established|Name resolution failed)/;

/** The call was cut short, whatever its number says. */
const cutShort = /RST_STREAM|connection (?:dropped|reset|closed)|ECONNRESET/i;

/**
 * A gRPC status. 14 also stands for a connection lost after sending; only one that never stood is known to
 * have sent nothing.
 */
export function grpcFailure(step: Step, number: number, details: string, retryAfterSeconds: number | null) {
  const code = canonicalCodes[number] ?? String(number);
  if (code === 'DEADLINE_EXCEEDED') return timedOutThere(step, code);
  const lost = (code === 'UNAVAILABLE' && !nobodyThere.test(details)) || cutShort.test(details);
  const later = mayWorkLater.has(code);
  const said = { text: answerText(details), retryAfterSeconds: later ? retryAfterSeconds : null };
  return answered(step, code, later, step.mints && lost, said);
}

/** The connection failed before an answer. `cause` is node's. */
export function connectionFailure(step: Step, cause: { code?: unknown } | undefined): ProviderError {
  const code = typeof cause?.code === 'string' ? cause.code : undefined;
  return new ProviderError('upstream_unavailable', `The connection to Google failed while ${step.doing}.`, {
    providerCode: code ?? 'NETWORK',
    mayHaveMinted: step.mints && !neverSent(cause),
  });
}

/** Where nothing can have been minted it passes: some gateway's page, say. */
export function unreadable(step: Step, what = 'was not understood'): ProviderError {
  return new ProviderError('upstream_mismatch', `Google's answer ${what} while ${step.doing}.`, {
    mayHaveMinted: step.mints,
    retryable: !step.mints,
  });
}

function timedOutThere(step: Step, providerCode: string): ProviderError {
  return new ProviderError('upstream_timeout', `Google ran out of time while ${step.doing}.`, {
    providerCode,
    mayHaveMinted: step.mints,
  });
}

function answered(
  step: Step,
  providerCode: string,
  retryable: boolean,
  mayHaveMinted: boolean,
  said: Said,
): ProviderError {
  const code = retryable ? 'upstream_unavailable' : 'upstream_refused';
  return new ProviderError(code, `Google answered ${providerCode} while ${step.doing}.`, {
    providerCode,
    providerText: said.text,
    retryAfterSeconds: said.retryAfterSeconds,
    mayHaveMinted,
  });
}
