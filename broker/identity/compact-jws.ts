/** The compact form of a signed token, opened before anything is believed: cheap checks that need no key. */
import { hash } from 'node:crypto';
import type { JsonObject } from '../core/vocabulary.ts';
import { Refusal } from './refusal.ts';

export interface OpenedJws {
  header: JsonObject & { alg: string };
  payload: JsonObject;
  /** What the signature covers: `header.payload` as sent. */
  signedPart: string;
  signature: string;
}

const compactForm = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/**
 * Splits and decodes. Nothing it returns is authenticated. `crit` is refused whatever it lists (RFC 7515
 * section 4.1.11): no extension is understood here. Keys that a header points to or brings along (`jku`,
 * `x5u`, `x5c`, `jwk`) are not looked at by this function.
 *
 * @throws Refusal `malformed`
 */
export function openCompactJws(token: unknown, maxLength: number): OpenedJws {
  if (typeof token !== 'string' || token.length > maxLength)
    throw new Refusal('malformed', `not a text of at most ${maxLength} characters`);
  if (!compactForm.test(token)) throw new Refusal('malformed', 'not three base64url parts');
  const [head = '', body = '', signature = ''] = token.split('.');
  const header = decodeObject(head, 'header');
  const payload = decodeObject(body, 'payload');
  if (typeof header.alg !== 'string') throw new Refusal('malformed', 'no `alg` in the header');
  if (Object.hasOwn(header, 'crit')) throw new Refusal('malformed', '`crit` extensions are not understood');
  return {
    header: header as OpenedJws['header'],
    payload,
    signedPart: token.slice(0, -signature.length - 1),
    signature,
  };
}

function decodeObject(part: string, what: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
  } catch {
    throw new Refusal('malformed', `the ${what} is not JSON`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Refusal('malformed', `the ${what} is not an object`);
  return value as JsonObject;
}

/** base64url SHA-256 of a text. */
export function sha256(text: string): string {
  return hash('sha256', text, 'base64url');
}
