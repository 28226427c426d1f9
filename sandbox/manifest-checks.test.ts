// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references of the manifest, not JavaScript’s
/**
 * A capability that this broker could never give is refused before it is published, and before anybody
 * publishes: by the command for what no settings allow, by the broker for what its own do not.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { compiled, writCommand, writFlags } from '../client/local/local.test-support.ts';
import { type Deployment, startDeployment } from './deployment.test-support.ts';

let deployment: Deployment;
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'writ-checks-'));
  const env = { WRIT_GITHUB_OWNERS: 'example-org', WRIT_POSTGRES_URL: 'postgres://writ_broker:x@127.0.0.1:1/shop' };
  deployment = await startDeployment({ env });
});
after(async () => {
  await deployment.close();
  await rm(folder, { recursive: true });
});

const role = (name: string) => `arn:aws:iam::111122223333:role/${name}`;
const manifest = (provider: string, params: object, more: { max_ttl?: string; choose?: object } = {}) =>
  JSON.stringify({
    apiVersion: 'writ/v1',
    agent: 'checked-bot',
    owner: 'team:billing',
    description: 'Has one capability.',
    envelope: { wall_time: '30m' },
    task_types: {
      work: {
        description: 'Work.',
        inputs: { customer_id: { type: 'string', pattern: '[0-9]{1,12}' }, note: { type: 'string', pattern: '.*' } },
      },
    },
    capabilities: {
      use: {
        description: 'Use it.',
        provider,
        tasks: ['work'],
        tier: 1,
        max_ttl: more.max_ttl ?? '15m',
        params,
        choose: more.choose ?? {},
      },
    },
  });

const prefixes = (count: number, text: string) =>
  Array.from(
    { length: count },
    (_, index) => `arn:aws:s3:::orders/customers-of-the-house-number-${10 + index}/${text}`,
  );
const custom = (resource_prefixes: string[]) => ({
  role: deployment.env.WRIT_AWS_ROLES,
  service: 'custom',
  statements: [{ actions: ['s3:GetObject'], resource_prefixes }],
});

/** Each cannot work, whatever the settings; and what is told of it. */
const never = (): [name: string, source: string, told: RegExp][] => [
  [
    '25 constant prefixes',
    manifest('aws', custom(prefixes(25, 'invoices-and-payments/'))),
    /use\.params\.statements: the provider aws does not take this: The session policy.* has \d+ characters, AWS takes 2048/,
  ],
  [
    'prefixes that grow with an input',
    manifest('aws', custom(prefixes(7, '${inputs.note}/'))),
    /statements: with the longest values that it may get \(inputs\.note: 256 characters\), the provider aws/,
  ],
  [
    'a prefix that makes a condition too long',
    manifest('gcp', { bucket: 'statements', prefix: `${'x'.repeat(1000)}/` }),
    /use\.params\.prefix: the provider gcp does not take this/,
  ],
  [
    'a schema with no room for its views',
    manifest('postgres', {
      tables: [{ schema: 's'.repeat(60), table: 'orders', through: 'view', read: ['id'], rows: 'all' }],
    }),
    /tables\[0\]\.schema: the provider postgres does not take this: the schema’s name is too long/,
  ],
  [
    'more than GitHub’s hour',
    manifest('github', github('example-org'), { max_ttl: '2h' }),
    /max_ttl: must not be longer than 1 h/,
  ],
  [
    'more than Google’s hour',
    manifest('gcp', { bucket: 'statements' }, { max_ttl: '2h' }),
    /max_ttl: must not be longer than 1 h/,
  ],
  [
    'less than anybody uses',
    manifest('aws', custom(prefixes(1, '')), { max_ttl: '30s' }),
    /max_ttl: must not be shorter than 1 min/,
  ],
];
const github = (owner: string) => ({ owner, repositories: ['orders'], permissions: { contents: 'read' } });

