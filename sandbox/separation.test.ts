/**
 * Separation of duties through the public doors: token exchange, sign-in, approval pages. The attacker owns
 * the agent, or operates it and is in the team that approves.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';
import { ConfigurationError } from '../broker/config/settings.ts';
import { planDigest } from '../broker/decide/plan-digest.ts';
import { until } from '../broker/until.test-support.ts';
import { compiled, writCommand, writFlags } from '../client/local/local.test-support.ts';
import { type Agent, type Deployment, type DeploymentOptions, startDeployment } from './deployment.test-support.ts';
import { demoPassword, type LoginUser } from './oidc/login-provider.ts';

const user = (name: string, groups: string[], claims: LoginUser['claims'] = {}): LoginUser => ({
  email: `${name}@example.com`,
  name,
  groups,
  password: demoPassword,
  subject: `sub-${name}`,
  claims,
});

/** The operator is in the owner team; the strict one is the other who could say no. */
const people = () => [
  user('operator', ['billing'], { github_login: 'octo-operator' }),
  user('boss', ['billing', 'writ-admins'], { github_login: 'octo-boss' }),
  user('strict', ['billing'], { github_login: 'octo-strict' }),
  user('storage', ['storage'], { github_login: 'octo-storage' }),
  user('billing-lead', ['billing'], { github_login: 'octo-lead' }),
  user('outsider', ['marketing'], { github_login: 'octo-outsider' }),
];

const byActor = (more: string) => (source: string) =>
  source.replace('    started_by_claim: actor\n    started_by_kind: email\n', more);

/** Starts one, and ends it after the tests of this block. */
function deploymentOf(options: () => DeploymentOptions) {
  const holder = {} as { deployment: Deployment; users: LoginUser[] };
  before(async () => {
    holder.users = people();
    holder.deployment = await startDeployment({ users: holder.users, ...options() });
  });
  after(() => holder.deployment.close());

  const open = async (actor: string, task: { [member: string]: unknown } = {}): Promise<Agent> => {
    const { deployment } = holder;
    const subjectToken = await deployment.world.subjectToken({ actor });
    return deployment.openAgent({ subjectToken, task });
  };
  const ask = async (agent: Agent): Promise<string> => {
    const reply = await agent.grant({ capability: 'correct-customer-invoice' });
    assert.equal(reply.status, 202, reply.text);
    return reply.body.id;
  };
  const status = async (agent: Agent, id: string) => (await agent.call('GET', `/v1/grants/${id}`)).body.status;
  const page = async (who: string, path: string) => (await holder.deployment.approver(`${who}@example.com`)).page(path);
  /** @returns the status of the page that answers */
  const decide = async (who: string, id: string, verdict: 'approve' | 'deny') => {
    const approver = await holder.deployment.approver(`${who}@example.com`);
    const shown = await approver.page(`/approvals/${id}`);
    // By hand, past what the page offers: what an attacker sends.
    const csrf = /name="csrf" value="([^"]+)"/.exec(shown.html)?.[1] ?? '';
    const digest = /name="plan_digest" value="([^"]+)"/.exec(shown.html)?.[1] ?? (await digestOf(id));
    return (await approver.post(`/approvals/${id}`, { csrf, plan_digest: digest, verdict, reason: 'no' })).status;
  };
  const digestOf = async (id: string) =>
    (await holder.deployment.broker.store.prisma.grant.findUniqueOrThrow({ where: { id } })).planDigest;
  return { holder, open, ask, status, page, decide };
}

