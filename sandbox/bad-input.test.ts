/**
 * Whatever is sent gets a clear 4xx with the field's path, never a 500, and leaves the broker as it was
 * (docs/architecture.md, the flow). First what people and attackers send, item by item; then nonsense by the
 * thousand, made from the broker's own OpenAPI document.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { type Agent, type Deployment, type Reply, startDeployment } from './deployment.test-support.ts';

// Every run the same; another seed looks elsewhere.
fc.configureGlobal({ seed: 20261121 });

let deployment: Deployment;
let agent: Agent;
before(async () => {
  deployment = await startDeployment();
  agent = await deployment.openAgent();
});
after(() => deployment.close());

/**
 * A refusal as every refusal must be: problem+json or OAuth's JSON, a stable code, and for 400 the path of
 * the field.
 */
function assertRefusal(reply: Reply, why: string, status?: number, path?: string): void {
  const shown = `${why}: ${reply.status} ${reply.text.slice(0, 300)}`;
  assert.ok(reply.status >= 400 && reply.status < 500, shown);
  if (status !== undefined) assert.equal(reply.status, status, shown);
  assert.match(reply.headers.get('content-type') ?? '', /^application\/(problem\+)?json/, shown);
  assert.equal(typeof reply.body.code, 'string', shown);
  assert.equal(reply.body.status as unknown, reply.status, shown);
  assert.match(String(reply.body.request_id), /^req_/, shown);
  if (path !== undefined) {
    assert.ok(
      reply.body.errors?.some((fault) => fault.path === path),
      shown,
    );
  }
  assert.ok(!/node_modules|at \w+ \(|SELECT |prisma/i.test(reply.text), `${shown} tells of the inside`);
}

const post = (body: unknown, headers: { [name: string]: string } = {}) =>
  agent.call('POST', '/v1/grants', body, { 'content-type': 'application/json', ...headers });

test('bodies that are not JSON objects', async () => {
  for (const body of [
    '{',
    '{"capability":',
    'null',
    '1',
    '"x"',
    '[]',
    '[{}]',
    '{"a":1}x',
    "{'a':1}",
    '\u0000',
    '\ufeff{}',
    '{"capability": NaN}',
  ])
    assertRefusal(await post(body), JSON.stringify(body), 400);
  assertRefusal(await post(''), 'empty', 400);
  assertRefusal(await agent.call('POST', '/v1/grants'), 'none', 400);
});

test('every field of every kind is typed, and the answer names it', async () => {
  const wrong: { [field: string]: unknown[] } = {
    capability: [
      undefined,
      null,
      1,
      true,
      [],
      {},
      '',
      'x'.repeat(64),
      'no-such-capability',
      '__proto__',
      'constructor',
      'toString',
    ],
    params: [null, 1, 'x', [], true],
    ttl_seconds: [0, -1, 1e9, 1.5, '60', null, [], {}, 2 ** 53, -0.0001],
    justification: [1, null, [], {}, 'x'.repeat(2001)],
    credential_jwk: [1, null, [], 'x', {}, { kty: 'oct' }],
    unknown_member: [1],
    grant: [{}],
  };
  for (const [field, values] of Object.entries(wrong)) {
    for (const value of values) {
      const reply = await post({ capability: 'read-policy-repository', [field]: value });
      assertRefusal(reply, `${field} = ${JSON.stringify(value)}`, 400, field);
    }
  }
  const params: [unknown, string][] = [
    [{ no_such: 1 }, 'params.no_such'],
    [{ bucket: 1 }, 'params.bucket'],
    [{ bucket: { $ne: 1 } }, 'params.bucket'],
    [{ __proto__x: 1 }, 'params.__proto__x'],
    [{ constructor: { prototype: {} } }, 'params.constructor'],
  ];
  for (const [value, path] of params) {
    const reply = await post({ capability: 'read-customer-files', params: value });
    if (reply.status === 403) assert.equal(reply.body.reasons?.[0]?.path, path);
    else assertRefusal(reply, path, 400, path);
  }
});

test('a number beyond what a double holds is refused by its path, wherever it stands', async () => {
  const key =
    '"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"';
  for (const [body, path] of [
    ['{"capability":"read-customer-files","params":{"bucket":1e400}}', 'params.bucket'],
    [
      '{"capability":"read-policy-repository","params":{"permissions":{"contents":-1e400}}}',
      'params.permissions.contents',
    ],
    ['{"capability":"read-customer-files","params":{"list":[1,[2,1e999]]}}', 'params.list[1][1]'],
    [`{"capability":"read-customer-files","credential_jwk":{${key},"kid":1e400}}`, 'credential_jwk.kid'],
    ['{"capability":"read-customer-files","ttl_seconds":1e400}', 'ttl_seconds'],
  ] as const)
    assertRefusal(await post(body), body, 400, path);
  const declared = '[{"type":"task","task_type":"answer-invoice-question","inputs":{"customer_id":1e400}}]';
  const refused = await deployment.tokenRequest({ form: { authorization_details: declared } });
  assertRefusal(refused, declared, 400);
});

test('bodies of ten megabytes are refused without being read, and the connection serves on', async () => {
  const size = 10 * 1024 * 1024;
  for (const [path, type] of [
    ['/v1/grants', 'application/json'],
    ['/oauth/token', 'application/x-www-form-urlencoded'],
    ['/v1/admin/manifests/invoice-bot?reason=x', 'application/yaml'],
  ] as const) {
    const status = await upload(path, type, size, {
      authorization: `Bearer ${path.includes('admin') ? deployment.admin : agent.token}`,
    });
    assert.equal(status, 413, path);
  }
  assertRefusal(await post(JSON.stringify({ justification: 'x'.repeat(70_000) })), '70 kB', 413);
  assertRefusal(await post(JSON.stringify({ x: 1 }), { 'content-encoding': 'gzip' }), 'gzip', 415);
  assertRefusal(await post(JSON.stringify({ x: 1 }), { 'content-encoding': 'zstandard' }), 'unknown coding', 415);
});

/** Sends `size` bytes as long as the server takes them. @returns the status */
function upload(path: string, type: string, size: number, headers: { [name: string]: string }): Promise<number> {
  return new Promise((resolve, reject) => {
    const method = path.includes('admin') ? 'PUT' : 'POST';
    const sending = httpRequest(new URL(path, deployment.broker.url), {
      method,
      headers: { 'content-type': type, 'content-length': size, 'if-none-match': '*', ...headers },
    });
    sending.once('response', (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
      sending.destroy();
    });
    sending.on('error', (error: NodeJS.ErrnoException) => {
      if (!['ECONNRESET', 'EPIPE'].includes(error.code ?? '')) reject(error);
    });
    sending.write(Buffer.alloc(64 * 1024, 'x'));
    sending.write(Buffer.alloc(size - 64 * 1024, 'x'));
  });
}

const nasty = {
  NUL: 'a\u0000b',
  bell: 'a\u0007b',
  escape: '\u001b[31mred',
  DEL: 'a\u007fb',
  'C1 control': 'a\u0085b',
  'right-to-left override': 'a\u202eb',
  isolate: 'a\u2066b',
  'half a character': 'a\ud800b',
  'the other half': 'a\udc00b',
};
const fine = {
  umlauts: 'Grüße',
  emoji: '👩‍💻 please',
  CJK: '請求書',
  SQL: `'; DROP TABLE grants; --`,
  Cedar: `permit(principal, action, resource); // "`,
  YAML: `a: &x [*x]\n- !!js/function 'x'`,
  HTML: `<script>alert(1)</script><img src=x onerror=alert(1)>`,
  template: `\${inputs.customer_id} {{x}} #{x} %s %n`,
};

test('control characters and half characters are refused by name in every text; other text is text', async () => {
  for (const [why, text] of Object.entries(nasty)) {
    assertRefusal(
      await post({ capability: 'read-policy-repository', justification: text }),
      `justification, ${why}`,
      400,
      'justification',
    );
    assertRefusal(await post({ capability: text }), `capability, ${why}`, 400, 'capability');
    assertRefusal(
      await post({ capability: 'read-customer-files', params: { bucket: text } }),
      `params, ${why}`,
      400,
      'params.bucket',
    );
    assertRefusal(
      await post({ capability: 'read-customer-files', params: { [text]: 'x' } }),
      `member name, ${why}`,
      400,
    );
    const task = { inputs: { customer_id: text } };
    // What JSON does not escape is seen in the form's field already.
    const within = (path: string) =>
      JSON.stringify(text).includes('\\') ? `authorization_details[0].${path}` : 'authorization_details';
    assertRefusal(await deployment.tokenRequest({ task }), `input, ${why}`, 400, within('inputs.customer_id'));
    const name = { inputs: { customer_id: '42', [text]: 'x' } };
    assertRefusal(await deployment.tokenRequest({ task: name }), `input name, ${why}`, 400);
    const person = { on_behalf_of: `user:${text}` };
    assertRefusal(await deployment.tokenRequest({ task: person }), `on_behalf_of, ${why}`, 400, within('on_behalf_of'));
    const reason = new URLSearchParams({ reason: text });
    if (text.isWellFormed())
      assertRefusal(
        await deployment.asAdmin('PUT', `/v1/admin/manifests/invoice-bot?${reason}`, {
          body: 'x',
          headers: { 'content-type': 'application/yaml', 'if-none-match': '*' },
        }),
        `reason, ${why}`,
        400,
        'reason',
      );
  }
  for (const [index, [why, text]] of Object.entries(fine).entries()) {
    // Of one plan there is one request that waits, in the words in which it was asked first.
    const ttl_seconds = 300 + index;
    const reply = await post({ capability: 'correct-customer-invoice', justification: text, ttl_seconds });
    assert.equal(reply.status, 202, `${why}: ${reply.text}`);
    const row = await deployment.broker.store.prisma.grant.findUniqueOrThrow({ where: { id: reply.body.id } });
    assert.equal(row.justification, text);
    const widened = await post({ capability: 'read-customer-files', params: { prefix: text } });
    assert.ok([400, 403].includes(widened.status), `${why}: ${widened.text}`);
    assertRefusal(await post({ capability: text }), why, 400, 'capability');
    assertRefusal(
      await deployment.tokenRequest({ task: { inputs: { customer_id: text } } }),
      why,
      400,
      'authorization_details[0].inputs.customer_id',
    );
    assertRefusal(
      await deployment.tokenRequest({ task: { task_type: text } }),
      why,
      400,
      'authorization_details[0].task_type',
    );
  }
  const approver = await deployment.approver();
  const justification = fine.HTML;
  const pending = await post({ capability: 'correct-customer-invoice', justification, ttl_seconds: 299 });
  const page = await approver.page(`/approvals/${pending.body.id}`);
  assert.equal(page.status, 200);
  assert.ok(!page.html.includes('<script>alert') && page.html.includes('&lt;script'), 'shown as text');
  const denied = await approver.decide(pending.body.id, { verdict: 'deny', reason: nasty.NUL });
  assert.equal(denied.status, 400);
});

test('what a JSON reader may trip over', async () => {
  const depth = `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`;
  const lists = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
  assertRefusal(await post(`{"capability":"read-statements","params":${depth}}`), 'deep', 400);
  assertRefusal(await post(`{"capability":"read-statements","params":{"a":${lists}}}`), 'deep lists', 400);
  assertRefusal(await post('{"capability":"read-statements","__proto__":{"ttl_seconds":1}}'), '__proto__', 400);
  assertRefusal(
    await post('{"capability":"read-customer-files","params":{"__proto__":{"bucket":"payroll"}}}'),
    'params.__proto__',
    400,
  );
  assertRefusal(await post('{"capability":"read-statements","constructor":{"prototype":{"x":1}}}'), 'constructor', 400);
  assertRefusal(await post('{"capability":"\\ud800"}'), 'escaped half', 400, 'capability');
  assertRefusal(await post('{"capability":"\\u0000"}'), 'escaped NUL', 400, 'capability');
  assert.equal(({} as { x?: number }).x, undefined, 'no prototype was touched');
  // Of two members with one name, others may take the one that was not checked.
  const twice = await post(
    '{"capability":"read-policy-repository","params":{"repositories":["orders"]},"params":{"repositories":["payroll"]}}',
  );
  assertRefusal(twice, 'twice', 400);
  for (const details of [
    '',
    '{',
    'null',
    '[]',
    '[{},{}]',
    '{"type":"task"}',
    `[${'{"a":'.repeat(1000)}1${'}'.repeat(1000)}]`,
    '[{"type":"task","__proto__":{}}]',
    '\u0000',
  ])
    assertRefusal(
      await deployment.tokenRequest({ form: { authorization_details: details } }),
      `details ${details.slice(0, 20)}`,
      400,
    );
});

test('Idempotency-Key, ids and query parameters', async () => {
  for (const key of ['', ' ', 'x'.repeat(256), 'a b', 'grüße', 'a\tb'])
    assertRefusal(
      await post({ capability: 'read-policy-repository' }, { 'idempotency-key': Buffer.from(key).toString('latin1') }),
      `key ${JSON.stringify(key)}`,
      400,
      'Idempotency-Key',
    );
  const sql = await post(
    { capability: 'read-policy-repository' },
    { 'idempotency-key': `';DROP/**/TABLE/**/grants;--` },
  );
  assert.equal(sql.status, 201, sql.text);
  for (const id of [
    'x',
    'gnt_',
    `gnt_${'0'.repeat(21)}`,
    'gnt_00000000000000000000',
    '%00',
    '%2e%2e%2fsession',
    '..%2f..%2fetc%2fpasswd',
    `'%20OR%201=1--`,
    '%F0%9F%98%80',
  ])
    assertRefusal(await agent.call('GET', `/v1/grants/${id}`), `id ${id}`, 404);
  for (const id of ['%', '%zz', '%ff', '%c0%af'])
    assertRefusal(await agent.call('GET', `/v1/grants/${id}`), `id ${id}`);
  const known = (await post({ capability: 'read-policy-repository' })).body.id;
  for (const wait of ['-1', '61', '1.5', 'x', '1e9', '1&wait=2', '', '0x10', '%201', '1e1', '1_0', 'Infinity'])
    assertRefusal(await agent.call('GET', `/v1/grants/${known}?wait=${wait}`), `wait=${wait}`, 400, 'wait');
  assertRefusal(await agent.call('GET', `/v1/grants/${known}?more=1`), 'unknown query', 400, 'more');
  assertRefusal(await agent.call('GET', `/v1/grants/${known}?wait[$gt]=1`), 'object in query', 400);
  assertRefusal(await deployment.asAdmin('GET', '/v1/admin/leases?status=all'), 'status', 400, 'status');
  assertRefusal(await deployment.asAdmin('GET', '/v1/admin/manifests/invoice-bot?at=yesterday'), 'at', 400, 'at');
  for (const at of ['0000-01-01T00:00:00Z', '2026-02-30T00:00:00Z', '9999-12-31T23:59:60Z'])
    assertRefusal(await deployment.asAdmin('GET', `/v1/admin/manifests/invoice-bot?at=${at}`), at, 400, 'at');
  for (const version of ['99999999999', '0', '1.5', 'x'])
    assertRefusal(
      await deployment.asAdmin('GET', `/v1/admin/manifests/invoice-bot?version=${version}`),
      version,
      400,
      'version',
    );
  const events = `/v1/admin/sessions/${agent.sessionId}/events`;
  assertRefusal(await deployment.asAdmin('GET', `${events}?after=99999999999`), 'after', 400, 'after');
  assertRefusal(await deployment.asAdmin('GET', '/v1/admin/manifests/..%2f..'), 'agent name', 404);
});

test('what belongs to another agent, or to another session of the same one, does not exist', async () => {
  const mine = await post({ capability: 'read-policy-repository' });
  const parked = await post({ capability: 'correct-customer-invoice' });
  const sister = await deployment.openAgent();
  for (const id of [mine.body.id, parked.body.id]) {
    assertRefusal(await sister.call('GET', `/v1/grants/${id}`), 'read', 404);
    assertRefusal(await sister.call('POST', `/v1/grants/${id}/redeem`), 'redeem', 404);
  }
  assert.ok(!(await sister.call('GET', '/v1/session')).text.includes(mine.body.id));
  for (const [method, path] of [
    ['POST', `/v1/admin/sessions/${sister.sessionId}/end`],
    ['GET', `/v1/admin/sessions/${sister.sessionId}/events`],
    ['GET', '/v1/admin/leases'],
    ['POST', '/v1/admin/keys/rotate'],
  ] as const)
    assertRefusal(await sister.call(method, path), path, 401);
});

test('platform tokens that do not hold', async () => {
  const { world } = deployment;
  const claims = {
    sub: 'repo:example-org/agents',
    repository_id: '4711',
    environment: 'production',
    actor: 'owner@example.com',
  };
  const right = { ...claims, aud: deployment.broker.url };
  const now = Math.floor(deployment.clock.now().getTime() / 1000);
  const mint = world.platform.mint;
  const tokens: { [why: string]: Promise<string> | string } = {
    expired: mint({ ...right, iat: now - 900, exp: now - 600 }),
    'wrong audience': mint({ ...right, aud: 'https://other.example.com' }),
    'no audience': mint(claims),
    'wrong issuer': mint({ ...right, iss: 'https://issuer.example.com' }),
    'issuer with a slash': mint({ ...right, iss: `${world.platform.issuer}/` }),
    'alg none': mint(right, { forge: 'alg_none' }),
    'a public key as a secret': mint(right, { forge: 'hs256_with_public_key' }),
    'a foreign key': mint(right, { forge: 'foreign_key' }),
    'a changed payload': mint(right, { forge: 'tampered_payload' }),
    'no exp': mint(right, { without: ['exp'] }),
    'no iat': mint(right, { without: ['iat'] }),
    'no sub': mint(right, { without: ['sub'] }),
    'not yet': mint({ ...right, nbf: now + 600 }),
    'from the future': mint({ ...right, iat: now + 600, exp: now + 900 }),
    'exp in text': mint({ ...right, exp: String(now + 300) }),
    'exp without end': mint({ ...right, exp: 1e300 }),
    'a key id from elsewhere': mint(right, { header: { kid: '../../etc/passwd' } }),
    'a URL of keys of its own': mint(right, { header: { jku: 'http://127.0.0.1:1/', kid: 'x' } }),
    'a critical header': mint(right, { header: { crit: ['x'], x: 1 } }).catch(() => 'a.b.c'),
    'control characters': mint({ ...right, actor: 'a\u0000b' }),
    'not a token': 'x',
    dots: '...',
    long: 'x'.repeat(20_001),
    'no text': '',
  };
  for (const [why, token] of Object.entries(tokens)) {
    const reply = await deployment.tokenRequest({ subjectToken: await token });
    assertRefusal(reply, why, 400);
    assert.equal(reply.body.error, reply.body.code, why);
    assert.ok(['invalid_grant', 'invalid_request'].includes(reply.body.error), why);
  }
});

test('the token endpoint’s own parameters', async () => {
  const cases: [form: { [name: string]: string }, code: string][] = [
    [{ grant_type: 'password' }, 'unsupported_grant_type'],
    [{ grant_type: '' }, 'invalid_request'],
    [{ subject_token_type: 'x' }, 'invalid_request'],
    [{ requested_token_type: 'x' }, 'invalid_request'],
    [{ audience: 'https://other.example.com' }, 'invalid_target'],
    [{ resource: 'https://other.example.com' }, 'invalid_target'],
    [{ dpop_jkt: 'x' }, 'invalid_request'],
  ];
  for (const [form, code] of cases) {
    const reply = await deployment.tokenRequest({ form });
    assertRefusal(reply, JSON.stringify(form), 400);
    assert.equal(reply.body.error, code, reply.text);
    assert.equal(typeof reply.body.error_description, 'string');
  }
  const twice = new URLSearchParams([
    ['grant_type', 'client_credentials'],
    ['grant_type', 'client_credentials'],
    ['authorization_details', '[]'],
  ]);
  assertRefusal(await deployment.send('POST', '/oauth/token', { body: twice }), 'a parameter twice', 400);
  assertRefusal(
    await deployment.send('POST', '/oauth/token', { body: '{}', headers: { 'content-type': 'application/json' } }),
    'JSON',
    415,
  );
  assertRefusal(await deployment.send('POST', '/oauth/token'), 'nothing', 400);
  const many = new URLSearchParams(Array.from({ length: 100 }, (_, i) => [`x${i}`, '1']));
  assertRefusal(await deployment.send('POST', '/oauth/token', { body: many }), 'many parameters', 413);
  const form = 'application/x-www-form-urlencoded';
  const same = await deployment.send('POST', '/oauth/token', {
    body: 'a&'.repeat(32_000),
    headers: { 'content-type': form },
  });
  assertRefusal(same, 'one parameter very often', 413);
  const utf7 = { body: 'grant_type=x', headers: { 'content-type': `${form}; charset=utf-7` } };
  assertRefusal(await deployment.send('POST', '/oauth/token', utf7), 'another charset', 415);
});

test('manifests', async () => {
  const source = await readFile(join(import.meta.dirname, 'example/manifests/invoice-bot.yaml'), 'utf8');
  const current = async () => (await deployment.asAdmin('GET', '/v1/admin/manifests/invoice-bot')).body.version;
  const version = await current();
  const bad: { [why: string]: string } = {
    empty: '',
    'not YAML': '{ a: [',
    'a list': '- a',
    'a number': '1',
    NUL: source.replace('Answers', 'A\u0000nswers'),
    bell: source.replace('Answers', 'A\u0007nswers'),
    'an override': source.replace('Answers', 'A\u202enswers'),
    'another agent': source.replace('agent: invoice-bot', 'agent: other-bot'),
    'an unknown member': `${source}\nadmin: true\n`,
    'an alias bomb': `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n`,
    'a tag': `agent: !!js/function 'x'\n${source}`,
    'a prototype': `${source}\n__proto__: { a: 1 }\n`,
    'two documents': `${source}\n---\n${source}`,
    'a costly pattern': source.replace('[0-9]{1,12}', '(a+)+$'),
    'Cedar in a name': source.replaceAll('read-statements', 'read"; permit(principal, action, resource); //'),
    deep: `${source}\nx: ${'['.repeat(3000)}${']'.repeat(3000)}\n`,
  };
  for (const [why, text] of Object.entries(bad)) {
    const reply = await deployment.publish('invoice-bot', text);
    if (why === 'a costly pattern' && reply.status === 200) {
      assert.equal((await deployment.publish('invoice-bot', source)).status, 200, 'linear-time matching may take it');
      continue;
    }
    assertRefusal(reply, why);
    assert.ok([400, 422].includes(reply.status), `${why}: ${reply.status}`);
  }
  assert.ok(Number(await current()) - Number(version) <= 2);
  assertRefusal(
    await deployment.asAdmin('PUT', '/v1/admin/manifests/invoice-bot?reason=x', {
      body: source,
      headers: { 'content-type': 'application/yaml' },
    }),
    'no If-Match',
    428,
  );
  for (const etag of ['"invoice-bot-0"', '*', 'x', '"other-bot-1"', '"invoice-bot-99999999999999"'])
    assertRefusal(
      await deployment.asAdmin('PUT', '/v1/admin/manifests/invoice-bot?reason=x', {
        body: source,
        headers: { 'content-type': 'application/yaml', 'if-match': etag },
      }),
      etag,
      412,
    );
  assertRefusal(
    await deployment.asAdmin('PUT', '/v1/admin/manifests/invoice-bot?reason=x', {
      body: source,
      headers: { 'content-type': 'image/png', 'if-none-match': '*' },
    }),
    'a picture',
    415,
  );
});

test('methods, media types, headers and paths', async () => {
  for (const [method, path, allow] of [
    ['GET', '/oauth/token', 'POST'],
    ['DELETE', '/v1/grants', 'POST'],
    ['PATCH', '/v1/session', 'GET'],
    ['PUT', '/v1/session/end', 'POST'],
    ['POST', '/.well-known/jwks.json', 'GET'],
  ] as const) {
    const reply = await agent.call(method, path);
    assertRefusal(reply, `${method} ${path}`, 405);
    assert.ok(reply.headers.get('allow')?.includes(allow), path);
  }
  for (const type of ['text/plain', 'application/xml', 'multipart/form-data; boundary=x', 'application/jsonx', 'x'])
    assertRefusal(await post('{"capability":"read-statements"}', { 'content-type': type }), type, 415);
  assertRefusal(
    await post('{"capability":"read-statements"}', { 'content-type': 'application/json; charset=latin1' }),
    'charset',
    415,
  );
  for (const path of [
    '/v1',
    '/v1/',
    '/nowhere',
    '/v1/grants/',
    '//v1/session',
    '/V1/session/x',
    '/.env',
    '/.git/config',
    '/assets/../../package.json',
    '/assets/..%2f..%2fpackage.json',
    '/errors/..%2f..',
    '/errors/__proto__',
    '/errors/constructor',
  ]) {
    const reply = await deployment.send('GET', path);
    assert.ok(reply.status >= 400 && reply.status < 500, `${path}: ${reply.status}`);
    assert.ok(!reply.text.includes('"devDependencies"'), path);
  }
  assert.ok(
    (await raw('GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')).startsWith('HTTP/1.1 4'),
  );
  assert.match(
    await raw(`GET /v1/session HTTP/1.1\r\nHost: x\r\nX-Big: ${'x'.repeat(40_000)}\r\n\r\n`),
    /^HTTP\/1.1 431/,
  );
  assert.match(
    await raw(
      'POST /v1/grants HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ),
    /^HTTP\/1.1 400/,
  );
  assert.match(await raw('GARBAGE\r\n\r\n'), /^HTTP\/1.1 400/);
  const head = await deployment.send('HEAD', '/.well-known/jwks.json');
  assert.deepEqual([head.status, head.text], [200, '']);
  const preflight = await deployment.send('OPTIONS', '/v1/grants', {
    headers: { origin: 'https://evil.example.com', 'access-control-request-method': 'POST' },
  });
  assert.ok(preflight.status < 500);
  assert.equal(preflight.headers.get('access-control-allow-origin'), null, 'no page of another site may call');
  for (const authorization of [
    'Bearer',
    'Bearer ',
    'Basic eDp5',
    'bearer x y',
    `Bearer ${'x'.repeat(10_000)}`,
    'DPoP x',
    '\u00ff',
  ])
    assertRefusal(
      await deployment.send('GET', '/v1/session', { headers: { authorization } }),
      authorization.slice(0, 20),
      401,
    );
});

function raw(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(deployment.broker.url).port), '127.0.0.1', () => socket.write(text));
    let got = '';
    socket.setEncoding('utf8').on('data', (chunk) => {
      got += chunk;
      socket.end();
    });
    socket.once('close', () => resolve(got)).once('error', reject);
  });
}

