/**
 * What Writ signals to others, the whole way: sessions that end and agents that are locked, on streams that
 * are pushed and polled, to receivers that are strict, slow, broken and hostile.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Broker, Overrides } from '../broker/compose/start.ts';
import { manualClock, systemClock } from '../broker/core/clock.ts';
import type { JsonObject } from '../broker/core/vocabulary.ts';
import { statement } from '../broker/harness.test-support.ts';
import { liftLock } from '../broker/locks/lift-lock.ts';
import type { Admin } from '../broker/people/identity.ts';
import { type Ground, prepareGround, source } from '../broker/running.test-support.ts';
import { openStore, type Store } from '../broker/store/open.ts';
import { createPreparedDatabase, migratedImage, testBackends } from '../broker/store/store.test-support.ts';
import { forgetUntaken } from '../broker/streams/forget-untaken.ts';
import { until } from '../broker/until.test-support.ts';
import { freePort } from './free-port.ts';
import { type Receiver, type ReceiverFault, startReceiver } from './receiver/start.ts';

const caep = 'https://schemas.openid.net/secevent/caep/event-type/';
const risc = 'https://schemas.openid.net/secevent/risc/event-type/';
const verification = 'https://schemas.openid.net/secevent/ssf/event-type/verification';
const agent = 'scripted-agent';
const siemToken = 'siem-asks-with-this-token';
const deskToken = 'desk-polls-with-this-token';

const manifest = `${source}tools: { su: {} }
rules:
  - { id: no-su, on: { tool: su }, effect: suspend }
`;
const lifter: Admin = {
  name: 'user:second@example.com',
  identity: { issuer: 'https://id.example', subject: 'second', groups: ['admins'], aliases: [] },
};

for (const backend of await testBackends())
  describe(`event streams on ${backend}`, () => {
    let ground: Ground;
    let siem: Receiver;
    let other: Receiver;
    let broker: Broker;
    let admin: string;
    let database: Awaited<ReturnType<typeof createPreparedDatabase>> | null = null;
    const clock = manualClock(new Date(Math.floor(systemClock.now().getTime() / 1000) * 1000));
    let env: Record<string, string>;

    const start = async (more: Record<string, string> = {}, overrides: Overrides = {}) =>
      ground.start(
        { ...env, ...(database === null ? {} : { DATABASE_URL: database.runtimeUrl }), ...more },
        { clock, random: () => 0.5, ...(database === null ? { inMemory: await migratedImage() } : {}), ...overrides },
      );
    before(async () => {
      ground = await prepareGround();
      await writeFile(join(ground.manifests, 'agent.yaml'), manifest);
      siem = await startReceiver(ground.url, 'https://siem.example');
      other = await startReceiver(ground.url, 'https://other.example', 'ES256');
      env = {
        WRIT_STREAMS: 'siem, desk, other',
        WRIT_STREAM_SIEM_AUDIENCE: siem.audience,
        WRIT_STREAM_SIEM_PUSH_URL: siem.url,
        WRIT_STREAM_SIEM_PUSH_TOKEN: siem.pushToken,
        WRIT_STREAM_SIEM_TOKEN: siemToken,
        WRIT_STREAM_DESK_AUDIENCE: siem.audience,
        WRIT_STREAM_DESK_TOKEN: deskToken,
        WRIT_STREAM_OTHER_AUDIENCE: other.audience,
        WRIT_STREAM_OTHER_PUSH_URL: other.url,
        WRIT_STREAM_OTHER_PUSH_TOKEN: other.pushToken,
        WRIT_STREAM_OTHER_ALGORITHM: 'ES256',
        WRIT_STREAM_OTHER_EVENTS: 'session-revoked, account-disabled',
        WRIT_LOG_LEVEL: 'trace',
      };
      if (backend === 'postgres') database = await createPreparedDatabase();
      broker = await start();
      admin = broker.bootstrapToken!;
    });
    after(async () => {
      await broker.stop();
      await siem.close();
      await other.close();
      await database?.drop();
      await ground.close();
    });

    type Holder = Awaited<ReturnType<Ground['session']>>;
    const open = () => ground.session(clock.now());
    const idOf = async (holder: Holder): Promise<string> =>
      ((await (await holder.get('/v1/session')).json()) as { session: { id: string } }).session.id;
    const end = async (): Promise<string> => {
      const session = await open();
      const id = await idOf(session);
      assert.equal((await session('/v1/session/end')).status, 200);
      return id;
    };
    const sql = (text: string, values: string[] = []) => broker.store.run<JsonObject>(statement(text), values);
    /** Time passes while the condition does not hold, and nobody is about to answer. */
    const inTime = (what: string, holds: () => boolean | Promise<boolean>, ms = 200) =>
      until(what, async () => {
        if (await holds()) return true;
        if (!siem.answering() && !other.answering()) clock.advance(ms);
        return false;
      });
    const waiting = async (stream: string) =>
      (await sql('SELECT jti FROM stream_event WHERE stream = $1', [stream])).map(({ jti }) => String(jti));
    const quiet = () =>
      inTime('all to be pushed', async () => (await waiting('siem')).length + (await waiting('other')).length === 0);
    const about = (receiver: Receiver, id: string) =>
      receiver.sets().filter(({ sub_id }) => JSON.stringify(sub_id).includes(`"${id}"`));
    const recorded = async (type: string, id: string): Promise<JsonObject[]> =>
      (await broker.store.prisma.auditEvent.findMany({ where: { type, chain: id }, orderBy: { seq: 'asc' } })).map(
        ({ payload }) => payload as JsonObject,
      );
    const call = (path: string, body: object, token: string) =>
      fetch(ground.url + path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
        body: JSON.stringify(body),
      });
    const poll = (body: object) =>
      siem.poll(`${ground.url}/v1/streams/desk/poll`, deskToken, { returnImmediately: true, ...body });
    /** Takes whatever waits for the one who polls. */
    const drain = async () => {
      for (let ack: string[] = []; ; ) {
        const { sets } = await poll({ ack });
        if (sets.length === 0) return;
        ack = sets.map(({ jti }) => jti);
      }
    };
    const failing = async (channel: string) => {
      const text = await (await fetch(`${ground.url}/metrics`)).text();
      return /^writ_side_channel_failing\{channel="(.*)"\} 1$/gm.exec(text)?.[1] === channel;
    };

    test('what the transmitter is, and what a stream is, are told; the second to its receiver alone', async () => {
      const metadata = (await (await fetch(`${ground.url}/.well-known/ssf-configuration`)).json()) as JsonObject;
      assert.deepEqual(
        [metadata.spec_version, metadata.issuer, metadata.critical_subject_members],
        ['1_0', ground.url, ['session']],
      );
      const read = (token: string, query = '') =>
        fetch(`${String(metadata.configuration_endpoint)}${query}`, { headers: { authorization: `Bearer ${token}` } });
      assert.deepEqual(await (await read(deskToken)).json(), [
        {
          stream_id: 'desk',
          iss: ground.url,
          aud: siem.audience,
          delivery: { method: 'urn:ietf:rfc:8936', endpoint_url: `${ground.url}/v1/streams/desk/poll` },
          events_supported: [
            `${caep}session-revoked`,
            `${caep}risk-level-change`,
            `${risc}account-disabled`,
            `${risc}account-enabled`,
          ],
          events_delivered: [
            `${caep}session-revoked`,
            `${caep}risk-level-change`,
            `${risc}account-disabled`,
            `${risc}account-enabled`,
          ],
        },
      ]);
      assert.equal((await read(siemToken, '?stream_id=siem')).status, 200);
      assert.equal((await read(siemToken, '?stream_id=desk')).status, 404);
      for (const token of ['x', siem.pushToken, admin]) assert.equal((await read(token)).status, 401);
    });

    test('a verification event comes when the receiver asks, with its state, and one at a time', async () => {
      const ask = (body: object, token = siemToken) => call('/v1/streams/verification', body, token);
      siem.fail(503);
      assert.equal((await ask({ stream_id: 'siem', state: 'so it is, {"x"}' })).status, 204);
      assert.equal((await ask({ stream_id: 'siem' })).status, 429);
      assert.equal((await ask({ stream_id: 'desk' })).status, 404);
      assert.equal((await ask({ stream_id: 'siem', state: 'x'.repeat(1001) })).status, 400);
      for (const token of ['', siem.pushToken, `${siemToken}x`, admin])
        assert.equal((await ask({ stream_id: 'siem' }, token)).status, 401);
      siem.fail(null);
      await quiet();
      const [set, ...more] = siem.sets();
      assert.equal(more.length, 0);
      assert.deepEqual([set!.type, set!.event], [verification, { state: 'so it is, {"x"}' }]);
      assert.deepEqual(set!.sub_id, { format: 'opaque', id: 'siem' });
      assert.equal((await ask({ stream_id: 'siem' })).status, 204);
      await quiet();
      assert.deepEqual(siem.sets()[1]!.event, {});
    });

    test('a session that ends is told on each stream: who, when, by whom and why; its children too', async () => {
      const parent = await open();
      const child = await parent.child(['use-plain']);
      const [id, childId] = [await idOf(parent), await idOf(child)];
      clock.advance(7000);
      const endedAt = Math.floor(clock.now().getTime() / 1000);
      assert.equal((await parent('/v1/session/end')).status, 200);
      await quiet();
      for (const receiver of [siem, other]) {
        const [set, ...more] = about(receiver, id);
        assert.equal(more.length, 0);
        assert.deepEqual(set!.sub_id, {
          format: 'complex',
          session: { format: 'opaque', id },
          user: { format: 'iss_sub', iss: ground.url, sub: agent },
        });
        assert.deepEqual([set!.type, set!.iat], [`${caep}session-revoked`, endedAt]);
        assert.deepEqual(set!.event, {
          event_timestamp: endedAt,
          initiating_entity: 'user',
          reason_admin: { en: 'ended_by_agent: the agent said it was done' },
        });
        const [ofChild] = about(receiver, childId);
        assert.deepEqual(
          [ofChild!.event.initiating_entity, ofChild!.event.reason_admin],
          ['system', { en: 'parent_ended: its parent session ended' }],
        );
      }
      assert.deepEqual((await recorded('stream.delivered', id)).map(({ stream, via }) => [stream, via]).toSorted(), [
        ['other', 'push'],
        ['siem', 'push'],
      ]);
      // The one who polls has them until it says that it took them.
      for (const _twice of [1, 2]) assert.equal((await poll({})).sets.length, 2);
      const polled = (await poll({})).sets;
      assert.deepEqual((await poll({ ack: polled.map(({ jti }) => jti) })).sets, []);
      assert.ok(
        (await recorded('stream.delivered', id)).some(({ stream, via }) => stream === 'desk' && via === 'poll'),
      );
      const all = [...siem.sets(), ...other.sets(), ...polled].map(({ jti }) => jti);
      assert.equal(new Set(all).size, all.length, 'a token is of one stream');
    });

    test('ends that nobody asked for are told with their reason', async () => {
      const missed = await idOf(await open());
      const stopped = await idOf(await open());
      const ended = await call(
        `/v1/admin/sessions/${stopped}/end`,
        { reason: 'it writes <script> and secrets' },
        admin,
      );
      assert.equal(ended.status, 200, await ended.text());
      clock.advance(300_000);
      await inTime('both to be told', () => about(siem, missed).length + about(siem, stopped).length === 2);
      const [byNobody, byAdmin] = [about(siem, missed)[0]!, about(siem, stopped)[0]!];
      assert.deepEqual(
        [byNobody.event.initiating_entity, byNobody.event.reason_admin],
        ['system', { en: 'heartbeat_missed: its heartbeat was missed' }],
      );
      assert.equal(byAdmin.event.initiating_entity, 'admin');
      assert.ok(!Buffer.from(byAdmin.token.split('.')[1]!, 'base64url').includes('secrets'), 'no words of people');
    });

    test('an agent that is locked is told to be disabled, and when it is lifted to be enabled; in this order', async () => {
      const id = await idOf(await open());
      await quiet();
      siem.fail(503);
      const set = await call('/v1/locks', { level: 'agent', subject: agent, reason: 'hush' }, admin);
      assert.equal(set.status, 200);
      const told = (type: string) => async () =>
        (await waiting('siem')).some((jti) => jti.startsWith(`siem.${type}.${agent}.`));
      await inTime('the lock to be seen', told('account-disabled'));
      const { id: lock } = (await set.json()) as { id: string };
      await liftLock({ store: broker.store, clock }, { id: lock, reason: 'well', admin: lifter, requestId: null });
      await inTime('its lift to be seen', told('account-enabled'));
      siem.fail(null);
      await quiet();
      const ofAgent = siem.sets().filter(({ sub_id }) => sub_id.format === 'iss_sub');
      assert.deepEqual(
        ofAgent.map(({ type, sub_id, event }) => [type, sub_id.iss, sub_id.sub, event.initiating_entity]),
        [
          [`${risc}account-disabled`, ground.url, agent, 'admin'],
          [`${risc}account-enabled`, ground.url, agent, undefined],
        ],
      );
      assert.deepEqual(about(siem, id)[0]!.event.reason_admin, { en: 'locked: an admin locked it' });
      assert.deepEqual(
        (await recorded('stream.delivered', `agent:${agent}`))
          .filter(({ stream }) => stream === 'siem')
          .map(({ event }) => event),
        [`${risc}account-disabled`, `${risc}account-enabled`],
      );
      // Who wants no `account-enabled` hears of none.
      assert.deepEqual(
        other.sets().flatMap(({ type }) => (type.startsWith(risc) ? [type] : [])),
        [`${risc}account-disabled`],
      );
      // The next lock is another event, under another name.
      const again = await call('/v1/locks', { level: 'everything', reason: 'hush' }, admin);
      await inTime('it to be told', () => siem.sets().filter(({ sub_id }) => sub_id.format === 'iss_sub').length === 3);
      const { id: second } = (await again.json()) as { id: string };
      await liftLock({ store: broker.store, clock }, { id: second, reason: 'well', admin: lifter, requestId: null });
      await inTime('it to be told', () => siem.sets().filter(({ sub_id }) => sub_id.format === 'iss_sub').length === 4);
      await drain();
    });

    test('a session that a rule suspends is told to be at risk, and no more when it goes on', async () => {
      const session = await open();
      const id = await idOf(session);
      const su = { type: 'tool', id: 'su' };
      const asked = { subject: { type: 'agent', id: agent }, action: { name: 'su' }, resource: su, context: {} };
      const answer = (await (await session('/access/v1/evaluation', asked)).json()) as { context: JsonObject };
      assert.equal(answer.context.effect, 'suspend');
      await inTime('it to be told', () => about(siem, id).length === 1);
      // As a person's yes leaves it.
      await sql(`UPDATE session SET status = 'active' WHERE id = $1`, [id]);
      await inTime('it to be told', () => about(siem, id).length === 2);
      assert.equal((await session('/v1/session/end')).status, 200);
      await quiet();
      assert.deepEqual(
        about(siem, id).map(({ type, event }) => [type, event.principal, event.current_level, event.previous_level]),
        [
          [`${caep}risk-level-change`, 'SESSION', 'HIGH', undefined],
          [`${caep}risk-level-change`, 'SESSION', 'LOW', 'HIGH'],
          [`${caep}session-revoked`, undefined, undefined, undefined],
        ],
      );
      assert.deepEqual(
        about(other, id).map(({ type }) => type),
        [`${caep}session-revoked`],
      );
      await drain();
    });

    for (const fault of [
      'hang',
      'garbage',
      'redirect',
      'answer_lost',
      500,
      404,
      { err: 'authentication_failed' },
    ] as ReceiverFault[])
      test(`a receiver that answers ${JSON.stringify(fault)} holds up itself alone, and gets the same token later`, async () => {
        siem.fail(fault);
        const id = await end();
        await inTime('the other to have it', () => about(other, id).length === 1);
        await inTime('it to be known', () => failing('stream-siem'));
        assert.equal((await waiting('siem')).length, 1);
        const before = siem.requests();
        // It is asked again, and less and less often.
        await inTime('another try', () => siem.requests() > before);
        siem.fail(null);
        await inTime('it to be taken', async () => (await waiting('siem')).length === 0);
        const [set, ...more] = about(siem, id);
        assert.equal(more.length, 0, 'under one name');
        assert.equal(siem.times(set!.jti) > 1, fault === 'answer_lost');
        assert.equal(about(other, id).length, 1);
        await inTime('it to be known', async () => !(await failing('stream-siem')));
      });

    for (const how of ['seconds', 'a time'] as const)
      test(`it is left alone for as long as it asks, in ${how}`, async () => {
        const [from, to] = [new Date('2026-01-01T00:00:00Z'), new Date('2026-01-01T00:02:00Z')];
        siem.fail(how === 'seconds' ? { retryAfter: 120 } : { until: { from, to } });
        const id = await end();
        const before = siem.requests();
        await inTime('one try', () => siem.requests() > before);
        const asked = clock.now().getTime();
        await inTime('the pause to be written', async () => {
          const [row] = await sql(`SELECT due_at FROM event_stream WHERE name = 'siem'`);
          return (row!.due_at as unknown as Date).getTime() >= asked + 110_000;
        });
        siem.fail(null);
        const tries = siem.requests();
        const second = await end();
        await inTime('the other to have both', () => about(other, second).length === 1);
        while (clock.now().getTime() < asked + 100_000) {
          clock.advance(5000);
          await failing('');
        }
        assert.equal(siem.requests(), tries);
        await inTime('both to come', () => about(siem, id).length + about(siem, second).length === 2);
        assert.ok(clock.now().getTime() >= asked + 118_000);
        await quiet();
      });

    test('how much waits, and since when, is measured', async () => {
      siem.fail(503);
      await end();
      const metric = async (name: string) => {
        const text = await (await fetch(`${ground.url}/metrics`)).text();
        return Number(new RegExp(`^${name}\\{stream="siem"\\} (.+)$`, 'm').exec(text)?.[1]);
      };
      await inTime('it to be measured', async () => (await metric('writ_stream_events_waiting')) === 1);
      await inTime('its age', async () => (await metric('writ_stream_oldest_seconds')) > 30);
      siem.fail(null);
      await inTime('it to be measured', async () => (await metric('writ_stream_events_waiting')) === 0);
      assert.equal(await metric('writ_stream_oldest_seconds'), 0);
    });

    test('a token that its receiver refuses is on record with why, and is not sent again', async () => {
      siem.fail({ err: 'invalid_request' });
      const id = await end();
      await quiet();
      const [refused] = await recorded('stream.refused', id);
      assert.deepEqual(
        [refused!.stream, refused!.err, refused!.description],
        ['siem', 'invalid_request', 'as told to'],
      );
      siem.fail(null);
      const next = await end();
      await inTime('the next to come', () => about(siem, next).length === 1);
      assert.equal(about(siem, id).length, 0);
    });

    test('an event that the receiver cannot bear does not keep the others from it', async () => {
      const poison = await idOf(await open());
      siem.fail(500, poison);
      assert.equal((await call(`/v1/admin/sessions/${poison}/end`, { reason: 'x' }, admin)).status, 200);
      await inTime('it to fail', () => failing('stream-siem'));
      const later = [await end(), await end(), await end()];
      await inTime('the others to come', () => later.every((id) => about(siem, id).length === 1));
      assert.equal(about(siem, poison).length, 0);
      siem.fail(null);
      await quiet();
      assert.equal(about(siem, poison).length, 1);
    });

    test('polled: so many, in order, with a wait for news; refusals are on record', async () => {
      await drain();
      const ids = [await end(), await end(), await end()];
      const first = await poll({ maxEvents: 2 });
      assert.deepEqual([first.sets.length, first.moreAvailable], [2, true]);
      const [taken, bad] = first.sets.map(({ jti }) => jti);
      const setErrs = { [bad!]: { err: 'invalid_audience', description: 'not\u2028ours' }, nobody: { err: 'x' } };
      const second = await poll({ ack: [taken, 'never.was', 'siem.session-revoked.x'], setErrs, maxEvents: 0 });
      assert.deepEqual(second.sets, []);
      const refusedId = ids.find((id) => bad!.endsWith(id))!;
      assert.deepEqual(
        (await recorded('stream.refused', refusedId)).map(({ stream, via, err, description }) => [
          stream,
          via,
          err,
          description,
        ]),
        [['desk', 'poll', 'invalid_audience', 'not ours']],
      );
      const { sets, moreAvailable } = await poll({});
      assert.deepEqual([sets.length, moreAvailable], [1, false]);
      assert.deepEqual((await poll({ ack: [sets[0]!.jti] })).sets, []);
      // Nothing waits: the answer comes with the next event, or after a while without.
      const waits = poll({ returnImmediately: false });
      const id = await end();
      let answered = false;
      void waits.then(() => {
        answered = true;
      });
      await inTime('the answer', () => answered, 100);
      assert.ok((await waits).sets[0]!.jti.endsWith(id));
      await drain();
      const nothing = poll({ returnImmediately: false });
      answered = false;
      void nothing.then(() => {
        answered = true;
      });
      await inTime('the answer', () => answered);
      assert.deepEqual(await nothing, { sets: [], moreAvailable: false });
    });

    test('polls of anybody else are 401, and of a stream that is pushed none', async () => {
      const status = async (stream: string, token: string) =>
        (await call(`/v1/streams/${stream}/poll`, {}, token)).status;
      for (const token of ['', siemToken, `${deskToken}x`, siem.pushToken, admin])
        assert.equal(await status('desk', token), 401);
      assert.equal(await status('nowhere', deskToken), 401);
      assert.equal(await status('siem', siemToken), 404);
      assert.equal((await call('/v1/streams/desk/poll', { ack: 'x' }, deskToken)).status, 400);
      assert.equal((await call('/v1/streams/desk/poll', { maxEvents: -1 }, deskToken)).status, 400);
    });

    test('rows of somebody else’s make this broker sign nothing', async () => {
      await quiet();
      const session = await open();
      const id = await idOf(session);
      const at = clock.now().toISOString();
      const forge = (jti: string, type: string, who: string, reason: string | null) =>
        broker.store.run(
          statement(
            'INSERT INTO stream_event (stream, jti, type, about, reason, number, at) SELECT s, s || $1::text, $2::text, $3::text, $4::text, 1, $5::timestamptz FROM unnest(ARRAY[$6::text, $7::text]) AS s',
          ),
          [jti, type, who, reason, at, 'siem', 'desk'],
        );
      const before = siem.sets().length;
      // Of a session that lives, and of one that is not there.
      await forge(`.session-revoked.${id}`, 'session-revoked', id, null);
      await forge('.session-revoked.ses_x', 'session-revoked', 'ses_x', null);
      await forge(`.account-disabled.${agent}.99`, 'account-disabled', agent, 'locked');
      await forge('.account-disabled.victim.1', 'account-disabled', 'victim', 'locked');
      await forge(`.risk-level-change.${id}.1`, 'risk-level-change', id, 'ruled');
      await forge('.verification.x', 'verification', 'x', 'theirs');
      await quiet();
      assert.deepEqual((await poll({})).sets, []);
      assert.deepEqual(await waiting('desk'), []);
      assert.equal(siem.sets().length, before);
      const dropped = (await recorded('stream.dropped', 'system')).filter(({ reason }) => reason === 'unproven');
      assert.equal(
        dropped.reduce((sum, { events }) => sum + Number(events), 0),
        12,
      );
      // An end under another name is none: it would be told twice.
      assert.equal((await session('/v1/session/end')).status, 200);
      await forge(`.session-revoked.${id}.again`, 'session-revoked', id, null);
      await quiet();
      assert.equal(about(siem, id).length, 1);
      // A changed word of a proven row is not said.
      await drain();
      assert.equal(
        (await call('/v1/streams/verification', { stream_id: 'desk', state: 'mine' }, deskToken)).status,
        204,
      );
      const [row] = await sql(`DELETE FROM stream_event WHERE stream = 'desk' RETURNING to_jsonb(stream_event) AS own`);
      const put = async (reason: string) => {
        const changed = JSON.stringify({ ...(row!.own as JsonObject), reason });
        await sql('INSERT INTO stream_event SELECT * FROM jsonb_populate_record(NULL::stream_event, $1::jsonb)', [
          changed,
        ]);
        return (await poll({})).sets.map(({ event }) => event.state);
      };
      assert.deepEqual([await put('theirs'), await put('mine')], [[], ['mine']]);
      await drain();
    });

    test('a row in the way keeps no session from ending', async () => {
      const session = await open();
      const id = await idOf(session);
      await sql(
        `INSERT INTO stream_event (stream, jti, type, about, number, at) SELECT 'siem', $1::text, 'verification', 'x', 1, now() + interval '1 year'`,
        [`siem.session-revoked.${id}`],
      );
      assert.equal((await session('/v1/session/end')).status, 200);
      await quiet();
    });

    test('what nobody takes is dropped, on record; of one stream so much is kept', async () => {
      await drain();
      for (let many = 0; many < 4; many += 1) await end();
      await quiet();
      const forget = (keepSeconds: number, most?: number) =>
        forgetUntaken(broker.store, ['siem', 'desk'], {
          keepSeconds,
          now: clock.now(),
          ...(most === undefined ? {} : { most }),
        });
      const last = async () => (await recorded('stream.dropped', 'system')).at(-1);
      await forget(3600, 3);
      assert.deepEqual(
        [(await waiting('desk')).length, await last()],
        [3, { stream: 'desk', events: 1, reason: 'too_many' }],
      );
      clock.advance(60_000);
      await forget(60);
      assert.deepEqual([await waiting('desk'), await last()], [[], { stream: 'desk', events: 3, reason: 'expired' }]);
    });

    if (backend === 'postgres') {
      test('two workers: each event once on each stream', async () => {
        const second = await start({ PORT: String(await freePort()) });
        try {
          const ids: string[] = [];
          for (let many = 0; many < 30; many += 1) ids.push(await end());
          await quiet();
          for (const receiver of [siem, other])
            for (const id of ids) {
              const [set, ...more] = about(receiver, id);
              assert.deepEqual([more.length, receiver.times(set!.jti)], [0, 1]);
            }
        } finally {
          await second.stop();
        }
      });

      test('whoever dies while it delivers leaves what the next one tells under the same name', async () => {
        siem.fail('answer_lost');
        const id = await end();
        await inTime('it to come', () => about(siem, id).length === 1);
        siem.fail('hang');
        const before = siem.requests();
        await inTime('another try', () => siem.requests() > before);
        // A stop waits for no receiver.
        await broker.stop();
        siem.fail(null);
        broker = await start();
        await inTime('it to be taken', async () => (await waiting('siem')).length === 0);
        const [set, ...more] = about(siem, id);
        assert.equal(more.length, 0);
        assert.ok(siem.times(set!.jti) > 1);
        // So does one that dies between the receiver's yes and its own record of it.
        await broker.stop();
        broker = await start(
          {},
          {
            openStore: async (options) => {
              const store = await openStore(options);
              const run: Store['run'] = (what, values) =>
                what.name === 'stream_settle' ? Promise.reject(new Error('killed')) : store.run(what, values);
              return { ...store, run };
            },
          },
        );
        const lost = await end();
        await inTime('it to come', () => about(siem, lost).length === 1);
        await broker.stop();
        broker = await start();
        await quiet();
        const [told, ...again] = about(siem, lost);
        assert.deepEqual([again.length, siem.times(told!.jti) > 1], [0, true]);
        assert.equal((await recorded('stream.delivered', lost)).filter(({ stream }) => stream === 'siem').length, 1);
        // And one that holds a stream and is gone holds it for a while only.
        await sql(`UPDATE event_stream SET held_by = 'gone', held_until = $1::timestamptz WHERE name = 'siem'`, [
          new Date(clock.now().getTime() + 30_000).toISOString(),
        ]);
        const next = await end();
        await inTime('it to be told', () => about(siem, next).length === 1);
      });
    }

    test('no token of a receiver rests anywhere, and no receiver found a fault', async () => {
      const log = ground.log.join('');
      const rows = JSON.stringify([
        await sql('SELECT * FROM stream_event'),
        await sql('SELECT * FROM event_stream'),
        await sql(`SELECT payload FROM audit_event WHERE type LIKE 'stream.%'`),
      ]);
      for (const secret of [siemToken, deskToken, siem.pushToken, other.pushToken])
        assert.ok(!log.includes(secret) && !rows.includes(secret));
      for (const { token } of siem.sets()) assert.ok(!log.includes(token));
      assert.deepEqual([siem.faults, other.faults], [[], []]);
    });
  });