describe('an admin', () => {
  const { holder, open, ask, status, decide } = deploymentOf(() => ({ env: { WRIT_ADMIN_GROUP: 'writ-admins' } }));

  test('approves nothing of their own agent’s: not on the page, not by the bootstrap token, not by a command', async () => {
    const { deployment } = holder;
    const { store, bootstrapToken, url } = deployment.broker;
    const agent = await open('boss@example.com');
    const id = await ask(agent);
    const { planDigest: plan_digest } = await store.prisma.grant.findUniqueOrThrow({ where: { id } });
    const authorization = `Bearer ${bootstrapToken}`;
    // Without a person there is no review, whatever the token may do else.
    const send = (path: string, type: string, body: string) =>
      fetch(url + path, { method: 'POST', headers: { authorization, 'content-type': type, origin: url }, body });
    const form = new URLSearchParams({ verdict: 'approve', plan_digest, csrf: '' }).toString();
    assert.equal((await send(`/approvals/${id}`, 'application/x-www-form-urlencoded', form)).status, 403);
    for (const path of ['approve', 'review', 'decide', 'approvals'].map((name) => `/v1/grants/${id}/${name}`))
      assert.equal((await send(path, 'application/json', '{"verdict":"approve"}')).status, 404, path);
    await until('on record', async () => {
      const byToken = await store.prisma.auditEvent.findMany({ where: { type: 'request.refused' } });
      return byToken.some(({ payload }) => (payload as { route?: string }).route === '/approvals/:id');
    });
    const env = { PATH: process.env.PATH ?? '', ...compiled, WRIT_URL: url, WRIT_ADMIN_TOKEN: String(bootstrapToken) };
    for (const args of [
      ['approve', id],
      ['grant', 'approve', id],
      ['approvals', 'approve', id],
      ['admin', 'approve', id],
    ]) {
      const [code, out] = await new Promise<[number, string]>((resolve) =>
        execFile(process.execPath, [...writFlags, writCommand, ...args], { env }, (error, _out, err) =>
          resolve([Number(error?.code ?? 0), err]),
        ),
      );
      assert.notEqual(code, 0, `${args.join(' ')}: ${out}`);
    }
    // Signed in, as an owner who is an admin as well.
    assert.equal(await decide('boss', id, 'approve'), 403);
    const [refused] = await store.prisma.auditEvent.findMany({ where: { grantId: id, type: 'review.refused' } });
    assert.deepEqual(
      [refused?.actor, (refused?.payload as { refused_because?: string } | undefined)?.refused_because],
      ['user:boss@example.com', 'party'],
    );
    assert.equal(await store.prisma.review.count({ where: { grantId: id } }), 0);
    assert.equal(await status(agent, id), 'pending');
  });
});

