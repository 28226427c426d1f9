/**
 * AuthZEN's Access Request and Approval Profile, the whole way: a capability that needs a person is
 * evaluated, asked about, decided by a person in the browser, evaluated anew and redeemed. And what does not
 * get through: another request than was denied, another's denial, an old one, an approval of something else.
 */
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { callbacks, mayCall } from '../approvals/callbacks.ts';
import type { EarlierNotice, Notice } from '../approvals/contract.ts';
import { reopenNotices, settleNotices } from '../approvals/notices.ts';
import { tickMs } from '../broker/core/long-poller.ts';
import { forgetRequestKeys } from '../broker/grants/access-request-keys.ts';
import { until } from '../broker/until.test-support.ts';
import { type Agent, type Approver, type Deployment, type Reply, startDeployment } from './deployment.test-support.ts';

/** JSON of an answer, looked at member by member. */
// biome-ignore lint/suspicious/noExplicitAny: as it was sent
const bodyOf = (reply: Reply): any => reply.body;

const urn = (name: string) => `urn:openid:authzen:access-request:error:${name}`;
const needsPerson = 'correct-customer-invoice';
const atOnce = 'read-customer-files';

const asking = (capability: string, context: object = {}) => ({
  subject: { type: 'agent', id: 'invoice-bot' },
  action: { name: 'request' },
  resource: { type: 'capability', id: capability },
  context,
});

const rules = `
tools:
  send_mail: { description: Sends a mail., destination: [to] }
  shell: {}
egress: { known: ['*@example.com'] }
rules:
  - id: strangers
    message: Mail to somebody whom nobody named is looked at by a person.
    on: { tool: send_mail }
    when: { destination: unknown }
    effect: approve
  - { id: no-shell, on: { tool: shell }, effect: deny }
canaries:
  - { id: bait, value: decoy-account-7 }
`;
const mail = (to: string, context: object = {}) => ({
  subject: { type: 'agent', id: 'invoice-bot' },
  action: { name: 'send_mail' },
  resource: { type: 'tool', id: 'send_mail' },
  context: { arguments: { to }, ...context },
});

/** A program's own server, to which callbacks are posted. */
async function startReceiver() {
  const posts: { path: string; headers: IncomingHttpHeaders; body: string }[] = [];
  const receiver = { posts, status: 204, origin: '', close: async () => void server.close() };
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    posts.push({ path: request.url ?? '', headers: request.headers, body });
    response.writeHead(receiver.status, { location: '/elsewhere' }).end('no matter what');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  receiver.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return receiver;
}

