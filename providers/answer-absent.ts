/** Why there was no answer, and which answers pass by themselves, whoever gave them. */

/** The machine was not there, or not to be found. */
const unreached = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

/** Its certificate was not believed: by us, before anything was sent. */
const notBelieved = /^(?:CERT_|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_|ERR_TLS_CERT_)/;

interface Failure {
  code?: unknown;
  syscall?: unknown;
  errors?: unknown;
}

/** Whether a connection failed before a request can have left. */
export function neverSent(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false;
  const { code, syscall, errors } = error as Failure;
  // One for each address that was tried.
  if (Array.isArray(errors) && errors.length > 0) return errors.every(neverSent);
  return syscall === 'connect' || (typeof code === 'string' && (unreached.has(code) || notBelieved.test(code)));
}

/**
 * Statuses that say nothing against what was asked: the request came too slowly (408), too early (425) or too
 * often (429), or the server could not (5xx).
 */
export const passes = (status: number): boolean => status === 408 || status === 425 || status === 429 || status >= 500;

/**
 * Behind these a credential may have been made. Behind a 503 too: proxies (Envoy) say it of a server whose
 * answer they lost.
 */
export const mayHaveMade = (status: number): boolean => status >= 500;