test('X-Forwarded-* is believed from nobody', async () => {
  const forwarded = {
    'x-forwarded-host': 'evil.example.com',
    'x-forwarded-proto': 'https',
    'x-forwarded-for': '203.0.113.7',
    forwarded: 'host=evil.example.com',
  };
  const metadata = await deployment.send('GET', '/.well-known/oauth-authorization-server', { headers: forwarded });
  assert.equal(metadata.body.issuer, deployment.broker.url);
  const parked = await post({ capability: 'correct-customer-invoice' }, forwarded);
  assert.ok(parked.body.approval_url.startsWith(`${deployment.broker.url}/`));
  const login = await deployment.send('GET', '/approvals', { headers: forwarded });
  assert.ok(!login.text.includes('evil.example.com') && !(login.headers.get('location') ?? '').includes('evil'));
  // Nor does a made-up address escape the limit per address.
  const small = await startDeployment({ env: { WRIT_REQUESTS_PER_MINUTE: '3' } });
  try {
    const statuses: number[] = [];
    for (let i = 0; i < 5; i += 1)
      statuses.push(
        (await small.send('GET', '/openapi.json', { headers: { 'x-forwarded-for': `203.0.113.${i}` } })).status,
      );
    assert.deepEqual(statuses, [200, 200, 200, 429, 429]);
    const token = await small.send('POST', '/oauth/token', { body: new URLSearchParams({ grant_type: 'x' }) });
    assert.deepEqual([token.status, token.body.error], [429, 'rate_limited'], 'in the form that OAuth clients read');
    assert.match(token.headers.get('content-type') ?? '', /^application\/json/);
    assert.equal((await small.send('GET', '/healthz')).status, 200, 'health is always told');
  } finally {
    await small.close();
  }
});

