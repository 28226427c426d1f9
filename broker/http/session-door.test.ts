/**
 * An operation written with nothing but `access: 'session'` and a handler: what stands between it and its
 * callers.
 */
import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import express from 'express';
import { type ProofKey, proofKey, prove } from '../../sandbox/deployment.test-support.ts';
import { createLog } from '../core/log.ts';
import { type Harness, openHarness } from '../harness.test-support.ts';
import { endSession } from '../sessions/end-session.ts';
import { testBackends } from '../store/store.test-support.ts';
import { mountOperations } from './mount.ts';
import { operation } from './operation.ts';
import { createRefusals } from './refusals.ts';
import { sessionDoor } from './session-door.ts';

for (const backend of await testBackends()) {
  describe(`the door to a session's operations on ${backend}`, () => {
    let harness: Harness;
    let server: Server;
    let url: string;
    let key: ProofKey;
    let reached = 0;

    before(async () => {
      harness = await openHarness(backend, { providers: [{ name: 'plain' }] });
      key = await proofKey();
      server = createServer();
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const { store, clock, tokens } = harness;
      const log = createLog('silent');
      const app = express();
      app.use((_req, res, next) => {
        res.locals.requestId = 'req_door';
        next();
      });
      const careless = operation({
        method: 'get',
        path: '/careless',
        summary: 'Knows nothing of tokens, proofs and sessions',
        tag: 'Test',
        access: 'session',
        responses: { 200: { description: 'Reached' } },
        errors: [],
        handle: async (_call, session) => {
          reached += 1;
          return { status: 200, body: { session: session.id } };
        },
      });
      const refusals = createRefusals(store, clock, log, 0);
      const authorizeAdmin = () => Promise.reject(new Error('nobody asks for an admin'));
      const door = sessionDoor({ store, clock, tokens, refusals, url, heartbeat: { seconds: 60, misses: 3 } });
      mountOperations(app, [careless], {
        publicUrl: url,
        log,
        door,
        refusals,
        authorizeAdmin,
        authorizePerson: authorizeAdmin,
      });
      server.on('request', app);
    });
    after(async () => {
      server.close();
      server.closeAllConnections();
      await harness.close();
    });

    async function call(headers: { [name: string]: string }): Promise<{ status: number; code: string | undefined }> {
      const before = reached;
      const response = await fetch(`${url}/careless`, { headers });
      const { code } = (await response.json()) as { code?: string };
      assert.equal(
        reached - before,
        response.status === 200 ? 1 : 0,
        'the handler runs for those let in, and only for them',
      );
      return { status: response.status, code };
    }
    const proven = async (token: string) => ({
      authorization: `DPoP ${token}`,
      dpop: await prove(key, { method: 'GET', url: `${url}/careless`, at: harness.clock.now(), token }),
    });

    test('lets in a live session with its token and a fresh proof', async () => {
      const bearer = await harness.open();
      assert.equal((await call({ authorization: `Bearer ${bearer.token}` })).status, 200);
      const bound = await harness.open({ jkt: key.jkt });
      assert.equal((await call(await proven(bound.token))).status, 200);
    });

    test('refuses no token, a foreign one, and a bound one without its key', async () => {
      assert.equal((await call({})).status, 401);
      assert.equal((await call({ authorization: 'Bearer not-ours' })).status, 401);
      const { token } = await harness.open({ jkt: key.jkt });
      assert.equal((await call({ authorization: `Bearer ${token}` })).code, 'invalid_dpop_proof');
    });

    test('refuses a proof that was used before', async () => {
      const { token } = await harness.open({ jkt: key.jkt });
      const headers = await proven(token);
      assert.equal((await call(headers)).status, 200);
      assert.deepEqual(await call(headers), { status: 401, code: 'invalid_dpop_proof' });
    });

    test('refuses an ended session, and one whose parent has ended', async () => {
      const session = await harness.open();
      const grantsLeft = null;
      const root = { id: session.sessionId, rootId: session.sessionId, act: null, capabilities: [], narrowed: false };
      const parent = { ...root, expiresAt: new Date(harness.clock.now().getTime() + 600_000), grantsLeft };
      const child = await harness.open({ child: { parent, capabilities: ['use-plain'] } });
      assert.equal((await call({ authorization: `Bearer ${child.token}` })).status, 200);
      await endSession(harness.ending, harness.end(session.sessionId));
      for (const { token } of [session, child]) {
        assert.equal((await call({ authorization: `Bearer ${token}` })).code, 'session_ended');
      }
    });

    test('refuses a session that has missed its heartbeats, although nothing has ended it yet', async () => {
      const { token, sessionId } = await harness.open();
      harness.clock.advance(181_000);
      assert.equal((await harness.session(sessionId)).status, 'active');
      assert.equal((await call({ authorization: `Bearer ${token}` })).code, 'session_ended');
    });
  });
}
