/** Registering, using and removing passkeys, and everybody who tries to without having one. */
import assert from 'node:assert/strict';
import { createHash, createPublicKey, randomBytes, verify } from 'node:crypto';
import { after, test } from 'node:test';
import { assertEventsFit } from '../../audit/rows.test-support.ts';
import { manualClock } from '../../core/clock.ts';
import { challengeOf, evidenceBinds } from '../../core/passkey-evidence.ts';
import { takeOnce } from '../../sessions/take-once.ts';
import { openTestStore } from '../../store/store.test-support.ts';
import { proveConfirmed } from '../confirmed-person.ts';
import { type Identity, identityRecord } from '../identity.ts';
import type { Login } from '../login.ts';
import { signOff } from '../sign-off.ts';
import { type AssertionFor, beginAssertion, finishAssertion, readAssertion } from './assertion.ts';
import { type Lies, SoftwareAuthenticator } from './authenticator.test-support.ts';
import {
  beginRegistration,
  beginRemoval,
  finishRegistration,
  readCreation,
  removeAllOf,
  removeOwn,
} from './registration.ts';
import { relyingParty } from './relying-party.ts';
import { beginSignIn, finishSignIn } from './sign-in.ts';
import { loadPasskeys, passkeyChain, refusePasskey } from './stored-passkey.ts';

const store = await openTestStore();
after(() => store.close());
const clock = manualClock(new Date('2026-03-04T12:00:00.000Z'));
const origin = 'https://writ.example';
const deps = {
  store,
  clock,
  publicUrl: origin,
  passkeyKey: randomBytes(32),
  once: (key: string, until: Date) => takeOnce(store, key, until),
};

let made = 0;
/** A person nobody has seen before, who has just signed in to add a passkey. */
function somebody(method: Login['method'] = 'fresh_oidc'): Login {
  made += 1;
  const identity: Identity = {
    issuer: 'https://login.example',
    subject: `sub-${made}`,
    email: `p${made}@example.com`,
    emailVerified: true,
    groups: [],
    aliases: [],
  };
  return { id: `login-${made}`, identity, method, signedInAt: clock.now(), csrf: 'x' };
}

/** As a form carries it. */
const posted = (value: unknown) => JSON.stringify(value);

async function register(login: Login, key: SoftwareAuthenticator, voucher?: SoftwareAuthenticator, lies: Lies = {}) {
  const { creation, assertion } = await beginRegistration(deps, login, 'req');
  const made = readCreation(posted({ token: creation.token, response: key.create(creation.options, lies) }));
  assert.ok(made);
  const signed =
    assertion === null || voucher === undefined
      ? null
      : readAssertion(posted({ token: assertion.token, response: voucher.get(assertion.options) }));
  return finishRegistration(deps, login, 'laptop', { creation: made, assertion: signed }, 'req');
}

/** Somebody with a passkey, in an ordinary login. */
async function holder(counts = true) {
  const login = somebody();
  const key = new SoftwareAuthenticator(origin, counts);
  const id = await register(login, key);
  return { login: { ...login, method: 'oidc' } as Login, key, id };
}

const asking = ({ identity, id }: Login, more: Partial<AssertionFor> = {}): AssertionFor => ({
  identity,
  loginId: id,
  purpose: 'review',
  about: 'gnt_1',
  digest: 'sha256:1',
  ...more,
});

async function sign(login: Login, key: SoftwareAuthenticator, asked = asking(login), lies: Lies = {}) {
  const { options, token } = await beginAssertion(deps, asked);
  const signed = readAssertion(posted({ token, response: key.get(options, lies) }));
  assert.ok(signed);
  return signed;
}

const recorded = async ({ identity }: Login) =>
  (await store.prisma.auditEvent.findMany({ where: { chain: passkeyChain(identity) }, orderBy: { seq: 'asc' } })).map(
    ({ type, payload }) => {
      const { reason } = payload as { reason?: string };
      return type === 'passkey.refused' ? `${type}: ${reason}` : type;
    },
  );

/** It is refused, and the record says why. */
async function refused(login: Login, attempt: Promise<unknown>, reason: string) {
  await assert.rejects(attempt, { code: 'forbidden' });
  assert.equal((await recorded(login)).at(-1), `passkey.refused: ${reason}`);
}

