/**
 * Adding and removing one's own passkeys. A stolen cookie must not be enough for either: a passkey vouches
 * for the next one and for its own or another's removal; the first one takes a sign-in that was begun for it,
 * minutes ago. Whoever lost them all has an admin remove them, and begins again.
 */
import { createHash, createHmac } from 'node:crypto';
import type { PublicKeyCredentialCreationOptionsJSON, RegistrationResponseJSON } from '@simplewebauthn/server';
import { z } from 'zod';
import { appendEvent } from '../../audit/append.ts';
import { event, eventPayload } from '../../audit/events.ts';
import { WritError } from '../../core/errors.ts';
import { newId } from '../../core/ids.ts';
import type { PasskeyRefusal } from '../../core/reasons.ts';
import type { Statement } from '../../store/open.ts';
import { type Identity, personRef } from '../identity.ts';
import type { Login } from '../login.ts';
import {
  type AssertionFor,
  type BegunAssertion,
  beginAssertion,
  finishAssertion,
  type SignedAssertion,
} from './assertion.ts';
import { challengeSeconds, makeChallenge, readChallenge } from './challenge.ts';
import { type PasskeyDeps, relyingPartyOf } from './relying-party.ts';
import {
  type Account,
  loadPasskeys,
  type Passkey,
  passkeyChain,
  provePasskey,
  refusePasskey,
} from './stored-passkey.ts';

/** How long after a sign-in that was begun for it a first passkey can be added. */
export const freshSeconds = 300;
const most = 20;
export const passkeyNameMax = 60;

export interface BegunRegistration {
  creation: { options: PublicKeyCredentialCreationOptionsJSON; token: string };
  /** What one of the passkeys there are must sign first; null = there is none. */
  assertion: BegunAssertion | null;
}

/** What the browser sent back. */
export interface SignedRegistration {
  creation: { token: string; response: RegistrationResponseJSON };
  assertion: SignedAssertion | null;
}

const base64url = z.string().regex(/^[\w-]{1,16384}$/);
const createdSchema = z.object({
  token: z.string().max(4096),
  response: z.object({
    id: base64url,
    rawId: base64url,
    type: z.literal('public-key'),
    response: z.object({
      clientDataJSON: base64url,
      attestationObject: base64url,
      transports: z
        .array(z.string().regex(/^[a-z-]{1,20}$/))
        .max(10)
        .optional(),
    }),
  }),
});

/** What a form carried as text; null where it is nothing that an authenticator made. */
export function readCreation(text: unknown): SignedRegistration['creation'] | null {
  if (typeof text !== 'string' || text.length > 65_536) return null;
  try {
    const { token, response } = createdSchema.parse(JSON.parse(text));
    return { token, response: { ...response, clientExtensionResults: {} } as unknown as RegistrationResponseJSON };
  } catch {
    return null;
  }
}