describe('the agent’s word about whom it acts for', () => {
  const { holder, open, ask, status, page, decide } = deploymentOf(() => ({}));

  test('bars nobody from seeing and denying, and does not let the operator approve his own run', async () => {
    const agent = await open('operator@example.com', { on_behalf_of: 'user:strict@example.com' });
    const id = await ask(agent);
    assert.equal(await decide('operator', id, 'approve'), 403);
    assert.equal(await decide('strict', id, 'approve'), 403);
    const seen = await page('strict', `/approvals/${id}`);
    assert.equal(seen.status, 200);
    assert.match(seen.html, /strict@example\.com<\/\w+>(?:<[^>]*>)*: claimed by the agent, vouched for by nobody/);
    assert.match(seen.html, /operator@example\.com(?:<[^>]*>)*, as the platform says/);
    assert.ok((await page('strict', '/approvals')).html.includes(`/approvals/${id}`), 'it is listed for him');
    assert.equal(await status(agent, id), 'pending');
    assert.equal(await decide('strict', id, 'deny'), 200);
    assert.equal(await status(agent, id), 'denied');
  });

  test('opens no page for whom it names, and is told apart in the API', async () => {
    const agent = await open('operator@example.com', { on_behalf_of: 'user:outsider@example.com' });
    const id = await ask(agent);
    assert.equal((await page('outsider', `/sessions/${agent.sessionId}`)).status, 404);
    assert.equal((await page('outsider', `/approvals/${id}`)).status, 403);
    assert.equal((await page('operator', `/sessions/${agent.sessionId}`)).status, 200);
    const { session } = (await agent.call('GET', '/v1/session')).body as unknown as {
      session: { [member: string]: unknown };
    };
    assert.equal(session.on_behalf_of, null);
    assert.equal(session.declared_on_behalf_of, 'user:outsider@example.com');
    assert.equal(session.started_by, 'user:operator@example.com');
    const token = new URLSearchParams({ token: agent.token });
    const told = await holder.deployment.asAdmin('POST', '/oauth/introspect', { body: token });
    const introspected = told.body as unknown as { [member: string]: unknown };
    assert.equal(introspected.on_behalf_of, undefined);
    assert.equal(introspected.declared_on_behalf_of, 'user:outsider@example.com');
    assert.equal(await decide('strict', id, 'approve'), 200);
    assert.equal(await status(agent, id), 'approved');
  });

  test('every attack on an approval is refused, and on record', async () => {
    const { deployment } = holder;
    const { store } = deployment.broker;
    const agent = await open('operator@example.com');
    const id = await ask(agent);
    const { planDigest: digest } = await store.prisma.grant.findUniqueOrThrow({ where: { id } });
    const strict = await deployment.approver('strict@example.com');
    const csrfOf = ({ html }: { html: string }) => /name="csrf" value="([^"]+)"/.exec(html)?.[1] ?? '';
    const csrf = csrfOf(await strict.page(`/approvals/${id}`));
    const others = csrfOf(await (await deployment.approver('billing-lead@example.com')).page(`/approvals/${id}`));
    const form = (fields: { [name: string]: string } = {}) => ({
      csrf,
      plan_digest: digest,
      verdict: 'approve',
      ...fields,
    });
    const path = `/approvals/${id}`;
    const inAnotherPermission = digest.replace(/.$/, (last) => (last === '0' ? '1' : '0'));
    const attacks: { [what: string]: [send: () => Promise<{ status: number }>, status: number, code: string] } = {
      'a form without the page’s token': [() => strict.post(path, form({ csrf: '' })), 403, 'forbidden'],
      'a form with another person’s token': [() => strict.post(path, form({ csrf: others })), 403, 'forbidden'],
      'a forged link': [() => strict.post('/approvals/gnt_00000000000000000forged', form()), 404, 'not_found'],
      'a longer life, as if it were narrower': [
        () => strict.post(path, form({ ttl_seconds: '999999' })),
        400,
        'bad_request',
      ],
      'a life that is no number': [() => strict.post(path, form({ ttl_seconds: '1e9' })), 400, 'bad_request'],
      'a verdict that there is not': [() => strict.post(path, form({ verdict: 'approve_all' })), 400, 'bad_request'],
      'withdrawing what one did not give': [() => strict.post(path, form({ verdict: 'withdraw' })), 403, 'forbidden'],
    };
    const noted = () =>
      store.prisma.auditEvent.findMany({ where: { type: 'request.refused' }, orderBy: { seq: 'asc' } });
    for (const [what, [send, refused, code]] of Object.entries(attacks)) {
      const before = (await noted()).length;
      assert.equal((await send()).status, refused, what);
      await until(`${what} to be on record`, async () => (await noted()).length > before);
      const said = (await noted()).at(-1)?.payload as { code?: string; method?: string };
      assert.deepEqual([said.method, said.code], ['POST', code], what);
      assert.equal(await status(agent, id), 'pending', what);
    }
    const swapped = await strict.post(path, form({ plan_digest: inAnotherPermission }));
    assert.equal(swapped.status, 409);
    // Whom it acts for, in the platform's word and in the agent's own, and whoever started it.
    assert.equal(await decide('operator', id, 'approve'), 403);
    assert.equal(await decide('outsider', id, 'approve'), 403);
    const refusals = await store.prisma.auditEvent.findMany({ where: { grantId: id, type: 'review.refused' } });
    assert.deepEqual(
      refusals.map(({ actor, payload }) => [actor, (payload as { refused_because?: string }).refused_because]),
      [
        ['user:strict@example.com', 'other_plan'],
        ['user:operator@example.com', 'party'],
        ['user:outsider@example.com', 'not_an_approver'],
      ],
    );
    assert.equal(await store.prisma.review.count({ where: { grantId: id } }), 0);
    // The agent's own credentials open no review either.
    for (const attempt of ['approve', 'review', 'decide', 'approvals'])
      assert.equal((await agent.call('POST', `/v1/grants/${id}/${attempt}`, { verdict: 'approve' })).status, 404);
    assert.equal(await status(agent, id), 'pending');
  });

  test('what a manifest no longer has is approved by nobody, and the record says why', async () => {
    const { deployment } = holder;
    const { store } = deployment.broker;
    const agent = await open('operator@example.com');
    const approved = await ask(agent);
    assert.equal(await decide('strict', approved, 'approve'), 200);
    const waits = await ask(await open('operator@example.com'));
    const source = await readFile(join(import.meta.dirname, 'example/manifests/invoice-bot.yaml'), 'utf8');
    const withdrawn = source.replaceAll('correct-customer-invoice', 'correct-invoices-of-old');
    assert.equal((await deployment.publish('invoice-bot', withdrawn)).status, 200);
    assert.equal(await decide('strict', waits, 'approve'), 409);
    for (const id of [waits, approved]) {
      const { status: now, decision } = await store.prisma.grant.findUniqueOrThrow({ where: { id } });
      assert.equal(now, 'denied');
      assert.match(JSON.stringify(decision), /manifest_narrowed|owner_changed/);
      const events = await store.prisma.auditEvent.findMany({ where: { grantId: id, type: 'grant.denied' } });
      assert.equal(events.length, 1);
    }
  });

  test('is a well-formed user: or refused', async () => {
    for (const on_behalf_of of [
      'team:billing',
      'strict@example.com',
      'user:',
      'user: strict@example.com',
      'User:strict@example.com',
      'user:strict@',
      'user:@example.com',
      'user:a b@example.com',
      'user:team:billing',
      'user:user:strict@example.com',
      'user:strict\u200b@example.com',
      '*',
    ]) {
      const reply = await holder.deployment.tokenRequest({ task: { on_behalf_of } });
      assert.equal(reply.status, 400, on_behalf_of);
    }
    for (const on_behalf_of of ["user:o'brien@example.com", 'user:github_login:octo', 'user:auth0|77'])
      assert.equal((await holder.deployment.tokenRequest({ task: { on_behalf_of } })).status, 200, on_behalf_of);
  });
});

