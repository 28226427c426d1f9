/** Locks as an admin sets and lifts them: in the console without a script, in a browser, in a terminal. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { until } from '../broker/until.test-support.ts';
import { compiled, writCommand, writFlags } from '../client/local/local.test-support.ts';
import { type Deployment, startDeployment } from './deployment.test-support.ts';
import { openBrowser, signIn } from './oidc/browser.ts';
import { demoPassword, type LoginUser } from './oidc/login-provider.ts';

const user = (name: string, groups: string[]): LoginUser => ({
  email: `${name}@example.com`,
  name,
  groups,
  password: demoPassword,
  subject: `sub-${name}`,
});

let deployment: Deployment;
before(async () => {
  const users = [
    user('first', ['writ-admins']),
    user('second', ['writ-admins']),
    user('outsider', ['billing']),
    user('owner', []),
  ];
  deployment = await startDeployment({ users, env: { WRIT_ADMIN_GROUP: 'writ-admins' } });
});
after(() => deployment.close());

const url = (path: string) => deployment.broker.url + path;
async function signedIn(name: string, path = '/locks') {
  const browser = openBrowser();
  const page = await signIn(browser, url(path), { email: `${name}@example.com`, password: demoPassword });
  return { browser, page };
}
/** Runs the command; on a terminal of its own where somebody answers. */
const writ = (token: string, args: string[], answers?: string) =>
  new Promise<{ code: number; out: string; err: string }>((done) => {
    const env = {
      ...compiled,
      PATH: process.env.PATH ?? '',
      WRIT_URL: deployment.broker.url,
      WRIT_ADMIN_TOKEN: token,
    };
    const command = [process.execPath, ...writFlags, writCommand, 'lock', ...args];
    const [file = '', ...rest] =
      answers === undefined ? command : ['script', '-qec', command.map((part) => `'${part}'`).join(' '), '/dev/null'];
    const child = execFile(file, rest, { env }, (error, out, err) =>
      done({ code: error === null ? 0 : Number(error.code), out: out.replaceAll('\r\n', '\n'), err }),
    );
    if (answers !== undefined) child.stdin?.write(answers);
  });

