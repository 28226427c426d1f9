/**
 * Manifests as code, through the command and the public doors: a version that allows more waits for another
 * admin, whoever publishes it and however.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
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
const example = await readFile(join(import.meta.dirname, 'example/manifests/invoice-bot.yaml'), 'utf8');

let deployment: Deployment;
let folder: string;
let file: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'writ-manifests-'));
  file = join(folder, 'invoice-bot.yaml');
  await writeFile(file, example);
  const users = [user('first', ['writ-admins']), user('second', ['writ-admins']), user('outsider', ['billing'])];
  const env = { WRIT_MANIFEST_REVIEW: '1', WRIT_ADMIN_GROUP: 'writ-admins' };
  deployment = await startDeployment({ users, env });
});
after(async () => {
  await deployment.close();
  await rm(folder, { recursive: true });
});

interface Outcome {
  code: number;
  out: string;
  err: string;
}
/** Runs the command as somebody, on no terminal. */
const writ = (token: string, ...args: string[]): Promise<Outcome> =>
  new Promise((done) => {
    const env = { ...compiled, WRIT_URL: deployment.broker.url, WRIT_ADMIN_TOKEN: token };
    execFile(process.execPath, [...writFlags, writCommand, 'manifest', ...args], { env }, (error, out, err) =>
      done({ code: error === null ? 0 : Number(error.code), out, err }),
    );
  });
async function tokenOf(name: string): Promise<string> {
  const browser = openBrowser();
  await signIn(browser, `${deployment.broker.url}/approvals`, { email: `${name}@example.com`, password: demoPassword });
  return browser.cookie('writ_login') ?? '';
}
const waiting = async (token: string) => {
  const { out } = await writ(token, 'approve');
  return [...out.matchAll(/^(mpr_\w+) {2}(\S+)/gm)].map(([, id]) => id!);
};

test('what allows more waits for another person: of the folder, of the bootstrap token, of an admin', async () => {
  const { admin } = deployment;
  const published = await deployment.broker.store.prisma.agent.count();
  assert.equal(published, 0, 'the first version of the folder waits too');
  const [fromFolder] = await waiting(admin);
  const refused = await writ(admin, 'approve', fromFolder!, '--yes');
  assert.deepEqual(
    [refused.code, refused.out.includes('+ may now ask for read-customer-files')],
    [1, true],
    refused.err,
  );
  assert.match(refused.err, /bootstrap token says nothing of who holds it/);

  const first = await tokenOf('first');
  assert.equal((await writ(admin, 'approve')).code, 1, 'the bootstrap token has ended');
  const agreed = await writ(first, 'approve', fromFolder!, '--yes');
  assert.deepEqual([agreed.code, agreed.err], [0, '']);
  assert.match(agreed.out, /✔ invoice-bot: version 1 is in force\n$/);

  // Less is in force at once.
  await writeFile(file, example.replace('max_ttl: 15m', 'max_ttl: 5m'));
  const diff = await writ(first, 'diff', file, '--fail-on-widening');
  assert.deepEqual([diff.code, diff.err], [0, '']);
  assert.match(
    diff.out,
    /^- a credential of \S+ may now have 5m; before: 15m\n✔ allows no more than what is in force\n$/,
  );
  assert.match((await writ(first, 'publish', file)).err, /nobody is at the terminal.*--reason/);
  const narrowed = await writ(first, 'publish', file, '--reason', 'shorter');
  assert.match(narrowed.out, /version 2 is in force\n$/);

  // More waits, and whoever proposed it does not agree to it; going back to it waits too.
  const wider = await writ(first, 'rollback', 'invoice-bot', '1', '--reason', 'longer again');
  assert.match(
    wider.out,
    /^\+ a credential of \S+ may now have 15m; before: 5m\n✘ allows more than version 2\n· invoice-bot: it allows more, and waits/,
  );
  const [proposal] = await waiting(first);
  const own = await writ(first, 'approve', proposal!, '--yes');
  assert.deepEqual([own.code, /Another admin than the one who proposed it/.test(own.err)], [1, true], own.err);
  const outsider = await writ(await tokenOf('outsider'), 'approve', proposal!, '--yes');
  assert.equal(outsider.code, 1);
  const second = await tokenOf('second');
  assert.match((await writ(second, 'approve', proposal!, '--yes')).out, /version 3 is in force\n$/);
  assert.equal((await writ(second, 'show', 'invoice-bot')).out, example);
  assert.match((await writ(second, 'show', 'invoice-bot', '--at', '2')).out, /max_ttl: 5m/);

  const { out: history } = await writ(second, 'history', 'invoice-bot');
  const lines = history.trimEnd().split('\n');
  assert.match(
    lines[0]!,
    /^3 .*user:first@example\.com, agreed to by user:second@example\.com: longer again {2}\(in force\)$/,
  );
  assert.match(lines[1]!, /^2 .*user:first@example\.com: shorter$/);
  assert.match(
    lines[2]!,
    /^1 .*WRIT_MANIFEST_DIR, agreed to by user:first@example\.com: loaded from invoice-bot\.yaml$/,
  );
});

