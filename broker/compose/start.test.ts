/** When a broker becomes ready, and when it stops: whatever it stands on fails. */
import assert from 'node:assert/strict';
import { chmod, writeFile } from 'node:fs/promises';
import type { AgentOptions } from 'node:http';
import https from 'node:https';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { manualClock, systemClock } from '../core/clock.ts';
import { type Ground, prepareGround, source } from '../running.test-support.ts';
import { openStore, type Store } from '../store/open.ts';
import { migratedImage } from '../store/store.test-support.ts';
import { until } from '../until.test-support.ts';
import type { Broker } from './start.ts';

let ground: Ground;
let broker: Broker | null = null;
beforeEach(async () => {
  ground = await prepareGround();
});
afterEach(async () => {
  await broker?.stop();
  broker = null;
  await ground.close();
});

/** The embedded database, some of whose statements fail. */
const failing = (fails: (name: string) => Error | null) => async (options: Parameters<typeof openStore>[0]) => {
  const store = await openStore(options);
  const run: Store['run'] = async (statement, values) => {
    const error = fails(statement.name);
    if (error !== null) throw error;
    return store.run(statement, values);
  };
  return { ...store, run };
};
const outage = () => Object.assign(new Error('Connection terminated'), { code: 'ECONNRESET' });

interface Readiness {
  status: string;
  checks: { [name: string]: boolean };
  faults?: { [name: string]: string };
  warnings?: { [name: string]: string };
}
async function ready(): Promise<[status: number, body: Readiness]> {
  const answer = await fetch(`${ground.url}/readyz`);
  return [answer.status, (await answer.json()) as Readiness];
}