interface Described {
  paths: {
    [path: string]: {
      [method: string]: {
        security?: object[];
        requestBody?: { content: { [type: string]: { schema: { properties?: { [name: string]: unknown } } } } };
        parameters: { name: string; in: string }[];
      };
    };
  };
}

test('nonsense by the thousand to every operation of /openapi.json', async () => {
  const { paths } = JSON.parse((await deployment.send('GET', '/openapi.json')).text) as Described;
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, described]) => ({ path, method: method.toUpperCase(), ...described })),
  );
  assert.ok(operations.length >= 18, `${operations.length} operations`);
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom(
      ...Object.values(nasty),
      ...Object.values(fine),
      '__proto__',
      'constructor',
      '../..',
      '*',
      '%00',
      '',
    ),
  );
  const value = fc.oneof(
    { arbitrary: fc.jsonValue({ maxDepth: 3 }), weight: 2 },
    { arbitrary: text, weight: 2 },
    {
      arbitrary: fc.oneof(fc.integer(), fc.double(), fc.constantFrom(null, true, [], {}, 1e308, -0)),
      weight: 1,
    },
  );
  for (const operation of operations) {
    // What would end the session or the keys for the others is tried without the right to.
    const harmful = /\/end|\/revoke|keys\/rotate/.test(operation.path);
    const [type = null] = Object.keys(operation.requestBody?.content ?? {});
    const names = Object.keys(operation.requestBody?.content[type ?? '']?.schema.properties ?? {});
    const members = fc.dictionary(
      names.length === 0 ? text : fc.oneof(fc.constantFrom(...names), fc.constantFrom(...names), text),
      value,
      { maxKeys: 5 },
    );
    const shot = fc.record({
      caller: harmful ? fc.constant('nobody') : fc.constantFrom('nobody', 'agent', 'admin'),
      body: fc.oneof({ arbitrary: members, weight: 4 }, { arbitrary: value, weight: 1 }),
      id: text,
      query: fc.dictionary(
        fc.oneof(fc.constantFrom('wait', 'limit', 'after', 'at', 'version', 'reason', 'status'), text),
        text,
        { maxKeys: 2 },
      ),
      key: fc.stringMatching(/^[\x20-\x7e]{0,40}$/),
    });
    await fc.assert(
      fc.asyncProperty(shot, async ({ caller, body, id, query, key }) => {
        const path = operation.path.replace(/\{\w+\}/g, () => encodeURIComponent(id.toWellFormed()));
        const search = new URLSearchParams(
          Object.entries(query).map(([name, text]) => [name.toWellFormed(), text.toWellFormed()]),
        );
        const headers: { [name: string]: string } = { 'idempotency-key': key };
        if (caller !== 'nobody')
          headers.authorization = `Bearer ${caller === 'admin' ? deployment.admin : agent.token}`;
        const message: { headers: { [name: string]: string }; body?: unknown } = { headers };
        if (type !== null) {
          headers['content-type'] = type;
          message.body =
            type === 'application/x-www-form-urlencoded'
              ? new URLSearchParams(
                  Object.entries(Object(body)).map(([name, member]) => [
                    name.toWellFormed(),
                    String(typeof member === 'string' ? member : JSON.stringify(member)).toWellFormed(),
                  ]),
                )
              : JSON.stringify(body);
        }
        const reply = await deployment.send(operation.method, `${path}?${search}`, message);
        const what = `${operation.method} ${path} as ${caller}`;
        assert.ok(reply.status < 500, `${what}: ${reply.status} ${reply.text.slice(0, 300)}`);
        if (reply.status < 400) return;
        assertRefusal(reply, what);
        if (reply.body.code === 'bad_request')
          assert.ok(
            reply.body.errors?.every((fault) => typeof fault.path === 'string'),
            what,
          );
      }),
      { numRuns: 40, seed: 8 },
    );
  }
});

