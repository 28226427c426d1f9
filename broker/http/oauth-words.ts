/**
 * Refusals of the OAuth endpoints in the words that OAuth clients know (RFC 6749 section 5.2, RFC 8693
 * section 2.2.2, RFC 9396 section 5, RFC 9449 section 5): a client decides by `error`. Our own `code` stands
 * beside it.
 */
import { type ErrorCode, errorTable, WritError } from '../core/errors.ts';
import type { Trust } from '../identity/trust.ts';
import { carriesBearer } from './bearer.ts';

/**
 * Codes of ours that OAuth has a word of its own for, or another status. All others are answered as they
 * are.
 */
const words: { [code in ErrorCode]?: { error: string; status?: number } } = {
  bad_request: { error: 'invalid_request' },
  invalid_json: { error: 'invalid_request' },
  body_too_large: { error: 'invalid_request' },
  unsupported_media_type: { error: 'invalid_request' },
  method_not_allowed: { error: 'invalid_request' },
  not_found: { error: 'invalid_request' },
  conflict: { error: 'temporarily_unavailable', status: 503 },
  unavailable: { error: 'temporarily_unavailable' },
  internal: { error: 'server_error' },
  unauthenticated: { error: 'invalid_token' },
  invalid_dpop_proof: { error: 'invalid_dpop_proof', status: 400 },
  session_ended: { error: 'invalid_grant', status: 400 },
  session_suspended: { error: 'invalid_grant', status: 400 },
  session_asleep: { error: 'invalid_grant', status: 400 },
  forbidden: { error: 'access_denied' },
};

export function inOAuthWords(code: ErrorCode): { error: string; status: number } {
  const own = words[code];
  return { error: own?.error ?? code, status: own?.status ?? errorTable[code].status };
}

/**
 * RFC 6749 appendix A.8: ASCII without quotation marks and backslashes. Our own texts; nothing is lost by
 * it.
 */
export function descriptionText(text: string): string {
  return text
    .replace(/[’‘“”"`]/g, "'")
    .replaceAll('…', '...')
    .replace(/[–—]/g, '-')
    .replace(/[^\x20-\x7e]|\\/g, '?');
}

/** Basic authentication, or a secret in the body. */
export const noSecrets = () =>
  new WritError('invalid_client', {
    detail: 'Nobody has a client secret here: sign a client assertion (private_key_jwt, RFC 7523).',
  });

export const isBasic = (authorization: string | undefined): boolean => /^basic(?:\s|$)/i.test(authorization ?? '');

/** RFC 6749 section 2.3. */
export const twoMethods = () =>
  new WritError('invalid_request', { detail: 'A client shows who it is in one way: by an assertion or by a header.' });

/** Whether the header carries the very token that is asked about, whichever its scheme. */
export function isTokenItself(authorization: string | undefined, token: string): boolean {
  const [scheme, ...rest] = (authorization ?? '').split(' ');
  return /^(bearer|dpop)$/i.test(scheme ?? '') && carriesBearer(`Bearer ${rest.join(' ')}`, token);
}

/**
 * A `client_id` alone is a name that anybody may write. One that is listed with a key is not anybody's.
 * @throws WritError `invalid_client`
 */
export function refuseUnproven(clientId: string | undefined, { clients, resourceServers }: Trust): void {
  if (clientId !== undefined && (clients.has(clientId) || resourceServers.has(clientId)))
    throw new WritError('invalid_client', { detail: 'This client has a key: sign a client assertion with it.' });
}
