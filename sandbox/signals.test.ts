/**
 * Signals of the identity provider, the whole way: tokens that a strict transmitter pushes and keeps, people
 * who are signed in and approve, runs that act for them, and keys that are dead at their target afterwards.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { systemClock } from '../broker/core/clock.ts';
import type { JsonObject } from '../broker/core/vocabulary.ts';
import { testBackends } from '../broker/store/store.test-support.ts';
import { until } from '../broker/until.test-support.ts';
import { type Agent, type Deployment, startDeployment } from './deployment.test-support.ts';
import { openBrowser, signIn } from './oidc/browser.ts';
import { demoPassword, type LoginUser } from './oidc/login-provider.ts';
import { startTransmitter, type Transmitter } from './oidc/transmitter.ts';
import { hostOf } from './tool-calls.test-support.ts';

const audience = 'https://writ.example/signals';
const caep = 'https://schemas.openid.net/secevent/caep/event-type/';
const risc = 'https://schemas.openid.net/secevent/risc/event-type/';
const revoked = `${caep}session-revoked`;

const user = (name: string, groups: string[], claims: LoginUser['claims'] = {}): LoginUser => ({
  email: `${name}@example.com`,
  name,
  groups,
  password: demoPassword,
  subject: `sub-${name}`,
  claims,
});
const people = () => [
  user('operator', ['billing'], { github_login: 'octo-operator' }),
  user('strict', ['billing']),
  user('storage', ['storage']),
  // Anybody can write another's address into a profile.
  user('mallory', ['storage'], { email: 'victim@example.com', email_verified: false }),
];

for (const backend of (await testBackends()) as ('pglite' | 'postgres')[])
  describe(`signals of the identity provider (${backend})`, () => {
    let transmitter: Transmitter;
    let deployment: Deployment;
    before(async () => {
      transmitter = await startTransmitter({ clock: systemClock, audience });
      deployment = await startDeployment({
        backend,
        users: people(),
        // Of runs of the second kind nobody says who started them: two must approve.
        trust: (source) =>
          `${source}  - { issuer: sandbox-ci, agent: invoice-bot, claims: { repository_id: "4712" } }\n`,
        env: {
          WRIT_SIGNALS_ISSUER: transmitter.issuer,
          WRIT_SIGNALS_AUDIENCE: audience,
          WRIT_SIGNALS_PUSH_TOKEN: transmitter.pushToken,
          WRIT_SIGNALS_POLL_URL: transmitter.pollUrl,
          WRIT_SIGNALS_POLL_TOKEN: transmitter.pollToken,
          WRIT_SIGNALS_OPAQUE_KIND: 'github_login',
          WRIT_OIDC_ALIAS_CLAIMS: 'github_login',
        },
      });
    });
    after(async () => {
      await deployment.close();
      await transmitter.close();
    });

    const store = () => deployment.broker.store;
    const account = (name: string): JsonObject => ({
      format: 'iss_sub',
      iss: deployment.world.login.issuer,
      sub: `sub-${name}`,
    });
    const push = (token: string, how?: Parameters<Transmitter['push']>[2]) =>
      transmitter.push(deployment.broker.url, token, how);
    const signal = async (type: string, subject: JsonObject, payload: JsonObject = {}) => {
      assert.deepEqual(await push(await transmitter.sign({ type, subject, payload })), { status: 202, err: null });
      await carriedOut();
    };
    const carriedOut = () =>
      until('signals to be carried out', async () => {
        return (await store().prisma.signal.count({ where: { dueAt: { not: null } } })) === 0;
      });
    const last = async (type: string) =>
      (await store().prisma.auditEvent.findFirstOrThrow({ where: { type }, orderBy: [{ seq: 'desc' }] }))
        .payload as JsonObject;
    const run = async (actor: string): Promise<Agent> =>
      deployment.openAgent({ subjectToken: await deployment.world.subjectToken({ actor }) });
    const stateOf = async (agent: Agent) => {
      const { session } = (await agent.call('GET', '/v1/session')).body;
      return session.end_reason ?? session.status;
    };
    const ask = async (agent: Agent): Promise<string> => {
      const reply = await agent.grant({ capability: 'correct-customer-invoice' });
      assert.equal(reply.status, 202, reply.text);
      return reply.body.id;
    };
    const grantOf = async (agent: Agent, id: string) => {
      const { body } = await agent.call('GET', `/v1/grants/${id}`);
      return [body.status, ...(body.reasons ?? []).map(({ code }) => code)];
    };
    /** A person in a browser of their own, and whether the login that they have now still opens a page. */
    const signedIn = async (name: string) => {
      const browser = openBrowser();
      const list = `${deployment.broker.url}/approvals`;
      await signIn(browser, list, { email: `${name}@example.com`, password: demoPassword });
      const cookie = `writ_login=${browser.cookie('writ_login')}`;
      return {
        // By hand: a browser would be signed in anew, by what it still is at the identity provider.
        isIn: async () => (await fetch(list, { headers: { cookie }, redirect: 'manual' })).status === 200,
        approve: async (id: string, fields = {}) => {
          const page = await browser.open(`${list}/${id}`);
          return browser.submit(page, { verdict: 'approve', ...fields }, `/approvals/${id}`);
        },
      };
    };

    test('session-revoked: logins end, approvals lapse, runs end with their children, keys are dead', async () => {
      const operator = await run('operator@example.com');
      const child = deployment.agentOf(
        (
          await deployment.tokenRequest({
            subjectToken: operator.token,
            form: { subject_token_type: 'urn:ietf:params:oauth:token-type:access_token' },
            task: { capabilities: ['read-customer-files'], envelope: { max_grants: 2 } },
          })
        ).body,
      );
      const other = await run('strict@example.com');
      const host = hostOf(deployment);
      const [key, childKey, otherKey] = [await host.keyOf(operator), await host.keyOf(child), await host.keyOf(other)];

      const approver = await signedIn('operator');
      const colleague = await signedIn('storage');
      const approved = await ask(other);
      await approver.approve(approved);
      const theirs = await ask(other);
      await colleague.approve(theirs);
      assert.deepEqual(await grantOf(other, approved), ['approved', 'needs_approval']);

      const token = await transmitter.sign({ type: revoked, subject: account('operator') });
      assert.equal((await push(token)).status, 202);
      await carriedOut();

      assert.deepEqual(await last('signal.carried_out'), {
        signal: JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()).jti,
        event: revoked,
        known: true,
        logins: 1,
        approvals: 1,
        sessions: [operator.sessionId],
      });
      assert.deepEqual([await approver.isIn(), await colleague.isIn()], [false, true]);
      assert.deepEqual(await grantOf(other, approved), ['denied', 'approver_signed_off']);
      const late = await other.call('POST', `/v1/grants/${approved}/redeem`);
      assert.notEqual(late.status, 201, late.text);
      assert.equal((await grantOf(other, theirs))[0], 'approved');
      assert.deepEqual(
        [await stateOf(operator), await stateOf(child), await stateOf(other)],
        ['person_signed_off', 'parent_ended', 'active'],
      );
      await host.settled(operator);
      await host.settled(child);
      assert.deepEqual(
        [await host.works(key), await host.works(childKey), await host.works(otherKey)],
        [false, false, true],
      );

      // The same token again is acknowledged, and takes nothing from whoever signed in since.
      const back = await signedIn('operator');
      const again = await run('operator@example.com');
      assert.equal((await push(token)).status, 202);
      await carriedOut();
      assert.deepEqual([await back.isIn(), await stateOf(again)], [true, 'active']);
    });

    test('an approval that waits for a second one lapses with whoever gave it', async () => {
      const subjectToken = await deployment.world.subjectToken({ repository_id: '4712' });
      const agent = await deployment.openAgent({ subjectToken });
      const id = await ask(agent);
      const first = await signedIn('storage');
      await first.approve(id);
      assert.equal((await grantOf(agent, id))[0], 'pending');
      await signal(`${risc}account-disabled`, account('storage'), { reason: 'hijacking' });
      assert.deepEqual(await grantOf(agent, id), ['denied', 'approver_signed_off']);
      assert.equal(await first.isIn(), false);
    });

    test('an approval whose mint is under way lapses when the mint comes to nothing', async () => {
      const agent = await run('strict@example.com');
      const id = await ask(agent);
      const approver = await signedIn('storage');
      await approver.approve(id);
      const becomes = (status: string) => store().prisma.grant.update({ where: { id }, data: { status } });
      // As a mint leaves it while it runs, and then when it had no effect and another may.
      await becomes('issuing');
      const token = await transmitter.sign({ type: revoked, subject: account('storage') });
      assert.equal((await push(token)).status, 202);
      await until('the login to end', async () => !(await approver.isIn()));
      const isDue = () => store().prisma.signal.count({ where: { dueAt: { gt: deployment.clock.now() } } });
      await until('the signal to wait for the mint', async () => (await isDue()) === 1);
      await becomes('approved');
      await until('the approval to lapse', async () => {
        deployment.clock.advance(1000);
        return (await grantOf(agent, id))[0] === 'denied';
      });
      assert.deepEqual(await grantOf(agent, id), ['denied', 'approver_signed_off']);
      await carriedOut();
    });

    test('an e-mail is whose account proved it, and nobody else’s', async () => {
      const mallory = await signedIn('mallory');
      const storage = await signedIn('storage');
      await signal(revoked, { format: 'email', email: 'victim@example.com' });
      assert.equal((await last('signal.carried_out')).known, false);
      assert.equal(await mallory.isIn(), true, 'who wrote it into a profile is not meant');
      // And the other way round: what the account did not prove takes nobody with it.
      const victim = await run('victim@example.com');
      await signal(revoked, account('mallory'));
      assert.equal(await stateOf(victim), 'active');
      // Proven, and in any spelling of it.
      assert.equal(await storage.isIn(), true);
      await signal(revoked, { format: 'email', email: 'Storage@EXAMPLE.com' });
      assert.equal(await storage.isIn(), false);
    });

    test('a run is whose name its platform vouches for, never whose name the agent says', async () => {
      const subjectToken = await deployment.world.subjectToken({ actor: 'somebody@example.com' });
      const claimed = await deployment.openAgent({ subjectToken, task: { on_behalf_of: 'user:operator@example.com' } });
      await signedIn('operator');
      const own = await run('operator@example.com');
      await signal(`${risc}account-purged`, {
        format: 'complex',
        user: account('operator'),
        device: { format: 'opaque', id: 'x' },
      });
      assert.deepEqual([await stateOf(claimed), await stateOf(own)], ['active', 'person_signed_off']);
    });

    test('names of other kinds: opaque and aliases where they can be compared, else nobody', async () => {
      const cases: [JsonObject, boolean][] = [
        [{ format: 'opaque', id: 'octo-operator' }, true],
        [
          { format: 'aliases', identifiers: [{ format: 'phone_number', phone_number: '+1' }, account('operator')] },
          true,
        ],
        [{ format: 'opaque', id: 'operator@example.com' }, false],
        [{ format: 'account', uri: 'acct:operator@example.com' }, false],
        [{ format: 'iss_sub', iss: 'https://elsewhere.example', sub: 'sub-operator' }, false],
        [{ format: 'complex', session: { format: 'opaque', id: 'octo-operator' } }, false],
        [{ format: 'did', url: 'did:example:octo-operator' }, false],
      ];
      for (const [subject, meant] of cases) {
        const operator = await signedIn('operator');
        await signal(revoked, subject);
        assert.equal(await operator.isIn(), !meant, JSON.stringify(subject));
        assert.equal((await last('signal.carried_out')).known, meant, JSON.stringify(subject));
      }
    });

    test('credential-change: who changes their own signs in anew; what is taken from them ends all', async () => {
      const cases: [JsonObject, 'active' | 'person_signed_off'][] = [
        [{ credential_type: 'password', change_type: 'update', initiating_entity: 'user' }, 'active'],
        [{ credential_type: 'fido2-roaming', change_type: 'create' }, 'active'],
        [{ credential_type: 'fido2-roaming', change_type: 'delete', initiating_entity: 'user' }, 'active'],
        [{ credential_type: 'fido2-roaming', change_type: 'delete', initiating_entity: 'admin' }, 'person_signed_off'],
        [{ credential_type: 'password', change_type: 'revoke' }, 'person_signed_off'],
        [{ credential_type: 'password' }, 'person_signed_off'],
      ];
      for (const [payload, state] of cases) {
        const operator = await signedIn('operator');
        const agent = await run('operator@example.com');
        await signal(`${caep}credential-change`, account('operator'), payload);
        assert.deepEqual([await operator.isIn(), await stateOf(agent)], [false, state], JSON.stringify(payload));
      }
    });

    test('what nobody knows is acknowledged and recorded; a verification too', async () => {
      const operator = await signedIn('operator');
      const stream = { format: 'opaque', id: 'stream' };
      for (const type of [
        'https://schemas.openid.net/secevent/ssf/event-type/verification',
        `${caep}device-compliance-change`,
        'https://example.com/of-tomorrow',
        '__proto__x',
        'constructor',
      ]) {
        assert.equal(
          (await push(await transmitter.sign({ type, subject: stream, payload: { state: 's' } }))).status,
          202,
        );
        const { event, effect, via } = await last('signal.received');
        assert.deepEqual([event, effect, via], [type, 'none', 'push']);
      }
      assert.equal(await operator.isIn(), true);
    });

    test('a token that is not the transmitter’s, not for us, or not a signal is refused and does nothing', async () => {
      const operator = await signedIn('operator');
      const agent = await run('operator@example.com');
      const about = { type: revoked, subject: account('operator') };
      const claims = { aud: audience, sub_id: account('operator'), events: { [revoked]: {} } };
      const now = Math.floor(systemClock.now().getTime() / 1000);
      const set = (more: JsonObject = {}, how = {}) => transmitter.sign(about, more, how);
      const header = { typ: 'secevent+jwt' };
      const refused: [what: string, token: string, err: string, reason: string][] = [
        ['alg none', `${await set({}, { forge: 'alg_none' })}x`, 'invalid_key', 'algorithm_not_allowed'],
        ['no signature', await set({}, { forge: 'alg_none' }), 'invalid_request', 'malformed'],
        [
          'the public key as a secret',
          await set({}, { forge: 'hs256_with_public_key' }),
          'invalid_key',
          'algorithm_not_allowed',
        ],
        ['another key', await set({}, { forge: 'foreign_key' }), 'invalid_key', 'bad_signature'],
        ['another payload', await set({}, { forge: 'tampered_payload' }), 'invalid_key', 'bad_signature'],
        ['an ID token', await transmitter.keys.mint(claims), 'invalid_request', 'malformed'],
        [
          'a logout token',
          await transmitter.keys.mint(claims, { header: { typ: 'logout+jwt' } }),
          'invalid_request',
          'malformed',
        ],
        ['another issuer', await set({ iss: 'https://elsewhere.example' }), 'invalid_issuer', 'wrong_issuer'],
        ['the platform’s', await deployment.world.platform.mint(claims, { header }), 'invalid_issuer', 'wrong_issuer'],
        ['another audience', await set({ aud: deployment.broker.url }), 'invalid_audience', 'wrong_audience'],
        ['too old', await set({ iat: now - 8 * 86_400 }), 'invalid_request', 'too_old'],
        ['of tomorrow', await set({ iat: now + 86_400 }), 'invalid_request', 'not_yet_valid'],
        ['no jti', await set({}, { without: ['exp', 'jti'] }), 'invalid_request', 'missing_claim'],
        ['a jti that is no text', await set({ jti: 7 }), 'invalid_request', 'bad_claim'],
        ['no events', await set({ events: {} }), 'invalid_request', 'bad_claim'],
        ['a NUL', await set({ events: { 'a\u0000b': {} } }), 'invalid_request', 'bad_claim'],
        ['not a token', 'x', 'invalid_request', 'malformed'],
        ['long', await set({ filler: 'x'.repeat(46_000) }), 'invalid_request', 'malformed'],
      ];
      for (const [what, token, err, reason] of refused) {
        assert.deepEqual(await push(token), { status: 400, err }, what);
        assert.equal((await last('signal.refused')).reason, reason, what);
      }
      assert.equal((await push(await set({ filler: 'x'.repeat(70_000) }))).status, 413);
      assert.equal((await push(await set(), { type: 'application/jwt' })).status, 415);
      const stolen = await set();
      for (const pushToken of ['', 'wrong', `${transmitter.pushToken}x`, transmitter.pollToken, deployment.admin]) {
        assert.deepEqual(await push(stolen, { pushToken }), { status: 400, err: 'authentication_failed' });
        assert.equal((await last('signal.refused')).reason, 'wrong_push_token');
      }
      await carriedOut();
      assert.deepEqual([await operator.isIn(), await stateOf(agent)], [true, 'active']);
      for (const secret of [stolen, transmitter.pushToken, transmitter.pollToken])
        assert.ok(!deployment.log().includes(secret), 'no token is in the log');
    });

    test('keys that cannot be had are no refusal: the token is good for later', async () => {
      const operator = await signedIn('operator');
      await transmitter.keys.rotate();
      transmitter.keys.behave('outage');
      const token = await transmitter.sign({ type: revoked, subject: account('operator') });
      deployment.clock.advance(31_000);
      assert.equal((await push(token)).status, 503);
      transmitter.keys.behave('well');
      deployment.clock.advance(31_000);
      assert.equal((await push(token)).status, 202);
      await carriedOut();
      assert.equal(await operator.isIn(), false);
    });

    test('polled: taken once, acknowledged; what is refused is said, and holds up nothing', async () => {
      const operator = await signedIn('operator');
      const agent = await run('operator@example.com');
      const bad = transmitter.keep(
        await transmitter.sign({ type: revoked, subject: account('operator') }, { aud: 'x' }),
      );
      const many = Array.from({ length: 30 }, () => transmitter.sign({ type: 'https://example.com/other' }));
      for (const token of await Promise.all(many)) transmitter.keep(token);
      const token = await transmitter.sign({ type: revoked, subject: account('operator') });
      const jti = transmitter.keep(token);
      await until('all to be acknowledged', () => {
        deployment.clock.advance(1000);
        return transmitter.kept().length === 0;
      });
      await carriedOut();
      assert.deepEqual(
        [...transmitter.refused].map(([one, { err }]) => [one, err]),
        [[bad, 'invalid_audience']],
      );
      assert.equal((await last('signal.refused')).reason, 'wrong_audience');
      assert.equal(await operator.isIn(), false);
      assert.equal(await stateOf(agent), 'person_signed_off');
      // Given again, by push: it is the same token.
      assert.equal((await push(token)).status, 202);
      const received = await store().prisma.auditEvent.findMany({ where: { type: 'signal.received' } });
      const about = received.filter(({ payload }) => (payload as JsonObject).signal === jti);
      assert.deepEqual(
        about.map(({ payload }) => (payload as JsonObject).via),
        ['poll'],
      );
    });
  });