const digestOf = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}`;

/** The assertion that vouches for a new passkey is over the very challenge that makes it. */
const vouching = ({ identity, id }: Login, challenge: string): AssertionFor => ({
  identity,
  loginId: id,
  purpose: 'add',
  about: 'passkey',
  digest: digestOf(challenge),
});

const removing = ({ identity, id }: Login, passkey: Passkey): AssertionFor => ({
  identity,
  loginId: id,
  purpose: 'remove',
  about: passkey.id,
  digest: digestOf(passkey.credential_id),
});

const registering = (login: Login) =>
  ({ person: login.identity, loginId: login.id, purpose: 'register', about: 'passkey', digest: '' }) as const;

/** Whether this login may add a first passkey now. */
export const isFresh = (login: Login, now: Date): boolean =>
  login.method === 'fresh_oidc' && now.getTime() - login.signedInAt.getTime() <= freshSeconds * 1000;

/**
 * @throws WritError `forbidden`: a first one, and the person did not just sign in for it (on record);
 *   `conflict`: too many, or browsers have no passkeys here
 */
export async function beginRegistration(
  deps: PasskeyDeps,
  login: Login,
  requestId: string | null,
): Promise<BegunRegistration> {
  const party = relyingPartyOf(deps);
  const { identity } = login;
  const { passkeys } = await loadPasskeys(deps.store, identity);
  if (passkeys.length >= most)
    throw new WritError('conflict', { detail: `You have ${most} passkeys; remove one that you do not use.` });
  const usable = passkeys.filter(({ disabled }) => !disabled);
  if (usable.length === 0 && !isFresh(login, deps.clock.now()))
    throw await refuseCreation(deps, login, 'not_fresh', null, requestId);
  const { challenge, token } = await makeChallenge(deps, registering(login));
  const { generateRegistrationOptions } = await import('@simplewebauthn/server');
  const options = await generateRegistrationOptions({
    rpID: party.id,
    rpName: 'Writ',
    challenge: new Uint8Array(Buffer.from(challenge, 'base64url')),
    userID: userHandle(deps, identity),
    userName: personRef(identity).slice('user:'.length),
    userDisplayName: identity.name ?? '',
    attestationType: 'none',
    authenticatorSelection: { residentKey: 'preferred', userVerification: 'required' },
    excludeCredentials: passkeys.map(({ credential_id, transports }) => ({ id: credential_id, transports })),
    supportedAlgorithmIDs: [-8, -7, -257],
    timeout: challengeSeconds * 1000,
  });
  const assertion = usable.length === 0 ? null : await beginAssertion(deps, vouching(login, challenge));
  return { creation: { options, token }, assertion };
}

/** The same for one account, and nothing that says whose it is. */
const userHandle = ({ passkeyKey }: PasskeyDeps, { issuer, subject }: Account) =>
  new Uint8Array(
    createHmac('sha256', passkeyKey)
      .update(JSON.stringify([issuer, subject]))
      .digest(),
  );

// A row in the person's name that was not there when it was found that there is no passkey to ask: somebody
// was faster.
const registeredStatement: Statement = {
  name: 'passkey_registered',
  text: `
    WITH registered AS (
      INSERT INTO passkey (id, issuer, subject, credential_id, public_key, sign_count, transports, name, backed_up, created_at, proof)
      SELECT $1::text, $2::text, $3::text, $4::text, $5::text, $6::float8, $7::jsonb, $8::text, $9::boolean, $10::timestamptz, $11::text
      WHERE NOT EXISTS (SELECT 1 FROM passkey p WHERE p.issuer = $2::text AND p.subject = $3::text AND p.id <> ALL($12::text[]))
      ON CONFLICT (credential_id) DO NOTHING RETURNING id
    ), audited AS (
      ${appendEvent({ chain: '$13::text', at: '$10::timestamptz', type: event('passkey.registered'), actor: '$14::text', request: '$15::text', payload: '$16::json' }, 'registered')}
    )
    SELECT id FROM registered`,
};

/**
 * @param name what the person calls it
 * @returns the passkey's id
 * @throws WritError `bad_request`, `conflict`; `forbidden`, on record
 */
export async function finishRegistration(
  deps: PasskeyDeps,
  login: Login,
  name: string,
  signed: SignedRegistration,
  requestId: string | null,
): Promise<string> {
  const { store, clock } = deps;
  const { identity } = login;
  const { response, token } = signed.creation;
  const refuse = (reason: PasskeyRefusal) => refuseCreation(deps, login, reason, response.id, requestId);
  const { passkeys, rows } = await loadPasskeys(store, identity);
  const challenge = await readChallenge(deps, token, registering(login));
  if (typeof challenge === 'string') throw await refuse(challenge);
  const usable = passkeys.filter(({ disabled }) => !disabled);
  if (usable.length === 0 && !isFresh(login, clock.now())) throw await refuse('not_fresh');
  if (usable.length > 0 && signed.assertion === null) throw await refuse('unknown_passkey');
  const created = await createdCredential(deps, challenge.challenge, response);
  if (typeof created === 'string') throw await refuse(created);
  const now = clock.now();
  const until = new Date(now.getTime() + 2 * challengeSeconds * 1000);
  if (!(await deps.once(`passkey:${challenge.challenge}`, until))) throw await refuse('replayed');
  const by =
    usable.length === 0 || signed.assertion === null
      ? null
      : await finishAssertion(deps, vouching(login, challenge.challenge), signed.assertion, requestId);
  const id = newId('psk', now);
  const row = { id, issuer: identity.issuer, subject: identity.subject, ...created, created_at: now };
  const payload = eventPayload('passkey.registered', {
    passkey_id: id,
    credential_id: row.credential_id,
    public_key: row.public_key,
    sign_count: row.sign_count,
    backed_up: row.backed_up,
    by: by?.passkey_id ?? null,
    issuer: row.issuer,
    subject: row.subject,
  });
  const [registered] = await store.run(registeredStatement, [
    id,
    row.issuer,
    row.subject,
    row.credential_id,
    row.public_key,
    row.sign_count,
    JSON.stringify(response.response.transports ?? []),
    name,
    row.backed_up,
    now,
    provePasskey(store, row),
    rows,
    passkeyChain(identity),
    personRef(identity),
    requestId,
    JSON.stringify(payload),
  ]);
  if (registered === undefined) throw await refuse('registered_already');
  return id;
}

/** @returns the new key, of an answer that holds */
async function createdCredential(
  deps: PasskeyDeps,
  challenge: string,
  response: RegistrationResponseJSON,
): Promise<{ credential_id: string; public_key: string; sign_count: number; backed_up: boolean } | PasskeyRefusal> {
  const party = relyingPartyOf(deps);
  const { verifyRegistrationResponse } = await import('@simplewebauthn/server');
  const { decodeClientDataJSON, decodeAttestationObject, parseAuthenticatorData } = await import(
    '@simplewebauthn/server/helpers'
  );
  try {
    const client = decodeClientDataJSON(response.response.clientDataJSON);
    if (client.challenge !== challenge) return 'other_challenge';
    if (client.origin !== party.origin || client.crossOrigin === true) return 'wrong_origin';
    const attestation = decodeAttestationObject(
      new Uint8Array(Buffer.from(response.response.attestationObject, 'base64url')),
    );
    if (!parseAuthenticatorData(attestation.get('authData')).flags.uv) return 'not_verified';
    const { verified, registrationInfo } = await verifyRegistrationResponse({
      response,
      expectedChallenge: challenge,
      expectedOrigin: party.origin,
      expectedRPID: party.id,
      requireUserVerification: true,
      supportedAlgorithmIDs: [-8, -7, -257],
    });
    if (!verified) return 'bad_signature';
    const { credential, credentialBackedUp } = registrationInfo;
    return {
      credential_id: credential.id,
      public_key: Buffer.from(credential.publicKey).toString('base64url'),
      sign_count: credential.counter,
      backed_up: credentialBackedUp,
    };
  } catch {
    return 'malformed';
  }
}

const refuseCreation = (
  deps: PasskeyDeps,
  { identity }: Login,
  reason: PasskeyRefusal,
  credentialId: string | null,
  requestId: string | null,
) =>
  refusePasskey(
    deps.store,
    identity,
    { reason, purpose: 'register', about: 'passkey', credential_id: credentialId },
    { actor: personRef(identity), requestId },
    deps.clock.now(),
  );

/** @throws WritError `not_found`; `conflict`: no passkey of theirs can sign for it */
export async function beginRemoval(deps: PasskeyDeps, login: Login, id: string): Promise<BegunAssertion> {
  return beginAssertion(deps, removing(login, await ownPasskey(deps, login.identity, id)));
}

async function ownPasskey({ store }: PasskeyDeps, person: Account, id: string): Promise<Passkey> {
  const passkey = (await loadPasskeys(store, person)).passkeys.find((one) => one.id === id);
  if (passkey === undefined) throw new WritError('not_found');
  return passkey;
}

// Whoever signed in with a passkey may have done so with this one.
const removedStatement: Statement = {
  name: 'passkey_removed',
  text: `
    WITH removed AS (
      DELETE FROM passkey WHERE id = ANY($1::text[]) AND issuer = $2::text AND subject = $3::text RETURNING id
    ), signed_out AS (
      DELETE FROM login WHERE method = 'passkey' AND identity ->> 'issuer' = $2::text AND identity ->> 'subject' = $3::text AND EXISTS (SELECT 1 FROM removed)
    ), audited AS (
      ${appendEvent({ chain: '$4::text', at: '$5::timestamptz', type: event('passkey.removed'), actor: '$6::text', request: '$7::text', payload: "json_build_object('passkey_id', id, 'by_admin', $8::boolean, 'reason', $9::text)" }, 'removed ORDER BY id')}
    )
    SELECT id FROM removed`,
};

/** @throws WritError `not_found`, `conflict`; `forbidden`, on record */
export async function removeOwn(
  deps: PasskeyDeps,
  login: Login,
  id: string,
  signed: SignedAssertion | null,
  requestId: string | null,
): Promise<void> {
  const { identity } = login;
  const passkey = await ownPasskey(deps, identity, id);
  const actor = personRef(identity);
  if (signed === null)
    throw await refusePasskey(
      deps.store,
      identity,
      { reason: 'unknown_passkey', purpose: 'remove', about: id, credential_id: null },
      { actor, requestId },
      deps.clock.now(),
    );
  await finishAssertion(deps, removing(login, passkey), signed, requestId);
  await remove(deps, identity, [id], { actor, requestId, byAdmin: false, reason: null });
}

/**
 * An admin removes all of somebody's passkeys. Nobody can add one for them: they begin again themselves.
 * @returns how many
 */
export async function removeAllOf(
  deps: Pick<PasskeyDeps, 'store' | 'clock'>,
  person: Account,
  by: { admin: Identity; reason: string; requestId: string | null },
): Promise<number> {
  const { rows } = await loadPasskeys(deps.store, person);
  const { admin, reason, requestId } = by;
  return remove(deps, person, rows, { actor: personRef(admin), requestId, byAdmin: true, reason });
}

async function remove(
  { store, clock }: Pick<PasskeyDeps, 'store' | 'clock'>,
  person: Account,
  ids: string[],
  by: { actor: string; requestId: string | null; byAdmin: boolean; reason: string | null },
): Promise<number> {
  const removed = await store.run(removedStatement, [
    ids,
    person.issuer,
    person.subject,
    passkeyChain(person),
    clock.now(),
    by.actor,
    by.requestId,
    by.byAdmin,
    by.reason,
  ]);
  return removed.length;
}
