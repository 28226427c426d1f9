/**
 * Whoever writes the database without the key-encryption key becomes nobody: each attack is made on a running
 * broker's PostgreSQL, once as the role that the broker itself runs as, once as a superuser with all triggers
 * off.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Request as ExpressRequest, Response as ExpressResponse } from 'express';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import pg from 'pg';
import { beginSigning, review, withdraw } from '../approvals/review.ts';
import { person } from '../approvals/rows.test-support.ts';
import { bodyOf } from './actions/asking.test-support.ts';
import { agreeToBreakGlass, toAgreeTo } from './break-glass/agree.ts';
import { askToBreakGlass, termsOf } from './break-glass/ask.ts';
import { closeBreakGlass } from './break-glass/end.ts';
import { readBreakGlass } from './break-glass/read-break-glasses.ts';
import { openSigning } from './break-glass/signing.test-support.ts';
import type { Broker } from './compose/start.ts';
import { manualClock, systemClock } from './core/clock.ts';
import { statement } from './harness.test-support.ts';
import { deriveKey } from './keys/key-encryption-key.ts';
import { openKeyRing } from './keys/ring.ts';
import { createRowProofs } from './keys/row-proofs.ts';
import { createSeal } from './keys/seal.ts';
import { liftLock } from './locks/lift-lock.ts';
import { setLock } from './locks/set-lock.ts';
import { createCatalog } from './manifests/catalog.ts';
import { renewBootstrapToken } from './people/admin-access.ts';
import { identityRecord } from './people/identity.ts';
import { endLogins } from './people/live-logins.ts';
import { closeLogin, openLogin } from './people/login.ts';
import { holderOf } from './people/passkeys/authenticator.test-support.ts';
import { signOff } from './people/sign-off.ts';
import { type Ground, prepareGround, source } from './running.test-support.ts';
import { takeOnce } from './sessions/take-once.ts';
import { openStore } from './store/open.ts';
import { createPreparedDatabase, testBackends } from './store/store.test-support.ts';
import { until } from './until.test-support.ts';

const skip = (await testBackends()).includes('postgres') ? false : 'no PostgreSQL answers';
const ask = `  ask-plain: { description: Ask for it., provider: plain, tasks: [work], tier: 2, max_ttl: 15m, break_glass: true }\n`;
const sign = `  sign-plain: { description: Sign for it., provider: plain, tasks: [work], tier: 3, max_ttl: 15m }\n`;
const tools = `tools: { agreed: { args: { n: { min: 0 } } } }
rules: [{ id: agreed, on: { tool: agreed }, effect: approve }]
`;
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

for (const attacker of ['the runtime role', 'a superuser'] as const) {
  describe(`${attacker} without the key-encryption key`, { skip }, () => {
    let ground: Ground;
    let database: Awaited<ReturnType<typeof createPreparedDatabase>>;
    let client: pg.Client;
    let broker: Broker;
    const start = async (more: Record<string, string> = {}) => {
      broker = await ground.start({
        DATABASE_URL: database.runtimeUrl,
        ...more,
        WRIT_ADMIN_GROUP: 'admins',
        WRIT_KEY_LEAD_SECONDS: '0',
      });
      return broker;
    };
    const restart = async (more: Record<string, string> = {}) => {
      await broker.stop();
      return start(more);
    };
    before(async () => {
      ground = await prepareGround();
      await writeFile(join(ground.manifests, 'agent.yaml'), source + ask + sign + tools);
      database = await createPreparedDatabase();
      client = new pg.Client({ connectionString: attacker === 'a superuser' ? database.url : database.runtimeUrl });
      await client.connect();
      if (attacker === 'a superuser') await client.query('SET session_replication_role = replica');
      await start();
    });
    after(async () => {
      await broker.stop();
      await client.end();
      await database.drop();
      await ground.close();
    });

    /** @returns how many rows it changed; null when the role may not even try */
    const attack = async (sql: string, values: unknown[] = []): Promise<number | null> => {
      try {
        return (await client.query(sql, values)).rowCount;
      } catch (error) {
        assert.equal((error as { code?: string }).code, '42501', String(error));
        assert.equal(attacker, 'the runtime role', sql);
        return null;
      }
    };
    const answered = async (path: string, headers: Record<string, string> = {}) =>
      (await fetch(ground.url + path, { headers, redirect: 'manual' })).status;
    const jwks = async () => (await (await fetch(`${ground.url}/.well-known/jwks.json`)).json()) as { keys: object[] };
    const minted = () => ground.provider.mints();
    const ownersStore = () =>
      openStore({
        databaseUrl: database.runtimeUrl,
        dataDir: null,
        proofs: createRowProofs(Buffer.from(ground.env.WRIT_KEY_ENCRYPTION_KEY, 'base64url')),
      });

    test('a swapped public key, and a key of theirs, are not published and verify nothing', async () => {
      const known = await jwks();
      const { publicKey, privateKey } = await generateKeyPair('ES256');
      const jwk = { ...(await exportJWK(publicKey)), alg: 'ES256', use: 'sig' };
      await attack(`UPDATE signing_key SET public_jwk = $1::jsonb || jsonb_build_object('kid', kid)`, [
        JSON.stringify(jwk),
      ]);
      await attack(
        `INSERT INTO signing_key (kid, public_jwk, private_jwe, created_at, active_from)
         SELECT 'theirs', $1::jsonb || '{"kid":"theirs"}', private_jwe, created_at, active_from FROM signing_key LIMIT 1`,
        [JSON.stringify(jwk)],
      );
      await restart();
      assert.deepEqual(await jwks(), known);
      const now = Math.floor(systemClock.now().getTime() / 1000);
      const { session } = (await (await (await ground.session()).get('/v1/session')).json()) as {
        session: { id: string };
      };
      for (const kid of ['theirs', (known.keys[0] as { kid: string }).kid]) {
        const token = await new SignJWT({ sid: session.id, client_id: 'scripted-agent', jti: crypto.randomUUID() })
          .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid })
          .setIssuer(ground.url)
          .setAudience(ground.url)
          .setSubject('scripted-agent')
          .setIssuedAt(now)
          .setExpirationTime(now + 60)
          .sign(privateKey);
        assert.equal(await answered('/v1/session', { authorization: `Bearer ${token}` }), 401);
      }
    });

    test('a retired key is not brought back', async () => {
      const store = await ownersStore();
      const seal = createSeal(deriveKey(Buffer.from(ground.env.WRIT_KEY_ENCRYPTION_KEY, 'base64url'), 'at-rest'));
      const clock = manualClock(systemClock.now());
      const options = { clock, seal, longestTokenSeconds: 300 };
      const ring = await openKeyRing(store, options);
      const old = ring.current().kid;
      const next = await ring.rotate(0, 'admin');
      clock.advance(300_000);
      await attack(`UPDATE signing_key SET retired_at = NULL`);
      await attack(`UPDATE signing_key SET active_from = active_from + interval '1 day' WHERE kid = $1`, [old]);
      await ring.reload();
      for (const one of [ring, await openKeyRing(store, options)]) {
        assert.deepEqual(
          [one.current().kid, one.find(old), one.jwks().keys.map(({ kid }) => kid)],
          [next, undefined, [next, one.current('RS256').kid]],
        );
      }
      await store.close();
    });

    test('a withdrawn key is not brought back, its successor gone too', async () => {
      const store = await ownersStore();
      const seal = createSeal(deriveKey(Buffer.from(ground.env.WRIT_KEY_ENCRYPTION_KEY, 'base64url'), 'at-rest'));
      const options = { clock: systemClock, seal, longestTokenSeconds: 300 };
      const ring = await openKeyRing(store, options);
      const stolen = ring.current().kid;
      const next = await ring.withdraw(stolen, 'admin', null);
      await attack('UPDATE signing_key SET retired_at = NULL, withdrawn_at = NULL');
      await attack('DELETE FROM signing_key WHERE kid = $1', [next]);
      const after = await openKeyRing(store, options);
      assert.equal(after.find(stolen), undefined);
      assert.notEqual(after.current().kid, stolen);
      assert.equal(JSON.stringify(after.jwks()).includes(stolen), false);
      await store.close();
      await restart();
      assert.equal((await (await ground.session()).get('/v1/session')).status, 200);
    });

    test('a forged bootstrap token is nobody’s', async () => {
      const token = `writ_admin_${randomBytes(32).toString('base64url')}`;
      const admin = () => answered('/v1/admin/manifests', { authorization: `Bearer ${token}` });
      assert.equal(await attack('UPDATE bootstrap SET token_hash = $1', [sha256(token)]), 1);
      assert.equal(await admin(), 401);
      await attack('DELETE FROM bootstrap');
      await attack('INSERT INTO bootstrap (id, token_hash, created_at) VALUES (1, $1, now()) ON CONFLICT DO NOTHING', [
        sha256(token),
      ]);
      await restart();
      assert.equal(await admin(), 401);
    });

    test('a bootstrap token that ended is not put back with the row that it had', async () => {
      const admin = (token: string) => answered('/v1/admin/manifests', { authorization: `Bearer ${token}` });
      const store = await ownersStore();
      const kept = async () => (await client.query('SELECT * FROM bootstrap')).rows[0] as Record<string, unknown>;
      const putBack = ({ token_hash, created_at, proof }: Record<string, unknown>) =>
        attack('UPDATE bootstrap SET token_hash = $1, created_at = $2, proof = $3, expired_at = NULL', [
          token_hash,
          created_at,
          proof,
        ]);
      const first = await renewBootstrapToken(store, systemClock);
      const row = await kept();
      assert.equal(await admin(first), 200);
      const second = await renewBootstrapToken(store, systemClock);
      assert.deepEqual([await admin(first), await admin(second)], [401, 200]);
      const replaced = await kept();
      assert.equal(await putBack(row), 1);
      assert.equal(await admin(first), 401, 'it was replaced');
      await putBack(replaced);
      assert.equal(await admin(second), 200);
      const response = { cookie: () => {} } as unknown as ExpressResponse;
      const boss = person('boss@example.com', { groups: ['admins'] });
      const loginDeps = { store, clock: systemClock, publicUrl: ground.url, adminGroup: 'admins' };
      await openLogin(loginDeps, response, { identity: boss, renewal: null }, 'req_1');
      assert.equal(await admin(second), 401);
      assert.equal(await putBack(replaced), 1);
      assert.equal(await admin(second), 401, 'an admin has signed in since');
      // The record does not forget that by being told the older thing once more.
      await attack(
        `INSERT INTO audit_event (chain, at, type, actor, payload) VALUES ('system', $1, 'admin.bootstrap', 'operator', '{}')`,
        [replaced.created_at],
      );
      assert.equal(await admin(second), 401);
      // Nor does it keep the operator from making another.
      await attack(
        `INSERT INTO audit_event (chain, seq, at, type, actor, payload) VALUES ('system', -(random() * 1e9)::int, now() + interval '10000 years', 'admin.bootstrap', 'x', '{}')`,
      );
      const third = await renewBootstrapToken(store, systemClock);
      assert.equal(await admin(third), 200);
      // Nor is another one made because its row is gone.
      if ((await attack('DELETE FROM bootstrap')) !== null) {
        await restart();
        assert.equal(broker.bootstrapToken, null);
      }
      await store.close();
    });

    test('a forged login is nobody’s, and opens no page', async () => {
      const cookie = randomBytes(32).toString('base64url');
      const identity = person('boss@example.com', { groups: ['admins', 'billing'] });
      assert.equal(
        await attack(
          `INSERT INTO login (token_hash, identity, csrf, created_at, checked_at, expires_at, proof) VALUES ($1, $2, 'x', now(), now(), now() + interval '1 hour', $3)`,
          [sha256(cookie), JSON.stringify(identity), `v1.${randomBytes(32).toString('base64url')}`],
        ),
        1,
      );
      const headers = { cookie: `writ_login=${cookie}`, 'sec-fetch-site': 'same-origin' };
      assert.equal(await answered('/v1/admin/manifests', headers), 401);
      assert.equal(await answered('/approvals', headers), 303);
      assert.ok(ground.log.some((line) => line.includes('a row does not hold') && line.includes('"table":"login"')));
    });

    test('a login that ended is not put back with the row that it had', async () => {
      const store = await ownersStore();
      const deps = { store, clock: systemClock, publicUrl: ground.url };
      const boss = person('boss@example.com', { groups: ['admins', 'billing'] });
      const account = { issuer: boss.issuer, subject: boss.subject, names: [] };
      const by = { reason: 'stolen', admin: { name: 'user:x', identity: null }, requestId: null };
      const ends: ((login: string, cookie: string) => Promise<unknown>)[] = [
        (_, cookie) =>
          closeLogin(deps, { get: () => `writ_login=${cookie}` } as unknown as ExpressRequest, response, 'req_1'),
        (login) => endLogins(deps, { login }, by),
        () => endLogins(deps, { account }, by),
        () => signOff(store, [account], { jti: 'x', event: 'x' }, systemClock.now()),
      ];
      let cookie = '';
      const response = {
        cookie: (_: string, value: string) => {
          cookie = value === '' ? cookie : value;
        },
      } as unknown as ExpressResponse;
      const opens = () =>
        answered('/v1/admin/manifests', { cookie: `writ_login=${cookie}`, 'sec-fetch-site': 'same-origin' });
      for (const end of ends) {
        await openLogin(deps, response, { identity: boss, renewal: null }, 'req_1');
        assert.equal(await opens(), 200);
        const { rows } = await client.query('SELECT to_json(l) AS row FROM login l WHERE token_hash = $1', [
          sha256(cookie),
        ]);
        await end(sha256(cookie), cookie);
        assert.equal(await opens(), 401);
        const put = await attack('INSERT INTO login SELECT * FROM json_populate_record(NULL::login, $1)', [
          JSON.stringify(rows[0].row),
        ]);
        assert.equal(put, 1);
        assert.equal(await opens(), 401, String(end));
      }
      await store.close();
    });

    test('a lock is not lifted by writing rows: not by a lift of theirs, nor by whoever set it under another name', async () => {
      const logins = async (name: string) => {
        const store = await ownersStore();
        const identity = person(`${name}@example.com`, { groups: ['admins'] });
        const token = randomBytes(32).toString('base64url');
        const now = systemClock.now();
        const row = {
          token_hash: sha256(token),
          identity: identityRecord(identity),
          csrf: 'x',
          created_at: now,
          checked_at: now,
          sealed: null,
          expires_at: new Date(now.getTime() + 3600_000),
        };
        const proof = store.proofs.make('login', row);
        await store.run(
          statement(
            'INSERT INTO login (token_hash, identity, csrf, created_at, checked_at, expires_at, proof) VALUES ($1, $2, $3, $4, $4, $5, $6)',
          ),
          [row.token_hash, JSON.stringify(row.identity), 'x', now, row.expires_at, proof],
        );
        await store.close();
        return `writ_login=${token}`;
      };
      const [setter, other] = [await logins('setter'), await logins('other')];
      const post = async (cookie: string, path: string, body: object) => {
        const init = {
          method: 'POST',
          headers: { cookie, 'content-type': 'application/json' },
          body: JSON.stringify(body),
        };
        const response = await fetch(ground.url + path, init);
        return {
          status: response.status,
          body: (await response.json()) as { id: string; stands: boolean; proven: boolean },
        };
      };
      const lock = async (cookie: string) =>
        (await post(cookie, '/v1/locks', { level: 'agent', subject: 'scripted-agent', reason: 'x' })).body;
      const lift = async (cookie: string, id: string) =>
        (await post(cookie, `/v1/locks/${id}/lift`, { reason: 'x' })).status;
      const stands = () => assert.rejects(ground.session(), /locked/);

      const session = await ground.session();
      const set = await lock(setter);
      await stands();
      // A lift of theirs: the session is opened, because no statement can tell; its first read does, or a
      // worker that looks at locks in the meantime and ends the session.
      const forged = `INSERT INTO access_lock_lift (lock_id, reason, lifted_by, lifter, lifted_at, proof)
        VALUES ($1, 'x', 'user:other@example.com', '{}', now(), $2)`;
      assert.equal(await attack(forged, [set.id, `v1.${randomBytes(32).toString('base64url')}`]), 1);
      const slipped = await ground.session();
      const refused = await slipped('/v1/grants', { capability: 'use-plain' });
      const { code } = (await refused.json()) as { code: string };
      assert.match(`${refused.status} ${code}`, /^(403 locked|401 session_ended)$/);
      assert.equal((await session.get('/v1/grants')).status === 200, false);
      assert.ok(ground.log.some((line) => line.includes('"table":"access_lock_lift"')));
      // Nobody can lift it as it is; set anew, by a person, another person can.
      assert.equal(await lift(other, set.id), 403);
      const anew = await lock(setter);
      assert.notEqual(anew.id, set.id);
      await stands();
      // Under another name, whoever set it is still nobody else.
      const renamed = await attack(
        `UPDATE access_lock SET set_by = 'user:other@example.com', setter = '{"kind":"bootstrap_token"}' WHERE id = $1`,
        [anew.id],
      );
      if (renamed !== null) {
        assert.equal(await lift(setter, anew.id), 403);
        assert.equal(await lift(other, anew.id), 403);
      }
      // A newer one, in the name of somebody else.
      assert.equal(
        await attack(
          `INSERT INTO access_lock (id, level, subject, number, reason, set_by, setter, set_at, proof)
           SELECT 'lck_00000000000000000000', level, subject, number + 1, reason, 'user:other@example.com', '{"kind":"bootstrap_token"}', set_at, proof
           FROM access_lock WHERE id = $1`,
          [anew.id],
        ),
        1,
      );
      assert.equal(await lift(setter, 'lck_00000000000000000000'), 403);
      await stands();
      // Where rows are gone or changed, the record puts the lock back.
      for (const change of ["UPDATE access_lock SET subject = 'nobody'", 'DELETE FROM access_lock']) {
        if ((await attack(change)) === null) continue;
        const counted = `SELECT count(*) FROM access_lock WHERE subject = 'scripted-agent' AND set_by = 'the record' AND number > 0`;
        await until('it stands again', async () => Number((await client.query(counted)).rows[0].count) > 0);
        await stands();
      }
      const last = await lock(setter);
      assert.deepEqual([last.stands, last.proven, await lift(setter, last.id)], [true, true, 403]);
      assert.equal(await lift(other, last.id), 200);
      assert.equal((await (await ground.session())('/v1/grants', { capability: 'use-plain' })).status, 201);
    });

    test('a lock that stands is not hidden behind one that was lifted, nor by what the record is told', async () => {
      const store = await ownersStore();
      const deps = { store, clock: systemClock };
      const target = { level: 'agent', subject: 'scripted-agent' } as const;
      const [setter, other] = ['setter', 'other'].map((name) => {
        const identity = person(`${name}@example.com`, { groups: ['admins'] });
        return { name: `user:${name}@example.com`, identity };
      });
      const ends = { mintDeadlineSeconds: 30, toldOfEnds: [], notify: () => {}, providers: new Map() };
      const lock = () => setLock({ ...deps, ...ends }, target, { reason: 'x', admin: setter!, requestId: null });
      const lift = (id: string) => liftLock(deps, { id, reason: 'x', admin: other!, requestId: null });
      const stands = () => assert.rejects(ground.session(), /locked/);
      /** By the trigger that chains it, so that the record holds. */
      const tell = async (type: string, id: string) => {
        if (attacker === 'a superuser') await client.query('SET session_replication_role = origin');
        await client.query(
          `INSERT INTO audit_event (chain, at, type, actor, payload) VALUES ('locks', now(), $1, 'user:other@example.com', $2)`,
          [type, JSON.stringify({ lock: id, ...target, reason: 'x' })],
        );
        if (attacker === 'a superuser') await client.query('SET session_replication_role = replica');
      };
      const newestSql = `SELECT id, set_by FROM access_lock WHERE subject = 'scripted-agent' ORDER BY number DESC LIMIT 1`;
      const newest = async () => (await client.query(newestSql)).rows[0] as { id: string; set_by: string };
      const restored = async () => (await newest()).set_by === 'the record';
      // What is added in no shape of ours keeps nothing from being put back.
      for (const payload of ['{}', `{"lock":"a","level":"x","subject":"x","reason":"x"}`, '[]', '7'])
        await client.query(
          `INSERT INTO audit_event (chain, seq, at, type, actor, payload) VALUES ('locks', -(random() * 1e9)::int, now(), 'lock.set', 'x', $1)`,
          [payload],
        );
      const before = await lock();
      await lift(before);
      await ground.session();
      const now = await lock();
      await stands();
      await tell('lock.lifted', now);
      await stands();
      // The one that was lifted becomes the newest: where a session is opened, its first read finds it out.
      if ((await attack('UPDATE access_lock SET number = number + 100 WHERE id = $1', [before])) !== null) {
        const slipped = await ground.session().catch(() => null);
        if (slipped !== null) assert.equal((await slipped('/v1/grants', { capability: 'use-plain' })).status, 403);
        await until('it stands again', restored);
        await stands();
      }
      for (const told of ['lock.lifted', 'lock.set']) {
        const { id } = await newest();
        if ((await attack('DELETE FROM access_lock WHERE id = $1', [id])) === null) continue;
        await tell(told, told === 'lock.set' ? before : id);
        await until('it stands again', restored);
        await stands();
      }
      await lift(await lock());
      await ground.session();
      await store.close();
    });

    test('no glass is broken by writing rows: not by a row of theirs, nor by one that was open', async () => {
      const store = await ownersStore();
      const inGroup = (name: string) => person(`${name}@example.com`, { groups: ['admins'] });
      const [one, other] = [inGroup('one'), inGroup('other')];
      const signing = openSigning(store, systemClock);
      const deps = {
        ...signing.deps,
        catalog: createCatalog(store),
        people: { isAdmin: () => true, group: undefined },
        longestSeconds: 600,
        reviewSeconds: 600,
        noticeChannels: [],
        alerts: [],
        mintDeadlineSeconds: 30,
        toldOfEnds: [],
        notify: () => {},
      };
      const login = (identity: typeof one) => ({ identity, loginId: 'x' });
      const asked = async () => {
        const wanted = { agent: 'scripted-agent', session: undefined, capabilities: ['ask-plain'], seconds: undefined };
        const request = { ...wanted, reason: 'x', incident: 'x' };
        const { digest } = await termsOf(deps, request, one);
        const signed = await signing.sign({ ...login(one), about: request.agent, digest });
        return askToBreakGlass(deps, request, login(one), signed, null);
      };
      const session = await ground.session();
      const asks = async () => (await session('/v1/grants', { capability: 'ask-plain' })).status;
      // For people alone, by a login of theirs: no agent's token, nor the bootstrap token.
      const body = { agent: 'scripted-agent', capabilities: ['ask-plain'], reason: 'x', incident: 'x', assertion: {} };
      assert.equal((await session('/v1/break-glass', body)).status, 401);
      const token = await renewBootstrapToken(store, systemClock);
      const post = (headers: Record<string, string>) =>
        fetch(`${ground.url}/v1/break-glass`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', ...headers },
          body: JSON.stringify(body),
        });
      assert.equal((await post({ authorization: `Bearer ${token}` })).status, 401);
      // Their word in place of the second person's, and then of both.
      const waits = await asked();
      const forged = `status = 'active', approved_by = 'x', approver = $2, approver_passkey = 'x', approver_evidence = '{}', approved_at = now(),
        expires_at = now() + interval '5 minutes', approval_proof = proof`;
      assert.equal(
        await attack(`UPDATE break_glass SET ${forged} WHERE id = $1`, [waits, JSON.stringify(identityRecord(other))]),
        1,
      );
      assert.equal(await asks(), 202);
      const copied = `INSERT INTO break_glass SELECT (jsonb_populate_record(b, '{"id":"bgl_00000000000000000000"}')).* FROM break_glass b WHERE id = $1`;
      assert.equal(await attack(copied, [waits]), 1);
      assert.equal(await asks(), 202);
      assert.ok(ground.log.some((line) => line.includes('"table":"break_glass_approval"')));
      // What two people opened is open; once it is over, it is not opened again.
      const id = await asked();
      const { digest } = await toAgreeTo(deps, id, other);
      await agreeToBreakGlass(deps, id, login(other), await signing.sign({ ...login(other), about: id, digest }), null);
      assert.equal(await asks(), 201);
      const closing = { id, person: inGroup('third'), words: 'x', requestId: null };
      await closeBreakGlass(deps, closing);
      for (const set of [
        `status = 'active', ended_at = NULL, ended_how = NULL`,
        `expires_at = expires_at + interval '1 day'`,
        `capabilities = '[{"name":"ask-plain"}]'`,
      ]) {
        await attack(`UPDATE break_glass SET ${set} WHERE id = $1`, [id]);
        assert.equal(await asks(), 202, set);
      }
      // Nor is its review hidden by theirs.
      await attack(
        `UPDATE break_glass SET status = 'reviewed', ended_at = now(), ended_how = 'closed', reviewed_at = now(), reviewed_by = 'x', reviewer = '{}', review = 'x' WHERE id = $1`,
        [id],
      );
      assert.equal((await readBreakGlass(deps, id, inGroup('third'))).state, 'to_review');
      await store.close();
    });

    test('a session that is another’s, or longer, or wider, acts no more', async () => {
      for (const set of [
        `started_by = '{"kind":"email","value":"somebody@example.com","by":"platform_token"}'`,
        `responsible = NULL`,
        `expires_at = expires_at + interval '1 hour'`,
        `subject = '{}'`,
        `max_grants = NULL, task_type = 'another'`,
        `inputs = '{"customer":7}'`,
      ]) {
        const session = await ground.session();
        const { session: row } = (await (await session.get('/v1/session')).json()) as { session: { id: string } };
        if ((await attack(`UPDATE session SET ${set} WHERE id = $1`, [row.id])) === null) continue;
        assert.equal((await session.get('/v1/session')).status, 401, set);
        assert.equal((await session('/v1/grants', { capability: 'use-plain' })).status, 401, set);
      }
    });

    /** A grant that waits for a person. */
    const pending = async (capability = 'ask-plain') => {
      const session = await ground.session();
      const reply = await session('/v1/grants', { capability });
      assert.equal(reply.status, 202);
      const { id } = (await reply.json()) as { id: string };
      return { session, id };
    };
    const approve = (id: string) => decide(id, 'approve');
    const decide = async (id: string, verdict: 'approve' | 'deny') => {
      const store = await ownersStore();
      const { planDigest } = await store.prisma.grant.findUniqueOrThrow({ where: { id } });
      const deps = { store, clock: systemClock, approversOf: async () => ['team:billing'] };
      const reviewer = person('ann@example.com', { groups: ['billing'] });
      await review(deps, {
        grantId: id,
        reviewer,
        verdict,
        planDigest,
        reason: 'because',
        channel: 'web',
        requestId: 'req_1',
      });
      await store.close();
    };

    /** What the person approved, taken back. */
    const takeBack = async (id: string) => {
      const store = await ownersStore();
      const reviewer = person('ann@example.com', { groups: ['billing'] });
      await withdraw({ store, clock: systemClock }, { grantId: id, reviewer, requestId: 'req_1' });
      await store.close();
    };
    const setBack = (status: string) =>
      `UPDATE grants SET status = '${status}', ended_at = NULL, decided_at = NULL, decide_by = now() + interval '5 minutes' WHERE id = $1`;

    test('a forged, a copied and a changed approval redeem nothing', async () => {
      const good = await pending();
      await approve(good.id);
      const bad = await pending();
      const before = minted();
      assert.equal(
        await attack(
          `UPDATE grants SET status = 'approved', decide_by = now() + interval '5 minutes', decided_at = now() WHERE id = $1`,
          [bad.id],
        ),
        1,
      );
      for (const proof of [`''`, 'proof']) {
        await attack(
          `INSERT INTO review (id, grant_id, reviewer, verdict, plan_digest, consented_digest, channel, at, redeem_by, proof)
           SELECT $2, $1, reviewer, verdict, plan_digest, consented_digest, channel, at, redeem_by, ${proof} FROM review WHERE grant_id = $3`,
          [bad.id, `rev_${randomBytes(4).toString('hex')}`, good.id],
        );
        const reply = await bad.session(`/v1/grants/${bad.id}/redeem`);
        assert.deepEqual([reply.status, ((await reply.json()) as { code: string }).code], [409, 'not_approved']);
      }
      // The approval of one session, moved to another; a request that became another after its approval.
      for (const set of [
        `session_id = (SELECT session_id FROM grants WHERE id = '${bad.id}'), idempotency_key = 'moved'`,
        `capability = 'use-plain'`,
        `params = '{"scope":"all"}'`,
        `tier = 1`,
        `plan = plan || '{"ttl_seconds":9}'`,
      ]) {
        const one = await pending();
        await approve(one.id);
        if ((await attack(`UPDATE grants SET ${set} WHERE id = $1`, [one.id])) === null) continue;
        const as = set.startsWith('session_id') ? bad.session : one.session;
        const reply = await as(`/v1/grants/${one.id}/redeem`);
        assert.ok(reply.status >= 400, set);
      }
      assert.equal(minted(), before);
      const reply = await good.session(`/v1/grants/${good.id}/redeem`);
      assert.equal(reply.status, 201, 'what was really approved is delivered');
      assert.equal(minted(), before + 1);
      assert.equal(
        await attack(`UPDATE grants SET status = 'approved', decision_jws = NULL WHERE id = $1`, [good.id]),
        1,
      );
      assert.equal((await good.session(`/v1/grants/${good.id}/redeem`)).status, 409, 'once');
      assert.equal(minted(), before + 1);
    });

    test('a yes to one call is none to another, nor one that was taken back', async () => {
      const session = await ground.session();
      const call = async (n: number) => {
        const body = bodyOf('agreed', { n }, { call_id: `call ${n}` });
        const answer = (await (await session('/access/v1/evaluation', body)).json()) as {
          decision: boolean;
          context?: { id: string; approval?: { id: string } };
        };
        const { id: action, approval } = answer.context ?? {};
        return { allowed: answer.decision === true, action, question: String(approval?.id) };
      };
      const [one, other, third] = [await call(1), await call(2), await call(3)];
      await approve(one.question);
      const aside = await attack(`UPDATE grants SET idempotency_key = 'aside' WHERE id = $1`, [other.question]);
      if (aside !== null) {
        await attack('UPDATE grants SET idempotency_key = $2 WHERE id = $1', [one.question, other.action]);
        assert.equal((await call(2)).allowed, false);
        await attack('UPDATE grants SET idempotency_key = $2 WHERE id = $1', [one.question, one.action]);
      }
      assert.equal((await call(1)).allowed, true, 'to the call that was asked about it is');
      await approve(third.question);
      await takeBack(third.question);
      assert.equal(await attack(setBack('approved'), [third.question]), 1);
      assert.equal((await call(3)).allowed, false);
    });

    test('a passkey that was written into the database signs for nobody; a signed approval is what it was', async () => {
      const store = await ownersStore();
      const ann = person('ann@example.com', { groups: ['billing'] });
      const mallory = person('mallory@example.com', { groups: ['billing'] });
      const deps = {
        store,
        clock: systemClock,
        approversOf: async () => ['team:billing'],
        publicUrl: 'https://writ.example',
        passkeyKey: deriveKey(Buffer.from(ground.env.WRIT_KEY_ENCRYPTION_KEY, 'base64url'), 'passkeys'),
        once: (key: string, until: Date) => takeOnce(store, key, until),
      };
      const approveSigned = async (id: string, by: Awaited<ReturnType<typeof holderOf>>) => {
        const { planDigest } = await store.prisma.grant.findUniqueOrThrow({ where: { id } });
        const request = { grantId: id, reviewer: ann, planDigest, channel: 'web', requestId: 'req_1' };
        const { options, token } = await beginSigning(deps, { ...request, verdict: 'approve' }, 'cookie');
        const passkey = { loginId: 'cookie', signed: { token, response: by.key.get(options) } };
        return review(deps, { ...request, verdict: 'approve', passkey });
      };
      const theirs = await holderOf(deps, mallory);
      const one = await pending('sign-plain');
      // Mallory's own key in Ann's name: her row as it is, and one with a proof that was made up.
      const copied = `INSERT INTO passkey (id, issuer, subject, credential_id, public_key, sign_count, transports, name, backed_up, created_at, proof)
        SELECT $1, issuer, $2, $3, public_key, sign_count, transports, name, backed_up, created_at, $4 FROM passkey WHERE id = $5`;
      for (const proof of ['', `v1.${randomBytes(32).toString('base64url')}`])
        await attack(copied, [`psk_${proof.length}`, ann.subject, `credential ${proof.length}`, proof, theirs.id]);
      await attack('UPDATE passkey SET subject = $1 WHERE id = $2', [ann.subject, theirs.id]);
      await assert.rejects(approveSigned(one.id, theirs), { code: 'conflict' });
      const mine = await holderOf(deps, ann);
      await assert.rejects(approveSigned(one.id, theirs), { code: 'forbidden' });
      const before = minted();
      assert.equal((await one.session(`/v1/grants/${one.id}/redeem`)).status, 409);
      await approveSigned(one.id, mine);
      assert.equal(
        (await one.session(`/v1/grants/${one.id}/redeem`)).status,
        201,
        'what was really signed is delivered',
      );
      // An approval of tier 3 that lost its signature, has another's, or is of a lower tier now.
      for (const change of [
        `UPDATE review SET evidence = NULL WHERE grant_id = $1`,
        `UPDATE review SET evidence = (SELECT evidence FROM review WHERE grant_id = '${one.id}') WHERE grant_id = $1`,
        `UPDATE grants SET tier = 2 WHERE id = $1`,
      ]) {
        const other = await pending('sign-plain');
        await approveSigned(other.id, mine);
        if ((await attack(change, [other.id])) === null) continue;
        assert.equal((await other.session(`/v1/grants/${other.id}/redeem`)).status, 409, change);
      }
      assert.equal(minted(), before + 1);
      await store.close();
    });

    test('a denial that became an approval, and a consent that lasts longer, redeem nothing', async () => {
      const before = minted();
      const until = `redeem_by = now() + interval '1 day'`;
      for (const [verdict, change] of [
        ['deny', `verdict = 'approve', ${until}`],
        ['approve', until],
        ['approve', `reviewer = '{}'`],
      ] as const) {
        const one = await pending();
        await decide(one.id, verdict);
        if ((await attack(`UPDATE review SET ${change} WHERE grant_id = $1`, [one.id])) === null) continue;
        const revive = `UPDATE grants SET status = 'approved', ended_at = NULL, decide_by = now() + interval '1 day' WHERE id = $1`;
        assert.equal(await attack(revive, [one.id]), 1);
        assert.equal((await one.session(`/v1/grants/${one.id}/redeem`)).status, 409, change);
      }
      assert.equal(minted(), before);
    });

    test('what was denied or taken back is not had, nor approved, after its row was set back', async () => {
      const before = minted();
      const taken = await pending();
      await approve(taken.id);
      await takeBack(taken.id);
      assert.equal((await taken.session(`/v1/grants/${taken.id}/redeem`)).status, 403);
      assert.equal(await attack(setBack('approved'), [taken.id]), 1);
      assert.equal((await taken.session(`/v1/grants/${taken.id}/redeem`)).status, 409);
      // Whoever is asked again, after somebody said no, is asked by nobody.
      const denied = await pending();
      await decide(denied.id, 'deny');
      assert.equal(await attack(setBack('pending'), [denied.id]), 1);
      await assert.rejects(approve(denied.id), { code: 'conflict' });
      assert.equal(await attack(setBack('approved'), [denied.id]), 1);
      assert.equal((await denied.session(`/v1/grants/${denied.id}/redeem`)).status, 409);
      assert.equal(minted(), before);
    });

    test('a manifest that is not as it was published decides nothing, and none that was replaced comes back', async () => {
      const session = await ground.session();
      const asked = async () => (await session('/v1/grants', { capability: 'use-plain' })).status;
      assert.equal(await asked(), 201);
      // Mints, not live credentials: those that the narrower manifest no longer allows are being revoked.
      const mints = async () => Number((await client.query('SELECT count(*) FROM lease')).rows[0].count);
      const before = await mints();

      await writeFile(
        join(ground.manifests, 'agent.yaml'),
        (source + ask).replace('tier: 1, max_ttl: 15m', 'tier: 1, max_ttl: 5m'),
      );
      await restart();
      assert.equal(await asked(), 201);
      assert.equal(await attack(`UPDATE agent SET version = 1`), 1);
      assert.equal(await asked(), 503, 'set back to the wider version, while the process knows better');
      await restart();
      assert.equal(await asked(), 503, 'and when it has to ask');
      await attack(`UPDATE agent SET version = 2`);
      assert.equal(await asked(), 201);

      // A version of their own, which says in its source what it does not do.
      assert.equal(
        await attack(
          `INSERT INTO manifest (agent, version, source, sha256, author, reason, compiled, published_at, proof)
           SELECT agent, 3, source, sha256, author, reason, replace(compiled::text, '300', '900')::json, published_at, proof FROM manifest WHERE version = 2`,
        ),
        1,
      );
      await attack(`UPDATE agent SET version = 3`);
      assert.equal(await asked(), 503);
      await attack(`UPDATE agent SET version = 2`);
      assert.equal(await asked(), 201);
      if ((await attack(`DELETE FROM manifest WHERE version = 3`)) !== null) {
        await attack(`UPDATE manifest SET compiled = replace(compiled::text, '300', '900')::json WHERE version = 2`);
        await restart({ WRIT_MANIFEST_DIR: '' });
        assert.equal(await asked(), 503, 'compiled is not what the source says');
      }
      assert.equal(await mints(), before + 3);
      await attack(`UPDATE agent SET version = 2`);
      await restart();
      assert.equal(await asked(), 201, 'the operator’s own file puts it right');

      // The newest one is gone, so that the one before it looks like the newest.
      const last = `(SELECT max(version) FROM manifest WHERE agent = 'scripted-agent')`;
      const gone = await attack(`DELETE FROM manifest WHERE agent = 'scripted-agent' AND version = ${last}`);
      if (gone === null) return;
      await attack(`UPDATE agent SET version = 1`);
      await restart({ WRIT_MANIFEST_DIR: '' });
      assert.equal(await asked(), 503, 'the record knows of a newer one');
      await restart();
      assert.equal(await asked(), 201);
    });
  });
}
