/**
 * AuthZEN at the door: what it refuses and what it ignores, request ids, batches, searches and their pages.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { call, type Session, subject } from '../actions/asking.test-support.ts';
import type { Broker } from '../compose/start.ts';
import { type Ground, prepareGround } from '../running.test-support.ts';

const twenty = `{ enum: [${[...Array(20).keys()]}] }`;
const manifest = `apiVersion: writ/v1
agent: scripted-agent
owner: team:billing
description: Tries things.
envelope: { wall_time: 30m, max_calls: 500 }
task_types:
  work: { description: Work., inputs: {} }
capabilities:
  use-plain: { description: Use it., provider: plain, tasks: [work], tier: 1, max_ttl: 15m }
tools:
  read_news: {}
  read_order: { entity: 'order:\${args.order_id}', args: { order_id: { enum: [1, 2, 3, 4, 5] } }, no_other_args: true }
  cancel_order: { entity: 'order:\${args.order_id}' }
  read_any: { entity: '\${args.kind}:\${args.number}', args: { kind: { enum: [order, bill] }, number: { enum: [7, 8] } } }
  wipe: { entity: 'disk:\${args.a}.\${args.b}.\${args.c}', args: { a: ${twenty}, b: ${twenty}, c: ${twenty} } }
  read_file: { entity: 'file:\${args.path}', args: { path: { enum: [a.txt, decoy.txt, b.txt] } } }
  shell: {}
  logout: {}
classes:
  risky: { tools: [shell] }
rules:
  - { id: no-shell, on: { class: risky }, effect: deny }
  - { id: out, on: { tool: logout }, effect: terminate }
canaries:
  - { id: old-backup, value: decoy.txt }
`;

// biome-ignore lint/suspicious/noExplicitAny: JSON of the broker, looked at member by member
const bodyOf = async (response: Response): Promise<any> => response.json();
const news = { subject, action: { name: 'read_news' }, resource: { type: 'tool', id: 'read_news' } };

describe('AuthZEN at the door', () => {
  let ground: Ground;
  let broker: Broker;
  let session: Session;
  before(async () => {
    ground = await prepareGround();
    await writeFile(join(ground.manifests, 'agent.yaml'), manifest);
    broker = await ground.start();
    session = await ground.session();
  });
  after(async () => {
    await broker.stop();
    await ground.close();
  });

  const evaluate = (body: object | string) => session('/access/v1/evaluation', body);
  const actionsOnRecord = () => broker.store.prisma.action.count();

  const raw = (path: string, body: string | undefined, headers: Record<string, string>): Promise<Response> =>
    fetch(ground.url + path, {
      method: 'POST',
      headers: { authorization: session.authorization, ...headers },
      ...(body === undefined ? {} : { body }),
    });

  test('hostile bodies are refused with the field’s path, and nothing is on record of them', async () => {
    const before = await actionsOnRecord();
    const deep = JSON.parse(`${'{"a":'.repeat(13)}1${'}'.repeat(13)}`);
    const refused: [string, object | string, number, string | undefined][] = [
      ['another agent', { ...news, subject: { type: 'agent', id: 'other-agent' } }, 403, undefined],
      ['a person', { ...news, subject: { type: 'user', id: 'owner@example.com' } }, 403, undefined],
      ['another session', { ...news, subject: { type: 'session', id: 'ses_00000000000000000000' } }, 403, undefined],
      ['the agent as another type', { ...news, subject: { ...subject, type: 'admin' } }, 403, undefined],
      ['null for an object', { ...news, resource: null }, 400, 'resource'],
      ['a list for an object', { ...news, action: [news.action] }, 400, 'action'],
      ['properties that are text', { ...news, action: { ...news.action, properties: 'x' } }, 400, 'action.properties'],
      ['a context that is text', { ...news, context: 'x' }, 400, 'context'],
      ['arguments that are a list', { ...news, context: { arguments: [] } }, 400, 'context.arguments'],
      [
        'arguments in the action that are text',
        { ...news, action: { name: 'read_news', properties: { arguments: 'x' } } },
        400,
        'action.properties.arguments',
      ],
      [
        'arguments in two places',
        { ...news, action: { name: 'read_news', properties: { arguments: {} } }, context: { arguments: {} } },
        400,
        'action.properties.arguments',
      ],
      ['two tools', { ...news, resource: { type: 'tool', id: 'shell' } }, 400, 'resource.id'],
      [
        'one property in two places',
        {
          ...news,
          action: { name: 'read_news', properties: { x: 1 } },
          resource: { type: 'page', id: '1', properties: { x: 2 } },
        },
        400,
        'action.properties.x',
      ],
      [
        'a property that poses as the resource',
        { ...news, resource: { type: 'page', id: '1', properties: { resource: { type: 'page', id: '2' } } } },
        400,
        'resource.properties.resource',
      ],
      ['a cost below nothing', { ...news, context: { cost_usd: -1 } }, 400, 'context.cost_usd'],
      ['a name without an end', { ...news, action: { name: 'x'.repeat(129) } }, 400, 'action.name'],
      ['a control character', { ...news, resource: { type: 'page', id: 'a\u0000b' } }, 400, 'resource.id'],
      ['nesting without an end', { ...news, context: { arguments: deep } }, 400, undefined],
      [
        'a member twice',
        `{"subject":{"type":"agent","id":"other-agent"},${JSON.stringify(news).slice(1)}`,
        400,
        undefined,
      ],
      [
        'a member twice, deep',
        JSON.stringify({ ...news, context: { arguments: {} } }).replace(
          '{"arguments":{}}',
          '{"arguments":{"a":1,"a":2}}',
        ),
        400,
        undefined,
      ],
      ['no JSON', '{"subject":', 400, undefined],
      ['no object', '[]', 400, undefined],
      ['too much', JSON.stringify({ ...news, context: { arguments: { a: 'x'.repeat(70_000) } } }), 413, undefined],
    ];
    for (const [what, body, status, path] of refused) {
      const response = await evaluate(body);
      assert.equal(response.status, status, what);
      assert.match(response.headers.get('content-type') ?? '', /^application\/problem\+json/, what);
      if (path !== undefined) assert.equal((await bodyOf(response)).errors[0].path, path, what);
    }
    assert.equal(await actionsOnRecord(), before);
  });

  test('what a request says of its subject, and what nobody knows, changes nothing', async () => {
    const shell = { ...news, action: { name: 'shell' }, resource: { type: 'tool', id: 'shell' } };
    const claims = { role: 'admin', task_type: 'root', groups: ['owners'], agent: 'other-agent' };
    const answer = await bodyOf(
      await evaluate({
        ...shell,
        subject: { ...subject, properties: claims, admin: true },
        decision: true,
        options: { trust: 'me' },
        context: { approved: true, hits: [] },
      }),
    );
    assert.deepEqual([answer.decision, answer.context.reasons[0].policy_id], [false, 'shell.rule.no-shell']);
  });

  test('parameters of the action are the arguments where no others are named', async () => {
    const order = (order_id: number) => ({
      subject,
      action: { name: 'read_order', properties: { order_id } },
      resource: { type: 'tool', id: 'read_order', properties: { order_id: 2, owner: 'x' } },
    });
    assert.equal((await bodyOf(await evaluate(order(2)))).decision, true);
    const { decision, context } = await bodyOf(await evaluate(order(9)));
    assert.deepEqual([decision, context.reasons[0].path], [false, 'context.arguments.order_id']);
  });

  test('COAZ: `tools/call` on a tool is a call of the tool', async () => {
    const coaz = (id: string) => ({
      subject: { type: 'identity', id: 'scripted-agent' },
      action: { name: 'tools/call' },
      resource: { type: 'tool', id },
      context: { agent: 'scripted-agent', arguments: {} },
    });
    assert.equal((await bodyOf(await evaluate(coaz('read_news')))).decision, true);
    const denied = await bodyOf(await evaluate(coaz('shell')));
    assert.deepEqual([denied.decision, denied.context.reasons[0].policy_id], [false, 'shell.rule.no-shell']);
    assert.equal((await bodyOf(await evaluate(coaz('unheard_of')))).context.reasons[0].code, 'tool_unknown');
  });

  test('the caller’s own id of a request comes back, on refusals too', async () => {
    const json = { 'content-type': 'application/json' };
    const id = { 'x-request-id': 'bfe9eb29-ab87 {"odd"}' };
    const echoes: [string, string | undefined, Record<string, string>, number][] = [
      ['/access/v1/evaluation', JSON.stringify(news), json, 200],
      ['/access/v1/evaluations', JSON.stringify(news), json, 200],
      ['/access/v1/search/action', JSON.stringify({ subject, resource: subject }), json, 200],
      ['/access/v1/evaluation', '{', json, 400],
      ['/access/v1/evaluation', JSON.stringify(news), { 'content-type': 'text/plain' }, 400],
      ['/access/v1/evaluation', JSON.stringify(news), { 'content-type': 'application/x-www-form-urlencoded' }, 400],
      ['/access/v1/evaluation', undefined, {}, 400],
      ['/access/v1/evaluation', JSON.stringify(news), { ...json, authorization: 'Bearer nobody' }, 401],
      ['/access/v1/requests', '{}', json, 400],
      ['/access/v1/requests/gnt_1', '{}', json, 405],
      ['/access/v1/nothing', '{}', json, 404],
    ];
    for (const [path, body, headers, status] of echoes) {
      const response = await raw(path, body, { ...headers, ...id });
      assert.deepEqual([response.status, response.headers.get('x-request-id')], [status, id['x-request-id']], path);
    }
    const own = await raw('/access/v1/evaluation', JSON.stringify(news), json);
    assert.match(own.headers.get('x-request-id') ?? '', /^req_/);
    const elsewhere = await session.get('/v1/tools');
    assert.match(elsewhere.headers.get('x-request-id') ?? '', /^req_/);
  });

  test('without a list of origins no callback is taken, and none is offered', async () => {
    const metadata = await bodyOf(await session.get('/.well-known/authzen-configuration'));
    assert.equal(metadata.access_request_callback_supported, undefined);
    const denial = { binding_token: 'x.y.z', expires_at: '2999-01-01T00:00:00Z' };
    const callback = { endpoint: 'https://pep.example/x' };
    const refused = await session('/access/v1/requests', { ...news, denial, callback });
    assert.deepEqual([refused.status, (await bodyOf(refused)).errors[0].path], [400, 'callback']);
  });

  test('several: each answered at its place; a fault is denied where it is, and on record as a refusal', async () => {
    const several = async (body: object) => {
      const response = await session('/access/v1/evaluations', body);
      assert.equal(response.status, 200, await response.clone().text());
      return (await bodyOf(response)).evaluations;
    };
    const other = { type: 'agent', id: 'other-agent' };
    const [fine, foreign, lacking, wrong, own] = await several({
      ...news,
      evaluations: [
        {},
        { subject: other },
        { action: {} },
        { context: { cost_usd: 'much' } },
        { action: { name: 'shell' }, resource: { type: 'tool', id: 'shell' } },
      ],
    });
    assert.equal(fine.decision, true);
    assert.deepEqual([foreign.decision, foreign.context.error.status], [false, 403]);
    assert.deepEqual([lacking.decision, lacking.context.error.errors[0].path], [false, 'evaluations[2].action.name']);
    assert.equal(wrong.context.error.errors[0].path, 'evaluations[3].context.cost_usd');
    assert.deepEqual([own.decision, own.context.error], [false, undefined]);
    const refusals = await broker.store.prisma.auditEvent.findMany({ where: { type: 'request.refused' } });
    assert.ok(refusals.some(({ payload }) => (payload as { code: string }).code === 'forbidden'));

    // A default that is wrong is named where it was written.
    const [inherited] = await several({ ...news, action: { name: 7 }, evaluations: [{}] });
    assert.equal(inherited.context.error.errors[0].path, 'action.name');

    const decisions = async (evaluations_semantic: string | undefined, names: string[]) =>
      (
        await several({
          subject,
          evaluations: names.map((name) => ({ action: { name }, resource: { type: 'tool', id: name } })),
          options: { evaluations_semantic, another_option: 'value' },
        })
      ).map((one: { decision: boolean }) => one.decision);
    assert.deepEqual(await decisions(undefined, ['read_news', 'shell', 'read_news']), [true, false, true]);
    assert.deepEqual(await decisions('deny_on_first_deny', ['read_news', 'shell', 'read_news']), [true, false]);
    assert.deepEqual(await decisions('permit_on_first_permit', ['shell', 'read_news', 'shell']), [false, true]);

    const odd: [object, string][] = [
      [{ ...news, evaluations: Array(1000).fill({}) }, 'evaluations'],
      [{ ...news, evaluations: {} }, 'evaluations'],
      [{ ...news, evaluations: [7] }, 'evaluations[0]'],
      [{ ...news, evaluations: [{}], options: { evaluations_semantic: 'allow_all' } }, 'options.evaluations_semantic'],
      [{ ...news, evaluations: [{}], options: 'execute_all' }, 'options'],
    ];
    for (const [body, path] of odd) {
      const response = await session('/access/v1/evaluations', body);
      assert.deepEqual([response.status, (await bodyOf(response)).errors[0].path], [400, path]);
    }
  });

  test('several: what comes after a call that ended the session is denied, and as many answers come', async () => {
    const own = await ground.session();
    const names = ['read_news', 'logout', 'read_news'];
    const evaluations = names.map((name) => ({ action: { name }, resource: { type: 'tool', id: name } }));
    const { evaluations: answers } = await bodyOf(await own('/access/v1/evaluations', { subject, evaluations }));
    assert.deepEqual(
      answers.map((one: { decision: boolean }) => one.decision),
      [true, false, false],
    );
    assert.deepEqual([answers[1].context.effect, answers[2].context.error.status], ['terminate', 401]);
  });

  const search = async (what: string, body: object) => {
    const response = await session(`/access/v1/search/${what}`, { subject, ...body });
    return { status: response.status, ...(await bodyOf(response)) };
  };
  const orders = (name: string, more: object = {}) =>
    search('resource', { action: { name }, resource: { type: 'order' }, ...more });
  const ids = ({ results }: { results: { id: string }[] }) => results.map(({ id }) => id);

  test('resources are listed where the manifest enumerates them; else the answer says what it lacks', async () => {
    const all = await orders('read_order');
    assert.deepEqual([ids(all), all.context], [['1', '2', '3', '4', '5'], { complete: true, reasons: [] }]);
    for (const id of ids(all))
      assert.equal((await call(session, 'read_order', { order_id: Number(id) })).decision, true);
    assert.deepEqual(ids(await orders('read_order', { context: { arguments: { order_id: 2 } } })), ['2']);
    assert.deepEqual(ids(await orders('read_order', { context: { arguments: { order_id: 9 } } })), []);
    assert.deepEqual(ids(await orders('read_order', { context: { arguments: { order_id: 2, more: 1 } } })), []);
    assert.deepEqual(ids(await orders('read_any')), ['7', '8']);
    const open = await orders('cancel_order');
    assert.deepEqual(
      [open.results, open.context],
      [[], { complete: false, reasons: [{ code: 'argument_free', path: 'context.arguments.order_id' }] }],
    );
    const bills = await search('resource', { action: { name: 'cancel_order' }, resource: { type: 'bill' } });
    assert.deepEqual([bills.results, bills.context.complete], [[], true]);
    const given = await orders('cancel_order', { context: { arguments: { order_id: 77 } } });
    assert.deepEqual([ids(given), given.context.complete], [['77'], true]);
    assert.deepEqual((await orders('read_news')).context.reasons, [{ code: 'entity_unknown' }]);
    const many = await search('resource', { action: { name: 'wipe' }, resource: { type: 'disk' } });
    assert.deepEqual([many.results, many.context.reasons], [[], [{ code: 'too_many' }]]);
    const unknown = await orders('format_disk');
    assert.deepEqual([unknown.results, unknown.context.complete], [[], true]);
    const foreign = await search('resource', {
      subject: { type: 'agent', id: 'other-agent' },
      action: { name: 'read_order' },
      resource: { type: 'order' },
    });
    assert.deepEqual([foreign.results, foreign.context.reasons], [[], [{ code: 'not_own_subject' }]]);
  });

  test('a search comes in pages; a token is good for that search alone', async () => {
    const first = await orders('read_order', { page: { limit: 2 } });
    assert.deepEqual([ids(first), first.page.count], [['1', '2'], 2]);
    const second = await orders('read_order', { page: { token: first.page.next_token } });
    assert.deepEqual(ids(second), ['3', '4']);
    const third = await orders('read_order', { page: { token: second.page.next_token, limit: 2 } });
    assert.deepEqual([ids(third), third.page], [['5'], { next_token: '', count: 1 }]);
    const none = await orders('read_order', { page: { limit: 0 } });
    assert.deepEqual([none.results, none.page.next_token === ''], [[], false]);

    const { next_token: token } = first.page;
    const bad: [object, string][] = [
      [{ action: { name: 'read_any' }, resource: { type: 'order' }, page: { token } }, 'page.token'],
      [{ action: { name: 'read_order' }, resource: { type: 'bill' }, page: { token } }, 'page.token'],
      [{ action: { name: 'read_order' }, resource: { type: 'order' }, page: { token, limit: 3 } }, 'page.limit'],
      [
        { action: { name: 'read_order' }, resource: { type: 'order' }, page: { token: token.replace('2', '0') } },
        'page.token',
      ],
      [{ action: { name: 'read_order' }, resource: { type: 'order' }, page: { token: 'x' } }, 'page.token'],
      [{ action: { name: 'read_order' }, resource: { type: 'order' }, page: { limit: -1 } }, 'page.limit'],
      [{ action: { name: 'read_order' }, resource: { type: 'order' }, page: { limit: 1.5 } }, 'page.limit'],
    ];
    for (const [body, path] of bad) {
      const { status, errors } = await search('resource', body);
      assert.deepEqual([status, errors?.[0]?.path], [400, path], JSON.stringify(body));
    }
    const other = await ground.session();
    const stolen = { subject, action: { name: 'read_order' }, resource: { type: 'order' }, page: { token } };
    assert.equal((await other('/access/v1/search/resource', stolen)).status, 400);
  });

  test('actions: on the session all that may be called, on a tool that one, on a resource what touches it', async () => {
    const on = async (type: string, id: string, more: object = {}) =>
      (await search('action', { resource: { type, id }, ...more })).results.map(({ name }: { name: string }) => name);
    const listed = ((await bodyOf(await session.get('/v1/tools'))) as { tools: { name: string }[] }).tools;
    assert.deepEqual(
      await on('agent', 'scripted-agent'),
      listed.map(({ name }) => name),
    );
    assert.deepEqual(await on('tool', 'read_order'), ['read_order']);
    assert.deepEqual(await on('tool', 'shell'), []);
    assert.ok((await on('order', '2')).includes('read_order'));
    assert.ok(!(await on('order', '9')).includes('read_order'));
    assert.ok((await on('bill', '7')).includes('read_any'));
  });

  test('no search tells a decoy from its like, and none touches it', async () => {
    const own = await ground.session();
    const read = { subject, action: { name: 'read_file' } };
    const files = await bodyOf(await own('/access/v1/search/resource', { ...read, resource: { type: 'file' } }));
    assert.deepEqual(ids(files), ['a.txt', 'decoy.txt', 'b.txt']);
    for (const path of ['a.txt', 'decoy.txt']) {
      const body = { ...read, resource: { type: 'tool', id: 'read_file' }, context: { arguments: { path } } };
      const { results } = await bodyOf(await own('/access/v1/search/subject', body));
      assert.deepEqual(results, [subject]);
    }
    assert.equal((await own('/access/v1/evaluation', news)).status, 200);
  });

  test('the searches write nothing', async () => {
    const before = await actionsOnRecord();
    await orders('read_order');
    await search('subject', { action: { name: 'shell' }, resource: { type: 'tool', id: 'shell' } });
    await search('action', { resource: subject });
    assert.equal(await actionsOnRecord(), before);
  });
});
