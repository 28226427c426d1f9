/**
 * The database and Redis go while requests are under way, and come back: no answer hangs, no credential is
 * delivered that no row explains, nothing is minted meanwhile, and nothing has to be restarted. An API
 * process and a worker, as in production, on lines that the test cuts.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, afterEach, before, describe, test } from 'node:test';
import { Redis } from 'ioredis';
import pg from 'pg';
import { type Broker, startBroker } from '../broker/compose/start.ts';
import { asWritError } from '../broker/core/errors.ts';
import { intentStatements } from '../broker/grants/statements.ts';
import { outcomeStatement } from '../broker/leases/issue.ts';
import { openStore, type Store } from '../broker/store/open.ts';
import { createTestDatabase, redisAnswers, testBackends, testRedisUrl } from '../broker/store/store.test-support.ts';
import { until } from '../broker/until.test-support.ts';
import { type CuttableConnection, type Moment, openCuttableConnection } from './cuttable-connection.test-support.ts';
import { type Agent, type Approver, type Deployment, type Reply, startDeployment } from './deployment.test-support.ts';
import { alive, atRest, explained } from './kill/assertions.test-support.ts';

const services = (await redisAnswers()) && (await testBackends()).includes('postgres');

const providers = ['aws', 'github', 'gcp'] as const;
const capabilities = ['read-customer-files', 'read-policy-repository', 'read-statements'];

describe('fail closed', { skip: !services && 'needs PostgreSQL and Redis' }, () => {
  // Its own schema gives the suite its own queue: suites that run side by side share Redis. Renamed, not
  // migrated: that leaves a timer of ten seconds behind.
  const schema = `closed_${randomBytes(6).toString('hex')}`;
  let database: Awaited<ReturnType<typeof createTestDatabase>>;
  let toDatabase: CuttableConnection;
  let toRedis: CuttableConnection;
  let deployment: Deployment;
  let worker: Broker;
  /** Past the line: what is true, whether or not the broker can see it. */
  let truth: Store;
  let approver: Approver;
  const agents: Agent[] = [];

  before(async () => {
    database = await createTestDatabase();
    await onServer((client) => client.query(`ALTER SCHEMA public RENAME TO ${schema}`));
    toDatabase = await openCuttableConnection(database.url);
    toRedis = await openCuttableConnection(testRedisUrl);
    deployment = await startDeployment({
      // Every account a test uses stays in quarantine until the end.
      poolSize: 64,
      env: {
        DATABASE_URL: toDatabase.url,
        WRIT_DATABASE_SCHEMA: schema,
        REDIS_URL: toRedis.url,
        WRIT_ROLE: 'api',
      },
    });
    const silence = { write: () => {} };
    worker = await startBroker(
      { ...deployment.env, WRIT_ROLE: 'worker', PORT: '0' },
      { clock: deployment.clock, logTo: silence },
    );
    truth = await openStore({ databaseUrl: database.url, dataDir: null, schema, poolSize: 2 });
    approver = await deployment.approver();
  });
  afterEach(() => {
    toDatabase.mend();
    toRedis.mend();
  });
  after(async () => {
    await worker?.stop();
    await deployment?.close();
    await truth?.close();
    await toDatabase?.close();
    await toRedis?.close();
    await database?.drop();
    const redis = new Redis(testRedisUrl);
    for (const key of await redis.keys(`*${schema}*`)) await redis.del(key);
    redis.disconnect();
  });

  /** On a connection of its own, past the line. */
  async function onServer(work: (client: pg.Client) => Promise<unknown>): Promise<void> {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      await work(client);
    } finally {
      await client.end();
    }
  }

  async function open(): Promise<Agent> {
    const agent = await deployment.openAgent();
    agents.push(agent);
    return agent;
  }

  async function approved(agent: Agent): Promise<string> {
    const parked = await agent.grant({ capability: 'correct-customer-invoice' });
    assert.equal(parked.status, 202, parked.text);
    await approver.decide(parked.body.id, { verdict: 'approve' });
    return parked.body.id;
  }

  const grantAll = (agent: Agent) => Promise.all(capabilities.map((capability) => agent.grant({ capability })));

  /** Asks again and again until it is refused. @param issued called for each credential */
  async function askOn(agent: Agent, capability: string, issued: () => void): Promise<Reply[]> {
    const replies: Reply[] = [];
    for (;;) {
      const reply = await agent.grant({ capability });
      replies.push(reply);
      if (reply.status !== 201) return replies;
      issued();
    }
  }

  /** What the clouds were asked so far. */
  const upstream = () =>
    deployment.world.aws.requests() + deployment.world.github.requests() + deployment.world.gcp.requests();

  async function living(): Promise<number> {
    const counts = await Promise.all(providers.map((provider) => alive(deployment.world, provider)));
    return counts.reduce((sum, count) => sum + count);
  }

  async function allExplained(): Promise<void> {
    for (const provider of providers) await explained(deployment.world, truth, provider, deployment.clock.now());
  }

  /** An answer of `/readyz` lasts a second. */
  async function readiness(): Promise<number> {
    deployment.clock.advance(1000);
    return (await deployment.send('GET', '/readyz')).status;
  }

  async function explainedOrRefused(reply: Reply): Promise<void> {
    if (reply.status !== 201) {
      assertUnavailable(reply);
      return;
    }
    const lease = await truth.prisma.lease.findUniqueOrThrow({ where: { id: reply.body.lease.id } });
    assert.deepEqual([lease.status, lease.grantId], ['active', reply.body.id]);
  }

  const settled = async (agent: Agent) => {
    const { leases } = (await agent.call('GET', '/v1/session')).body;
    return leases.length > 0 && leases.every((lease) => lease.status === 'revoked');
  };

  test('Redis is cut while a session ends: it is answered, polling revokes, and notifications come again when Redis is back', async () => {
    const agent = await open();
    for (const reply of await grantAll(agent)) assert.equal(reply.status, 201, reply.text);
    assert.ok((await living()) >= capabilities.length);
    assert.ok(toRedis.cut() > 0, 'the broker was on the line');

    const ended = await agent.call('POST', '/v1/session/end');
    assert.equal(ended.status, 200, ended.text);
    assert.deepEqual([...new Set(ended.body.leases.map((lease) => lease.status))], ['revoking']);
    await until('the worker looks by itself', async () => {
      deployment.clock.advance(1000);
      return settled(agent);
    });
    assert.equal(await living(), 0);

    toRedis.mend();
    const next = await open();
    for (const reply of await grantAll(next)) assert.equal(reply.status, 201, reply.text);
    assert.equal((await next.call('POST', '/v1/session/end')).status, 200);
    // Time stands still, so nobody polls.
    await until('the worker is woken', () => settled(next));
    assert.equal(await living(), 0);
  });

  const cuts: { what: string; statement: string; moment: Moment }[] = [
    { what: 'before an intent is written', statement: intentStatements.limited.name, moment: 'unsent' },
    { what: 'before an intent’s commit is heard of', statement: intentStatements.limited.name, moment: 'unheard' },
    { what: 'before an outcome is written', statement: outcomeStatement.name, moment: 'unsent' },
    { what: 'before an outcome’s commit is heard of', statement: outcomeStatement.name, moment: 'unheard' },
  ];
  for (const { what, statement, moment } of cuts) {
    test(`the database is cut ${what}: 503 until it is back, and then the same session goes on`, async () => {
      const crowd = [await open(), await open(), await open()];
      const agent = crowd[0]!;
      const consented = await approved(agent);
      const tokens = deployment.world.github.liveTokens();
      let cut: Promise<void> | undefined;
      const cutNext = () => {
        cut ??= toDatabase.cutAt(statement, moment);
      };
      const lanes = crowd.flatMap((one) => capabilities.map((capability) => askOn(one, capability, cutNext)));
      const underWay = (await Promise.all(lanes)).flat();
      await cut!;
      for (const reply of underWay) await explainedOrRefused(reply);
      // GitHub ends a token only for whoever has it, which no later worker will.
      const delivered = underWay.filter(({ body }) => body.credential?.type === 'github').length;
      assert.equal(
        deployment.world.github.liveTokens(),
        tokens + delivered,
        'what could not be recorded was ended at once',
      );

      const asked = upstream();
      const meanwhile = await Promise.all([
        ...capabilities.map((capability) => agent.grant({ capability })),
        agent.call('POST', `/v1/grants/${consented}/redeem`),
        agent.call('POST', '/v1/session/heartbeat'),
        agent.call('POST', '/v1/session/end'),
        deployment.tokenRequest(),
      ]);
      for (const reply of meanwhile) assertUnavailable(reply);
      assert.equal((await deployment.send('GET', '/healthz')).status, 200);
      assert.equal(await readiness(), 503);
      assert.equal(upstream(), asked, 'nothing was asked of any cloud');
      await allExplained();

      toDatabase.mend();
      assert.equal(await readiness(), 200);
      for (const reply of await grantAll(agent)) assert.equal(reply.status, 201, reply.text);
      const redeemed = await agent.call('POST', `/v1/grants/${consented}/redeem`);
      assert.equal(redeemed.status, 201, redeemed.text);
      await allExplained();
    });
  }

  const ends = [
    { what: 'gives up (as at its time limit)', by: 'pg_cancel_backend' },
    { what: 'ends together with the connection (as at its own restart)', by: 'pg_terminate_backend' },
  ];
  for (const { what, by } of ends) {
    test(`a statement that the server ${what} is an outage too`, async () => {
      const agent = await open();
      const consented = await approved(agent);
      const redeem = () => agent.call('POST', `/v1/grants/${consented}/redeem`);
      await onServer(async (client) => {
        await client.query('BEGIN');
        await client.query(`LOCK TABLE ${schema}.grants`);
        const coming = Promise.all([agent.grant({ capability: 'read-customer-files' }), redeem()]);
        let answered = false;
        const end = `SELECT ${by}(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
        void coming.finally(() => {
          answered = true;
        });
        // More than once: statements that were given up together are tried again by themselves.
        await until('whoever waits for the table is ended', async () => {
          await client.query(end);
          return answered;
        });
        for (const reply of await coming) assertUnavailable(reply);
      });
      assert.equal((await agent.grant({ capability: 'read-customer-files' })).status, 201);
      assert.equal((await redeem()).status, 201);
    });
  }

  test('a server that takes no changes (a standby after a failover) is an outage too', async () => {
    const agent = await open();
    const consented = await approved(agent);
    const redeem = () => agent.call('POST', `/v1/grants/${consented}/redeem`);
    const [{ name }] = (await truth.prisma.$queryRaw`SELECT current_database() AS name`) as [{ name: string }];
    const readOnly = 'default_transaction_read_only';
    const connectAnew = async (status: number) => {
      toDatabase.cut();
      toDatabase.mend();
      await until('it has connected anew', async () => (await readiness()) === status);
    };
    await onServer(async (client) => {
      await client.query(`ALTER DATABASE ${name} SET ${readOnly} = on`);
      // No load balancer sends a request here.
      await connectAnew(503);
      const asked = upstream();
      const replies = await Promise.all([agent.grant({ capability: 'read-customer-files' }), redeem()]);
      for (const reply of replies) assertUnavailable(reply);
      assert.equal(upstream(), asked);
      await client.query(`ALTER DATABASE ${name} RESET ${readOnly}`);
      await connectAnew(200);
    });
    assert.equal((await redeem()).status, 201);
  });

  test('once every session has ended, nothing is alive that no row explains, and in the end nothing at all', async () => {
    for (const agent of agents) assert.equal((await agent.call('POST', '/v1/session/end')).status, 200);
    await until('everything that anybody knows is revoked', async () => {
      deployment.clock.advance(1000);
      await allExplained();
      return (await living()) === 0;
    });
    // What was minted and never heard of ends by itself, and so do the denials that were made for it.
    deployment.clock.advance(2 * 3_600_000);
    let unrest: unknown;
    const rests = async () => {
      try {
        for (const agent of agents) await atRest(deployment.world, truth, agent.sessionId, deployment.clock.now());
        return true;
      } catch (error) {
        unrest = error;
        deployment.clock.advance(1000);
        return false;
      }
    };
    await until('all is at rest', rests).catch(() => assert.fail(unrest as Error));
  });
});

test('a database that its name or the network no longer leads to is an outage', () => {
  for (const code of ['ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']) {
    assert.equal(asWritError(Object.assign(new Error('connect'), { code })).code, 'unavailable', code);
  }
});

function assertUnavailable(reply: Reply): void {
  assert.deepEqual([reply.status, reply.body.code], [503, 'unavailable'], reply.text);
  assert.ok(Number(reply.headers.get('retry-after')) > 0);
  assert.ok(!('credential' in reply.body) && !('access_token' in reply.body));
}
