/**
 * One world, one database, and a broker that is started, killed and started again on them, one scenario after
 * another. The counterparts live in the test's process and survive; every clock is moved by hand, so that an
 * hour of waiting costs nothing.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Broker, startBroker } from '../../broker/compose/start.ts';
import { manualClock } from '../../broker/core/clock.ts';
import { openStore } from '../../broker/store/open.ts';
import { createTestDatabase, layMigrated } from '../../broker/store/store.test-support.ts';
import { startWorld, type World } from '../world.ts';
import type { Order, Report } from './broker-process.test-support.ts';
import { beatSeconds, nextMoment, watchBeats, watchStore } from './steps.test-support.ts';

/** A broker whose reconciler the test drives. */
export interface Driven {
  /**
   * Waits until the reconciler sleeps, moves the clock, waits for a beat. Null = the broker is dead. `next`:
   * when the database asks for the next.
   */
  advance(ms: number): Promise<{ next: Date | null } | null>;
}

export interface BrokerProcess extends Driven {
  /** From now on its steps count, and after the n-th of them it dies; null = it lives on. */
  arm(dieAfter: number | null): Promise<void>;
  /** Steps since it was armed; null = it is dead. */
  steps(): Promise<string[] | null>;
  /** Kills it now, if it still lives. @returns the signal it died of */
  kill(): Promise<string | null>;
  /** Whether it has died. */
  dead(): boolean;
}

export interface KillEnvironment {
  world: World;
  clock: ReturnType<typeof manualClock>;
  startBrokerProcess(env?: Record<string, string>): Promise<BrokerProcess>;
  /** The same broker on the same database, in this process, with nothing that would kill it. */
  restart(): Promise<Broker & Driven>;
  /**
   * Lets the broker work, and moves the clock to whatever is due next, as long as that is before `until`.
   * `look` runs after every beat.
   * @returns false when the broker died on the way
   */
  drive(driven: Driven, until: Date, look?: () => Promise<void>): Promise<boolean>;
  close(): Promise<void>;
}

export const foreverMs = 86_400_000;

export async function openEnvironment(backend: 'pglite' | 'postgres'): Promise<KillEnvironment> {
  const clock = manualClock(new Date());
  const world = await startWorld({ clock, lagMs: 1000, poolSize: 2 });
  const folder = await mkdtemp(join(tmpdir(), 'writ-kill-'));
  const database = backend === 'postgres' ? await createTestDatabase() : null;
  if (database === null) await layMigrated(join(folder, 'database'));
  const env: Record<string, string> = {
    ...world.env,
    WRIT_MANIFEST_DIR: '',
    WRIT_DATA_DIR: folder,
    WRIT_RECONCILE_SECONDS: String(beatSeconds),
    WRIT_KEY_ENCRYPTION_KEY: 'kill'.padEnd(43, 'A'),
    WRIT_LOG_LEVEL: process.env.WRIT_LOG_LEVEL ?? 'silent',
    ...(database === null ? {} : { DATABASE_URL: database.url }),
  };
  // Published once: a start that finds them unchanged would still compile them.
  const publisher = await startBroker({ ...env, WRIT_MANIFEST_DIR: join(import.meta.dirname, 'manifests') }, { clock });
  await publisher.stop();
  const started: ChildProcess[] = [];
  let ready = spawnBrokerProcess(started);

  return {
    world,
    clock,
    startBrokerProcess: async (more = {}) => {
      const child = ready;
      // The next one loads its modules while this one works.
      ready = spawnBrokerProcess(started);
      const brokerProcess = brokerProcessOf(child, clock);
      await child.order({ do: 'start', env: { ...env, ...more }, now: clock.now().getTime() });
      assert.equal(brokerProcess.dead(), false, 'the brokerProcess did not start');
      return brokerProcess;
    },
    restart: async () => {
      const beats = watchBeats(clock);
      const broker = await startBroker(env, {
        clock: beats.clock,
        openStore: async (options) => watchStore(await openStore(options), () => {}),
      });
      const advance = async (ms: number) => {
        await beats.asleep();
        clock.advance(ms);
        await beats.asleep(clock.now());
        return { next: await nextMoment(broker.store) };
      };
      return { ...broker, advance };
    },
    drive: async (driven, until, look = async () => {}) => {
      const tickMs = beatSeconds * 1000;
      let ms = tickMs;
      for (let turn = 0; turn < 300; turn += 1) {
        const answer = await driven.advance(ms);
        if (answer === null) return false;
        await look();
        if (answer.next === null || answer.next > until) return true;
        ms = Math.max(tickMs, answer.next.getTime() - clock.now().getTime());
      }
      throw new Error('the broker finds no rest');
    },
    close: async () => {
      for (const child of started) child.kill('SIGKILL');
      await world.close();
      await database?.drop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

interface Child {
  process: ChildProcess;
  dead(): boolean;
  /** Null = it died before it could answer. */
  order(order: Order): Promise<Report | null>;
}

function spawnBrokerProcess(started: ChildProcess[]): Child {
  const child = fork(join(import.meta.dirname, 'broker-process.test-support.ts'), [], {
    execArgv: ['--disable-warning=ExperimentalWarning', '--liftoff-only'],
    // Loading the modules is most of what a start costs.
    env: {
      ...process.env,
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? join(tmpdir(), 'writ-kill-compile-cache'),
    },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  started.push(child);
  const dead = () => child.exitCode !== null || child.signalCode !== null;
  const died = once(child, 'exit').then(() => null);
  return {
    process: child,
    dead,
    order: async (order) => {
      if (dead()) return null;
      const answer = once(child, 'message').then(([report]) => report as Report);
      child.send(order, () => {});
      return Promise.race([answer, died]);
    },
  };
}

function brokerProcessOf(child: Child, clock: KillEnvironment['clock']): BrokerProcess {
  return {
    dead: child.dead,
    arm: async (dieAfter) => {
      await child.order({ do: 'arm', dieAfter });
    },
    advance: async (ms) => {
      // First its reconciler must sleep, then every clock moves, the counterparts' a moment before its own.
      if ((await child.order({ do: 'rest' })) === null) return null;
      clock.advance(ms);
      const report = await child.order({ do: 'advance', ms });
      return report === null ? null : { next: report.next === null ? null : new Date(report.next) };
    },
    steps: async () => (await child.order({ do: 'arm', dieAfter: null }))?.steps ?? null,
    kill: async () => {
      if (!child.dead()) {
        const gone = once(child.process, 'exit');
        child.process.kill('SIGKILL');
        await gone;
      }
      return child.process.signalCode;
    },
  };
}
