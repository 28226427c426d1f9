/** Break-glass as people meet it: pages and endpoints of a broker that really listens, and real passkeys. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { assertEventsFit } from '../audit/rows.test-support.ts';
import type { Broker } from '../compose/start.ts';
import { SoftwareAuthenticator } from '../people/passkeys/authenticator.test-support.ts';
import { signedIn } from '../people/signed-in.test-support.ts';
import { type Ground, prepareGround, source } from '../running.test-support.ts';
import { until } from '../until.test-support.ts';

const capabilities = `  ask-plain: { description: Ask for it., provider: plain, tasks: [work], tier: 3, max_ttl: 15m, break_glass: true }
`;

const run = promisify(execFile);
let ground: Ground;
let broker: Broker;
let url: string;
const logins: { [who: string]: { cookie: string; csrf: string } } = {};
const keys: { [who: string]: SoftwareAuthenticator } = {};

before(async () => {
  ground = await prepareGround([], 'localhost');
  ({ url } = ground);
  await writeFile(join(ground.manifests, 'agent.yaml'), source + capabilities);
  const env = { WRIT_ADMIN_GROUP: 'admins', WRIT_BREAK_GLASS_GROUP: 'on-call' };
  broker = await ground.start(env);
  for (const [who, groups] of [
    ['first', ['on-call']],
    ['second', ['on-call']],
    ['third', ['admins']],
    ['owner', ['billing']],
    ['outsider', []],
  ] as const) {
    const identity = { issuer: 'https://id.example', subject: who, groups: [...groups], aliases: [] };
    logins[who] = await signedIn(broker.store, identity, new Date(), 'fresh_oidc');
    if (groups.length > 0) keys[who] = await withPasskey(who);
  }
});
after(async () => {
  await assertEventsFit(broker.store);
  await broker.stop();
  await ground.close();
});

const post = (who: string, path: string, fields: Record<string, string>, headers: Record<string, string> = {}) =>
  fetch(url + path, {
    method: 'POST',
    redirect: 'manual',
    headers: { cookie: logins[who]!.cookie, origin: url, 'sec-fetch-site': 'same-origin', ...headers },
    body: new URLSearchParams({ csrf: logins[who]!.csrf, ...fields }),
  });
const page = async (who: string, path: string) => {
  const answer = await fetch(url + path, { headers: { cookie: logins[who]!.cookie } });
  return { status: answer.status, text: await answer.text() };
};
const call = async (who: string, method: string, path: string, body?: object) => {
  const headers = { cookie: logins[who]!.cookie, 'content-type': 'application/json' };
  const answer = await fetch(url + path, {
    method,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: (await answer.json()) as { [member: string]: never } };
};

async function withPasskey(who: string): Promise<SoftwareAuthenticator> {
  const key = new SoftwareAuthenticator(url);
  const { creation } = (await (await post(who, '/passkeys/options', { name: 'key' })).json()) as {
    creation: { token: string; options: Parameters<SoftwareAuthenticator['create']>[0] };
  };
  const made = JSON.stringify({ token: creation.token, response: key.create(creation.options) });
  assert.equal((await post(who, '/passkeys', { name: 'key', creation: made, assertion: '' })).status, 303);
  return key;
}

/** As our script does: asks what is to be signed, signs it, and sends the form. */
async function signedPost(who: string, path: string, fields: Record<string, string>, key = keys[who]!) {
  const options = path === '/break-glass' ? `${path}/options` : path.replace(/agree$/, 'options');
  const answer = await post(who, options, fields);
  if (answer.status !== 200) return { status: answer.status, said: ((await answer.json()) as { say: string }).say };
  const { assertion } = (await answer.json()) as {
    assertion: { token: string; options: Parameters<SoftwareAuthenticator['get']>[0] };
  };
  const signed = JSON.stringify({ token: assertion.token, response: key.get(assertion.options) });
  const taken = await post(who, path, { ...fields, assertion: signed });
  return { status: taken.status, location: taken.headers.get('location'), said: '' };
}

const wanted = {
  capability: 'scripted-agent/ask-plain',
  session: '',
  incident: 'INC-1',
  reason: 'it burns',
  minutes: '5',
};