describe('where nothing vouches for who started a session', () => {
  const { holder, open, ask, status, decide } = deploymentOf(() => ({ trust: byActor('') }));

  test('two people must approve, and one denial is enough', async () => {
    const agent = await open('operator@example.com', { on_behalf_of: 'user:strict@example.com' });
    const id = await ask(agent);
    assert.equal(await decide('operator', id, 'approve'), 200);
    assert.equal(await status(agent, id), 'pending');
    const early = await agent.call('POST', `/v1/grants/${id}/redeem`);
    assert.deepEqual([early.status, early.body.code], [409, 'not_approved']);
    assert.equal(await decide('operator', id, 'approve'), 403, 'one person is one, however often');
    assert.equal(await decide('strict', id, 'approve'), 403, 'whom the agent names is no second');
    assert.equal(await decide('storage', id, 'approve'), 200);
    assert.equal(await status(agent, id), 'approved');
    assert.equal((await agent.call('POST', `/v1/grants/${id}/redeem`)).status, 201);

    const other = await ask(await open('operator@example.com'));
    assert.equal(await decide('operator', other, 'approve'), 200);
    assert.equal(await decide('strict', other, 'deny'), 200);
  });

  test('a child session asks for two as well', async () => {
    const parent = await open('operator@example.com');
    const { deployment } = holder;
    const child = deployment.agentOf(
      (
        await deployment.tokenRequest({
          subjectToken: parent.token,
          form: { subject_token_type: 'urn:ietf:params:oauth:token-type:access_token' },
          task: { capabilities: ['correct-customer-invoice'] },
        })
      ).body,
    );
    const id = await ask(child);
    assert.equal(await decide('operator', id, 'approve'), 200);
    assert.equal(await status(child, id), 'pending');
  });
});

