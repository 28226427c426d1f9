import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { connect, createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { Redis } from 'ioredis';
import { Registry } from 'prom-client';
import { freePort } from '../../sandbox/free-port.ts';
import type { Broker } from '../compose/start.ts';
import { systemClock } from '../core/clock.ts';
import { createSideChannel, createSideChannelMetrics } from '../core/side-channel.ts';
import type { Clock } from '../core/vocabulary.ts';
import { type Ground, prepareGround } from '../running.test-support.ts';
import { secretOf } from '../scripted-provider.test-support.ts';
import { createTestDatabase, redisAnswers, testBackends, testRedisUrl } from '../store/store.test-support.ts';
import { until } from '../until.test-support.ts';
import { type Failure, startFailingRedis } from './failing-redis.test-support.ts';
import { listenForNotifications, type RedisDeps, redisNotifier } from './notifier.ts';

const services = (await redisAnswers()) && (await testBackends()).includes('postgres');

/**
 * Under it a reconciler that looks every minute never looks by itself: what is revoked was revoked because of
 * a notification.
 */
const wokenOnly: Clock = {
  now: systemClock.now,
  sleep: (ms, signal) => systemClock.sleep(ms > 30_000 ? 2 ** 31 - 1 : ms, signal),
};

/** @param faster how many times faster than real its time passes */
function redisDeps(faster = 1): RedisDeps & { lines: string[]; pauses: number[]; failures(): Promise<number> } {
  const lines: string[] = [];
  const pauses: number[] = [];
  const metrics = createSideChannelMetrics(new Registry());
  const say = (_fields: object, message: string) => void lines.push(message);
  const clock: Clock = {
    now: systemClock.now,
    sleep: (ms, signal) => {
      pauses.push(ms);
      // Quiet never lasts long enough to count as good.
      return systemClock.sleep(ms === 30_000 ? 2 ** 31 - 1 : ms / faster, signal);
    },
  };
  const channel = createSideChannel('redis', 'nothing is lost', {
    log: { warn: say, info: say },
    metrics,
    random: () => 1,
  });
  const failures = async () => (await metrics.failures.get()).values[0]?.value ?? 0;
  return { clock, channel, random: () => 1, lines, pauses, failures };
}

describe('a Redis that fails is left alone for longer and longer, and said once', () => {
  for (const failure of [
    'full',
    'read-only',
    'cluster',
    'not authenticated',
    'silent',
    'loading',
    'out of step',
  ] as Failure[]) {
    test(`${failure}: the listener`, async (t) => {
      const redis = await startFailingRedis(failure);
      t.after(() => redis.close());
      const deps = redisDeps(1_000);
      const listener = await listenForNotifications(redis.url, 'test', { notify: () => {} }, deps);
      t.after(() => listener.close());
      if (failure === 'silent') {
        await until('it is asked', () => redis.commands() > 0);
      } else {
        await until('eight pauses are over', () => deps.pauses.filter((ms) => ms >= 60_000).length >= 2);
        assert.equal(deps.lines.length, 1, deps.lines.join('\n'));
        assert.match(deps.lines[0]!, /redis fails: nothing is lost/);
        const growing = deps.pauses.filter((ms) => ms !== 30_000 && ms !== 1_000);
        assert.deepEqual(growing.slice(0, 4), [2_000, 4_000, 8_000, 16_000]);
        // A handful a connection, where there used to be thousands a second.
        assert.ok(redis.commands() < 40 * deps.pauses.length, `${redis.commands()} commands`);
      }
    });

    test(`${failure}: the notifier, however often it is told, and it closes`, async (t) => {
      const redis = await startFailingRedis(failure);
      t.after(() => redis.close());
      const deps = redisDeps(1_000);
      const notifier = await redisNotifier(redis.url, 'test', deps);
      t.after(() => notifier.close());
      for (let n = 0; n < 1_000; n += 1) notifier.notify();
      if (failure !== 'silent') {
        await until('it has failed some times', () => deps.pauses.length >= 4);
        for (let n = 0; n < 1_000; n += 1) notifier.notify();
        assert.equal(deps.lines.length, 1, deps.lines.join('\n'));
        assert.ok((await deps.failures()) >= 4);
      }
    });
  }

  test('its return is said once, and begins the pauses anew', () => {
    const { channel, lines } = redisDeps();
    const pauses = [channel.failed({}), channel.failed({}), channel.failed({})];
    channel.works();
    channel.works();
    assert.deepEqual([...pauses, channel.failed({})], [1_000, 2_000, 4_000, 1_000]);
    assert.deepEqual(
      lines.map((line) => line.split(':')[0]),
      ['redis fails', 'redis works again', 'redis fails'],
    );
  });
});

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
    const deps = redisDeps();
    const notifier = await redisNotifier(`redis://127.0.0.1:${port}`, schema, deps);
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
    const listener = await listenForNotifications(testRedisUrl, schema, { notify: count }, deps);
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