test('whoever has just signed in for it registers a passkey; what it signs can be verified by anybody later', async () => {
  const { login, key, id } = await holder();
  const asked = asking(login);
  const evidence = await finishAssertion(deps, asked, await sign(login, key), 'req');
  const { challenge, client_data_json, authenticator_data, signature, public_key } = evidence;
  assert.deepEqual([evidence.passkey_id, challenge.digest, challenge.about], [id, 'sha256:1', 'gnt_1']);
  // From here on with nothing of ours: the challenge from its inputs, and the key from the evidence.
  const client = JSON.parse(Buffer.from(client_data_json, 'base64url').toString());
  assert.equal(client.challenge, challengeOf(challenge));
  const cose = Buffer.from(public_key, 'base64url');
  const jwk = {
    kty: 'EC',
    crv: 'P-256',
    x: cose.subarray(10, 42).toString('base64url'),
    y: cose.subarray(45, 77).toString('base64url'),
  };
  const told = Buffer.concat([
    Buffer.from(authenticator_data, 'base64url'),
    createHash('sha256').update(Buffer.from(client_data_json, 'base64url')).digest(),
  ]);
  const publicKey = createPublicKey({ key: jwk, format: 'jwk' });
  assert.ok(verify('sha256', told, publicKey, Buffer.from(signature, 'base64url')));
  const person = login.identity;
  assert.ok(evidenceBinds(evidence, { purpose: 'review', about: 'gnt_1', digest: 'sha256:1', person }));
  for (const other of [
    { purpose: 'break_glass' as const },
    { about: 'gnt_2' },
    { digest: 'sha256:2' },
    { person: somebody().identity },
  ])
    assert.ok(!evidenceBinds(evidence, { purpose: 'review', about: 'gnt_1', digest: 'sha256:1', person, ...other }));
  // With the inputs made to fit, what was signed fits no more.
  const widened = { ...evidence, challenge: { ...challenge, digest: 'sha256:2' } };
  assert.ok(!evidenceBinds(widened, { purpose: 'review', about: 'gnt_1', digest: 'sha256:2', person }));
  assert.ok(!evidenceBinds(null, { purpose: 'review', about: 'gnt_1', digest: 'sha256:1', person }));
  assert.deepEqual(await recorded(login), ['passkey.registered', 'passkey.used']);
});

test('a stolen cookie adds no first passkey: not in an ordinary login, however young, nor later in a fresh one', async () => {
  const stolen = somebody('oidc');
  await refused(stolen, beginRegistration(deps, stolen, 'req'), 'not_fresh');
  // What was begun in a fresh login is finished in no other, and in none that is old by then.
  const fresh = somebody();
  const { creation } = await beginRegistration(deps, fresh, 'req');
  const made = { token: creation.token, response: new SoftwareAuthenticator(origin).create(creation.options) };
  const finish = (login: Login) => finishRegistration(deps, login, 'x', { creation: made, assertion: null }, 'req');
  await refused(fresh, finish({ ...fresh, method: 'oidc' }), 'not_fresh');
  await refused(fresh, finish({ ...fresh, id: 'another' }), 'other_challenge');
  const other = somebody();
  await refused(other, finish(other), 'other_challenge');
  clock.advance(301_000);
  await refused(fresh, finish(fresh), 'unknown_challenge');
  await refused(fresh, beginRegistration(deps, fresh, 'req'), 'not_fresh');
  assert.deepEqual((await loadPasskeys(store, fresh.identity)).passkeys, []);
});

test('a stolen cookie adds none to the first, and removes none; the first one vouches', async () => {
  const { login, key, id } = await holder();
  const thief = new SoftwareAuthenticator(origin);
  await refused(login, register(login, thief), 'unknown_passkey');
  // Their own authenticator vouches for nothing.
  const attempt = beginRegistration(deps, login, 'req').then(({ creation, assertion }) => {
    assert.ok(assertion);
    return finishRegistration(
      deps,
      login,
      'x',
      {
        creation: { token: creation.token, response: thief.create(creation.options) },
        assertion: { token: assertion.token, response: thief.get(assertion.options) },
      },
      'req',
    );
  });
  await refused(login, attempt, 'unknown_passkey');
  // What the person signs for something else vouches for nothing, either.
  const elsewhere = await sign(login, key);
  const { creation } = await beginRegistration(deps, login, 'req');
  const made = { token: creation.token, response: thief.create(creation.options) };
  await refused(
    login,
    finishRegistration(deps, login, 'x', { creation: made, assertion: elsewhere }, 'req'),
    'other_challenge',
  );
  await refused(login, removeOwn(deps, login, id, null, 'req'), 'unknown_passkey');
  await refused(login, removeOwn(deps, login, id, elsewhere, 'req'), 'other_challenge');
  const second = await register(login, new SoftwareAuthenticator(origin), key);
  const ids = (await loadPasskeys(store, login.identity)).passkeys.map((one) => one.id);
  assert.deepEqual(ids.sort(), [id, second].sort());
  const removal = await beginRemoval(deps, login, id);
  await removeOwn(deps, login, id, { token: removal.token, response: key.get(removal.options) }, 'req');
  assert.deepEqual(
    (await loadPasskeys(store, login.identity)).passkeys.map((one) => one.id),
    [second],
  );
  // An answer for one removal is none for another's.
  await assert.rejects(beginRemoval(deps, login, id), { code: 'not_found' });
  await assert.rejects(beginRemoval(deps, somebody(), second), { code: 'not_found' });
});