describe('where the manifest asks two of named groups', () => {
  const { holder, open, ask, status, decide } = deploymentOf(() => ({ env: { WRIT_DENIAL_COOLDOWN_SECONDS: '300' } }));

  test('no credential before both, and the agent reads how far it is', async () => {
    const { deployment } = holder;
    const manifest = await readFile(join(import.meta.dirname, 'example/manifests/invoice-bot.yaml'), 'utf8');
    const tier = /tier: 2\n/;
    const published = await deployment.publish(
      'invoice-bot',
      manifest.replace(tier, 'tier: 2\n    approval: { quorum: 2, from: [team:storage, team:billing] }\n'),
    );
    assert.equal(published.status, 200, published.text);
    const agent = await open('operator@example.com');
    const reply = await agent.grant({ capability: 'correct-customer-invoice' });
    const from = ['team:billing', 'team:storage'];
    assert.deepEqual(reply.body.approvals, [{ needed: 2, from, given: [] }]);
    const { id } = reply.body;
    assert.equal(await decide('operator', id, 'approve'), 403, 'who started it is no approver, whatever the quorum');
    assert.equal(await decide('outsider', id, 'approve'), 403);
    assert.equal(await decide('strict', id, 'approve'), 200);
    assert.equal(await decide('strict', id, 'approve'), 403);
    const shown = (await agent.call('GET', `/v1/grants/${id}`)).body;
    assert.equal(shown.status, 'pending');
    const [progress] = shown.approvals as { given: { by: string }[] }[];
    assert.deepEqual(
      progress?.given.map(({ by }) => by),
      ['user:strict@example.com'],
    );
    assert.equal((await agent.call('POST', `/v1/grants/${id}/redeem`)).body.code, 'not_approved');
    assert.equal(await decide('storage', id, 'approve'), 200);
    assert.equal((await agent.call('POST', `/v1/grants/${id}/redeem`)).status, 201);

    const denied = await ask(agent);
    assert.equal(await decide('strict', denied, 'approve'), 200);
    assert.equal(await decide('storage', denied, 'deny'), 200);
    assert.equal(await status(agent, denied), 'denied');

    const again = await agent.grant({ capability: 'correct-customer-invoice', params: {}, ttl_seconds: 300 });
    assert.deepEqual(
      [again.status, again.body.reasons?.map(({ code }) => code)],
      [403, ['denied_lately']],
      'nobody is asked again, not for another lifetime either',
    );
    deployment.clock.advance(301_000);

    // Set back by hand, as whoever owns the database may.
    const later = await open('operator@example.com');
    const forced = await ask(later);
    const twice = await later.grant({ capability: 'correct-customer-invoice' });
    assert.deepEqual([twice.status, twice.body.id], [202, forced], 'one question for one plan');
    assert.equal(await decide('strict', forced, 'approve'), 200);
    await deployment.broker.store.prisma.grant.update({
      where: { id: forced },
      data: {
        status: 'approved',
        decideBy: new Date(deployment.clock.now().getTime() + 60_000),
        decision: { effect: 'approve', reasons: [] },
      },
    });
    const stolen = await later.call('POST', `/v1/grants/${forced}/redeem`);
    assert.deepEqual([stolen.status, stolen.body.code], [409, 'not_approved']);
  });

  test('an approver leaves a repository out and lowers a level: the agent is told, and gets no more; the next one cannot put it back', async () => {
    const { deployment } = holder;
    const manifest = await readFile(join(import.meta.dirname, 'example/manifests/invoice-bot.yaml'), 'utf8');
    const both = manifest
      .replace('repositories: [orders]', 'repositories: [orders, payroll]')
      .replace('permissions: { contents: read }', 'permissions: { contents: write, issues: write }')
      .replace(/(provider: github[\s\S]*?)tier: 1/, '$1tier: 2\n    approval: { quorum: 2 }');
    assert.equal((await deployment.publish('invoice-bot', both)).status, 200);
    const agent = await open('operator@example.com');
    const asked = await agent.grant({ capability: 'read-policy-repository' });
    assert.deepEqual(asked.body.plan.permission.repositories, ['orders', 'payroll']);
    const { id } = asked.body;
    const answer = async (who: string, fields: { [name: string]: string }) => {
      const approver = await deployment.approver(`${who}@example.com`);
      const { html } = await approver.page(`/approvals/${id}`);
      const csrf = /name="csrf" value="([^"]+)"/.exec(html)?.[1] ?? '';
      const plan_digest = /name="plan_digest" value="([^"]+)"/.exec(html)?.[1] ?? '';
      const reply = await approver.post(`/approvals/${id}`, { csrf, plan_digest, verdict: 'approve', ...fields });
      return { html, status: reply.status };
    };
    const nothing = await answer('strict', { part: '/repositories/7' });
    assert.equal(nothing.status, 400, 'what was not asked for');
    assert.match(nothing.html, /name="keep" value="\/repositories\/1" checked/);
    // As a browser sends it, of one part offered and not ticked.
    const level = 'lower/permissions/contents';
    for (const lower of ['admin', 'write', 'none; admin'])
      assert.equal((await answer('strict', { [level]: lower })).status, 400, lower);
    for (const name of ['contents', 'issues'])
      assert.ok(nothing.html.includes(`name="lower/permissions/${name}"`), name);
    const fields = { part: '/repositories/1', [level]: 'read' };
    assert.equal((await answer('strict', fields)).status, 200);
    const waiting = (await agent.call('GET', `/v1/grants/${id}`)).body;
    assert.deepEqual([waiting.status, waiting.narrowed], ['pending', true]);
    assert.deepEqual(waiting.plan.permission.repositories, ['orders']);
    assert.deepEqual(waiting.plan.permission.permissions, { contents: 'read', issues: 'write', metadata: 'read' });
    const second = await answer('billing-lead', {});
    assert.doesNotMatch(second.html, /name="keep"/, 'nothing is left to leave out');
    assert.equal(second.status, 200);
    const issued = await agent.call('POST', `/v1/grants/${id}/redeem`);
    assert.equal(issued.status, 201, issued.text);
    assert.deepEqual([issued.body.narrowed, issued.body.plan.permission.repositories], [true, ['orders']]);
    assert.deepEqual(issued.body.plan.permission.permissions, { contents: 'read', issues: 'write', metadata: 'read' });
    const read = (repository: string) =>
      fetch(`${deployment.world.github.url}/repos/example-org/${repository}/contents/`, {
        headers: { authorization: `Bearer ${issued.body.credential.token}` },
      });
    assert.equal((await read('orders')).status, 200);
    assert.ok((await read('payroll')).status >= 400);
  });

  test('what was left out cannot be put back in the database', async () => {
    const { deployment } = holder;
    const agent = await open('operator@example.com');
    const { id, plan } = (await agent.grant({ capability: 'read-policy-repository' })).body;
    const { store } = deployment.broker;
    const where = { id };
    const approver = await deployment.approver('strict@example.com');
    assert.equal((await approver.page(`/approvals/${id}`)).status, 200);
    const wide = { ...plan.permission, repositories: ['orders', 'payroll', 'extra'] };
    const { digest: _, ...asked } = plan;
    const planned = { ...asked, permission: wide };
    await store.prisma.grant.update({
      where,
      data: {
        plan: planned,
        planDigest: planDigest(planned),
        decision: {
          effect: 'approve',
          reasons: [],
          approval: [{ quorum: 2, from: ['team:billing'] }],
          asked_plan: asked,
        },
      },
    });
    assert.equal((await approver.page(`/approvals/${id}`)).status, 404, 'nobody consented to that plan');
  });
});

