/** The header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header). */
import { hash } from 'node:crypto';
import { WritError } from '../core/errors.ts';

const idempotencyKey = /^[\x21-\x7e]{1,255}$/;

/**
 * The caller's key as its digest: it names a request, and nobody needs to read it; it may be a token sent by
 * mistake.
 * @throws WritError `bad_request`
 */
export function idempotencyKeyOf(header: (name: string) => string | undefined): string | null {
  const key = header('idempotency-key') ?? null;
  if (key !== null && !idempotencyKey.test(key)) {
    throw new WritError('bad_request', {
      errors: [{ path: 'Idempotency-Key', message: 'must be 1 to 255 visible ASCII characters' }],
    });
  }
  return key === null ? null : `sha256:${hash('sha256', key, 'hex')}`;
}
