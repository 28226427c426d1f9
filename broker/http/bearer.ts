import { hash, timingSafeEqual } from 'node:crypto';

/**
 * Whether an Authorization header carries this bearer token. In constant time: digests have one length,
 * whatever was sent.
 */
export function carriesBearer(authorization: string | undefined, token: string): boolean {
  const digest = (text: string) => hash('sha256', text, 'buffer');
  const [scheme, sent, ...rest] = (authorization ?? '').split(' ');
  return scheme?.toLowerCase() === 'bearer' && rest.length === 0 && timingSafeEqual(digest(sent ?? ''), digest(token));
}
