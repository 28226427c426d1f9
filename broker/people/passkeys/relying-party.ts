/** Whom a passkey belongs to: the broker's host, as browsers know it. */
import { isIP } from 'node:net';
import { WritError } from '../../core/errors.ts';
import type { Clock } from '../../core/vocabulary.ts';
import type { Store } from '../../store/open.ts';

/** What everything here stands on. */
export interface PasskeyDeps {
  store: Store;
  clock: Clock;
  /** The broker's address as people's browsers know it. */
  publicUrl: string;
  /** 32 bytes for challenges: the same on every process that serves. */
  passkeyKey: Uint8Array;
  /** Whether this is the first time that the key is seen, on any process, until `until`. */
  once(key: string, until: Date): Promise<boolean>;
}

export interface RelyingParty {
  id: string;
  origin: string;
}

/** Null where browsers have no passkeys: they belong to a name, and an address is none. */
export function relyingParty(publicUrl: string): RelyingParty | null {
  const { hostname, origin } = new URL(publicUrl);
  return isIP(hostname.replace(/^\[|\]$/g, '')) === 0 ? { id: hostname, origin } : null;
}

export const needsName =
  'Passkeys belong to a name, and this broker is reached by an address: whoever runs it can give it a name in WRIT_ISSUER_URL (http://localhost:8420 on one’s own machine).';

/** @throws WritError `conflict` */
export function relyingPartyOf({ publicUrl }: Pick<PasskeyDeps, 'publicUrl'>): RelyingParty {
  const party = relyingParty(publicUrl);
  if (party === null) throw new WritError('conflict', { detail: needsName });
  return party;
}
