import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Broker } from '../compose/start.ts';
import { errorTable } from '../core/errors.ts';
import { type Ground, prepareGround, source } from '../running.test-support.ts';
import { createTestDatabase, migratedImage, testBackends } from '../store/store.test-support.ts';

for (const backend of await testBackends()) {
  describe(`the service on ${backend}`, () => {
    let ground: Ground;
    let broker: Broker;
    let database: Awaited<ReturnType<typeof createTestDatabase>> | null = null;
    let bootstrap: string;
    before(async () => {
      ground = await prepareGround();
      if (backend === 'postgres') database = await createTestDatabase();
      broker = await start();
      bootstrap = broker.bootstrapToken!;
    });
    const start = async () =>
      database === null
        ? ground.start({}, { inMemory: await migratedImage() })
        : ground.start({ DATABASE_URL: database.url });
    after(async () => {
      await broker.stop();
      await database?.drop();
      await ground.close();
    });
    const admin = (method: string, path: string, more: { headers?: Record<string, string>; body?: string } = {}) =>
      fetch(`${ground.url}${path}`, {
        method,
        ...more,
        headers: { authorization: `Bearer ${bootstrap}`, ...more.headers },
      });

    test('weak settings in use are logged once at start, and named by readiness', async () => {
      const logged = ground.log
        .join('')
        .split('\n')
        .filter((line) => line.includes('"weak_setting"'))
        .map((line) => (JSON.parse(line) as { weak_setting: string }).weak_setting);
      assert.ok(logged.includes('bearer_sessions') && logged.includes('bootstrap_token'), logged.join());
      assert.equal(new Set(logged).size, logged.length);
      const ready = (await (await fetch(`${ground.url}/readyz`)).json()) as {
        status: string;
        warnings: { weak_settings: string };
      };
      assert.deepEqual([ready.status, ready.warnings.weak_settings], ['ready', logged.join(', ')]);
    });

    test('a path has one spelling: no other case, no slash at its end, no double slash', async () => {
      for (const path of [
        '/v1/session',
        '/oauth/token',
        '/.well-known/jwks.json',
        '/openapi.json',
        '/agents',
        '/approvals',
      ]) {
        const there = await fetch(ground.url + path, { redirect: 'manual' });
        assert.notEqual(there.status, 404, path);
        for (const other of [`${path}/`, path.toUpperCase(), `/${path}`])
          assert.equal((await fetch(ground.url + other, { redirect: 'manual' })).status, 404, other);
      }
    });

    test('lists come in pages, each row once', async () => {
      const walk = async (path: string, key: 'agents' | 'leases') => {
        const pages: unknown[][] = [];
        for (let after = ''; ; ) {
          const answer = await admin('GET', `${path}limit=1${after}`);
          assert.equal(answer.status, 200);
          const body = (await answer.json()) as { [list: string]: unknown[] } & { next: string | null };
          assert.ok(body[key]!.length <= 1);
          pages.push(body[key]!);
          if (body.next === null) return pages.flat();
          after = `&after=${body.next}`;
        }
      };
      const all = (await (await admin('GET', '/v1/admin/manifests')).json()) as { agents: unknown[]; next: null };
      assert.deepEqual(await walk('/v1/admin/manifests?', 'agents'), all.agents);
      assert.equal(all.next, null);
      const given = (await (await admin('GET', '/v1/admin/leases?status=active')).json()) as { leases: unknown[] };
      assert.deepEqual(await walk('/v1/admin/leases?status=active&', 'leases'), given.leases);
      for (const bad of ['manifests?limit=0', 'manifests?after=A', 'leases?after=x', 'leases?limit=501']) {
        assert.equal((await admin('GET', `/v1/admin/${bad}`)).status, 400, bad);
      }
    });

    test('the bootstrap token is given once, and rests only as its hash', async () => {
      assert.match(bootstrap, /^writ_admin_[\w-]{43}$/);
      const rows = await broker.store.prisma.bootstrap.findMany();
      assert.deepEqual(
        rows.map((row) => row.tokenHash),
        [createHash('sha256').update(bootstrap).digest('hex')],
      );
      assert.ok(!ground.log.join('').includes(bootstrap));
      assert.equal((await admin('GET', '/v1/admin/manifests')).status, 200);
      for (const authorization of [undefined, 'Bearer writ_admin_', `Bearer ${bootstrap}x`, `Basic ${bootstrap}`]) {
        const answer = await fetch(`${ground.url}/v1/admin/manifests`, {
          headers: authorization ? { authorization } : {},
        });
        assert.equal(answer.status, 401);
        assert.equal(((await answer.json()) as { code: string }).code, 'unauthenticated');
      }
      const post = await ground.session();
      assert.equal((await post('/v1/admin/keys/rotate')).status, 401, 'a session is no admin');
    });

    test('a manifest is replaced by whoever knows the version in force; a bad one leaves it', async () => {
      const put = (body: string, headers: Record<string, string>) =>
        admin('PUT', '/v1/admin/manifests/scripted-agent?reason=test', {
          body,
          headers: { 'content-type': 'application/yaml', ...headers },
        });
      const get = () => admin('GET', '/v1/admin/manifests/scripted-agent');
      const first = await get();
      const tag = first.headers.get('etag')!;
      assert.equal((await put(source, {})).status, 428);
      assert.equal((await put(source, { 'if-none-match': '*' })).status, 412);
      assert.equal((await put(source, { 'if-match': '"scripted-agent-9"' })).status, 412);
      const bad = await put(source.replace('tier: 1', 'tier: 9'), { 'if-match': tag });
      assert.equal(bad.status, 422);
      const { errors } = (await bad.json()) as { errors: { path: string; line: number; column: number }[] };
      assert.ok(errors.every((error) => error.path !== '' && error.line > 0 && error.column > 0));
      assert.equal((await get()).headers.get('etag'), tag);
      // Two at once: one of them is in force, the other is told.
      const both = await Promise.all(['a', 'b'].map((x) => put(`${source}# ${x}\n`, { 'if-match': tag })));
      assert.deepEqual(both.map((answer) => answer.status).toSorted(), [200, 412]);
      const now = (await (await get()).json()) as {
        version: number;
        author: string;
        reason: string;
        source: string;
        sha256: string;
      };
      assert.deepEqual([now.version, now.author, now.reason], [2, 'bootstrap token', 'test']);
      assert.equal(now.sha256, createHash('sha256').update(now.source).digest('hex'));
      // The very same source again changes nothing.
      const same = await put(now.source, { 'if-match': '"scripted-agent-2"' });
      assert.deepEqual([same.status, ((await same.json()) as { outcome: string }).outcome], [200, 'unchanged']);
      assert.equal(await broker.store.prisma.manifest.count(), 2);
      const old = await admin('GET', '/v1/admin/manifests/scripted-agent?version=1');
      assert.equal(((await old.json()) as { source: string }).source, source);
    });

    test('a published version is never changed or taken away, whoever asks the database', async () => {
      for (const text of [
        `UPDATE manifest SET reason = 'x'`,
        'DELETE FROM manifest',
        'TRUNCATE manifest',
        `UPDATE audit_event SET actor = 'x'`,
        'DELETE FROM audit_event',
      ]) {
        await assert.rejects(broker.store.run({ name: text, text }, []), /append-only/);
      }
    });

    test('the OpenAPI document is whole: every reference leads somewhere, every error has its page', async () => {
      const document = (await (await fetch(`${ground.url}/openapi.json`)).json()) as {
        openapi: string;
        paths: Record<
          string,
          Record<
            string,
            {
              operationId: string;
              responses: Record<string, { description: string }>;
              parameters: { in: string; name: string; required: boolean }[];
            }
          >
        >;
      };
      assert.match(document.openapi, /^3\.1\.\d+$/);
      const ids = new Set<string>();
      for (const [path, operations] of Object.entries(document.paths)) {
        for (const [method, operation] of Object.entries(operations)) {
          assert.ok(!ids.has(operation.operationId), operation.operationId);
          ids.add(operation.operationId);
          const placeholders = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
          const declared = operation.parameters.filter((parameter) => parameter.in === 'path');
          assert.deepEqual(
            declared.map((parameter) => parameter.name),
            placeholders,
            `${method} ${path}`,
          );
          assert.ok(declared.every((parameter) => parameter.required));
          const statuses = Object.keys(operation.responses);
          assert.ok(statuses.some((status) => status.startsWith('2')));
          assert.ok(Object.values(operation.responses).every((response) => response.description !== ''));
        }
      }
      const text = JSON.stringify(document);
      for (const [, pointer] of text.matchAll(/"\$ref":"#\/([^"]+)"/g)) {
        const target = pointer!
          .split('/')
          .reduce<unknown>((at, part) => (at as Record<string, unknown>)?.[part], document);
        assert.notEqual(target, undefined, pointer);
      }
      for (const [code, { title }] of Object.entries(errorTable)) {
        const page = await fetch(`${ground.url}/errors/${code}`);
        assert.equal(page.status, 200, code);
        assert.ok((await page.text()).includes(title.replaceAll('’', '’')), code);
        assert.match(page.headers.get('content-security-policy') ?? '', /default-src 'none'/);
        assert.equal(page.headers.get('x-content-type-options'), 'nosniff');
        assert.equal(page.headers.get('referrer-policy'), 'no-referrer');
      }
      assert.equal((await fetch(`${ground.url}/errors/constructor`)).status, 404);
    });

    test('every answer has a request id of ours, and a problem repeats it', async () => {
      const answer = await fetch(`${ground.url}/v1/session`, { headers: { 'x-request-id': 'forged' } });
      const id = answer.headers.get('x-request-id');
      assert.match(id ?? '', /^req_[\w-]{12}$/);
      const problem = (await answer.json()) as { request_id: string; type: string };
      assert.equal(problem.request_id, id);
      assert.equal((await fetch(problem.type)).status, 200);
      assert.ok(ground.log.some((line) => line.includes(id!)));
      assert.ok(!ground.log.join('').includes('forged'));
    });

    test('metrics and health answer', async () => {
      assert.equal((await fetch(`${ground.url}/healthz`)).status, 200);
      const ready = await fetch(`${ground.url}/readyz`);
      assert.deepEqual([ready.status, ((await ready.json()) as { status: string }).status], [200, 'ready']);
      const metrics = await (await fetch(`${ground.url}/metrics`)).text();
      assert.match(metrics, /writ_revocations_failing/);
    });

    test('stopping finishes the mint that is under way: its credential is delivered and its row is active', async () => {
      const post = await ground.session();
      const asked = Promise.withResolvers<void>();
      const answer = Promise.withResolvers<void>();
      ground.provider.script.issue = async (_context, mint) => {
        asked.resolve();
        await answer.promise;
        return mint();
      };
      const { store } = broker;
      const statuses: string[] = [];
      const { run } = store;
      const granting = post('/v1/grants', { capability: 'use-plain' });
      await asked.promise;
      const stopping = broker.stop();
      await assert.rejects(
        fetch(`${ground.url}/healthz`, { headers: { connection: 'close' } }),
        'nothing new is taken',
      );
      statuses.push(
        ...(await run<{ status: string }>({ name: 's', text: 'SELECT status FROM lease' }, [])).map((r) => r.status),
      );
      answer.resolve();
      const granted = await granting;
      assert.equal(granted.status, 201);
      const { lease } = (await granted.json()) as { lease: { id: string } };
      await stopping;
      assert.deepEqual(statuses, ['issuing']);
      assert.deepEqual(ground.provider.alive(), [lease.id]);
      ground.provider.reset();
      broker = await start();
      if (backend === 'postgres') {
        assert.equal(broker.bootstrapToken, null, 'printed on the very first start only');
        const row = await broker.store.prisma.lease.findUniqueOrThrow({ where: { id: lease.id } });
        assert.equal(row.status, 'active');
      }
    });

    // The embedded database cannot be taken away from its own process.
    const losing = backend === 'postgres' ? test : () => {};
    losing('without its database the broker is up but not ready, and grants nothing', async () => {
      const post = await ground.session();
      await database!.drop();
      assert.equal((await fetch(`${ground.url}/healthz`)).status, 200);
      const ready = await fetch(`${ground.url}/readyz`);
      assert.equal(ready.status, 503);
      assert.equal(((await ready.json()) as { checks: { database: boolean } }).checks.database, false);
      const refused = await post('/v1/grants', { capability: 'use-plain' });
      assert.ok([500, 503].includes(refused.status));
      assert.deepEqual(ground.provider.alive(), []);
      database = await createTestDatabase();
    });
  });
}