test('manifests that an outage keeps back are published before anything is served', async () => {
  let down = true;
  const clock = manualClock(systemClock.now());
  broker = await ground.start(
    {},
    {
      clock,
      inMemory: await migratedImage(),
      openStore: failing((name) => (down && name === 'manifest_publish' ? outage() : null)),
    },
  );
  const [status, body] = await ready();
  assert.equal(status, 503);
  assert.deepEqual(body.checks, {
    database: true,
    migrations: true,
    signing_key: true,
    manifests: false,
    clock: true,
    accepting: true,
  });
  assert.equal(body.faults?.manifests, 'not published yet, tried again: agent.yaml');
  assert.equal((await fetch(`${ground.url}/healthz`)).status, 200);
  const keys = await fetch(`${ground.url}/.well-known/jwks.json`);
  assert.deepEqual([keys.status, keys.headers.get('retry-after')], [503, '1'], 'nothing is served');
  assert.equal(((await keys.json()) as { code: string }).code, 'unavailable');
  const token = await fetch(`${ground.url}/oauth/token`, { method: 'POST' });
  assert.equal(((await token.json()) as { error: string }).error, 'temporarily_unavailable');
  for (let n = 0; n < 10; n += 1) {
    clock.advance(60_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal((await ready())[0], 503);
  const said = ground.log.filter((line) => line.includes('manifest not published'));
  assert.equal(said.length, 1, 'an outage is said once');
  down = false;
  await until('it is ready', async () => {
    clock.advance(60_000);
    return (await ready())[0] === 200;
  });
  assert.notEqual((await fetch(`${ground.url}/openapi.json`)).status, 503);
});

test('a manifest that is refused leaves the older one in force, and the process not ready', async () => {
  await writeFile(
    join(ground.manifests, 'bad.yaml'),
    source.replace('tier: 1', 'tier: 9').replace('agent: scripted-agent', 'agent: other-agent'),
  );
  broker = await ground.start({}, { inMemory: await migratedImage() });
  const [status, body] = await ready();
  assert.equal(status, 503);
  assert.match(body.faults!.manifests!, /^refused, an older version stays in force .*: bad\.yaml$/);
  const post = await ground.session();
  assert.equal((await post('/v1/grants', { capability: 'use-plain' })).status, 201, 'what is in force is served');
});

test('a database that takes no writes any more, and a newer schema, make it unready, in words', async () => {
  const clock = manualClock(systemClock.now());
  broker = await ground.start({}, { clock, inMemory: await migratedImage() });
  assert.equal((await ready())[0], 200);
  const set = (sql: string) => broker!.store.run({ name: 'test', text: sql }, []);
  await set('SET default_transaction_read_only = on');
  clock.advance(1_000);
  assert.match((await ready())[1].faults!.database!, /read-only/);
  await set('SET default_transaction_read_only = off');
  await set(
    `INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name) VALUES ('x', 'x', now(), '20990101000000_of_later')`,
  );
  clock.advance(1_000);
  const [status, body] = await ready();
  assert.equal(status, 503);
  assert.match(body.faults!.migrations!, /newer than this release of Writ.*20990101000000_of_later/);
  assert.equal(body.faults!.database, undefined);
});

test('a record that is not chained, and keys that are gone, make it unready, in words', async () => {
  const clock = manualClock(systemClock.now());
  broker = await ground.start({}, { clock, inMemory: await migratedImage() });
  const run = (sql: string) => broker!.store.run({ name: 'test', text: sql }, []);
  const fault = async () => {
    clock.advance(5_000);
    return (await ready())[1].faults;
  };
  await run('ALTER TABLE audit_event DISABLE TRIGGER ALL');
  assert.match((await fault())!.database!, /audit_event_chain is missing or disabled/);
  await run('DROP TRIGGER audit_event_chain ON audit_event');
  assert.match((await fault())!.database!, /audit_event_chain is missing or disabled/);
  assert.equal((await fault())!.signing_key, undefined);
  await run('DELETE FROM signing_key');
  await until('the keys are read again', async () => (await fault())?.signing_key === 'no signing key can be used');
  await assert.rejects(ground.session(clock.now()), /temporarily_unavailable/, 'it fails closed, and is no bug');
});

test('a database that is read-only at the start is refused in words', async () => {
  await assert.rejects(
    ground.start(
      {},
      {
        inMemory: await migratedImage(),
        openStore: async (options) => {
          const store = await openStore(options);
          await store.run({ name: 'test', text: 'SET default_transaction_read_only = on' }, []);
          return store;
        },
      },
    ),
    /the database is read-only/,
  );
});

test('a database that is broken for good is told to whoever may start the process anew', async () => {
  let broken: string | null = null;
  broker = await ground.start(
    {},
    {
      inMemory: await migratedImage(),
      openStore: async (options) => ({ ...(await openStore(options)), broken: () => broken }),
    },
  );
  assert.equal((await fetch(`${ground.url}/healthz`)).status, 200);
  broken = 'the embedded database has not answered for 20 s';
  const answer = await fetch(`${ground.url}/healthz`);
  assert.deepEqual([answer.status, await answer.json()], [503, { status: 'broken', detail: broken }]);
});

test('files that others may read or write are named for as long as they are so', async () => {
  const clock = manualClock(systemClock.now());
  const key = join(ground.folder, 'app.pem');
  await writeFile(key, 'a key', { mode: 0o640 });
  await chmod(join(ground.manifests, 'agent.yaml'), 0o666);
  const env = { GITHUB_APP_PRIVATE_KEY_FILE: key, WRIT_CHECKPOINTS: join(ground.folder, 'checkpoints') };
  broker = await ground.start(env, { clock, inMemory: await migratedImage() });
  const named = async () => ((await ready())[1].warnings?.weak_settings ?? '').split(', ');
  assert.ok((await named()).includes('key_file_readable') && (await named()).includes('rules_writable'));
  const said = ground.log.filter((line) => line.includes('"weak_setting":"key_file_readable"'));
  assert.equal(said.length, 1);
  assert.match(said[0]!, /GITHUB_APP_PRIVATE_KEY_FILE/);
  await chmod(key, 0o600);
  await chmod(join(ground.manifests, 'agent.yaml'), 0o644);
  await until('they are named no more', async () => {
    clock.advance(60_000);
    return !/key_file|rules_w/.test((await named()).join());
  });
});

test('a stop has a deadline: what is under way then is left, and said', async () => {
  const clock = manualClock(systemClock.now());
  broker = await ground.start({ WRIT_STOP_SECONDS: '3' }, { clock, inMemory: await migratedImage() });
  const post = await ground.session(clock.now());
  let release = () => {};
  let asked = false;
  ground.provider.script.issue = async (_context, mint) => {
    asked = true;
    await new Promise<void>((resolve) => {
      release = resolve;
    });
    return mint();
  };
  const minting = post('/v1/grants', { capability: 'use-plain' }).catch(() => null);
  await until('the mint is under way', () => asked);
  const stopping = broker.stop();
  clock.advance(2_999);
  assert.equal(
    await Promise.race([stopping.then(() => 'stopped'), new Promise((r) => setImmediate(r, 'waits'))]),
    'waits',
  );
  clock.advance(1);
  await stopping;
  assert.ok(ground.log.some((line) => line.includes('stopping took too long') && line.includes('requests in flight')));
  release();
  await minting;
});

test('a broker that is given a proxy sends by it, and leaves the process as it was', async () => {
  const proxyOf = () => (https.globalAgent as unknown as { options: AgentOptions }).options.proxyEnv;
  const before = proxyOf();
  const env = { HTTPS_PROXY: 'http://127.0.0.1:9', NO_PROXY: 'example.com,fd00::/8' };
  broker = await ground.start(env, { inMemory: await migratedImage() });
  assert.equal(proxyOf()?.https_proxy, env.HTTPS_PROXY);
  assert.match(proxyOf()?.no_proxy ?? '', /^example\.com,\.example\.com,localhost,/);
  assert.ok(ground.log.some((line) => line.includes('NO_PROXY: networks of IPv6') && line.includes('fd00::/8')));
  assert.equal((await ready())[0], 200, 'this machine is never asked through a proxy');
  await broker.stop();
  broker = null;
  assert.deepEqual(proxyOf(), before);
});
