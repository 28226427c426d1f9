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
