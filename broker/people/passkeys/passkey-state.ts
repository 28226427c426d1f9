/** Whether a person has a passkey that can sign, for pages that say so before it is asked for. */
import type { Identity } from '../identity.ts';
import { type PasskeyDeps, relyingParty } from './relying-party.ts';
import { usablePasskeys } from './stored-passkey.ts';

/** `unavailable`: browsers have none here, because the broker is reached by an address. */
export type PasskeyState = 'ready' | 'none' | 'unavailable';

export async function passkeyStateOf(
  { store, publicUrl }: Pick<PasskeyDeps, 'store' | 'publicUrl'>,
  person: Identity,
): Promise<PasskeyState> {
  if (relyingParty(publicUrl) === null) return 'unavailable';
  return (await usablePasskeys(store, person)).length === 0 ? 'none' : 'ready';
}