test('of two versions, one that was in force at a time, and a file: which allows more', async () => {
  const token = await tokenOf('second');
  const against = async (...more: string[]) => writ(token, 'diff', file, '--fail-on-widening', ...more);
  assert.equal((await against('--against', '2')).out, '✔ the same as version 2\n');
  assert.match((await against('--against', deployment.clock.now().toISOString())).out, /than version 3, in force at /);
  await writeFile(file, example.replace('max_ttl: 15m', 'max_ttl: 1h'));
  const wider = await against();
  assert.deepEqual([wider.code, wider.err], [1, '']);
  const json = JSON.parse((await against('--json')).out);
  assert.deepEqual([json.widens, json.changes[0].verdict], [true, 'widens']);
  assert.match((await against('--against', '9')).err, /has no such version/);
});

test('a refused version stays out of force, and a stale one as well', async () => {
  const token = await tokenOf('first');
  await writ(token, 'publish', file, '--reason', 'one');
  await writeFile(file, example.replace('max_ttl: 15m', 'max_ttl: 50m'));
  await writ(token, 'publish', file, '--reason', 'two');
  const [one, two] = await waiting(token);
  assert.equal((await writ(token, 'refuse', one!, '--reason', 'never mind')).out, `✔ ${one} is refused\n`);
  await writeFile(file, example.replace('max_ttl: 15m', 'max_ttl: 4m'));
  assert.match((await writ(token, 'publish', file, '--reason', 'less')).out, /version 4 is in force/);
  const second = await tokenOf('second');
  assert.match((await writ(second, 'approve')).out, /\(stale\)/);
  assert.match((await writ(second, 'approve', two!, '--yes')).err, /Another version is in force by now/);
  assert.match((await writ(second, 'approve', one!, '--yes')).err, /refused by user:first@example\.com/);
});

test('in the console another admin reads what would change, and agrees', async () => {
  const token = await tokenOf('first');
  await writeFile(file, example.replace('max_ttl: 15m', 'max_ttl: 45m'));
  await writ(token, 'publish', file, '--reason', 'by the page');
  const page = async (name: string) => {
    const browser = openBrowser();
    const start = `${deployment.broker.url}/agents/invoice-bot`;
    return { browser, page: await signIn(browser, start, { email: `${name}@example.com`, password: demoPassword }) };
  };
  // Of the team that answers for the agent: reads it, and agrees to nothing.
  const { html } = (await page('outsider')).page;
  assert.deepEqual([html.includes('by the page'), html.includes('Agree: put exactly')], [true, false]);
  const { browser, page: shown } = await page('second');
  assert.match(shown.html, /by the page.*widens.*45m/s);
  // The first form of that card; `submit` sends its hidden fields as they are.
  const agreed = await browser.submit(shown, {}, 'Agree');
  assert.equal(agreed.status, 200, agreed.html);
  assert.match(agreed.html, /in force.*agreed to by.*second@example\.com.*by the page/s);
  const { out } = await writ(token, 'history', 'invoice-bot');
  assert.match(out.split('\n')[0]!, /agreed to by user:second@example\.com: by the page {2}\(in force\)$/);
});

test('a token goes nowhere in the clear', async () => {
  const run = (url: string) =>
    new Promise<string>((done) => {
      const env = { ...compiled, WRIT_URL: url, WRIT_ADMIN_TOKEN: 'x' };
      execFile(
        process.execPath,
        [...writFlags, writCommand, 'manifest', 'history', 'a'],
        { env },
        (_error, _out, err) => done(err),
      );
    });
  assert.match(await run('http://writ.example.com'), /must begin with https/);
  assert.match(await run('nonsense'), /must be the address/);
  assert.match(await run(''), /WRIT_URL is not set/);
});