/** Each cannot work with this broker’s settings. */
const notHere = (): [name: string, source: string, told: RegExp][] => [
  [
    'a role that is not on the list',
    manifest('aws', { role: role('someone-elses'), service: 's3', access: 'get', bucket: 'orders' }),
    /use\.params\.role: the provider aws does not take this: The role is not in WRIT_AWS_ROLES/,
  ],
  [
    'a role that the agent may choose',
    manifest(
      'aws',
      { service: 's3', access: 'get', bucket: 'orders' },
      { choose: { role: { type: 'string', enum: [deployment.env.WRIT_AWS_ROLES, role('someone-elses')] } } },
    ),
    /use\.choose\.role\.enum\[1\]: .*The role is not in WRIT_AWS_ROLES/,
  ],
  [
    'an owner that is not on the list',
    manifest('github', github('other-org')),
    /use\.params\.owner: .*other-org is not in WRIT_GITHUB_OWNERS/,
  ],
  [
    'an account that is in no list',
    manifest('gcp', { service_account: 'else@demo-project.iam.gserviceaccount.com', bucket: 'statements' }),
    /use\.params\.service_account: .*neither in the pool nor on the list/,
  ],
  [
    'a replica that there is not',
    manifest('postgres', { server: 'replica', tables: [{ table: 'orders', read: ['id'], rows: 'all' }] }),
    /use\.params\.server: .*WRIT_POSTGRES_REPLICA_ADDRESS is not set/,
  ],
  [
    'more than WRIT_AWS_MAX_TTL_SECONDS',
    manifest('aws', custom(prefixes(1, '')), { max_ttl: '2h' }),
    /max_ttl: must not be longer than 1 h/,
  ],
];

const check = (...args: string[]) =>
  new Promise<{ code: number; out: string; err: string }>((done) => {
    const env = { ...compiled, WRIT_URL: deployment.broker.url, WRIT_ADMIN_TOKEN: deployment.admin };
    execFile(process.execPath, [...writFlags, writCommand, 'manifest', 'check', ...args], { env }, (error, out, err) =>
      done({ code: error === null ? 0 : Number(error.code), out, err }),
    );
  });
const textOf = (errors: { path: string; message: string }[] = []) =>
  errors.map(({ path, message }) => `${path}: ${message}`).join('\n');
const yaml = (body: string) => ({ body, headers: { 'content-type': 'application/yaml' } });

describe('what can never work', () => {
  test('is told by the command, without a broker', async () => {
    for (const [name, source, told] of never()) {
      const file = join(folder, 'never.yaml');
      await writeFile(file, source);
      const { code, err } = await check(file);
      assert.equal(code, 1, name);
      assert.match(err, told, name);
      assert.equal(err.trim().split('\n').length, 1, `${name} is told once: ${err}`);
    }
  });

  test('is told by the broker, and not published', async () => {
    for (const [name, source, told] of [...never(), ...notHere()]) {
      for (const reply of [
        await deployment.asAdmin('POST', '/v1/admin/manifest-checks', yaml(source)),
        await deployment.publish('checked-bot', source),
      ]) {
        assert.deepEqual([reply.status, reply.body.code], [422, 'invalid_manifest'], name);
        assert.match(textOf(reply.body.errors), told, name);
        assert.equal(reply.body.errors?.length, 1, `${name}: ${textOf(reply.body.errors)}`);
      }
    }
    const { body } = await deployment.asAdmin('GET', '/v1/admin/manifests');
    assert.deepEqual(
      (body.agents as { agent: string }[]).map(({ agent }) => agent),
      ['invoice-bot'],
    );
  });
});

describe('what only the settings rule out', () => {
  test('is no fault of the file, and one at the broker', async () => {
    for (const [name, source, told] of notHere()) {
      const file = join(folder, 'not-here.yaml');
      await writeFile(file, source);
      assert.equal((await check(file)).code, 0, name);
      const { code, err } = await check('--broker', file);
      assert.equal(code, 1, name);
      assert.match(err, told, name);
      assert.match(err, /^✘ \S+not-here\.yaml:\d+:\d+: /, name);
    }
  });

  test('one agent has one file', async () => {
    const source = manifest('aws', custom(prefixes(1, '')));
    const [one, other] = [join(folder, 'one.yaml'), join(folder, 'other.yaml')];
    for (const file of [one, other]) await writeFile(file, source);
    const { code, err } = await check(one, other);
    assert.deepEqual(
      [code, err],
      [1, `✘ ${other}:1:1: agent: checked-bot has a manifest in ${one} too: an agent has one\n`],
    );
  });

  test('a check publishes nothing, says what would change, and is the admin’s alone', async () => {
    const source = manifest('aws', custom(prefixes(10, '${inputs.customer_id}/')));
    const { status, body } = await deployment.asAdmin('POST', '/v1/admin/manifest-checks', yaml(source));
    assert.deepEqual([status, body.agent, body.widens], [200, 'checked-bot', true]);
    assert.equal((await deployment.asAdmin('GET', '/v1/admin/manifests/checked-bot')).status, 404);
    assert.equal((await deployment.send('POST', '/v1/admin/manifest-checks', yaml(source))).status, 401);
    const file = join(folder, 'good.yaml');
    await writeFile(file, source);
    assert.deepEqual(await check('--broker', file), {
      code: 0,
      out: `✔ ${file}: checked-bot, 1 task types, 1 capabilities\n`,
      err: '',
    });
  });
});
