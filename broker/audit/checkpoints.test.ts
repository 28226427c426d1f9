/**
 * A database's owner, all triggers off, against signed checkpoints: what the database alone cannot show any
 * more, they do.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { Registry } from 'prom-client';
import { review } from '../../approvals/review.ts';
import { person } from '../../approvals/rows.test-support.ts';
import { createSideChannelMetrics } from '../core/side-channel.ts';
import { requestGrant } from '../grants/request-grant.ts';
import { type Harness, openHarness } from '../harness.test-support.ts';
import { readSession } from '../sessions/authenticate.ts';
import { testBackends } from '../store/store.test-support.ts';
import { type Checkpoint, checkpointKey, publicName, readCheckpoints, signCheckpoint } from './checkpoint-format.ts';
import { httpSink } from './checkpoint-sinks.ts';
import { type Checkpoints, createCheckpoints } from './checkpoints.ts';
import { verifyAudit } from './verify.ts';

const key = checkpointKey(randomBytes(32));
const payloadOf = (jws: string) => JSON.parse(Buffer.from(jws.split('.')[1]!, 'base64url').toString()) as Checkpoint;

for (const backend of await testBackends()) {
  describe(`checkpoints on ${backend}`, () => {
    let harness: Harness;
    let checkpoints: Checkpoints;
    const lines: string[] = [];
    let failing = false;
    const sessions: string[] = [];
    const run = (text: string) => harness.store.run({ name: `t${randomBytes(6).toString('hex')}`, text }, []);
    const hidden = (chain: string) => `chain = '${chain}'`;

    const create = () =>
      createCheckpoints({
        store: harness.store,
        clock: harness.clock,
        key,
        seconds: 300,
        log: { error: () => {}, info: () => {} },
        sinks: [
          async (more) => {
            if (failing) throw new Error('the sink is away');
            lines.push(...more);
          },
        ],
      });
    before(async () => {
      harness = await openHarness(backend, { providers: [{ name: 'plain' }] });
      checkpoints = create();
      for (let i = 0; i < 3; i += 1) {
        const caller = await harness.open();
        await harness.lease(caller, 'plain');
        sessions.push(caller.sessionId);
      }
    });
    after(async () => {
      await checkpoints.stop();
      await harness.store.close();
    });
    const next = async () => {
      harness.clock.advance(300_000);
      await checkpoints.write();
    };
    const read = (texts = [lines.join('\n')]) => {
      const found = readCheckpoints(texts, publicName(key));
      assert.ok(typeof found !== 'string', String(found));
      return found;
    };
    const verify = async () => (await verifyAudit(harness.store, 1000, read().anchors)).broken;
    const alone = async () => (await verifyAudit(harness.store)).broken;
    /** Attacks on a copy of the tables, and puts them back. */
    const attacked = async (sql: readonly string[], work: () => Promise<void>) => {
      const tables = ['audit_event', 'audit_chain', 'lease', 'grants', 'session', 'manifest'];
      for (const table of tables) await run(`CREATE TABLE kept_${table} AS SELECT * FROM ${table}`);
      const triggers = (what: string) =>
        Promise.all(tables.map((table) => run(`ALTER TABLE ${table} ${what} TRIGGER ALL`)));
      await triggers('DISABLE');
      for (const one of sql) await run(one);
      try {
        await work();
      } finally {
        for (const table of tables) {
          await run(`DELETE FROM ${table}`);
          await run(`INSERT INTO ${table} SELECT * FROM kept_${table}`);
          await run(`DROP TABLE kept_${table}`);
        }
        await triggers('ENABLE');
      }
    };

    test('the first holds every chain; the next ones only what moved, and say so when nothing did', async () => {
      await checkpoints.write();
      const first = payloadOf(lines[0]!);
      const { length } = await run('SELECT 1 FROM audit_chain');
      assert.deepEqual([first.number, first.heads.length], [1, length]);
      await checkpoints.write();
      assert.equal(lines.length, 1, 'nothing is due');
      await run(
        `INSERT INTO audit_event (chain, at, type, actor, payload) VALUES ('moved', '${harness.clock.now().toISOString()}', 't', 'a', '{}')`,
      );
      await next();
      assert.deepEqual(
        payloadOf(lines[1]!).heads.map(([chain]) => chain),
        ['moved'],
      );
      await next();
      assert.deepEqual(payloadOf(lines[2]!).heads, []);
      assert.equal(read().count, 3);
      assert.equal(await verify(), null);
    });

    test('another process goes on where this one was', async () => {
      const other = create();
      harness.clock.advance(300_000);
      await other.write();
      await other.stop();
      assert.equal(read().count, 4);
    });

    test('a tail that was cut with its head is found', async () => {
      const chain = sessions[0]!;
      const cut = [
        `DELETE FROM audit_event e WHERE ${hidden(chain)} AND seq = (SELECT seq FROM audit_chain c WHERE c.chain = e.chain)`,
        `UPDATE audit_chain SET seq = seq - 1, head = previous WHERE ${hidden(chain)}`,
      ];
      await attacked(cut, async () => {
        assert.equal(await alone(), null);
        assert.equal((await verify())?.what, 'rows that a checkpoint signed were cut off');
      });
    });

    test('a chain that was wiped with its head is found, without checkpoints too while its row is there', async () => {
      const chain = sessions[1]!;
      const wiped = [
        `DELETE FROM audit_event WHERE ${hidden(chain)}`,
        `DELETE FROM audit_chain WHERE ${hidden(chain)}`,
      ];
      await attacked(wiped, async () => {
        assert.deepEqual(await alone(), { chain, seq: 1, what: 'session has no record' });
        assert.deepEqual(await verify(), { chain, seq: 1, what: 'chain that a checkpoint signed is gone' });
      });
    });

    test('a session that is gone altogether is found', async () => {
      const chain = sessions[1]!;
      const gone = [
        `DELETE FROM audit_event WHERE ${hidden(chain)}`,
        `DELETE FROM audit_chain WHERE ${hidden(chain)}`,
        `DELETE FROM lease WHERE session_id = '${chain}'`,
        `DELETE FROM grants WHERE session_id = '${chain}'`,
        `DELETE FROM session WHERE id = '${chain}'`,
      ];
      await attacked(gone, async () => {
        assert.equal(await alone(), null);
        assert.deepEqual(await verify(), { chain, seq: 1, what: 'chain that a checkpoint signed is gone' });
      });
    });

    test('a chain that was written anew from end to end is found', async () => {
      const chain = sessions[2]!;
      const rewritten = [
        `CREATE TABLE anew AS SELECT * FROM audit_event WHERE ${hidden(chain)} ORDER BY seq`,
        `DELETE FROM audit_event WHERE ${hidden(chain)}`,
        `DELETE FROM audit_chain WHERE ${hidden(chain)}`,
        'ALTER TABLE audit_event ENABLE TRIGGER audit_event_chain',
        `INSERT INTO audit_event (chain, at, type, actor, grant_id, lease_id, request_id, payload)
         SELECT chain, at, type, 'somebody-else', grant_id, lease_id, request_id, payload FROM anew ORDER BY seq`,
        'DROP TABLE anew',
      ];
      await attacked(rewritten, async () => {
        assert.equal(await alone(), null);
        assert.equal((await verify())?.what, 'row is not the one that a checkpoint signed');
      });
    });

    test('each approval has its record, where one person must follow another too', async () => {
      const caller = await harness.open();
      const session = await readSession(harness.store, caller, harness.clock.now(), { capability: 'ask-plain' });
      const nothing = { params: undefined, ttlSeconds: undefined, justification: null, credentialJwk: null };
      const asked = await requestGrant(harness.grants, session, { capability: 'ask-plain', ...nothing }, null, null);
      assert.ok(asked.outcome === 'pending');
      const { id: grantId, plan } = asked.grant;
      const deps = { store: harness.store, clock: harness.clock, approversOf: async () => ['team:billing'] };
      for (const name of ['first', 'second']) {
        const reviewer = person(`${name}@example.com`, { groups: ['billing'] });
        const asReviewed = { planDigest: plan.digest, channel: 'web', requestId: 'req_1' } as const;
        await review(deps, { grantId, reviewer, verdict: 'approve', ...asReviewed });
        assert.equal(await alone(), null, name);
      }
    });

    test('rows and their records belong together: one without the other is named', async () => {
      const chain = sessions[0]!;
      for (const [sql, what] of [
        [`DELETE FROM manifest`, 'manifest version of this record is gone'],
        [`DELETE FROM lease WHERE session_id = '${chain}'`, 'lease of this record is gone'],
        [
          `UPDATE grants SET session_id = '${sessions[1]}', idempotency_key = 'x' WHERE session_id = '${chain}'`,
          'grant has no record',
        ],
        [`DELETE FROM grants WHERE session_id = '${chain}'`, 'grant of this record is gone'],
        [`DELETE FROM session WHERE id = '${chain}'`, 'session of this record is gone'],
        [
          `INSERT INTO manifest SELECT agent, 9, source, sha256, author, reason, compiled, published_at, proof FROM manifest`,
          'manifest version has no record',
        ],
      ] as const)
        await attacked([sql], async () => assert.equal((await alone())?.what, what));
      assert.equal(await verify(), null);
    });

    test('a checkpoint that is missing, changed, foreign or forged is found; one that came twice is not', () => {
      const fault = (texts: string[]) => {
        const found = readCheckpoints([texts.join('\n')], publicName(key));
        return typeof found === 'string' ? found : null;
      };
      assert.equal(fault([...lines, lines[1]!]), null);
      assert.match(fault(lines.toSpliced(1, 1)) ?? '', /checkpoint 2 is missing/);
      assert.match(fault(lines.slice(2)) ?? '', /checkpoints 1 to 2 are missing/);
      const changed = lines[0]!.split('.');
      changed[1] = Buffer.from(JSON.stringify({ ...payloadOf(lines[0]!), heads: [] })).toString('base64url');
      assert.match(fault([changed.join('.'), ...lines.slice(1)]) ?? '', /signature does not hold/);
      const foreign = signCheckpoint(payloadOf(lines[0]!), checkpointKey(randomBytes(32)));
      assert.match(fault([foreign, ...lines.slice(1)]) ?? '', /signed by another key/);
      const forged = signCheckpoint({ ...payloadOf(lines[1]!), previous: '' }, key);
      assert.match(fault([lines[0]!, forged, ...lines.slice(2)]) ?? '', /does not follow/);
      assert.match(fault(['{"level":30}', 'nothing']) ?? '', /no checkpoint/);
    });

    test('a log of JSON lines is read as well, and several files as one', () => {
      const log = lines.map((checkpoint) => JSON.stringify({ level: 30, msg: 'checkpoint of the record', checkpoint }));
      assert.equal(read([log.slice(2).join('\n'), `noise\n${log.slice(0, 2).join('\n')}`]).count, lines.length);
    });

    test('a log is read as collectors hand it on', () => {
      const log = lines.map((checkpoint) => JSON.stringify({ level: 30, msg: 'checkpoint of the record', checkpoint }));
      for (const [by, handed] of Object.entries<(line: string) => string>({
        'docker compose logs': (line) => `broker-1  | ${line}`,
        'docker’s json-file': (log) => JSON.stringify({ log: `${log}\n`, stream: 'stdout', time: 'x' }),
        'a container runtime': (line) => `2026-11-27T10:00:00.000000000Z stdout F ${line}`,
        'journalctl -o json': (MESSAGE) => JSON.stringify({ PRIORITY: '6', MESSAGE }),
        'a cloud’s log': (line) => JSON.stringify({ insertId: 'x', jsonPayload: JSON.parse(line) }),
      }))
        assert.equal(read([log.map(handed).join('\n')]).count, lines.length, by);
    });

    test('no line is longer than readers of a container’s log take, whatever its chains are called', async () => {
      const before = lines.length;
      const at = harness.clock.now().toISOString();
      await run(`INSERT INTO audit_event (chain, at, type, actor, payload)
        SELECT 'login:' || repeat('0', 61) || n, '${at}', 't', 'a', '{}' FROM generate_series(100, 350) n`);
      await next();
      const more = lines.slice(before);
      const named = more.flatMap((line) => payloadOf(line).heads).filter(([chain]) => chain.startsWith('login:0'));
      assert.equal(named.length, 251);
      for (const line of more) assert.ok(line.length < 15_000, String(line.length));
      assert.equal(await verify(), null);
    });

    test('what a sink did not take is delivered again, to the letter, and nothing is lost', async () => {
      const before = lines.length;
      failing = true;
      await assert.rejects(next(), /the sink is away/);
      await run(
        `INSERT INTO audit_event (chain, at, type, actor, payload) VALUES ('late', '${harness.clock.now().toISOString()}', 't', 'a', '{}')`,
      );
      failing = false;
      await next();
      assert.ok(lines.length > before + 1);
      assert.ok(read().anchors.has('late'));
    });

    test('a server that asks to be left alone is, for as long as it says', async () => {
      let asked = 0;
      const server = createServer((request, response) => {
        asked += 1;
        request.resume();
        response.writeHead(asked === 1 ? 429 : 200, { 'retry-after': '240' }).end();
      });
      await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
      const slow = createCheckpoints({
        store: harness.store,
        clock: harness.clock,
        key,
        seconds: 300,
        log: { error: () => {}, info: () => {} },
        sinks: [async (more) => void lines.push(...more), httpSink(url, undefined)],
      });
      try {
        harness.clock.advance(300_000);
        await assert.rejects(slow.write(), /answered 429/);
        harness.clock.advance(239_000);
        await slow.write();
        assert.equal(asked, 1);
        harness.clock.advance(1_000);
        await slow.write();
        assert.ok(asked > 1);
      } finally {
        await slow.stop();
        server.closeAllConnections();
        await new Promise((closed) => server.close(closed));
      }
    });

    test('a sink that is away is asked ever more seldom, said once, and fills no other', async () => {
      const said: string[] = [];
      const say = (_fields: object, message: string) => void said.push(message);
      const registry = new Registry();
      const metrics = createSideChannelMetrics(registry);
      const failing = async () => (await metrics.failing.get()).values[0]?.value;
      let away = true;
      let asked = 0;
      const there: string[] = [];
      const two = createCheckpoints({
        store: harness.store,
        clock: harness.clock,
        key,
        seconds: 300,
        log: { error: say, info: say },
        metrics,
        sinks: [
          async (more) => void there.push(...more),
          async (more) => {
            asked += 1;
            if (away) throw new Error('the sink is away');
            lines.push(...more);
          },
        ],
      });
      harness.clock.advance(300_000);
      const tick = async () => {
        two.tick();
        await two.idle();
      };
      // An hour and a half, looked at every five seconds.
      for (let n = 0; n < 1_080; n += 1) {
        await tick();
        harness.clock.advance(5_000);
      }
      assert.ok(asked >= 8 && asked <= 15, `asked ${asked} times`);
      assert.equal(there.length, new Set(there).size, 'the other one has each once');
      assert.ok(there.length > 0);
      assert.deepEqual([said.length, await failing()], [1, 1]);
      away = false;
      for (let n = 0; n < 240; n += 1) {
        await tick();
        harness.clock.advance(5_000);
      }
      assert.deepEqual([said.length, await failing()], [2, 0]);
      assert.match(said[1]!, /written again/);
      assert.deepEqual(
        there.filter((line) => !lines.includes(line)),
        [],
      );
      await two.stop();
    });

    test('checkpoints are not put off by a later time in their row', async () => {
      for (const at of [`now() + interval '100 years'`, `'infinity'`]) {
        const before = lines.length;
        await run(`UPDATE audit_checkpoint SET due_at = ${at}`);
        await next();
        assert.ok(lines.length > before, at);
      }
    });

    test('a row of checkpoints that was set back or removed shows', async () => {
      for (const sql of [`UPDATE audit_checkpoint SET number = 1`, 'DELETE FROM audit_checkpoint']) {
        const kept = [...lines];
        await run(sql);
        await next();
        const found = readCheckpoints([lines.join('\n')], publicName(key));
        assert.match(String(found), /two checkpoints 1/, sql);
        lines.splice(0, lines.length, ...kept);
      }
    });
  });
}