describe('access requests', () => {
  let deployment: Deployment;
  let approver: Approver;
  let source: string;
  let receiver: Awaited<ReturnType<typeof startReceiver>>;
  const publish = async (text: string) => {
    const published = await deployment.publish('invoice-bot', text);
    assert.equal(published.status, 200, published.text);
  };
  before(async () => {
    receiver = await startReceiver();
    deployment = await startDeployment({
      env: {
        WRIT_ACCESS_REQUEST_CALLBACKS: `https://pep.example, ${receiver.origin}`,
        WRIT_GRANTS_PER_MINUTE: '0',
        WRIT_SESSION_TOKEN_SECONDS: '900',
        WRIT_HEARTBEAT_SECONDS: '300',
      },
    });
    approver = await deployment.approver();
    const example = await readFile(join(import.meta.dirname, 'example/manifests/invoice-bot.yaml'), 'utf8');
    source = example + rules;
    await publish(source);
  });
  after(async () => {
    await deployment.close();
    await receiver.close();
  });

  const evaluate = (agent: Agent, body: object) => agent.call('POST', '/access/v1/evaluation', body);
  /** A denial that a person may lift, and the request that answers it. */
  async function denied(agent: Agent, context: object = {}) {
    const asked = asking(needsPerson, context);
    const reply = await evaluate(agent, asked);
    assert.equal(reply.status, 200, reply.text);
    const { decision, context: said } = bodyOf(reply);
    assert.deepEqual([decision, said.effect, said.reason], [false, 'approve', 'needs_approval']);
    const { binding_token, expires_at, endpoint } = said.access_request;
    assert.equal(endpoint, `${deployment.broker.url}/access/v1/requests`);
    const denial = {
      evaluation_id: said.evaluation_id,
      evaluated_at: said.evaluated_at,
      expires_at,
      reason: said.reason,
      binding_token,
    };
    return { asked, said, submission: { ...asked, denial } };
  }
  const submit = (agent: Agent, body: object, headers = {}) => agent.call('POST', '/access/v1/requests', body, headers);
  const problem = (reply: Reply) => [reply.status, bodyOf(reply).type];

  test('discovery names the endpoint, the capability and the keys; the signed metadata says the same', async () => {
    const metadata = bodyOf(await deployment.send('GET', '/.well-known/authzen-configuration'));
    const { url } = deployment.broker;
    assert.equal(metadata.access_request_endpoint, `${url}/access/v1/requests`);
    assert.deepEqual(metadata.capabilities, ['urn:openid:authzen:capability:access-request']);
    assert.equal(metadata.access_request_callback_supported, true);
    const keys = bodyOf(await deployment.send('GET', metadata.jwks_uri.slice(url.length)));
    const { payload } = await jwtVerify(metadata.signed_metadata, createLocalJWKSet(keys), { issuer: url });
    const { signed_metadata: _, ...plain } = metadata;
    const { iss: _iss, iat: _iat, ...signed } = payload;
    assert.deepEqual(signed, plain);
  });

  test('denied, asked about, approved, evaluated anew, redeemed; used, the approval is over', async () => {
    const agent = await deployment.openAgent();
    const { asked, submission } = await denied(agent);
    assert.equal(await deployment.broker.store.prisma.grant.count({ where: { sessionId: agent.sessionId } }), 0);

    const submitted = await submit(agent, { ...submission, context: { justification: 'A wrong invoice was sent.' } });
    assert.equal(submitted.status, 202, submitted.text);
    const { task } = bodyOf(submitted);
    assert.deepEqual([task.status, submitted.headers.get('location')], ['pending', task.status_endpoint]);
    assert.equal(bodyOf(submitted).result, undefined);
    assert.match(task.links.review, new RegExp(`/approvals/${task.id}$`));
    const grant = await deployment.broker.store.prisma.grant.findUniqueOrThrow({ where: { id: task.id } });
    assert.deepEqual([grant.status, grant.justification], ['pending', 'A wrong invoice was sent.']);

    // The same denial again is the same task, and no second question to a person.
    const again = await submit(agent, { ...submission, context: { justification: 'A wrong invoice was sent.' } });
    assert.equal(bodyOf(again).task.id, task.id);
    // A task that waits lifts nothing.
    const early = bodyOf(await evaluate(agent, { ...asked, context: { approval: { id: task.id } } }));
    assert.deepEqual(
      [early.decision, early.context.reason, early.context.next_action],
      [false, 'grant_pending', 'retry'],
    );

    const path = task.status_endpoint.slice(deployment.broker.url.length);
    const waiting = agent.call('GET', `${path}?wait=30`);
    await approver.decide(task.id, { verdict: 'approve' });
    deployment.clock.advance(tickMs);
    const { task: decided, result } = bodyOf(await waiting);
    assert.deepEqual([decided.status, result.mode, result.approval.id], ['approved', 'reevaluate', task.id]);
    assert.ok(Date.parse(result.approval.approved_until) > deployment.clock.now().getTime());

    const anew = bodyOf(await evaluate(agent, { ...asked, context: { approval: result.approval } }));
    assert.deepEqual(
      [anew.decision, anew.context.approval],
      [true, { id: task.id, approved_until: result.approval.approved_until }],
    );
    // Without it, nothing has changed.
    assert.equal(bodyOf(await evaluate(agent, asked)).decision, false);
    const elsewhere = bodyOf(
      await evaluate(agent, {
        ...asking(needsPerson, { ttl_seconds: 60 }),
        context: { ttl_seconds: 60, approval: { id: 'gnt_00000000000000000000' } },
      }),
    );
    assert.deepEqual(
      [elsewhere.decision, elsewhere.context.reason, elsewhere.context.next_action],
      [false, 'approval_unverifiable', 'none'],
    );

    const redeemed = await agent.call('POST', `/v1/grants/${task.id}/redeem`);
    assert.equal(redeemed.status, 201, redeemed.text);
    const over = bodyOf(await evaluate(agent, { ...asked, context: { approval: result.approval } }));
    assert.deepEqual(
      [over.decision, over.context.reason, over.context.next_action],
      [false, 'approval_expired', 'request'],
    );
    assert.ok(over.context.access_request.binding_token);
    assert.equal(bodyOf(await agent.call('GET', path)).task.status, 'approved', 'what was approved stays so');
  });

  test('a person who says no, and one who says nothing', async () => {
    const agent = await deployment.openAgent();
    const first = bodyOf(await submit(agent, (await denied(agent)).submission)).task;
    await approver.decide(first.id, { verdict: 'deny', reason: 'not today' });
    const { task, result } = bodyOf(await agent.call('GET', `/access/v1/requests/${first.id}`));
    assert.deepEqual([task.status, result], ['denied', undefined]);
    const { asked } = await denied(agent);
    const refused = bodyOf(await evaluate(agent, { ...asked, context: { approval: { id: first.id } } }));
    assert.deepEqual(
      [refused.decision, refused.context.reason, refused.context.next_action],
      [false, 'approval_expired', 'request'],
    );
  });

  test('what is asked about is what was denied, by whom, and lately', async () => {
    const [agent, other] = [await deployment.openAgent(), await deployment.openAgent()];
    const { submission } = await denied(agent);
    const { denial } = submission;
    const unbound = [400, urn('invalid_denial_binding')];
    const variants: [string, object][] = [
      ['another capability', { ...submission, resource: { type: 'capability', id: atOnce } }],
      ['another lifetime', { ...submission, context: { ttl_seconds: 60 } }],
      ['parameters', { ...submission, context: { arguments: { invoice: '1' } } }],
      ['a property', { ...submission, action: { name: 'request', properties: { urgent: true } } }],
      ['an unknown member of the resource', { ...submission, resource: { ...submission.resource, owner: 'me' } }],
      ['no token', { ...submission, denial: { ...denial, binding_token: undefined } }],
      ['a token that is none', { ...submission, denial: { ...denial, binding_token: 'x.y.z' } }],
      ['a session token for a binding', { ...submission, denial: { ...denial, binding_token: agent.token } }],
      ['a later end', { ...submission, denial: { ...denial, expires_at: '2999-01-01T00:00:00Z' } }],
      ['another evaluation', { ...submission, denial: { ...denial, evaluation_id: 'act_00000000000000000000' } }],
    ];
    for (const [what, body] of variants) assert.deepEqual(problem(await submit(agent, body)), unbound, what);
    assert.deepEqual(problem(await submit(other, submission)), unbound, 'another session of the same agent');
    const [head, , signature] = denial.binding_token.split('.');
    const claims = JSON.parse(Buffer.from(denial.binding_token.split('.')[1], 'base64url').toString());
    const forged = Buffer.from(JSON.stringify({ ...claims, binding_context_members: [] })).toString('base64url');
    assert.deepEqual(
      problem(
        await submit(agent, { ...submission, denial: { ...denial, binding_token: `${head}.${forged}.${signature}` } }),
      ),
      unbound,
    );

    assert.equal((await submit(agent, { ...submission, subject: { type: 'agent', id: 'other-bot' } })).status, 403);
    for (const [path, more] of [
      ['items', { items: [] }],
      ...[
        'https://127.0.0.1/x',
        'https://elsewhere.test/x',
        'https://pep.example.elsewhere.test/x',
        'https://pep.example:8443/x',
        'http://pep.example/x',
        'https://user:secret@pep.example/x',
        'https://pep.example@elsewhere.test/x',
        'https://elsewhere.test\\@pep.example/x',
        'https://pep.example/x#y',
        'file:///etc/passwd',
        'pep.example',
      ].map((endpoint) => ['callback.endpoint', { callback: { endpoint } }] as const),
      ['callback.state', { callback: { endpoint: 'https://pep.example/x', state: 'x'.repeat(257) } }],
      ['client.actor', { client: { actor: { id: 'other-bot' } } }],
      ['client.actor', { client: { actor: { id: 'invoice-bot', act: { sub: 'root' } } } }],
      ['denial', { denial: undefined }],
    ] as const) {
      const reply = await submit(agent, { ...submission, ...more });
      assert.deepEqual([reply.status, reply.body.errors?.[0]?.path], [400, path]);
    }
    assert.equal(
      await deployment.broker.store.prisma.grant.count({
        where: { sessionId: { in: [agent.sessionId, other.sessionId] } },
      }),
      0,
    );

    // Another session's task is no task.
    const { task } = bodyOf(await submit(agent, submission));
    assert.deepEqual(problem(await other.call('GET', `/access/v1/requests/${task.id}`)), [404, urn('unknown_task')]);
    assert.deepEqual(problem(await agent.call('GET', '/access/v1/requests/arq_1')), [404, urn('unknown_task')]);
    assert.equal((await agent.call('DELETE', `/access/v1/requests/${task.id}`)).status, 405);
    const stolen = bodyOf(await evaluate(other, { ...asking(needsPerson), context: { approval: { id: task.id } } }));
    assert.deepEqual([stolen.decision, stolen.context.reason], [false, 'approval_unverifiable']);
  });

  test('an Idempotency-Key names one request', async () => {
    const agent = await deployment.openAgent();
    const [first, second] = [await denied(agent), await denied(agent, { ttl_seconds: 120 })];
    const key = { 'idempotency-key': 'one' };
    const { task } = bodyOf(await submit(agent, first.submission, key));
    assert.equal(bodyOf(await submit(agent, first.submission, key)).task.id, task.id);
    assert.deepEqual(problem(await submit(agent, second.submission, key)), [409, urn('duplicate_request')]);
    assert.notEqual(bodyOf(await submit(agent, second.submission)).task.id, task.id);
    // The key covers the whole body, what decides nothing included; and another session has keys of its own.
    const reworded = { ...first.submission, context: { justification: 'Another one.' } };
    assert.deepEqual(problem(await submit(agent, reworded, key)), [409, urn('duplicate_request')]);
    const other = await deployment.openAgent();
    assert.equal((await submit(other, (await denied(other)).submission, key)).status, 202);
    const unreadable = await submit(agent, first.submission, { 'idempotency-key': 'x'.repeat(256) });
    assert.deepEqual([unreadable.status, unreadable.body.errors?.[0]?.path], [400, 'Idempotency-Key']);
  });

  /** The tasks that the receiver was told of, in order. */
  const told = (id: string) => receiver.posts.map(({ body }) => JSON.parse(body)).filter(({ task }) => task.id === id);
  const rowsOf = (grantId: string) =>
    deployment.broker.store.prisma.approvalNotice.findMany({ where: { grantId, channel: 'callback' } });
  const settled = async (id: string) => (await rowsOf(id)).find(({ kind }) => kind === 'settled');
  /** Lets the worker look, again and again, until it has told. */
  const delivered = (id: string) =>
    until('the callback is told', async () => {
      deployment.clock.advance(1_000);
      return (await settled(id))?.deliveredAt != null;
    });

  test('a callback tells once how it ended, signed, and gives nothing', async () => {
    const agent = await deployment.openAgent();
    const { submission } = await denied(agent);
    const callback = { endpoint: `${receiver.origin}/hooks?a=1`, state: 'my "flow"' };
    const { task } = bodyOf(await submit(agent, { ...submission, callback }));
    assert.equal(task.status, 'pending');
    assert.equal(await settled(task.id), undefined);
    // The same again is the same; another address for the same task is refused, and changes nothing.
    assert.equal((await submit(agent, { ...submission, callback })).status, 202);
    const moved = await submit(agent, { ...submission, callback: { endpoint: 'https://pep.example/x' } });
    assert.deepEqual(problem(moved), [409, urn('duplicate_request')]);

    receiver.status = 307;
    await approver.decide(task.id, { verdict: 'approve' });
    await until('a redirect is a failure', async () => {
      deployment.clock.advance(1_000);
      return (await settled(task.id))?.lastError === 'refused';
    });
    receiver.status = 204;
    await delivered(task.id);
    const posts = receiver.posts.filter(({ body }) => body.includes(task.id));
    assert.ok(posts.length >= 2);
    assert.ok(
      receiver.posts.every(({ path }) => path !== '/elsewhere'),
      'no redirect is followed',
    );
    const keys = bodyOf(await deployment.send('GET', '/.well-known/jwks.json'));
    for (const { path, headers, body } of posts) {
      assert.equal(path, '/hooks?a=1');
      assert.deepEqual(JSON.parse(body), {
        state: 'my "flow"',
        task: { id: task.id, status: 'approved', status_endpoint: task.status_endpoint },
      });
      const { payload } = await jwtVerify(
        String(headers.authorization).slice('Bearer '.length),
        createLocalJWKSet(keys),
        {
          issuer: deployment.broker.url,
          audience: callback.endpoint,
          typ: 'writ-callback+jwt',
          currentDate: deployment.clock.now(),
          clockTolerance: 600,
        },
      );
      assert.equal(payload.body_sha256, hash('sha256', body, 'base64url'));
      // What is delivered again has the same id: a receiver that keeps it takes each once.
      assert.deepEqual([payload.jti, headers['idempotency-key']], [posts[0]!.headers['idempotency-key'], payload.jti]);
      // And is worth nothing to whoever shows it here.
      const shown = await deployment.send('GET', '/v1/session', {
        headers: { authorization: String(headers.authorization) },
      });
      assert.equal(shown.status, 401);
    }
    // Whoever polls reads the same.
    const polled = bodyOf(await agent.call('GET', `/access/v1/requests/${task.id}`));
    assert.deepEqual([polled.task.status, polled.result.mode], ['approved', 'reevaluate']);
    assert.deepEqual([(await settled(task.id))?.dueAt, told(task.id).length], [null, posts.length]);

    // People are asked again: the program is not told that, and told the next end.
    const { store } = deployment.broker;
    const rewrite = (name: string, ctes: string) =>
      store.run({ name, text: `WITH g AS (SELECT $1::text AS id), ${ctes} SELECT 1` }, [
        task.id,
        deployment.clock.now(),
      ]);
    await rewrite('reopen', reopenNotices('g', '$2::timestamptz'));
    assert.ok((await rowsOf(task.id)).every(({ dueAt, deliveredAt }) => dueAt === null && deliveredAt !== null));
    await rewrite('settle', settleNotices('g', '$2::timestamptz'));
    await delivered(task.id);
    assert.equal(told(task.id).length, posts.length + 1);
    assert.equal(receiver.posts.at(-1)?.headers['idempotency-key'], posts[0]!.headers['idempotency-key']);
  });

  test('an agent takes its own request back: the callback, whoever polls and the record say so', async () => {
    const [agent, other] = [await deployment.openAgent(), await deployment.openAgent()];
    const callback = { endpoint: `${receiver.origin}/cancelled`, events: ['cancelled', 'partial'] };
    const { task } = bodyOf(await submit(agent, { ...(await denied(agent)).submission, callback }));
    const path = new URL(task.links.cancel).pathname;
    assert.equal(path, `/access/v1/requests/${task.id}/cancel`);
    assert.deepEqual(problem(await other.call('POST', path)), [404, urn('unknown_task')]);
    assert.equal(bodyOf(await agent.call('GET', `/access/v1/requests/${task.id}`)).task.status, 'pending');
    const cancelled = await agent.call('POST', path, { comment: 'not needed' });
    assert.deepEqual(
      [cancelled.status, bodyOf(cancelled).task.status, bodyOf(cancelled).task.links],
      [200, 'cancelled', undefined],
    );
    assert.deepEqual(problem(await agent.call('POST', path)), [409, urn('invalid_task_state')]);
    assert.equal((await agent.call('POST', `/v1/grants/${task.id}/redeem`)).status, 403);
    await delivered(task.id);
    assert.deepEqual(
      told(task.id).map(({ task }) => task.status),
      ['cancelled'],
    );
    const events = await deployment.broker.store.prisma.auditEvent.findMany({ where: { grantId: task.id } });
    assert.deepEqual(events.map(({ type, actor }) => [type, actor]).at(-1), ['grant.denied', 'invoice-bot']);
    // What an agent did not ask to be told, it is not told.
    const next = { ...(await denied(agent, { ttl_seconds: 240 })).submission, callback };
    const denial = bodyOf(await submit(agent, next)).task;
    await approver.decide(denial.id, { verdict: 'deny', reason: 'no' });
    await delivered(denial.id);
    assert.deepEqual(told(denial.id), []);
    assert.deepEqual(problem(await agent.call('POST', `/access/v1/requests/${denial.id}/cancel`)), [
      409,
      urn('invalid_task_state'),
    ]);
  });

  test('a callback that the broker did not write down is not called, nor one that may not be any more', async () => {
    const agent = await deployment.openAgent();
    const named = { endpoint: `${receiver.origin}/proven`, state: 'mine' };
    const first = bodyOf(
      await submit(agent, { ...(await denied(agent, { ttl_seconds: 180 })).submission, callback: named }),
    ).task;
    const [row] = await rowsOf(first.id);
    const { store } = deployment.broker;
    const rules = { origins: [receiver.origin], anywhere: false };
    const tell = (grantId: string, reference: string, given = rules) =>
      callbacks({
        store,
        clock: deployment.clock,
        ring: { current: () => assert.fail('nothing is signed') } as never,
        issuer: 'https://writ.example',
        rules: given,
        readStatus: async () => 'approved',
        statusEndpoint: (id) => id,
      }).deliver!(
        {
          id: 'ntc_1_settled_approved',
          kind: 'settled',
          grantId,
          outcome: { result: 'approved' },
          earlier: [{ id: 'ntc_1', kind: 'pending', reference } satisfies EarlierNotice],
        } as Notice,
        AbortSignal.timeout(60_000),
      );
    const proven = row!.reference!;
    const forged = (change: object) => JSON.stringify({ ...JSON.parse(proven), ...change });
    const seen = receiver.posts.length;
    // The very reference under another grant; another path, state or wish under the proof; no proof; no JSON.
    await tell('gnt_00000000000000000000', proven);
    await tell(first.id, forged({ endpoint: `${receiver.origin}/stolen` }));
    await tell(first.id, forged({ state: 'yours' }));
    await tell(first.id, forged({ events: ['approved'] }));
    await tell(first.id, forged({ proof: '' }));
    await tell(first.id, 'https://pep.example');
    // The list is asked again when it is told.
    await tell(first.id, proven, { ...rules, origins: ['https://pep.example'] });
    assert.equal(receiver.posts.length, seen);
    await assert.rejects(tell(first.id, proven), /nothing is signed/, 'unchanged, it holds');
    // A private address is called where the deployment says so besides; a name is looked up when it is told.
    for (const origin of ['https://10.0.0.1', 'https://[fd00::1]', 'https://169.254.169.254'])
      assert.deepEqual(
        [false, true].map((anywhere) => mayCall(`${origin}/x`, { origins: [origin], anywhere })),
        [false, true],
      );
  });

  test('of a tool call too, an Idempotency-Key names one request', async () => {
    const agent = await deployment.openAgent();
    const key = { 'idempotency-key': 'one' };
    const submissionOf = async (to: string) => {
      const { context } = bodyOf(await evaluate(agent, mail(to)));
      const { binding_token, expires_at } = context.access_request;
      return { ...mail(to), denial: { binding_token, expires_at } };
    };
    const first = await submissionOf('first@elsewhere.test');
    const second = await submissionOf('second@elsewhere.test');
    // What binds to no denial has not used the key up.
    const unbound = { ...first, denial: { ...first.denial, binding_token: 'x.y.z' } };
    assert.deepEqual(problem(await submit(agent, unbound, key)), [400, urn('invalid_denial_binding')]);
    // At once: one of them has the key, whichever it is.
    const both = await Promise.all([submit(agent, first, key), submit(agent, second, key)]);
    assert.deepEqual(both.map(({ status }) => status).sort(), [202, 409]);
    const won = both[0]!.status === 202 ? first : second;
    const lost = won === first ? second : first;
    const { task } = bodyOf(await submit(agent, won, key));
    assert.equal(task.id, bodyOf(both.find(({ status }) => status === 202)!).task.id);
    assert.deepEqual(problem(await submit(agent, lost, key)), [409, urn('duplicate_request')]);
    assert.equal((await submit(agent, lost, { 'idempotency-key': 'two' })).status, 202);
    // Of keys and bodies, digests are kept.
    const kept = await deployment.broker.store.prisma.accessRequestKey.findMany({
      where: { sessionId: agent.sessionId },
    });
    assert.equal(kept.length, 2);
    for (const row of kept)
      for (const digest of [row.keyDigest, row.requestDigest]) assert.match(digest, /^sha256:[0-9a-f]{64}$/);
    const { store } = deployment.broker;
    const { expiresAt } = await store.prisma.session.findUniqueOrThrow({ where: { id: agent.sessionId } });
    const aDayLater = expiresAt.getTime() + 86_400_000;
    const left = () => store.prisma.accessRequestKey.count({ where: { sessionId: agent.sessionId } });
    await forgetRequestKeys(store, new Date(aDayLater - 1));
    assert.equal(await left(), 2);
    await forgetRequestKeys(store, new Date(aDayLater));
    assert.equal(await left(), 0);
  });

  test('what policy alone allows or denies is no business of a person', async () => {
    const agent = await deployment.openAgent();
    const allowed = bodyOf(await evaluate(agent, asking(atOnce)));
    assert.deepEqual([allowed.decision, allowed.context.access_request], [true, undefined]);
    const unknown = bodyOf(await evaluate(agent, asking('format-disk')));
    assert.deepEqual(
      [unknown.decision, unknown.context.reasons[0].code, unknown.context.access_request],
      [false, 'capability_unknown', undefined],
    );
    const malformed = await evaluate(agent, asking(atOnce, { arguments: { nonsense: 1 } }));
    assert.deepEqual([malformed.status, malformed.body.errors?.[0]?.path], [400, 'context.arguments.nonsense']);
    const verb = await evaluate(agent, { ...asking(atOnce), action: { name: 'read' } });
    assert.deepEqual([verb.status, verb.body.errors?.[0]?.path], [400, 'action.name']);
  });

  test('a tool call: the task is what the rule asks a person about; approved, the same call passes once', async () => {
    const agent = await deployment.openAgent();
    const body = mail('stranger@elsewhere.test');
    const { decision, context } = bodyOf(await evaluate(agent, body));
    assert.deepEqual([decision, context.effect, context.evaluation_id], [false, 'approve', context.id]);
    const { binding_token, expires_at } = context.access_request;
    const submission = { ...body, denial: { binding_token, expires_at } };
    const submitted = await submit(agent, submission);
    const { task } = bodyOf(submitted);
    assert.deepEqual([submitted.status, task.status, task.id], [202, 'pending', context.approval.id]);
    assert.match(task.display.description, /Call the tool send_mail/);
    const others = { ...submission, context: { arguments: { to: 'boss@elsewhere.test' } } };
    assert.deepEqual(problem(await submit(agent, others)), [400, urn('invalid_denial_binding')]);

    const early = bodyOf(await evaluate(agent, { ...body, context: { ...body.context, approval: { id: task.id } } }));
    assert.deepEqual(
      [early.decision, early.context.reason, early.context.next_action, early.context.approval.id],
      [false, 'grant_pending', 'retry', task.id],
    );
    await approver.decide(task.id, { verdict: 'approve' });
    const { task: decided, result } = bodyOf(await agent.call('GET', `/access/v1/requests/${task.id}`));
    assert.deepEqual([decided.status, result.mode], ['approved', 'reevaluate']);

    // Of another call it is worth nothing: a person is asked about that one too.
    const { approval } = result;
    const other = bodyOf(await evaluate(agent, mail('boss@elsewhere.test', { approval })));
    assert.deepEqual(
      [other.decision, other.context.reason, other.context.next_action],
      [false, 'out_of_scope', 'request'],
    );
    assert.notEqual(other.context.approval.id, task.id);
    // Another session cannot use it either.
    const thief = bodyOf(await evaluate(await deployment.openAgent(), mail('stranger@elsewhere.test', { approval })));
    assert.deepEqual([thief.decision, thief.context.reason], [false, 'approval_unverifiable']);

    const anew = bodyOf(await evaluate(agent, mail('stranger@elsewhere.test', { approval })));
    assert.deepEqual([anew.decision, anew.context.effect], [true, 'allow']);
    const finished = await agent.call('POST', `/v1/actions/${anew.context.id}/finish`, { outcome: 'response' });
    assert.equal(finished.status, 200, finished.text);
    // Once: the next one is another question.
    const next = bodyOf(await evaluate(agent, mail('stranger@elsewhere.test')));
    assert.deepEqual([next.decision, next.context.effect], [false, 'approve']);
  });

  test('a tool call that a person refused, and one that no person can lift', async () => {
    const agent = await deployment.openAgent();
    const asked = bodyOf(await evaluate(agent, mail('stranger@elsewhere.test', { call_id: 'call_1' })));
    const { id } = asked.context.approval;
    await approver.decide(id, { verdict: 'deny', reason: 'no' });
    assert.equal(bodyOf(await agent.call('GET', `/access/v1/requests/${id}`)).task.status, 'denied');
    const again = mail('stranger@elsewhere.test', { call_id: 'call_1', approval: { id } });
    const { decision, context } = bodyOf(await evaluate(agent, again));
    assert.deepEqual(
      [decision, context.effect, context.reason, context.next_action, context.access_request],
      [false, 'deny', 'approval_expired', 'none', undefined],
    );
    // Named when it was decided already, a callback tells that.
    const { binding_token, expires_at } = asked.context.access_request;
    const late = {
      ...mail('stranger@elsewhere.test', { call_id: 'call_1' }),
      denial: { binding_token, expires_at },
      callback: { endpoint: `${receiver.origin}/late` },
    };
    assert.equal((await submit(agent, late)).status, 201);
    await delivered(id);
    assert.deepEqual(
      told(id).map(({ task }) => task.status),
      ['denied'],
    );
    const shell = { ...mail(''), action: { name: 'shell' }, resource: { type: 'tool', id: 'shell' }, context: {} };
    const refused = bodyOf(await evaluate(agent, shell));
    assert.deepEqual([refused.decision, refused.context.access_request], [false, undefined]);
  });

  test('what policy alone allows by the time it is asked about mints nothing', async () => {
    const agent = await deployment.openAgent();
    const { submission } = await denied(agent);
    const [before, after] = source.split(`  ${needsPerson}:`);
    await publish(`${before}  ${needsPerson}:${after?.replace('tier: 2', 'tier: 1')}`);
    try {
      const reply = await submit(agent, submission);
      assert.deepEqual(problem(reply), [400, urn('not_requestable')]);
      const where = { sessionId: agent.sessionId };
      assert.equal(await deployment.broker.store.prisma.lease.count({ where }), 0);
      assert.equal(await deployment.broker.store.prisma.grant.count({ where }), 0);
    } finally {
      await publish(source);
    }
  });

  test('whoever asks about a decoy has touched it', async () => {
    const agent = await deployment.openAgent();
    const { decision, context } = bodyOf(
      await evaluate(agent, asking(atOnce, { arguments: { file: 'decoy-account-7' } })),
    );
    assert.deepEqual([decision, context.effect, context.access_request], [false, 'terminate', undefined]);
    assert.equal((await evaluate(agent, asking(atOnce))).status, 401);
  });

  // Last: it moves the deployment's time.
  test('a denial that is too old is not asked about; a task of before stays', async () => {
    const agent = await deployment.openAgent();
    const { submission } = await denied(agent);
    const fresh = await denied(agent, { ttl_seconds: 120 });
    const { task } = bodyOf(await submit(agent, fresh.submission));
    deployment.clock.advance(601_000);
    assert.deepEqual(problem(await submit(agent, submission)), [410, urn('expired_denial')]);
    assert.equal(bodyOf(await agent.call('GET', `/access/v1/requests/${task.id}`)).task.id, task.id);
  });
});
