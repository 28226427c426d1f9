/**
 * Signing in with a passkey while the identity provider does not answer: as whom it confirmed last, and not
 * too long ago. Whoever was signed off since is confirmed no more.
 */
import { WritError } from '../../core/errors.ts';
import type { Statement } from '../../store/open.ts';
import { loadConfirmed } from '../confirmed-person.ts';
import { type Identity, personRef } from '../identity.ts';
import { type BegunAssertion, requestOptions, type SignedAssertion, usePasskey } from './assertion.ts';
import { type Bound, makeChallenge, readChallenge } from './challenge.ts';
import { type PasskeyDeps, relyingPartyOf } from './relying-party.ts';
import { type Account, refusePasskey, usablePasskeys } from './stored-passkey.ts';

/** @param browserId names the browser that asks: what one begins no other finishes */
const signingIn = (browserId: string): Bound => ({
  person: null,
  loginId: browserId,
  purpose: 'sign_in',
  about: 'sign-in',
  digest: '',
});

/** @throws WritError `conflict`: browsers have no passkeys here */
export async function beginSignIn(deps: PasskeyDeps, browserId: string): Promise<BegunAssertion> {
  const party = relyingPartyOf(deps);
  const { challenge, token } = await makeChallenge(deps, signingIn(browserId));
  return { options: await requestOptions(party, challenge, []), token };
}

const ownerStatement: Statement = {
  name: 'passkey_owner',
  text: `
    SELECT issuer, subject FROM passkey WHERE credential_id = $1::text`,
};

/**
 * @param seconds how long ago the provider may have confirmed the person
 * @returns the person as it did, and when
 * @throws WritError `forbidden`, on record where somebody has such a passkey; `conflict`
 */
export async function finishSignIn(
  deps: PasskeyDeps & { idp?: string | undefined },
  browserId: string,
  { token, response }: SignedAssertion,
  seconds: number,
  requestId: string | null,
): Promise<{ identity: Identity; at: Date }> {
  const challenge = await readChallenge(deps, token, signingIn(browserId));
  if (typeof challenge === 'string')
    throw new WritError('forbidden', { detail: 'That took too long, or was begun elsewhere. Try again.' });
  const [owner] = await deps.store.run<Account>(ownerStatement, [response.id]);
  const mine = owner === undefined ? [] : await usablePasskeys(deps.store, owner);
  const passkey = mine.find((one) => one.credential_id === response.id);
  if (owner === undefined || passkey === undefined)
    throw new WritError('forbidden', { detail: 'Nobody here has this passkey.' });
  const since = new Date(deps.clock.now().getTime() - seconds * 1000);
  // Whom another provider than the one that is configured confirmed, nobody confirms here.
  const foreign = deps.idp !== undefined && !deps.idp.startsWith(`${owner.issuer} `);
  const confirmed = foreign ? null : await loadConfirmed(deps.store, owner, since);
  const by = { actor: confirmed === null ? `user:${owner.subject}` : personRef(confirmed.identity), requestId };
  const used = await usePasskey(deps, passkey, challenge, response, by);
  const reason = typeof used === 'string' ? used : confirmed === null ? 'not_confirmed' : null;
  if (reason !== null || confirmed === null) {
    const refusal = { reason: reason ?? 'not_confirmed', purpose: 'sign_in', about: 'sign-in' } as const;
    throw await refusePasskey(deps.store, owner, { ...refusal, credential_id: response.id }, by, deps.clock.now());
  }
  return confirmed;
}
