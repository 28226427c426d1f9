/**
 * `writ doctor`: everything that a broker leans on, asked over its public door by an admin; each fault is one
 * line with what to do, and no secret is in any of them.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, beforeEach, describe, test } from 'node:test';
import { compiled, writCommand, writFlags } from '../client/local/local.test-support.ts';
import { type Deployment, startDeployment } from './deployment.test-support.ts';
import { freePort } from './free-port.ts';
import { demoUsers, type LoginProvider, startLoginProvider } from './oidc/login-provider.ts';
import { type MailServer, startMailServer } from './smtp/start.ts';

interface Line {
  part: string;
  what: string;
  state: 'holds' | 'fails' | 'unknown';
  found?: string;
  fix?: string;
}

const secret = 'the-secret-of-the-client-at-the-provider';
const mailPassword = 'the-password-of-the-mail-server';
let login: LoginProvider;
let mail: MailServer;
let deployment: Deployment;
const start = (env: { [name: string]: string } = {}) =>
  startDeployment({
    env: {
      WRIT_OIDC_ISSUER: login.issuer,
      WRIT_OIDC_CLIENT_SECRET: secret,
      WRIT_EMAIL_FROM: 'writ@example.com',
      WRIT_EMAIL_TO: 'billing@example.com',
      SMTP_HOST: '127.0.0.1',
      SMTP_PORT: String(mail.port),
      SMTP_USER: 'writ',
      SMTP_PASSWORD: mailPassword,
      WRIT_SMTP_TLS: 'none',
      ...env,
    },
  });

before(async () => {
  mail = await startMailServer({ login: { user: 'writ', pass: mailPassword } });
  login = await startLoginProvider({
    clients: [{ clientId: 'writ', clientSecret: secret, redirectUris: ['http://127.0.0.1/login/callback'] }],
    users: demoUsers,
  });
});
after(async () => {
  await login.close();
  await mail.close();
});

const doctor = (...args: string[]) =>
  new Promise<{ code: number; out: string; err: string }>((done) => {
    const env = { ...compiled, WRIT_URL: deployment.broker.url, WRIT_ADMIN_TOKEN: deployment.admin };
    execFile(process.execPath, [...writFlags, writCommand, 'doctor', ...args], { env }, (error, out, err) =>
      done({ code: error === null ? 0 : Number(error.code), out, err }),
    );
  });
const ask = async (): Promise<Line[]> => {
  const { status, body } = await deployment.asAdmin('POST', '/v1/admin/diagnosis');
  assert.equal(status, 200);
  return body.findings as Line[];
};
const failing = (lines: Line[]) =>
  lines.filter(({ state }) => state === 'fails').map(({ part, what }) => `${part}: ${what}`);

describe('a deployment that is as it should be', () => {
  before(async () => {
    deployment = await start();
  });
  after(() => deployment.close());

  test('holds, line by line, and the command says so', async () => {
    const lines = await ask();
    assert.deepEqual(failing(lines), []);
    const held = new Set(lines.flatMap(({ part, state }) => (state === 'holds' ? [part] : [])));
    for (const part of ['database', 'issuer', 'sign-in', 'aws', 'github', 'gcp', 'email'])
      assert.ok(held.has(part), `${part} was not looked at`);
    for (const [part, what] of [
      ['aws', /allows sts:TagSession/],
      ['aws', /can do nothing/],
      ['github', /contents: read on example-org, which manifests use/],
      ['gcp', /may mint tokens of writ-1@/],
      ['sign-in', /knows the client writ by its secret/],
    ] as const)
      assert.ok(
        lines.some((line) => line.part === part && what.test(line.what) && line.state === 'holds'),
        `${what}`,
      );
    const off = lines.filter(({ part }) => part === 'redis' || part === 'slack' || part === 'postgres');
    assert.ok(off.every(({ state, found }) => state === 'unknown' && found === 'none of its variables is set'));

    const { code, out, err } = await doctor();
    assert.deepEqual([code, err], [0, '']);
    assert.match(out, /^✔ database: the database takes writes$/m);
    assert.match(out, /^– redis: it is set up: none of its variables is set$/m);
    const json = JSON.parse((await doctor('--json')).out) as { holds: boolean; findings: Line[] };
    assert.deepEqual([json.holds, json.findings.length], [true, lines.length]);
  });

  test('nothing that was minted for it may do anything, and no secret was told', async () => {
    const opened = deployment.world.aws.sessions().length;
    await ask();
    const sessions = deployment.world.aws.sessions().slice(opened);
    assert.ok(sessions.length > 0, 'it was tried for real');
    for (const { arn } of sessions.filter(({ arn: name }) => !name.endsWith('/writ-revoker')))
      for (const [action, resource] of [
        ['s3:GetObject', 'arn:aws:s3:::orders/customers/42/invoice.txt'],
        ['sts:AssumeRole', 'arn:aws:iam::111122223333:role/any'],
      ] as const)
        assert.equal(deployment.world.aws.allows(arn, action, resource), false, arn);
    assert.equal(deployment.world.github.liveTokens(), 0);
    const told = deployment.replies.filter(({ request }) => request.endsWith('/diagnosis')).map(({ text }) => text);
    const secrets = [secret, mailPassword, deployment.admin, ...deployment.world.gcp.tokens()];
    for (const hidden of [...secrets, 'PRIVATE KEY']) assert.ok(!told.join('').includes(hidden), hidden.slice(0, 8));
    assert.ok(!deployment.log().includes(mailPassword) && !deployment.log().includes(secret));
  });

  test('is the admin’s to ask', async () => {
    assert.equal((await deployment.send('POST', '/v1/admin/diagnosis')).status, 401);
    const agent = await deployment.openAgent();
    const headers = { authorization: `Bearer ${agent.token}` };
    assert.equal((await deployment.send('POST', '/v1/admin/diagnosis', { headers })).status, 401);
  });
});

describe('what is not as it should be', () => {
  beforeEach(async () => {
    deployment = await start();
  });
  const broken = async (breakIt: () => void | Promise<void>, part: string, what: RegExp, fix: RegExp) => {
    try {
      await breakIt();
      const lines = await ask();
      const found = lines.filter(({ state }) => state === 'fails');
      assert.ok(found.length > 0, 'nothing was found');
      assert.deepEqual(new Set(found.map((line) => line.part)), new Set([part]), JSON.stringify(found));
      const line = found.find((one) => what.test(one.what));
      assert.ok(line !== undefined, JSON.stringify(found));
      assert.match(line.fix ?? '', fix);
      const { code, out } = await doctor();
      assert.equal(code, 1);
      assert.match(out, new RegExp(`^✘ ${part}: .*\n {4}→ `, 'm'));
    } finally {
      await deployment.close();
    }
  };

  test('a role that trusts somebody else', () =>
    broken(
      () =>
        deployment.world.aws.setRole(deployment.env.WRIT_AWS_ROLES ?? '', {
          trust: {
            Version: '2012-10-17',
            Statement: {
              Effect: 'Allow',
              Principal: { AWS: 'arn:aws:iam::999999999999:root' },
              Action: 'sts:AssumeRole',
            },
          },
        }),
      'aws',
      /trusts this broker/,
      /IAM OIDC provider with the audience sts\.amazonaws\.com/,
    ));

  test('an App without the permission that a manifest uses', () =>
    broken(
      () => deployment.world.github.setPermissions(5001, { issues: 'write' }),
      'github',
      /contents: read on example-org/,
      /Give the App contents: read on its Permissions page/,
    ));

  test('an account that the broker may not mint on', () =>
    broken(
      () => deployment.world.gcp.takeFromBroker({ mintingOn: 'writ-2@demo-project.iam.gserviceaccount.com' }),
      'gcp',
      /may mint tokens of writ-2@/,
      /roles\/iam\.serviceAccountTokenCreator/,
    ));

  test('a pool that does not know our issuer', () =>
    broken(
      () => {
        deployment.world.gcp.forgetTokens();
        deployment.world.gcp.fail('issuer-unreachable', 'exchange');
      },
      'gcp',
      /accepts this broker’s issuer/,
      /reaches the issuer from outside/,
    ));
});

test('a wrong client secret is found at the start: a line, a warning of readiness, and no refusal', async () => {
  deployment = await start({ WRIT_OIDC_CLIENT_SECRET: 'not-the-secret-at-all' });
  try {
    const warned = async () => {
      // Readiness is asked once a second, and time stands still here.
      deployment.clock.advance(1_000);
      const { status, body } = await deployment.send('GET', '/readyz');
      assert.equal(status, 200);
      return (body.warnings as { sign_in?: string } | undefined)?.sign_in;
    };
    for (let tries = 0; (await warned()) === undefined && tries < 100; tries += 1)
      await new Promise((resolve) => setTimeout(resolve, 50));
    assert.match(
      (await warned()) ?? '',
      /not so: it knows the client writ by its secret \(it answered invalid_client\)/,
    );
    assert.match(deployment.log(), /nobody can sign in: .*WRIT_OIDC_CLIENT_SECRET/);
    assert.ok(!deployment.log().includes('not-the-secret-at-all'));
    assert.deepEqual(failing(await ask()), ['sign-in: it knows the client writ by its secret']);
  } finally {
    await deployment.close();
  }
});

test('an identity provider that is away keeps no broker from starting', async () => {
  deployment = await start({ WRIT_OIDC_ISSUER: `http://127.0.0.1:${await freePort()}` });
  try {
    assert.equal((await deployment.send('GET', '/readyz')).status, 200);
    const line = (await ask()).find(({ part, state }) => part === 'sign-in' && state === 'fails');
    assert.match(line?.found ?? '', /was not had \(ECONNREFUSED\)/);
  } finally {
    await deployment.close();
  }
});