test('asked, agreed, used, closed and reviewed on the pages; each step by whom it may be alone', async () => {
  const session = await ground.session();
  const asks = async () => (await session('/v1/grants', { capability: 'ask-plain' })).status;
  assert.equal(await asks(), 202);
  assert.match((await page('first', '/')).text, /break the glass/);
  assert.match((await page('first', '/break-glass')).text, /data-passkey="\/break-glass\/options"/);
  for (const who of ['owner', 'outsider']) {
    assert.doesNotMatch((await page(who, '/break-glass')).text, /data-passkey/);
    assert.equal((await post(who, '/break-glass/options', wanted)).status, 403);
  }
  // Without the form's token, from elsewhere, and without what a passkey signed.
  assert.equal((await post('first', '/break-glass', { ...wanted, csrf: 'x' })).status, 403);
  assert.equal((await post('first', '/break-glass', wanted, { 'sec-fetch-site': 'cross-site' })).status, 403);
  assert.equal((await post('first', '/break-glass', wanted)).status, 403);
  assert.equal(
    (await post('first', '/break-glass/options', { ...wanted, capability: 'scripted-agent/use-plain' })).status,
    400,
  );
  const { status, location } = await signedPost('first', '/break-glass', wanted);
  assert.equal(status, 303);
  const path = location!;
  assert.equal(await asks(), 202);

  assert.match((await page('second', '/')).text, /Somebody asks to break the glass/);
  assert.equal((await page('outsider', path)).status, 404);
  assert.doesNotMatch((await page('first', path)).text, /agree"/);
  assert.match((await page('second', path)).text, /INC-1.*it burns/s);
  assert.equal((await signedPost('first', `${path}/agree`, {})).status, 403);
  assert.equal((await post('second', `${path}/agree`, {})).status, 403);
  assert.equal((await signedPost('second', `${path}/agree`, {})).status, 303);

  const given = await session('/v1/grants', { capability: 'ask-plain' });
  assert.equal(given.status, 201);
  assert.deepEqual(((await given.json()) as { reasons: object[] }).reasons, [
    { code: 'break_glass', policy_id: `break_glass.${path.split('/').at(-1)}` },
  ]);
  assert.equal(ground.provider.alive().length, 1);
  assert.match((await page('owner', path)).text, /What was given by it.*ask-plain/s);
  assert.equal((await post('outsider', `${path}/close`, { reason: 'x' })).status, 404);
  assert.equal((await post('owner', `${path}/close`, { reason: 'the fire is out' })).status, 303);
  assert.equal(await asks(), 202);
  await until('it is revoked', async () => ground.provider.alive().length === 0);

  assert.match((await page('third', '/')).text, /to be reviewed/);
  assert.equal((await post('second', `${path}/review`, { words: 'fine' })).status, 403);
  assert.equal((await post('third', `${path}/review`, { words: ' ' })).status, 400);
  assert.equal((await post('third', `${path}/review`, { words: '<b>it was right</b>' })).status, 303);
  const last = (await page('third', path)).text;
  assert.match(last, /&lt;b>it was right&lt;\/b>|&lt;b&gt;it was right/);
  assert.doesNotMatch((await page('third', '/')).text, /to be reviewed/);
  // The worker counts, at each tick.
  await until('the worker counted', async () =>
    /writ_break_glass_open 0/.test(await (await fetch(`${url}/metrics`)).text()),
  );
});

test('the command lists, refuses, closes and reviews as a signed-in person; asking and agreeing lead to a browser', async () => {
  const writ = async (who: string, ...args: string[]) => {
    const token = who === 'bootstrap' ? broker.bootstrapToken! : logins[who]!.cookie.replace('writ_login=', '');
    const env = { ...process.env, WRIT_URL: url, WRIT_ADMIN_TOKEN: token };
    const command = join(import.meta.dirname, '../cli/writ.ts');
    return run(process.execPath, [command, 'break-glass', ...args], { env }).then(
      ({ stdout }) => ({ code: 0, said: stdout }),
      ({ code, stdout, stderr }) => ({ code: code as number, said: `${stdout}${stderr}` }),
    );
  };
  const refusedToAsk = await writ('first', 'ask');
  assert.deepEqual([refusedToAsk.code, refusedToAsk.said.includes(`${url}/break-glass\n`)], [1, true]);
  const id = (await signedPost('first', '/break-glass', wanted)).location!.split('/').at(-1)!;
  const refusedToAgree = await writ('second', 'agree', id);
  assert.deepEqual([refusedToAgree.code, refusedToAgree.said.includes(`${url}/break-glass/${id}\n`)], [1, true]);
  assert.match((await writ('second', 'agree', '../locks')).said, /is no break-glass/);
  assert.match(
    (await writ('first', 'list')).said,
    new RegExp(`\\? ${id}  scripted-agent: ask-plain  waits for another`),
  );
  assert.equal((await signedPost('second', `/break-glass/${id}/agree`, {})).status, 303);
  const session = await ground.session();
  assert.equal((await session('/v1/grants', { capability: 'ask-plain' })).status, 201);
  const listed = await writ('owner', 'list');
  assert.match(
    listed.said,
    new RegExp(`✘ ${id} .* open until .*\n  user:first and user:second, INC-1: it burns\n  1 given by it: 1 active`),
  );
  const [first] = JSON.parse((await writ('owner', 'list', '--json')).said) as { id: string; state: string }[];
  assert.deepEqual([first?.id, first?.state], [id, 'open']);
  // Who has nothing to do with it does not see it; the bootstrap token is nobody's.
  assert.doesNotMatch((await writ('outsider', 'list')).said, /bgl_/);
  assert.equal((await writ('outsider', 'close', id, '--reason', 'x')).code, 1);
  assert.match((await writ('bootstrap', 'close', id, '--reason', 'x')).said, /says nothing of who holds it/);
  assert.equal((await writ('third', 'review', id, '--reason', 'early')).code, 1, 'it is still open');
  const closed = await writ('owner', 'close', id, '--reason', 'over');
  assert.match(closed.said, new RegExp(`✔ ${id} gives nothing any more; 1 given by it: 1 revok(ing|ed)`));
  assert.match((await writ('owner', 'close', id, '--reason', 'again')).said, /neither open nor waiting/);
  assert.match((await writ('second', 'review', id, '--reason', 'mine')).said, /neither of the two/);
  assert.match((await writ('third', 'review', id, '--reason', 'it was right')).said, /is reviewed/);
  assert.match((await writ('third', 'list')).said, new RegExp(`· ${id} .* reviewed by user:third: it was right`));
  for (const wrong of [['close'], ['list', id], ['agree', id, id], ['open', id]])
    assert.equal((await writ('third', ...wrong)).code, 2);
});

test('the same by endpoints, for people alone', async () => {
  const asked = {
    agent: 'scripted-agent',
    capabilities: ['ask-plain'],
    incident: 'INC-2',
    reason: 'it burns',
  };
  type Begun = { token: string; options: Parameters<SoftwareAuthenticator['get']>[0] };
  const signed = async (who: string, path: string, body?: object) => {
    const begun = await call(who, 'POST', path, body);
    assert.equal(begun.status, 200, JSON.stringify(begun.body));
    const { token, options } = begun.body.assertion as unknown as Begun;
    return { token, response: keys[who]!.get(options) };
  };
  const agent = await ground.session();
  for (const path of ['/v1/break-glass', '/v1/break-glass/options'])
    assert.equal((await agent(path, asked)).status, 401);
  assert.equal((await call('outsider', 'POST', '/v1/break-glass/options', asked)).status, 403);
  const assertion = await signed('first', '/v1/break-glass/options', asked);
  const other = { ...asked, reason: 'another' };
  assert.equal((await call('first', 'POST', '/v1/break-glass', { ...other, assertion })).status, 403);
  const again = await signed('first', '/v1/break-glass/options', asked);
  const made = await call('first', 'POST', '/v1/break-glass', { ...asked, assertion: again });
  assert.equal(made.status, 201, JSON.stringify(made.body));
  const path = `/v1/break-glass/${made.body.id}`;
  assert.equal((await call('outsider', 'GET', path)).status, 404);
  const agreement = await signed('second', `${path}/options`);
  const opened = await call('second', 'POST', `${path}/agree`, { assertion: agreement });
  assert.deepEqual([opened.status, opened.body.state], [200, 'open']);
  const closed = await call('first', 'POST', `${path}/close`, { reason: 'over' });
  assert.deepEqual([closed.body.state, closed.body.ended_by], ['to_review', 'user:first']);
  assert.equal((await call('first', 'POST', `${path}/review`, { words: 'mine' })).status, 403);
  assert.equal((await call('owner', 'POST', `${path}/review`, { words: 'right' })).body.state, 'reviewed');
  const { break_glasses } = (await call('third', 'GET', '/v1/break-glass')).body as never as {
    break_glasses: object[];
  };
  assert.equal(break_glasses.length, 3);
});
