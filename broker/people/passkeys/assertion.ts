/**
 * The door for whatever a person must sign with a passkey: `beginAssertion`, the browser, `finishAssertion`.
 * What is signed is bound to the person, their login, the purpose, what it is about, and the digest of what
 * they say yes to.
 */
import type { AuthenticationResponseJSON, PublicKeyCredentialRequestOptionsJSON } from '@simplewebauthn/server';
import { z } from 'zod';
import { appendEvent } from '../../audit/append.ts';
import { event, eventPayload } from '../../audit/events.ts';
import { WritError } from '../../core/errors.ts';
import type { PasskeyEvidence, PasskeyPurpose } from '../../core/passkey-evidence.ts';
import type { PasskeyRefusal } from '../../core/reasons.ts';
import type { Statement } from '../../store/open.ts';
import { type Identity, personRef } from '../identity.ts';
import { type Challenge, challengeSeconds, makeChallenge, readChallenge } from './challenge.ts';
import { type PasskeyDeps, type RelyingParty, relyingPartyOf } from './relying-party.ts';
import { type Passkey, passkeyChain, provePasskey, refusePasskey, usablePasskeys } from './stored-passkey.ts';

/** What the person is to sign for. The same when it is begun and when it is finished. */
export interface AssertionFor {
  identity: Identity;
  /** `Login.id`. */
  loginId: string;
  purpose: PasskeyPurpose;
  /** Id of what it is about: a grant, an incident. */
  about: string;
  /** Digest of what the person says yes to: of a review, of the plan. */
  digest: string;
}

/** For the browser: what `navigator.credentials.get` takes, and what comes back beside its answer. */
export interface BegunAssertion {
  options: PublicKeyCredentialRequestOptionsJSON;
  token: string;
}

/** What the browser sent back. */
export interface SignedAssertion {
  token: string;
  response: AuthenticationResponseJSON;
}

const base64url = z.string().regex(/^[\w-]{1,4096}$/);
const signedSchema = z.object({
  token: z.string().max(4096),
  response: z.object({
    id: base64url,
    rawId: base64url,
    type: z.literal('public-key'),
    response: z.object({
      clientDataJSON: base64url,
      authenticatorData: base64url,
      signature: base64url,
      userHandle: z.string().max(256).optional(),
    }),
  }),
});

/** What a form carried as text; null where it is no assertion. */
export function readAssertion(text: unknown): SignedAssertion | null {
  if (typeof text !== 'string' || text.length > 32_768) return null;
  try {
    const { token, response } = signedSchema.parse(JSON.parse(text));
    return { token, response: { ...response, clientExtensionResults: {} } as AuthenticationResponseJSON };
  } catch {
    return null;
  }
}

/** @throws WritError `conflict`: the person has no passkey, or browsers have none here */
export async function beginAssertion(deps: PasskeyDeps, asked: AssertionFor): Promise<BegunAssertion> {
  const party = relyingPartyOf(deps);
  const passkeys = await usablePasskeys(deps.store, asked.identity);
  if (passkeys.length === 0)
    throw new WritError('conflict', { detail: 'You have no passkey here. Add one on the page “Passkeys”.' });
  const { challenge, token } = await makeChallenge(deps, { ...asked, person: asked.identity });
  return { options: await requestOptions(party, challenge, passkeys), token };
}

/** @param passkeys those that may sign; empty = whatever the authenticator has for us */
export async function requestOptions(party: RelyingParty, challenge: string, passkeys: readonly Passkey[]) {
  const { generateAuthenticationOptions } = await import('@simplewebauthn/server');
  return generateAuthenticationOptions({
    rpID: party.id,
    challenge: new Uint8Array(Buffer.from(challenge, 'base64url')),
    userVerification: 'required',
    timeout: challengeSeconds * 1000,
    allowCredentials: passkeys.map(({ credential_id, transports }) => ({
      id: credential_id,
      transports: transports as never[],
    })),
  });
}

/**
 * Verifies what the person's passkey signed, uses its challenge up, and puts it on record.
 * @returns what to keep, so that it can be verified later
 * @throws WritError `forbidden`, on record as `passkey.refused`; `conflict`: the passkey was used or removed
 *   in between
 */
export async function finishAssertion(
  deps: PasskeyDeps,
  asked: AssertionFor,
  signed: SignedAssertion,
  requestId: string | null,
): Promise<PasskeyEvidence> {
  const { identity, purpose, about } = asked;
  const { response } = signed;
  const refuse = (reason: PasskeyRefusal) =>
    refusePasskey(
      deps.store,
      identity,
      { reason, purpose, about, credential_id: response.id },
      { actor: personRef(identity), requestId },
      deps.clock.now(),
    );
  const challenge = await readChallenge(deps, signed.token, { ...asked, person: identity });
  if (typeof challenge === 'string') throw await refuse(challenge);
  const passkey = (await usablePasskeys(deps.store, identity)).find((one) => one.credential_id === response.id);
  if (passkey === undefined) throw await refuse('unknown_passkey');
  const used = await usePasskey(deps, passkey, challenge, response, { actor: personRef(identity), requestId });
  if (typeof used === 'string') throw await refuse(used);
  return used;
}