test('an assertion is for one person, login, purpose, thing and digest, once and for five minutes', async () => {
  const { login, key } = await holder();
  const other = await holder();
  const finish = (asked: AssertionFor, signed: Awaited<ReturnType<typeof sign>>) =>
    finishAssertion(deps, asked, signed, 'req');
  const asked = asking(login);
  for (const more of [
    { purpose: 'break_glass' as const },
    { about: 'gnt_2' },
    { digest: 'sha256:wider' },
    { loginId: 'another login' },
  ])
    await refused(login, finish(asking(login, more), await sign(login, key)), 'other_challenge');
  await refused(other.login, finish(asking(other.login), await sign(login, key)), 'other_challenge');
  // Another person's passkey, in this person's login.
  const { options, token } = await beginAssertion(deps, asked);
  await refused(login, finish(asked, { token, response: other.key.get(options) }), 'unknown_passkey');
  // The challenge in the token and the one that was signed are two.
  const mixed = { token, response: (await sign(login, key)).response };
  await refused(login, finish(asked, mixed), 'other_challenge');
  await refused(login, finish(asked, { ...(await sign(login, key)), token: 'x.y.z' }), 'unknown_challenge');
  const late = await sign(login, key);
  clock.advance(301_000);
  await refused(login, finish(asked, late), 'unknown_challenge');
  const signed = await sign(login, key);
  await finish(asked, signed);
  await refused(login, finish(asked, signed), 'replayed');
  // Whoever replays disables nothing by it.
  await finish(asked, await sign(login, key));
});

test('no assertion without user verification, of another site, in a frame, or of another kind', async () => {
  const { login, key } = await holder();
  const finish = async (lies: Lies) =>
    finishAssertion(deps, asking(login), await sign(login, key, undefined, lies), 'r');
  await refused(login, finish({ unverified: true }), 'not_verified');
  await refused(login, finish({ origin: 'https://writ.example.evil.example' }), 'wrong_origin');
  await refused(login, finish({ rpId: 'evil.example' }), 'wrong_origin');
  await refused(login, finish({ crossOrigin: true }), 'wrong_origin');
  await refused(login, finish({ type: 'webauthn.create' }), 'malformed');
  const signed = await sign(login, key);
  const signature = (await sign(login, key)).response.response.signature;
  const forged = { ...signed, response: { ...signed.response, response: { ...signed.response.response, signature } } };
  await refused(login, finishAssertion(deps, asking(login), forged, 'req'), 'bad_signature');
  const fresh = somebody();
  const authenticator = () => new SoftwareAuthenticator(origin);
  await refused(fresh, register(fresh, authenticator(), undefined, { unverified: true }), 'not_verified');
  const elsewhere = { origin: 'https://evil.example' };
  await refused(fresh, register(fresh, authenticator(), undefined, elsewhere), 'wrong_origin');
});

test('a counter that does not rise disables the passkey; one that has none is not asked for one', async () => {
  const { login, key } = await holder();
  await finishAssertion(deps, asking(login), await sign(login, key), 'req');
  await finishAssertion(deps, asking(login), await sign(login, key, undefined, { count: 40 }), 'req');
  const back = await sign(login, key, undefined, { count: 40 });
  await refused(login, finishAssertion(deps, asking(login), back, 'req'), 'counter_went_back');
  await assert.rejects(beginAssertion(deps, asking(login)), { code: 'conflict' });
  assert.ok((await recorded(login)).includes('passkey.disabled'));
  const zero = await holder();
  const gone = await sign(zero.login, zero.key, undefined, { count: 0 });
  await refused(zero.login, finishAssertion(deps, asking(zero.login), gone, 'req'), 'counter_went_back');
  const without = await holder(false);
  for (const _ of [1, 2])
    await finishAssertion(deps, asking(without.login), await sign(without.login, without.key), 'req');
});