describe('an agent that signs for itself', () => {
  const ids = ['alone-bot', 'answered-bot'] as const;
  let key: CryptoKey;
  let jwk: JWK;
  before(async () => {
    const pair = await generateKeyPair('ES256', { extractable: true });
    key = pair.privateKey;
    jwk = { ...(await exportJWK(pair.publicKey)), alg: 'ES256' };
  });
  const { holder, ask, status, decide } = deploymentOf(() => ({
    trust: (source) => {
      const client = (id: string, more: object) => ({
        agent: 'invoice-bot',
        client_id: id,
        jwks: { keys: [jwk] },
        ...more,
      });
      const clients = [client(ids[0], {}), client(ids[1], { responsible: 'user:operator@example.com' })];
      return `${source}clients: ${JSON.stringify(clients)}\n`;
    },
  }));

  test('needs two approvers, or somebody who is responsible and counts as the starter', async () => {
    const open = async (id: string) => {
      const { clock, broker } = holder.deployment;
      const seconds = Math.floor(clock.now().getTime() / 1000);
      const claims = { iss: id, sub: id, aud: broker.url, iat: seconds, exp: seconds + 60, jti: crypto.randomUUID() };
      const client_assertion = await new SignJWT(claims).setProtectedHeader({ alg: 'ES256' }).sign(key);
      return holder.deployment.openAgent({
        form: {
          grant_type: 'client_credentials',
          client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
          client_assertion,
        },
      });
    };
    const alone = await open('alone-bot');
    const first = await ask(alone);
    assert.equal(await decide('operator', first, 'approve'), 200);
    assert.equal(await status(alone, first), 'pending');
    assert.equal(await decide('strict', first, 'approve'), 200);
    assert.equal(await status(alone, first), 'approved');

    const answered = await open('answered-bot');
    const second = await ask(answered);
    assert.equal(await decide('operator', second, 'approve'), 403);
    assert.equal(await decide('strict', second, 'approve'), 200);
    assert.equal(await status(answered, second), 'approved');
  });
});

