import type { ProvenRows } from '../core/proven-rows.ts';

/**
 * How a login was made: by the identity provider; by it, told to have the person sign in anew; by a passkey
 * alone.
 */
export type LoginMethod = 'oidc' | 'fresh_oidc' | 'passkey';

/**
 * What of it goes into the login's proof. The ordinary way is proven by silence: rows that were written
 * before there was another hold on.
 */
export const methodProven = (method: LoginMethod) => (method === 'oidc' ? {} : { method });

/** What the proof of a login's row is about, of the row as it is. */
export const loginProven = ({
  token_hash,
  identity,
  csrf,
  created_at,
  checked_at,
  sealed,
  expires_at,
  method,
  idp,
}: Omit<ProvenRows['login'], 'method' | 'idp'> & { method: LoginMethod; idp: string | null }): ProvenRows['login'] => ({
  token_hash,
  identity,
  csrf,
  created_at,
  checked_at,
  sealed,
  expires_at,
  ...methodProven(method),
  ...(idp === null ? {} : { idp }),
});