test('in the console, without a script: an admin locks, another lifts, nobody else sees the page', async () => {
  const agent = await deployment.openAgent();
  const { browser, page } = await signedIn('first');
  assert.match(page.html, /Nothing is locked\./);
  assert.match(page.html, /<optgroup label="A capability of an agent"><option value="capability invoice-bot\//);
  const nothing = await browser.submit(page, { target: '', reason: 'x' }, 'Lock it');
  assert.deepEqual([nothing.status, /Choose what to lock/.test(nothing.html)], [400, true]);
  const unsaid = await browser.submit(page, { target: 'agent invoice-bot', reason: ' ' }, 'Lock it');
  assert.match(unsaid.html, /Say why/);
  assert.match(unsaid.html, /<option value="agent invoice-bot" selected/, 'what was chosen stays chosen');
  const hostile = '<img src=x onerror=alert(1)> it “loops”';
  const locked = await browser.submit(page, { target: 'agent invoice-bot', reason: hostile }, 'Lock it');
  assert.equal(locked.url, url('/locks'));
  assert.match(locked.html, /One lock stands\./);
  assert.match(locked.html, /1 session ended/);
  assert.match(locked.html, /&lt;img src=x onerror=alert\(1\)> it “loops”/);
  assert.equal((await agent.call('POST', '/v1/session/heartbeat')).status, 401);
  assert.equal((await deployment.tokenRequest()).body.error, 'locked');
  assert.match((await browser.open(url('/'))).html, /One lock stands\..*href="\/locks"/s);
  assert.match((await browser.open(url(`/sessions/${agent.sessionId}`))).html, /an admin locked it/);

  const own = await browser.submit(locked, { reason: 'never mind' }, 'Lift it');
  assert.deepEqual([own.status, /Another admin than the one who set it/.test(own.html)], [403, true]);
  const outsider = await signedIn('outsider');
  assert.deepEqual([outsider.page.status, /invoice-bot/.test(outsider.page.html)], [403, false]);
  // A form of another site's, and one of an admin's that somebody else sends.
  const action = /action="(\/locks\/lck_\w+\/lift)"/.exec(locked.html)![1]!;
  const forged = {
    url: locked.url,
    status: 200,
    html: `<form method="post" action="${action}"><input type="hidden" name="csrf" value="x"></form>`,
  };
  const second = await signedIn('second');
  assert.equal((await second.browser.submit(forged, { reason: 'x' })).status, 403);
  assert.equal((await outsider.browser.submit(locked, { reason: 'x' }, 'Lift it')).status, 403);
  assert.match((await browser.open(url('/locks'))).html, /One lock stands\./);

  const lifted = await second.browser.submit(second.page, { reason: 'it is mended' }, 'Lift it');
  assert.match(lifted.html, /Nothing is locked\./);
  assert.match(lifted.html, /Lifted by .*second@example\.com.*it is mended/s);
  await deployment.openAgent();
});

test('in a terminal: the reason is asked for, how far it has come is told, and a second admin lifts it', async () => {
  deployment.clock.advance(1000);
  const agent = await deployment.openAgent();
  await agent.grant({ capability: 'read-customer-files' });
  const [first, second] = await Promise.all(
    ['first', 'second'].map(async (name) => (await signedIn(name)).browser.cookie('writ_login') ?? ''),
  );
  assert.match(
    (await writ(first!, ['agent', 'invoice-bot'])).err,
    /nobody is at the terminal to answer: give --reason/,
  );
  const asked = await writ(first!, ['agent', 'invoice-bot'], 'it loops\n');
  assert.equal(asked.code, 0, asked.out);
  assert.match(asked.out, /Why\? .*✔ the agent invoice-bot is locked: lck_\w{20}\n {2}2 sessions ended/s);
  const [, id] = /(lck_\w{20})/.exec(asked.out)!;
  const again = JSON.parse((await writ(first!, ['agent', 'invoice-bot', '--reason', 'x', '--json'])).out);
  assert.deepEqual([again.id, again.reason], [id, 'it loops'], 'the one that stands counts');
  const own = await writ(first!, ['lift', id!, '--reason', 'x']);
  assert.deepEqual([own.code, /Another admin than the one who set it/.test(own.err)], [1, true]);
  assert.match(
    (await writ(first!, ['agent', 'invoice-bto', '--reason', 'x'])).err,
    /subject: is not the name of an agent here/,
  );
  assert.equal((await writ(first!, ['agents', 'invoice-bot', '--reason', 'x'])).code, 2);
  const done = async () => {
    deployment.clock.advance(1000);
    return JSON.parse((await writ(first!, ['list', '--json'])).out)[0].done as boolean;
  };
  await until('nothing lives under it', done);
  const { out } = await writ(second!, ['list']);
  assert.match(
    out,
    new RegExp(`^✘ ${id} {2}the agent invoice-bot .*user:first@example\\.com: it loops\\n {2}2 sessions ended`),
  );
  assert.match(out, /nothing is left\n/);
  const lifted = await writ(second!, ['lift', 'agent', 'invoice-bot'], 'mended\n');
  assert.match(lifted.out, /✔ the agent invoice-bot is no longer locked; what was ended stays ended\n/);
  assert.match(
    (await writ(second!, ['list'])).out,
    new RegExp(`^· ${id} .*\\n {2}lifted .*user:second@example\\.com: mended\\n`),
  );
});

test('an admin ends one credential, and a session, from its page, and says why; nobody else can', async () => {
  deployment.clock.advance(1000);
  const agent = await deployment.openAgent();
  const given = [
    await agent.grant({ capability: 'read-customer-files' }),
    await agent.grant({ capability: 'read-customer-files' }),
  ].map(({ body }) => {
    assert.ok(body.lease, JSON.stringify(body));
    return body.lease.id;
  });
  const path = `/sessions/${agent.sessionId}`;
  const { browser, page } = await signedIn('first', path);
  assert.match(page.html, /<option value="session">this session and all it holds/);
  const unsaid = await browser.submit(page, { what: given[0]!, reason: '' }, 'End it');
  assert.deepEqual([unsaid.status, /Say why/.test(unsaid.html)], [400, true]);
  const one = await browser.submit(page, { what: given[0]!, reason: 'too wide' }, 'End it');
  assert.match(one.html, /is being revoked: an admin or the owner revoked it, “too wide”/);
  assert.equal((await agent.call('GET', '/v1/session')).body.session.status, 'active');
  const leases = await deployment.broker.store.prisma.lease.findMany({ where: { id: { in: given } } });
  assert.deepEqual(
    leases.map(({ id, status }) => [id, status === 'active']).toSorted(),
    given.map((id, n) => [id, n === 1]).toSorted(),
  );
  // Who started it may watch it.
  const owner = await signedIn('owner', path);
  assert.doesNotMatch(owner.page.html, /End it/);
  const action = `${path}/end`;
  const { csrf } = /name="csrf" value="(?<csrf>[^"]+)"/.exec(owner.page.html)?.groups ?? {};
  const forged = {
    url: owner.page.url,
    status: 200,
    html: `<form method="post" action="${action}"><input type="hidden" name="csrf" value="${csrf}"><input name="what"><input name="reason"></form>`,
  };
  assert.equal((await owner.browser.submit(forged, { what: 'session', reason: 'x' })).status, 404);
  const other = await deployment.openAgent();
  const elsewhere = { ...one, html: one.html.replaceAll(agent.sessionId, other.sessionId) };
  assert.equal((await browser.submit(elsewhere, { what: given[1]!, reason: 'x' }, 'End it')).status, 404);
  const ended = await browser.submit(one, { what: 'session', reason: 'done with it' }, 'End it');
  assert.match(ended.html, /The session ended: an admin or its owner ended it, “done with it”/);
  assert.doesNotMatch(ended.html, /End it/);
  const answer = await agent.call('POST', '/v1/grants', { capability: 'read-customer-files' });
  assert.deepEqual([answer.status, answer.body.code], [401, 'session_ended']);

  const headers = { cookie: `writ_login=${browser.cookie('writ_login')}` };
  const asFirst = (path: string, body?: object) => deployment.send('POST', path, { headers, body });
  assert.equal((await asFirst(`/v1/admin/sessions/${other.sessionId}/end`, { why: 'x' })).status, 400);
  assert.equal((await asFirst(`/v1/admin/sessions/${other.sessionId}/end`, { reason: 'by hand' })).status, 200);
  const [last] = await deployment.broker.store.prisma.auditEvent.findMany({
    where: { chain: other.sessionId, type: 'session.ended' },
  });
  assert.deepEqual(
    [last?.actor, last?.payload],
    ['user:first@example.com', { reason: 'ended_by_admin', because: 'by hand' }],
  );
});