test('startup names every fault of the configuration at once', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'writ-faults-'));
  const run = async (env: Record<string, string>) => {
    const child = spawn(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', join(import.meta.dirname, '../main.ts')],
      {
        env,
        cwd: folder,
      },
    );
    let output = '';
    child.stderr.on('data', (chunk) => {
      output += chunk;
    });
    const status = await new Promise((resolve) => child.on('close', resolve));
    return { status, output };
  };
  try {
    const faulty = await run({
      PORT: 'x',
      WRIT_ROLE: 'both',
      WRIT_HEARTBEAT_SECONDS: '0',
      DATABASE_URL: 'mysql://x',
      GITHUB_APP_ID: '1',
    });
    assert.equal(faulty.status, 1);
    for (const name of ['PORT', 'WRIT_ROLE', 'WRIT_HEARTBEAT_SECONDS', 'DATABASE_URL', 'GITHUB_APP_PRIVATE_KEY']) {
      assert.ok(faulty.output.includes(`- ${name}`), `${name} in ${faulty.output}`);
    }
    const trust = join(folder, 'trust.yaml');
    await writeFile(
      trust,
      'issuers:\n  - { name: a, issuer: "http://ci.example", kind: generic }\nbindings:\n  - { issuer: nobody, agent: a, claims: {} }\n',
    );
    const untrusted = await run({ WRIT_TRUST_FILE: trust, PORT: '0' });
    assert.equal(untrusted.status, 1);
    assert.ok((untrusted.output.match(/WRIT_TRUST_FILE: .*trust\.yaml:\d+:\d+/g) ?? []).length >= 2, untrusted.output);
    assert.ok(!untrusted.output.includes('at '), 'faults, not a stack');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