test('nonsense in the right place: tasks and grants that are nearly right', async () => {
  const scalar = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.integer(),
    fc.double(),
    fc.constantFrom(null, true, '__proto__', '42'),
  );
  const value = fc.oneof(
    scalar,
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom(...Object.values(nasty), ...Object.values(fine)),
  );
  const member = fc.oneof(
    fc.constantFrom('customer_id', 'bucket', 'prefix', 'role', 'access', '__proto__', 'constructor'),
    fc.string(),
  );
  const task = fc.record(
    {
      type: fc.constantFrom('task', 'x'),
      task_type: fc.oneof(fc.constant('answer-invoice-question'), value),
      inputs: fc.oneof(fc.dictionary(member, value, { maxKeys: 3 }), value),
      on_behalf_of: value,
      envelope: fc.oneof(fc.dictionary(fc.constantFrom('wall_time_seconds', 'max_grants'), value), value),
      capabilities: value,
    },
    { requiredKeys: [] },
  );
  const grant = fc.record(
    {
      capability: fc.constantFrom(
        'read-customer-files',
        'read-policy-repository',
        'correct-customer-invoice',
        'constructor',
      ),
      params: fc.oneof(fc.dictionary(member, value, { maxKeys: 3 }), value),
      ttl_seconds: fc.oneof(fc.integer(), value),
      justification: value,
      credential_jwk: fc.oneof(fc.dictionary(fc.constantFrom('kty', 'crv', 'x', 'y', 'd', 'use', 'kid'), value), value),
    },
    { requiredKeys: ['capability'] },
  );
  const fresh = await deployment.openAgent({ task: { envelope: { max_grants: 5 } } });
  const check = (reply: Reply, what: string) => {
    assert.ok(reply.status < 500, `${what}: ${reply.status} ${reply.text.slice(0, 300)}`);
    if (reply.status >= 400) assertRefusal(reply, what);
  };
  await fc.assert(
    fc.asyncProperty(task, async (details) => {
      const reply = await deployment.tokenRequest({ form: { authorization_details: JSON.stringify([details]) } });
      check(reply, JSON.stringify(details));
    }),
    { numRuns: 100, seed: 9 },
  );
  await fc.assert(
    fc.asyncProperty(grant, async (body) => check(await fresh.grant(body), JSON.stringify(body))),
    { numRuns: 200, seed: 10 },
  );
});

test('after all of that it is well, and its record holds', async () => {
  const ready = await deployment.send('GET', '/readyz');
  assert.deepEqual([ready.status, ready.body.status], [200, 'ready']);
  const verified = await deployment.asAdmin('GET', '/v1/admin/audit/verify');
  assert.deepEqual([verified.status, verified.body.broken], [200, null]);
  const again = await deployment.openAgent();
  assert.equal((await again.grant({ capability: 'read-customer-files' })).status, 201);
  assert.ok(!/"level":(50|60)/.test(deployment.log()), 'nothing was logged as an error');
});