test('whoever writes the table has no passkey by it, and brings none back', async () => {
  const victim = await holder();
  const attacker = await holder();
  const rows = (login: Login) => store.prisma.passkey.findMany({ where: { subject: login.identity.subject } });
  const usable = async ({ identity }: Login) =>
    (await loadPasskeys(store, identity)).passkeys.filter(({ disabled }) => !disabled).length;
  const [theirs] = await rows(attacker.login);
  assert.ok(theirs);
  const transports: string[] = [];
  // The attacker's key in the victim's name, by an update and by a new row.
  const { subject } = victim.login.identity;
  await store.prisma.passkey.update({ where: { id: theirs.id }, data: { subject } });
  assert.equal(await usable(victim.login), 1);
  await store.prisma.passkey.delete({ where: { id: theirs.id } });
  await store.prisma.passkey.create({ data: { ...theirs, transports, id: 'psk_x', subject } });
  assert.equal(await usable(victim.login), 1);
  await store.prisma.passkey.delete({ where: { id: 'psk_x' } });
  // The victim's row with the attacker's key.
  const [mine] = await rows(victim.login);
  assert.ok(mine);
  await store.prisma.passkey.update({ where: { id: mine.id }, data: { publicKey: theirs.publicKey } });
  assert.equal(await usable(victim.login), 0);
  // An older copy of the row: its counter is the record's.
  await store.prisma.passkey.update({ where: { id: mine.id }, data: { publicKey: mine.publicKey } });
  await finishAssertion(deps, asking(victim.login), await sign(victim.login, victim.key, undefined, { count: 9 }), 'r');
  await store.prisma.passkey.update({ where: { id: mine.id }, data: { signCount: mine.signCount, proof: mine.proof } });
  assert.equal((await loadPasskeys(store, victim.login.identity)).passkeys[0]?.sign_count, 9);
  // Which the record does not forget by being told a lower one.
  const {
    seq: _,
    prevHash: __,
    hash: ___,
    ...used
  } = await store.prisma.auditEvent.findFirstOrThrow({
    where: { chain: passkeyChain(victim.login.identity), type: 'passkey.used' },
  });
  await store.prisma.auditEvent.create({ data: { ...used, payload: { ...(used.payload as object), sign_count: 1 } } });
  assert.equal((await loadPasskeys(store, victim.login.identity)).passkeys[0]?.sign_count, 9);
  // What an admin removed stays removed.
  const admin = somebody().identity;
  assert.equal(await removeAllOf(deps, victim.login.identity, { admin, reason: 'lost', requestId: 'req' }), 1);
  await store.prisma.passkey.create({ data: { ...mine, transports } });
  assert.equal(await usable(victim.login), 0);
  await refused(victim.login, beginRegistration(deps, victim.login, 'req'), 'not_fresh');
  // And begins again as at first; the row that does not count keeps nobody from it.
  const again = { ...victim.login, method: 'fresh_oidc' as const, signedInAt: clock.now() };
  await register(again, new SoftwareAuthenticator(origin));
  assert.equal(await usable(victim.login), 1);
});

test('one authenticator is registered once, and of two first ones at the same time one', async () => {
  const { login, key } = await holder();
  await refused(login, register(login, key, key, { count: 77 }), 'registered_already');
  const both = somebody();
  const [one, two] = [new SoftwareAuthenticator(origin), new SoftwareAuthenticator(origin)];
  const begun = await beginRegistration(deps, both, 'req');
  const finish = async (from: SoftwareAuthenticator, { creation }: typeof begun) =>
    finishRegistration(
      deps,
      both,
      'x',
      { creation: { token: creation.token, response: from.create(creation.options) }, assertion: null },
      'req',
    );
  const second = await beginRegistration(deps, both, 'req');
  const ends = await Promise.allSettled([finish(one, begun), finish(two, second)]);
  assert.equal(ends.filter(({ status }) => status === 'fulfilled').length, 1);
});

const browser = 'a browser';
async function signInWith(key: SoftwareAuthenticator, lies: Lies = {}, from = browser) {
  const { options, token } = await beginSignIn(deps, browser);
  const signed = readAssertion(posted({ token, response: key.get(options, lies) }));
  assert.ok(signed);
  return finishSignIn(deps, from, signed, 3600, 'req');
}

