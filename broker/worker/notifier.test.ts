import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { connect, createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { Redis } from 'ioredis';
import type { Broker } from '../compose/start.ts';
import { systemClock } from '../core/clock.ts';
import { createLog } from '../core/log.ts';
import type { Clock } from '../core/vocabulary.ts';
import { freePort, type Ground, prepareGround } from '../running.test-support.ts';
import { secretOf } from '../scripted-provider.test-support.ts';
import { createTestDatabase, redisAnswers, testBackends, testRedisUrl } from '../store/store.test-support.ts';
import { until } from '../until.test-support.ts';
import { listenForNotifications, redisNotifier } from './notifier.ts';

const services = (await redisAnswers()) && (await testBackends()).includes('postgres');

/**
 * Under it a reconciler that looks every minute never looks by itself: what is revoked was revoked because of
 * a notification.
 */
const wokenOnly: Clock = {
  now: systemClock.now,
  sleep: (ms, signal) => systemClock.sleep(ms > 30_000 ? 2 ** 31 - 1 : ms, signal),
};

describe('revocation across processes', { skip: !services && 'needs PostgreSQL and Redis' }, () => {
  // Its own schema gives the suite its own queue: suites that run side by side share the server.
  const schema = `wake_${randomBytes(6).toString('hex')}`;
  let ground: Ground;
  let database: Awaited<ReturnType<typeof createTestDatabase>>;
  before(async () => {
    ground = await prepareGround();
    database = await createTestDatabase();
  });
  after(async () => {
    await database.drop();
    await ground.close();
  });

  async function withProcesses(redisUrl: string, seconds: number, work: () => Promise<void>): Promise<void> {
    const shared = {
      DATABASE_URL: database.url,
      WRIT_DATABASE_SCHEMA: schema,
      REDIS_URL: redisUrl,
      WRIT_RECONCILE_SECONDS: String(seconds),
    };
    const brokers: Broker[] = [];
    try {
      brokers.push(await ground.start({ ...shared, WRIT_ROLE: 'api' }, { clock: wokenOnly }));
      brokers.push(await ground.start({ ...shared, WRIT_ROLE: 'worker', PORT: '0' }, { clock: wokenOnly }));
      await work();
    } finally {
      await Promise.all(brokers.map((broker) => broker.stop()));
    }
  }

  /** Issues and ends, all on the API process. @returns the lease */
  async function issueAndEnd(): Promise<string> {
    const post = await ground.session();
    const issued = await post('/v1/grants', { capability: 'use-plain' });
    const { lease } = (await issued.json()) as { lease: { id: string } };
    assert.equal(issued.status, 201);
    assert.deepEqual(ground.provider.alive(), [lease.id]);
    assert.equal((await post('/v1/session/end')).status, 200);
    return lease.id;
  }

  async function revoked(lease: string): Promise<void> {
    await until(`${lease} is revoked`, () => !ground.provider.alive().includes(lease));
    assert.deepEqual(ground.provider.alive(), []);
  }

  test('a session that ends on the API process is revoked by the worker at once; the job says nothing', async () => {
    const redis = new Redis(testRedisUrl);
    const seen: string[] = [];
    const monitor = await redis.monitor();
    monitor.on('monitor', (_time: string, args: string[]) => {
      if (args.some((arg) => arg.includes(schema))) seen.push(args.join(' '));
    });
    try {
      await withProcesses(testRedisUrl, 60, async () => {
        const leases: string[] = [];
        for (let i = 0; i < 3; i += 1) {
          leases.push(await issueAndEnd());
          await revoked(leases.at(-1)!);
        }
        const jobs = seen.filter((command) => command.includes('look'));
        assert.ok(jobs.length >= 3, 'the queue was used');
        for (const command of seen) {
          for (const lease of leases) assert.ok(!command.includes(secretOf(lease)) && !command.includes(lease));
        }
        for (const key of await redis.keys(`*${schema}*`)) {
          const kind = await redis.type(key);
          const value = JSON.stringify(
            kind === 'hash' ? await redis.hgetall(key) : kind === 'stream' ? await redis.xrange(key, '-', '+') : kind,
          );
          assert.ok(!value.includes('hush'), key);
        }
      });
    } finally {
      monitor.disconnect();
      for (const key of await redis.keys(`*${schema}*`)) await redis.del(key);
      redis.disconnect();
    }
  });

  test('with Redis down one process alone still revokes at once', async () => {
    const broker = await ground.start(
      {
        DATABASE_URL: database.url,
        WRIT_DATABASE_SCHEMA: schema,
        REDIS_URL: `redis://127.0.0.1:${await freePort()}`,
        WRIT_RECONCILE_SECONDS: '60',
      },
      { clock: wokenOnly },
    );
    try {
      await revoked(await issueAndEnd());
    } finally {
      await broker.stop();
    }
  });

  test('notifications do not pile up while Redis is down: when it is back one job says what thousands would', async () => {
    const port = await freePort();
    const log = createLog('silent');
    const notifier = await redisNotifier(`redis://127.0.0.1:${port}`, schema, log);
    for (let i = 0; i < 10_000; i += 1) notifier.notify();
    const { hostname, port: redisPort } = new URL(testRedisUrl);
    const proxy = createServer((socket) => {
      const redis = connect(Number(redisPort || 6379), hostname);
      for (const side of [socket, redis]) side.on('error', () => {});
      socket.pipe(redis).pipe(socket);
    });
    const redis = new Redis(testRedisUrl);
    let notifications = 0;
    const count = () => {
      notifications += 1;
    };
    const listener = await listenForNotifications(testRedisUrl, schema, { notify: count }, log);
    try {
      await new Promise<void>((resolve) => proxy.listen(port, '127.0.0.1', resolve));
      await until('the job arrives', () => notifications > 0);
      assert.equal(notifications, 1);
      // Many at once while it is up: what is under way, and one more.
      for (let i = 0; i < 1000; i += 1) notifier.notify();
      await until('two more jobs arrive', () => notifications >= 3);
      assert.equal(notifications, 3);
      assert.deepEqual(await redis.llen(`${schema}:writ-revoke:wait`), 0);
    } finally {
      await notifier.close();
      await listener.close();
      proxy.close();
      for (const key of await redis.keys(`*${schema}*`)) await redis.del(key);
      redis.disconnect();
    }
  });

  test('with Redis down the reconciler revokes all the same, and both processes stop when told to', async () => {
    await withProcesses(`redis://127.0.0.1:${await freePort()}`, 1, async () => {
      await revoked(await issueAndEnd());
    });
  });
});