// Only over the counter that was compared: of two that sign at once, one is told to try again.
const usedStatement: Statement = {
  name: 'passkey_used',
  text: `
    WITH used AS (
      UPDATE passkey SET sign_count = $3::float8, last_used_at = $4::timestamptz, proof = $5::text
      WHERE id = $1::text AND sign_count = $2::float8 RETURNING id
    ), audited AS (
      ${appendEvent({ chain: '$6::text', at: '$4::timestamptz', type: event('passkey.used'), actor: '$7::text', request: '$8::text', payload: '$9::json' }, 'used')}
    )
    SELECT id FROM used`,
};

const disabledStatement: Statement = {
  name: 'passkey_disabled',
  text: `
    ${appendEvent({ chain: '$1::text', at: '$2::timestamptz', type: event('passkey.disabled'), actor: '$3::text', request: '$4::text', payload: '$5::json' })}`,
};

/**
 * Verifies one assertion of one passkey. The challenge is used up once the signature holds, and before the
 * counter is looked at: whoever sends the same again must not be able to disable the passkey by it.
 * @throws WritError `conflict`
 */
export async function usePasskey(
  deps: PasskeyDeps,
  passkey: Passkey,
  { inputs, challenge }: Challenge,
  response: AuthenticationResponseJSON,
  { actor, requestId }: { actor: string; requestId: string | null },
): Promise<PasskeyEvidence | PasskeyRefusal> {
  const { store, clock } = deps;
  const count = await signedCount(relyingPartyOf(deps), passkey, challenge, response);
  if (typeof count === 'string') return count;
  const now = clock.now();
  const until = new Date(now.getTime() + 2 * challengeSeconds * 1000);
  if (!(await deps.once(`passkey:${challenge}`, until))) return 'replayed';
  const chain = passkeyChain(passkey);
  const last = passkey.sign_count;
  if ((last > 0 || count > 0) && count <= last) {
    const payload = eventPayload('passkey.disabled', { passkey_id: passkey.id, sign_count: count, last_count: last });
    await store.run(disabledStatement, [chain, now, actor, requestId, JSON.stringify(payload)]);
    return 'counter_went_back';
  }
  const payload = eventPayload('passkey.used', {
    passkey_id: passkey.id,
    purpose: inputs.purpose,
    about: inputs.about,
    digest: inputs.digest,
    sign_count: count,
  });
  const [used] = await store.run(usedStatement, [
    passkey.id,
    passkey.stored_count,
    count,
    now,
    provePasskey(store, { ...passkey, sign_count: count }),
    chain,
    actor,
    requestId,
    JSON.stringify(payload),
  ]);
  if (used === undefined)
    throw new WritError('conflict', { detail: 'Your passkey was used elsewhere at this moment. Try again.' });
  const { authenticatorData, clientDataJSON, signature } = response.response;
  return {
    passkey_id: passkey.id,
    credential_id: passkey.credential_id,
    public_key: passkey.public_key,
    challenge: inputs,
    authenticator_data: authenticatorData,
    client_data_json: clientDataJSON,
    signature,
  };
}

/** @returns the counter that the authenticator shows, of an assertion that holds */
async function signedCount(
  party: RelyingParty,
  passkey: Passkey,
  challenge: string,
  response: AuthenticationResponseJSON,
): Promise<number | PasskeyRefusal> {
  const { verifyAuthenticationResponse } = await import('@simplewebauthn/server');
  const { decodeClientDataJSON, parseAuthenticatorData, isoUint8Array, toHash } = await import(
    '@simplewebauthn/server/helpers'
  );
  try {
    const client = decodeClientDataJSON(response.response.clientDataJSON);
    if (client.challenge !== challenge) return 'other_challenge';
    const data = parseAuthenticatorData(new Uint8Array(Buffer.from(response.response.authenticatorData, 'base64url')));
    const ours = await toHash(isoUint8Array.fromUTF8String(party.id));
    // A page of another site that has ours in a frame is another site, too.
    if (client.origin !== party.origin || client.crossOrigin === true || !isoUint8Array.areEqual(data.rpIdHash, ours))
      return 'wrong_origin';
    if (!data.flags.uv || !data.flags.up) return 'not_verified';
    const { verified } = await verifyAuthenticationResponse({
      response,
      expectedChallenge: challenge,
      expectedOrigin: party.origin,
      expectedRPID: party.id,
      requireUserVerification: true,
      credential: {
        id: passkey.credential_id,
        publicKey: new Uint8Array(Buffer.from(passkey.public_key, 'base64url')),
        // Compared by `usePasskey`, which tells a counter that went back from a signature that does not hold.
        counter: 0,
      },
    });
    return verified ? data.counter : 'bad_signature';
  } catch {
    return 'malformed';
  }
}