describe('where the trust file names who is responsible', () => {
  const { open, ask, status, decide, page } = deploymentOf(() => ({
    trust: byActor('    responsible: team:billing\n'),
  }));

  test('nobody of them approves, all of them see and deny, and one other is enough', async () => {
    const agent = await open('operator@example.com');
    const id = await ask(agent);
    for (const who of ['operator', 'strict']) assert.equal(await decide(who, id, 'approve'), 403);
    assert.match((await page('operator', `/approvals/${id}`)).html, /counts as having started/);
    assert.equal(await decide('storage', id, 'approve'), 200);
    assert.equal(await status(agent, id), 'approved');
    const other = await ask(agent);
    assert.equal(await decide('operator', other, 'deny'), 200);
    assert.equal(await status(agent, other), 'denied');
  });
});

describe('names of different kinds', () => {
  const trust = byActor('    started_by_claim: actor\n    started_by_kind: github_login\n');
  const { holder, open, ask, status, decide, page } = deploymentOf(() => ({
    trust,
    env: { WRIT_OIDC_ALIAS_CLAIMS: 'github_login' },
  }));

  test('a code-host login is compared with a code-host login: the operator cannot approve his own run', async () => {
    const agent = await open('Octo-Operator');
    const id = await ask(agent);
    assert.equal(await decide('operator', id, 'approve'), 403);
    assert.equal((await page('operator', `/sessions/${agent.sessionId}`)).status, 200);
    const strict = holder.users.find(({ name }) => name === 'strict') as LoginUser;
    const { claims } = strict;
    strict.claims = {};
    assert.equal(await decide('strict', id, 'approve'), 403);
    const told = await page('strict', `/approvals/${id}`);
    assert.equal(told.status, 200);
    assert.match(told.html, /WRIT_OIDC_ALIAS_CLAIMS \(github_login=/);
    strict.claims = claims ?? {};
    assert.equal(await decide('strict', id, 'approve'), 200);
    assert.equal(await status(agent, id), 'approved');
  });

  test('the broker does not start where the name can be compared with nothing', async () => {
    const cases: [DeploymentOptions, RegExp][] = [
      [{ trust }, /github_login=<claim>/],
      [{ trust: byActor('    started_by_claim: actor\n') }, /started_by_kind/],
      [{ trust: byActor('    started_by_claim: sub\n') }, /Subjects of/],
      [{ env: { WRIT_OIDC_SCOPE: 'openid profile' } }, /WRIT_OIDC_SCOPE/],
    ];
    for (const [options, told] of cases) {
      const started = startDeployment(options).then(
        async (deployment) => {
          await deployment.close();
          return null;
        },
        (error) => error,
      );
      const error = await started;
      assert.ok(error instanceof ConfigurationError, String(told));
      assert.match(error.message, told);
    }
  });
});

describe('a person whose e-mail address changes', () => {
  const { holder, open, ask, status, decide } = deploymentOf(() => ({}));

  test('stays the one who started the run, and an address that nobody verified gives no right', async () => {
    const operator = holder.users.find(({ name }) => name === 'operator') as LoginUser;
    await holder.deployment.approver('operator@example.com');
    const agent = await open('OPERATOR@Example.com');
    const id = await ask(agent);
    operator.claims = { email: 'married@example.com' };
    assert.equal(await decide('operator', id, 'approve'), 403);
    operator.claims = { email: undefined, email_verified: undefined };
    assert.equal(await decide('operator', id, 'approve'), 403);
    const storage = holder.users.find(({ name }) => name === 'storage') as LoginUser;
    storage.claims = { email_verified: undefined };
    assert.equal(await decide('storage', id, 'approve'), 403, 'nobody can tell that this is not the starter');
    assert.equal(await status(agent, id), 'pending');
    storage.claims = {};
    assert.equal(await decide('storage', id, 'approve'), 200);
  });
});

describe('owners and groups as identity providers spell them', () => {
  const users = () => [
    user('keycloak', [], { groups: ['/team/sub'] }),
    user('spaced', [], { groups: 'Ops & Billing,équipe' }),
    { ...user('irish', []), email: "o'brien@example.com" },
    user('claimed', [], { email: "o'brien@example.com", email_verified: false }),
    user('oid', [], { oid: '0a1b-2c' }),
    user('entra', [], { groups: undefined, _claim_names: { groups: 'src1' }, _claim_sources: { src1: {} } }),
    user('silent', [], { groups: undefined }),
    user('owner', ['billing']),
  ];
  const holder = {} as { deployment: Deployment; source: string };
  before(async () => {
    holder.deployment = await startDeployment({ users: users() });
    holder.source = await readFile(join(import.meta.dirname, 'example/manifests/invoice-bot.yaml'), 'utf8');
  });
  after(() => holder.deployment.close());

  test('own what the manifest says, and nothing by an e-mail that nobody verified', async () => {
    const { deployment, source } = holder;
    const cases = [
      ['team:/team/sub', 'keycloak@example.com'],
      ['team:Ops & Billing', 'spaced@example.com'],
      ['team:équipe', 'spaced@example.com'],
      ["user:o'brien@example.com", "o'brien@example.com"],
      ['user:oid:0a1b-2c', 'oid@example.com'],
    ] as const;
    for (const [owner, email] of cases) {
      const published = await deployment.publish(
        'invoice-bot',
        source.replaceAll(/owner: team:\w+/g, `owner: "${owner}"`),
      );
      assert.equal(published.status, 200, published.text);
      const agent = await deployment.openAgent({
        subjectToken: await deployment.world.subjectToken({ actor: 'x@example.com' }),
      });
      const { id } = (await agent.grant({ capability: 'correct-customer-invoice' })).body;
      if (owner.startsWith("user:o'"))
        assert.equal((await (await deployment.approver('claimed@example.com')).page(`/approvals/${id}`)).status, 403);
      const page = await (await deployment.approver(email)).decide(id, { verdict: 'approve' });
      assert.equal(page.status, 200);
      assert.equal((await agent.call('GET', `/v1/grants/${id}`)).body.status, 'approved', owner);
    }
  });

  test('an owner whom a new manifest replaces decides no more; the agent is told and asks again', async () => {
    const { deployment, source } = holder;
    const put = (owner: string) =>
      deployment.publish('invoice-bot', source.replaceAll(/owner: team:\w+/g, `owner: "${owner}"`));
    assert.equal((await put('team:billing')).status, 200);
    const agent = await deployment.openAgent({
      subjectToken: await deployment.world.subjectToken({ actor: 'x@example.com' }),
    });
    const { id } = (await agent.grant({ capability: 'correct-customer-invoice' })).body;
    await (await deployment.approver('owner@example.com')).decide(id, { verdict: 'approve' });
    assert.equal((await agent.call('GET', `/v1/grants/${id}`)).body.status, 'approved');
    assert.equal((await put('team:/team/sub')).status, 200);
    const late = await agent.call('POST', `/v1/grants/${id}/redeem`);
    assert.equal(late.status, 403, late.text);
    assert.match(late.text, /owner_changed|session_ended/);
    const again = (await agent.grant({ capability: 'correct-customer-invoice' })).body.id;
    assert.equal((await (await deployment.approver('owner@example.com')).page(`/approvals/${again}`)).status, 403);
    await (await deployment.approver('keycloak@example.com')).decide(again, { verdict: 'approve' });
    assert.equal((await agent.call('POST', `/v1/grants/${again}/redeem`)).status, 201);
  });

  test('groups that were not delivered are said at sign-in', async () => {
    const { deployment } = holder;
    const seen: string[] = [];
    await deployment.approver('entra@example.com');
    seen.push(deployment.replies.at(-1)?.text ?? '');
    assert.match(seen[0] ?? '', /did not send your groups, only a pointer/);
    const silent = await deployment.approver('silent@example.com');
    const agent = await deployment.openAgent();
    const { id } = (await agent.grant({ capability: 'correct-customer-invoice' })).body;
    assert.match((await silent.page(`/approvals/${id}`)).html, /named no groups of yours/);
  });
});