const executablePath = '/usr/bin/chromium';
test('in a real browser on a phone, without JavaScript', {
  skip: existsSync(executablePath) ? false : 'no chromium here',
}, async () => {
  deployment.clock.advance(1000);
  await deployment.openAgent();
  const flags =
    '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync';
  const browser = await chromium.launch({ executablePath, args: flags.split(' ') });
  try {
    const context = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 390, height: 844 } });
    const page = await context.newPage();
    const faults: string[] = [];
    page.on('console', (message) => {
      if (message.type() === 'error') faults.push(message.text());
    });
    await page.goto(url('/locks?target=agent%20invoice-bot'));
    await page.fill('[name=email]', 'first@example.com');
    await page.fill('[name=password]', demoPassword);
    await page.click('button');
    await page.waitForURL(url('/locks?target=agent%20invoice-bot'));
    await page.fill('[name=reason]', 'it sends mail to strangers');
    await page.click('text=Lock it');
    await page.waitForURL(url('/locks'));
    assert.match(await page.innerText('main'), /One lock stands\.[\s\S]*sessions? ended/);
    const wide = await page
      .locator('body *:visible')
      .evaluateAll((all) => all.filter((e) => e.getBoundingClientRect().right > 391).length);
    assert.equal(wide, 0, 'nothing runs out of the screen');
    for (const control of await page.locator('button, select, textarea, a.button').all())
      assert.ok(((await control.boundingBox())?.height ?? 44) >= 44, await control.innerText());
    if (process.env.WRIT_SCREENSHOTS !== undefined) {
      await page.screenshot({ path: `${process.env.WRIT_SCREENSHOTS}/locks-phone.png`, fullPage: true });
      await page.setViewportSize({ width: 1180, height: 800 });
      await page.screenshot({ path: `${process.env.WRIT_SCREENSHOTS}/locks.png`, fullPage: true });
    }
    assert.deepEqual(faults, [], 'the policy blocks nothing that the page needs');
  } finally {
    await browser.close();
  }
});
