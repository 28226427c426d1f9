/**
 * Clocks that disagree: the clouds' against the broker's, and the broker's against its database's.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Response as ExpressResponse } from 'express';
import { z } from 'zod';
import { person } from '../approvals/rows.test-support.ts';
import { manualClock } from '../broker/core/clock.ts';
import { openLogin } from '../broker/people/login.ts';
import { prepareGround, source } from '../broker/running.test-support.ts';
import { scriptedProvider } from '../broker/scripted-provider.test-support.ts';
import { until } from '../broker/until.test-support.ts';
import type { ProviderModule } from '../providers/contract.ts';
import { type Agent, type Deployment, startDeployment } from './deployment.test-support.ts';

const ask = '  ask-plain: { description: Ask for it., provider: plain, tasks: [work], tier: 2, max_ttl: 15m }\n';
const capabilities = ['read-customer-files', 'read-policy-repository', 'read-statements'];

async function leases(agent: Agent) {
  return (await agent.call('GET', '/v1/session')).body.leases;
}

for (const seconds of [-90, -600, 1200])
  describe(`clouds whose clock is ${Math.abs(seconds)} s ${seconds < 0 ? 'behind' : 'ahead of'} the broker’s`, () => {
    let deployment: Deployment;
    before(async () => {
      deployment = await startDeployment({ cloudSkewMs: seconds * 1000 });
    });
    after(() => deployment.close());

    test('every provider mints: our tokens are made by its clock, and the skew is told to operators', async () => {
      const agent = await deployment.openAgent();
      for (const capability of capabilities) {
        const reply = await agent.grant({ capability, ttl_seconds: 300 });
        assert.equal(reply.status, 201, `${capability}: ${reply.text}`);
      }
      const ready = await deployment.send('GET', '/readyz');
      assert.equal(ready.status, 200);
      const { provider_clocks } = ready.body.warnings as { provider_clocks: string };
      assert.equal(provider_clocks.split('; ').length, 3, ready.text);
      const metrics = (await deployment.send('GET', '/metrics')).text;
      for (const name of ['aws', 'github', 'gcp']) {
        const told = Number(new RegExp(`writ_clock_skew_seconds\\{against="${name}"\\} (\\S+)`).exec(metrics)?.[1]);
        assert.ok(Math.abs(told + seconds) <= 1, `${name}: ${told}`);
      }
    });

    test('a denied key stays denied until AWS itself has ended it, whatever our clock says', async () => {
      const { aws } = deployment.world;
      const agent = await deployment.openAgent();
      const { body } = await agent.grant({ capability: 'read-customer-files', ttl_seconds: 120 });
      const session = aws.sessions().find(({ arn }) => arn.endsWith(`/${body.lease.id}`));
      const works = () =>
        aws.allows(session?.arn ?? '', 's3:GetObject', 'arn:aws:s3:::orders/customers/42/invoice.txt');
      assert.equal(works(), true);
      await agent.call('POST', '/v1/session/end');
      await until('it is revoked', async () => {
        deployment.clock.advance(1_000);
        return (await leases(agent))[0]?.status === 'revoked';
      });
      for (let passed = 0; passed < Math.max(0, -seconds) + 400; passed += 10) {
        assert.equal(works(), false, `after ${passed} s`);
        deployment.clock.advance(10_000);
        await deployment.send('GET', '/healthz');
      }
    });
  });

describe('a process whose clock is 30 minutes ahead of its database’s', () => {
  const truth = manualClock(new Date('2026-03-01T12:00:00Z'));
  const ahead = 30 * 60_000;
  const clock = manualClock(truth.now());
  const provider = scriptedProvider({ name: 'plain', clock });
  const module: ProviderModule = {
    name: 'plain',
    switchedOnBy: ['PLAIN'],
    params: provider.params,
    settings: z.object({ PLAIN: z.string() }),
    create: () => provider,
  };

  test('does no work: not ready, nothing given, nothing ended; and goes on once it is right', async () => {
    const ground = await prepareGround();
    await writeFile(join(ground.manifests, 'agent.yaml'), source + ask);
    const broker = await ground.start(
      { WRIT_RECONCILE_SECONDS: '5' },
      { clock, databaseClock: async () => truth.now(), modules: [module] },
    );
    try {
      const readiness = async () => {
        const response = await fetch(`${ground.url}/readyz`);
        return [response.status, ((await response.json()) as { checks: { clock: boolean } }).checks.clock];
      };
      const post = await ground.session(clock.now());
      const given = await post('/v1/grants', { capability: 'use-plain', ttl_seconds: 600 });
      assert.equal(given.status, 201);
      const { id: waiting } = (await (await post('/v1/grants', { capability: 'ask-plain' })).json()) as { id: string };
      const decides = async (verdict: string) => {
        const cookies: string[] = [];
        const response = { cookie: (_: string, value: string) => cookies.push(value) } as unknown as ExpressResponse;
        const login = { store: broker.store, clock, publicUrl: ground.url };
        const owner = person('owner@example.com', { groups: ['billing'] });
        await openLogin(login, response, { identity: owner, renewal: null }, 'req_1');
        const { csrf } = await broker.store.prisma.login.findFirstOrThrow({ orderBy: { createdAt: 'desc' } });
        const { planDigest } = await broker.store.prisma.grant.findUniqueOrThrow({ where: { id: waiting } });
        const body = new URLSearchParams({ csrf, verdict, plan_digest: planDigest, reason: 'x' });
        const headers = { cookie: `writ_login=${cookies.at(-1)}`, origin: ground.url };
        const path = `${ground.url}/approvals/${waiting}`;
        return (await fetch(path, { method: 'POST', headers, body, redirect: 'manual' })).status;
      };
      const statusOf = async () => (await broker.store.prisma.lease.findFirstOrThrow()).status;

      clock.advance(ahead);
      await until('it is not ready', async () => {
        clock.advance(15_000);
        return (await readiness())[0] === 503;
      });
      assert.deepEqual(await readiness(), [503, false]);
      for (let i = 0; i < 20; i += 1) {
        clock.advance(5_000);
        await fetch(`${ground.url}/healthz`);
      }
      assert.equal(await statusOf(), 'active', 'its time is over by this clock alone');
      const refused = await post('/v1/grants', { capability: 'use-plain' });
      assert.equal(refused.status, 503);
      assert.equal(await decides('approve'), 503, 'what is approved by it could be redeemed too long');
      const form = new URLSearchParams({ token: post.authorization.slice('Bearer '.length) });
      const asked = { method: 'POST', headers: { authorization: post.authorization }, body: form };
      assert.equal((await fetch(`${ground.url}/oauth/introspect`, asked)).status, 503);
      assert.match(
        await (await fetch(`${ground.url}/metrics`)).text(),
        /writ_clock_skew_seconds\{against="database"\} 1[89]\d\d/,
      );
      assert.ok(ground.log.some((line) => line.includes('too far from the database’s')));

      truth.set(clock.now());
      await until('it is ready', async () => {
        clock.advance(5_000);
        truth.set(clock.now());
        return (await readiness())[0] === 200;
      });
      await until('what is over is ended', async () => {
        clock.advance(5_000);
        truth.set(clock.now());
        return (await statusOf()) !== 'active';
      });
    } finally {
      await broker.stop();
      await ground.close();
    }
  });
});
