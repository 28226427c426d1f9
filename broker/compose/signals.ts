/** What takes the signals of the identity provider: null where none are wanted. */

import { isLoopback } from '../core/loopback.ts';
import { openKeyResolver } from '../identity/jwks.ts';
import type { ReceiveDeps } from '../signals/receive.ts';
import type { Transmitter } from '../signals/verify-set.ts';
import type { Parts } from './parts.ts';

export function signalReceiver(parts: Parts, notify: () => void): ReceiveDeps | null {
  const { settings, clock, store, url } = parts;
  const { WRIT_SIGNALS_ISSUER: issuer, WRIT_SIGNALS_JWKS_URL: keysAt, WRIT_SIGNALS_OPAQUE_KIND: kind } = settings;
  if (issuer === undefined) return null;
  const transmitter: Transmitter = {
    name: 'WRIT_SIGNALS_ISSUER',
    issuer,
    audience: settings.WRIT_SIGNALS_AUDIENCE ?? url,
    location: keysAt === undefined ? { kind: 'ssf_discovery', issuer } : { kind: 'jwks_uri', url: keysAt },
    algorithms: ['RS256', 'PS256', 'ES256', 'EdDSA'],
    allowInsecureLoopback: isLoopback(url),
    ca: null,
    opaque: opaqueNames(kind, settings.WRIT_OIDC_ISSUER),
  };
  return { store, clock, notify, keys: openKeyResolver({ clock }), transmitter };
}

function opaqueNames(kind: string | undefined, signIn: string | undefined): Transmitter['opaque'] {
  if (kind === undefined) return null;
  return kind === 'subject' && signIn !== undefined ? { kind, issuer: signIn } : { kind };
}