/** As a sign-in at the identity provider leaves it. */
async function confirm({ identity }: Login, groups: string[], at = clock.now()) {
  const record = { ...identityRecord(identity), groups };
  const { issuer, subject } = identity;
  const proof = proveConfirmed(store, identity, record, at);
  const row = { identity: record, confirmedAt: at, proof };
  const where = { issuer_subject: { issuer, subject } };
  await store.prisma.confirmedPerson.upsert({ where, create: { issuer, subject, ...row }, update: row });
  return { issuer, subject, ...row };
}

test('a passkey signs in whom the identity provider confirmed lately, with the groups of then', async () => {
  const { login, key } = await holder();
  await refused(login, signInWith(key), 'not_confirmed');
  await confirm(login, ['billing']);
  assert.deepEqual((await signInWith(key)).identity.groups, ['billing']);
  await refused(login, signInWith(key, { unverified: true }), 'not_verified');
  await assert.rejects(signInWith(key, {}, 'another browser'), { code: 'forbidden' });
  await assert.rejects(signInWith(new SoftwareAuthenticator(origin)), { code: 'forbidden' });
  // What was signed for a review, and what was signed before, signs nobody in.
  const { token } = await beginSignIn(deps, browser);
  const elsewhere = { token, response: (await sign(login, key)).response };
  await refused(login, finishSignIn(deps, browser, elsewhere, 3600, 'req'), 'other_challenge');
  const begun = await beginSignIn(deps, browser);
  const signed = { token: begun.token, response: key.get(begun.options) };
  await finishSignIn(deps, browser, signed, 3600, 'req');
  await refused(login, finishSignIn(deps, browser, signed, 3600, 'req'), 'replayed');
  clock.advance(3_601_000);
  await refused(login, signInWith(key), 'not_confirmed');
});

test('whoever is signed off signs in with no passkey, and no row that is put back or changed helps', async () => {
  const { login, key } = await holder();
  const { issuer, subject } = login.identity;
  const row = await confirm(login, ['billing']);
  const where = { issuer_subject: { issuer, subject } };
  const more = { ...row.identity, groups: ['billing', 'writ-admins'] };
  await store.prisma.confirmedPerson.update({ where, data: { identity: more } });
  await refused(login, signInWith(key), 'not_confirmed');
  await store.prisma.confirmedPerson.update({ where, data: { identity: row.identity } });
  await signInWith(key);
  clock.advance(1000);
  await signOff(store, [{ issuer, subject, names: [] }], { jti: 'jti', event: 'session-revoked' }, clock.now());
  await refused(login, signInWith(key), 'not_confirmed');
  await store.prisma.confirmedPerson.create({ data: row });
  await refused(login, signInWith(key), 'not_confirmed');
  assert.ok((await recorded(login)).includes('person.forgotten'));
  // Until the provider confirms them again.
  clock.advance(1000);
  await confirm(login, ['billing']);
  await signInWith(key);
});

test('passkeys belong to a name', async () => {
  assert.deepEqual(relyingParty('http://localhost:8420'), { id: 'localhost', origin: 'http://localhost:8420' });
  assert.equal(relyingParty('http://127.0.0.1:8420'), null);
  assert.equal(relyingParty('https://[::1]'), null);
  const login = somebody();
  const there = { ...deps, publicUrl: 'http://127.0.0.1:8420' };
  await assert.rejects(beginRegistration(there, login, 'req'), /belong to a name/);
});

test('every event has the shape that is promised', async () => void (await assertEventsFit(store)));

test('whoever is refused again and again fills no chain: so many rows a minute', async () => {
  const account = { issuer: 'https://login.example', subject: 'refused-often' };
  const refusal = { reason: 'unknown_passkey', purpose: 'remove', about: 'x', credential_id: null } as const;
  const by = { actor: 'user:often@example.com', requestId: null };
  for (let n = 0; n < 100; n += 1) await refusePasskey(store, account, refusal, by, clock.now());
  const rows = () => store.prisma.auditEvent.count({ where: { chain: passkeyChain(account) } });
  assert.equal(await rows(), 60);
  clock.advance(60_001);
  const error = await refusePasskey(store, account, refusal, by, clock.now());
  assert.equal(error.code, 'forbidden');
  assert.equal(await rows(), 61);
});
