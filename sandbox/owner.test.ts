/** What the owner of an agent may stop: signed in, in the console and over HTTP. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Agent, type Deployment, startDeployment } from './deployment.test-support.ts';
import { openBrowser, signIn } from './oidc/browser.ts';
import { demoPassword } from './oidc/login-provider.ts';

let deployment: Deployment;
before(async () => {
  deployment = await startDeployment({ env: { WRIT_ADMIN_GROUP: 'writ-admins' } });
});
after(() => deployment.close());

const url = (path: string) => deployment.broker.url + path;
/** The owner is in the group `billing`; the storage team owns one capability, and the outsider nothing. */
const signedIn = async (name: 'owner' | 'outsider' | 'admin', path: string) => {
  const browser = openBrowser();
  const page = await signIn(browser, url(path), { email: `${name}@example.com`, password: demoPassword });
  return { browser, page };
};
const endOf = async (agent: Agent) => (await agent.call('GET', '/v1/session')).body.session;
/** By whom, and why, whatever else is on record of this session. */
const byWhom = async (type: string, { sessionId }: Agent) => {
  const { actor, payload } = await deployment.broker.store.prisma.auditEvent.findFirstOrThrow({
    where: { type, chain: sessionId },
  });
  return [actor, (payload as { because?: string }).because];
};

test('in the console: one credential, then the session, with a reason', async () => {
  const agent = await deployment.openAgent();
  const grant = await agent.grant({ capability: 'read-statements' });
  assert.equal(grant.status, 201, grant.text);
  const { browser, page } = await signedIn('owner', `/sessions/${agent.sessionId}`);
  assert.match(page.html, /only the credential read-statements/);
  const unsaid = await browser.submit(page, { what: grant.body.lease.id, reason: ' ' }, 'End it');
  assert.equal(unsaid.status, 400);
  const revoked = await browser.submit(page, { what: grant.body.lease.id, reason: 'looks wrong' }, 'End it');
  assert.equal(revoked.status, 200, revoked.html);
  assert.deepEqual(await byWhom('lease.revoking', agent), ['user:owner@example.com', 'looks wrong']);
  assert.equal((await endOf(agent)).status, 'active');
  await browser.submit(page, { what: 'session', reason: 'done with it' }, 'End it');
  assert.equal((await endOf(agent)).end_reason, 'ended_by_admin');
  assert.deepEqual(await byWhom('session.ended', agent), ['user:owner@example.com', 'done with it']);
});

test('whoever does not own it finds nothing, in the console and over HTTP', async () => {
  const agent = await deployment.openAgent();
  const grant = await agent.grant({ capability: 'read-statements' });
  const { browser, page } = await signedIn('outsider', '/');
  assert.match(page.html, /None that you may see\./);
  assert.doesNotMatch(page.html, /Nothing holds a permission/);
  assert.equal((await browser.open(url(`/sessions/${agent.sessionId}`))).status, 404);
  const cookie = `writ_login=${browser.cookie('writ_login')}`;
  const send = (path: string, headers: { [name: string]: string } = {}) =>
    deployment.send('POST', path, { body: { reason: 'because' }, headers: { cookie, ...headers } });
  for (const path of [
    `/v1/sessions/${agent.sessionId}/end`,
    `/v1/leases/${grant.body.lease.id}/revoke`,
    '/v1/agents/invoice-bot/lock',
    '/v1/agents/nobody/lock',
  ])
    assert.equal((await send(path, { origin: deployment.broker.url })).status, 404, path);
  assert.equal((await endOf(agent)).status, 'active');

  // The agent itself, and another site by the owner's own browser.
  const stolen = await agent.call('POST', '/v1/agents/invoice-bot/lock', { reason: 'because' });
  assert.equal(stolen.status, 401);
  const owner = await signedIn('owner', '/');
  const elsewhere = await send('/v1/agents/invoice-bot/lock', {
    cookie: `writ_login=${owner.browser.cookie('writ_login')}`,
    origin: 'https://evil.example',
    'sec-fetch-site': 'cross-site',
  });
  assert.equal(elsewhere.status, 403);
});

test('over HTTP: a lease, a session, and the agent altogether, which admins lift', async () => {
  const agent = await deployment.openAgent();
  const grant = await agent.grant({ capability: 'read-statements' });
  const { browser } = await signedIn('owner', '/');
  const headers = { cookie: `writ_login=${browser.cookie('writ_login')}`, origin: deployment.broker.url };
  const send = (path: string, body: object) => deployment.send('POST', path, { body, headers });
  assert.equal((await send(`/v1/sessions/${agent.sessionId}/end`, {})).status, 400, 'a reason is needed');
  assert.equal((await send(`/v1/leases/${grant.body.lease.id}/revoke`, { reason: 'no more' })).status, 202);
  assert.deepEqual(await byWhom('lease.revoking', agent), ['user:owner@example.com', 'no more']);
  const ended = await send(`/v1/sessions/${agent.sessionId}/end`, { reason: 'over' });
  assert.equal(ended.body.ended, true, ended.text);

  const other = await deployment.openAgent();
  const locked = await send('/v1/agents/invoice-bot/lock', { reason: 'it loops' });
  assert.equal(locked.status, 200, locked.text);
  assert.equal((await endOf(other)).status, 'ended');
  assert.equal((await deployment.tokenRequest()).body.error, 'locked');
  const set = await deployment.broker.store.prisma.auditEvent.findFirstOrThrow({ where: { type: 'lock.set' } });
  assert.equal(set.actor, 'user:owner@example.com');
  assert.equal((await send(`/v1/locks/${locked.body.id}/lift`, { reason: 'again' })).status, 403);
  const admin = await signedIn('admin', '/locks');
  await admin.browser.submit(admin.page, { reason: 'mended' }, 'Lift');
  assert.equal((await deployment.tokenRequest()).status, 200);
});
