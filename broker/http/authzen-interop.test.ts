/**
 * The public cases of AuthZEN through the real door: the Todo scenario of its interoperability events (43
 * decisions, payload specification 1.0-02) and the fixed decisions and searches of its certification
 * (github.com/openid/authzen: `interop/authzen-todo-backend/test`, `certification`).
 *
 * Where they name users, Writ has agents: each user is an agent of its own, which asks for itself, with its
 * session's token. What the scenarios look up or are told about a user (roles, e-mail) is what Writ knows of
 * the session: its manifest, task type and inputs. Their resources are Writ's as they are.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Broker } from '../compose/start.ts';
import { type Ground, prepareGround } from '../running.test-support.ts';

type Session = Awaited<ReturnType<Ground['session']>>;
// biome-ignore lint/suspicious/noExplicitAny: JSON of the broker, looked at member by member
const json = async (response: Response): Promise<any> => ({
  status: response.status,
  ...((await response.json()) as object),
});

/** The five users of the Todo scenario, by their roles, in its order. */
const users = ['todo-genius', 'todo-editor-1', 'todo-editor-2', 'todo-viewer-1', 'todo-viewer-2'] as const;
type User = (typeof users)[number];

const anyTodo = '{}';
const ownTodo = `{ args: { ownerID: '\${inputs.me}' } }`;
/** `admin` deletes any todo, `evil_genius` updates any; an editor its own; a viewer reads. */
const todoTools: { [user in User]: string[] } = {
  'todo-genius': [`can_create_todo: ${anyTodo}`, `can_update_todo: ${anyTodo}`, `can_delete_todo: ${anyTodo}`],
  'todo-editor-1': [`can_create_todo: ${anyTodo}`, `can_update_todo: ${ownTodo}`, `can_delete_todo: ${ownTodo}`],
  'todo-editor-2': [`can_create_todo: ${anyTodo}`, `can_update_todo: ${ownTodo}`, `can_delete_todo: ${ownTodo}`],
  'todo-viewer-1': [],
  'todo-viewer-2': [],
};
const todoManifest = (user: User) => `apiVersion: writ/v1
agent: ${user}
owner: team:todo
description: A user of the Todo application.
envelope: { wall_time: 30m, max_calls: 500 }
task_types:
  todo: { description: Keeps the shared list., inputs: { me: { type: string, pattern: '[a-z0-9-]+' } } }
capabilities: {}
tools:
  can_read_user: {}
  can_read_todos: {}
${todoTools[user].map((tool) => `  ${tool}\n`).join('')}`;

/** Who, what, whose (a user, or a todo’s owner), and whether it is allowed. */
const todoDecisions: [User, string, string, boolean][] = users.flatMap(
  (user, index): [User, string, string, boolean][] => {
    const isGenius = index === 0;
    const edits = index < 3;
    // The scenario asks the genius about another’s todo where the others are asked about their own.
    const own = isGenius ? 'todo-editor-1' : user;
    return [
      [user, 'can_read_user', 'todo-viewer-1', true],
      [user, 'can_read_user', user, true],
      [user, 'can_read_todos', 'todo-1', true],
      [user, 'can_create_todo', 'todo-1', edits],
      [user, 'can_update_todo', 'todo-genius', isGenius],
      [user, 'can_update_todo', own, edits],
      [user, 'can_delete_todo', 'todo-genius', isGenius],
      [user, 'can_delete_todo', own, edits],
    ];
  },
);
/** Who may update whose, in one request each. */
const todoBatches: [User, User[], boolean[]][] = [
  ['todo-genius', ['todo-genius', 'todo-viewer-2'], [true, true]],
  ['todo-editor-1', ['todo-genius', 'todo-editor-1'], [false, true]],
  ['todo-viewer-2', ['todo-genius', 'todo-viewer-2'], [false, false]],
];

const resourceOf = (action: string, whose: string) => {
  if (action === 'can_read_user') return { type: 'user', id: whose };
  if (action === 'can_read_todos' || action === 'can_create_todo') return { type: 'todo', id: whose };
  return {
    type: 'todo',
    id: `7240d0db-8ff0-41ec-98b2-34a096273b9${users.indexOf(whose as User)}`,
    properties: { ownerID: whose },
  };
};

/**
 * The two users of the certification’s fixture. The second is an admin in some of its cases: another task.
 */
const certificationManifest = (agent: 'cert-first' | 'cert-second', tools: string) => `apiVersion: writ/v1
agent: ${agent}
owner: team:records
description: A subject of the certification.
envelope: { wall_time: 30m, max_calls: 500 }
task_types:
  work: { description: Works., inputs: {} }
  administer: { description: Works as an admin., inputs: {} }
capabilities: {}
tools:
${tools}`;
const anyRecord = "'resource.type': record, 'resource.id': { enum: [record-1, record-2] }";
const certification = {
  'cert-first': certificationManifest(
    'cert-first',
    `  read: { entity: 'record:\${args.resource.id}', args: { ${anyRecord} } }
  write: { entity: 'record:\${args.resource.id}', args: { ${anyRecord}, status: { enum: [active], optional: true } } }
  delete: { entity: 'record:\${args.resource.id}', args: { ${anyRecord}, soft: true } }
`,
  ),
  'cert-second': certificationManifest(
    'cert-second',
    `  read: { entity: 'record:\${args.resource.id}', args: { ${anyRecord} } }
  write: { tasks: [administer], entity: 'record:\${args.resource.id}', args: { ${anyRecord} } }
`,
  ),
};

describe('the public cases of AuthZEN', () => {
  let ground: Ground;
  let broker: Broker;
  const sessions = new Map<string, Session>();
  const ask = async (who: string, path: string, body: object) => json(await sessions.get(who)!(path, body));
  const agentOf = (who: string) => ({ type: 'agent', id: who.replace(/-admin$/, '') });

  before(async () => {
    ground = await prepareGround([...users, 'cert-first', 'cert-second']);
    for (const user of users) await writeFile(join(ground.manifests, `${user}.yaml`), todoManifest(user));
    for (const [agent, text] of Object.entries(certification))
      await writeFile(join(ground.manifests, `${agent}.yaml`), text);
    broker = await ground.start();
    for (const user of users)
      sessions.set(user, await ground.session(undefined, user, { task_type: 'todo', inputs: { me: user } }));
    const work = { task_type: 'work', inputs: {} };
    sessions.set('cert-first', await ground.session(undefined, 'cert-first', work));
    sessions.set('cert-second', await ground.session(undefined, 'cert-second', work));
    const administer = { task_type: 'administer', inputs: {} };
    sessions.set('cert-second-admin', await ground.session(undefined, 'cert-second', administer));
  });
  after(async () => {
    await broker.stop();
    await ground.close();
  });

  test('Todo: the 40 decisions', async () => {
    assert.equal(todoDecisions.length, 40);
    for (const [who, action, whose, expected] of todoDecisions) {
      const body = { subject: agentOf(who), action: { name: action }, resource: resourceOf(action, whose) };
      const { status, decision } = await ask(who, '/access/v1/evaluation', body);
      assert.deepEqual([status, decision], [200, expected], `${who} ${action} ${whose}`);
    }
  });

  test('Todo: the 3 requests for several decisions', async () => {
    for (const [who, owners, expected] of todoBatches) {
      const { status, evaluations } = await ask(who, '/access/v1/evaluations', {
        subject: agentOf(who),
        action: { name: 'can_update_todo' },
        // As the scenario’s backend sends it: no default at all.
        resource: {},
        context: {},
        evaluations: owners.map((owner) => ({ resource: resourceOf('can_update_todo', owner) })),
      });
      assert.deepEqual([status, evaluations.map((one: { decision: boolean }) => one.decision)], [200, expected], who);
    }
  });

  /**
   * Who, action, the resource’s and the action’s properties, and whether it is allowed: decision rules 1 to
   * 8.
   */
  const rules: [string, string, object, object | undefined, boolean][] = [
    ['cert-first', 'read', { type: 'record', id: 'record-1' }, undefined, true],
    ['cert-first', 'write', { type: 'record', id: 'record-1' }, undefined, true],
    ['cert-second', 'read', { type: 'record', id: 'record-1' }, undefined, true],
    ['cert-second', 'write', { type: 'record', id: 'record-1' }, undefined, false],
    ['cert-first', 'write', { type: 'record', id: 'record-2', properties: { status: 'archived' } }, undefined, false],
    [
      'cert-second-admin',
      'write',
      { type: 'record', id: 'record-2', properties: { status: 'archived' } },
      undefined,
      true,
    ],
    ['cert-first', 'delete', { type: 'record', id: 'record-1' }, { soft: true }, true],
    ['cert-first', 'delete', { type: 'record', id: 'record-1' }, { soft: false }, false],
  ];
  for (const [index, [who, name, resource, properties, expected]] of rules.entries())
    test(`certification: decision rule ${index + 1}, with a context and without, and again`, async () => {
      const action = properties === undefined ? { name } : { name, properties };
      const body = { subject: agentOf(who), action, resource };
      const context = { time: '2025-06-27T18:03-07:00', ip: '192.168.1.1' };
      for (const one of [body, { ...body, context }, body, { ...body, foo: 'bar', futureField: { nested: true } }]) {
        const { status, decision } = await ask(who, '/access/v1/evaluation', one);
        assert.deepEqual([status, decision], [200, expected]);
      }
    });

  test('certification: what a subject says of its role gives it none', async () => {
    const subject = { ...agentOf('cert-second'), properties: { role: 'admin', task_type: 'administer' } };
    const resource = { type: 'record', id: 'record-2', properties: { status: 'archived' } };
    const { decision } = await ask('cert-second', '/access/v1/evaluation', {
      subject,
      action: { name: 'write' },
      resource,
    });
    assert.equal(decision, false);
  });

  test('certification: several decisions, defaults taken whole, one that lacks something', async () => {
    const record = (id: string, status?: string) =>
      status === undefined ? { type: 'record', id } : { type: 'record', id, properties: { status } };
    const decisions = async (who: string, body: object) => {
      const { status, evaluations } = await ask(who, '/access/v1/evaluations', { subject: agentOf(who), ...body });
      assert.equal(status, 200);
      return evaluations.map((one: { decision: boolean }) => one.decision);
    };
    const read = { action: { name: 'read' } };
    const write = { action: { name: 'write' } };
    assert.deepEqual(await decisions('cert-second', { resource: record('record-1'), evaluations: [read, write] }), [
      true,
      false,
    ]);
    const both = [{ resource: record('record-1', 'active') }, { resource: record('record-2', 'archived') }];
    assert.deepEqual(await decisions('cert-first', { ...write, evaluations: both }), [true, false]);
    const inherited = { ...write, resource: record('record-1', 'active'), evaluations: [{}, both[1]] };
    assert.deepEqual(await decisions('cert-first', inherited), [true, false]);
    const contexts = [{ resource: record('record-1') }, { resource: record('record-2'), context: { source: 'x' } }];
    assert.deepEqual(await decisions('cert-first', { ...read, context: { time: 'now' }, evaluations: contexts }), [
      true,
      true,
    ]);
    const lacking = {
      ...read,
      options: { evaluations_semantic: 'execute_all' },
      evaluations: [{ resource: record('record-1') }, {}],
    };
    assert.deepEqual(await decisions('cert-first', lacking), [true, false]);
    for (const evaluations of [undefined, []]) {
      const body = { subject: agentOf('cert-first'), ...read, resource: record('record-1'), evaluations };
      const { status, decision } = await ask('cert-first', '/access/v1/evaluations', body);
      assert.deepEqual([status, decision], [200, true]);
    }
  });

  test('certification: the searches', async () => {
    const read = { name: 'read' };
    const first = { type: 'record', id: 'record-1' };
    // S1: each session is told of itself.
    for (const who of ['cert-first', 'cert-second'])
      for (const more of [{}, { id: 'somebody-else' }]) {
        const subject = { type: 'agent', ...more };
        const { results } = await ask(who, '/access/v1/search/subject', { subject, action: read, resource: first });
        assert.deepEqual(results, [agentOf(who)]);
      }
    // S4
    const archived = { type: 'record', id: 'record-2', properties: { status: 'archived' } };
    const writers = { subject: { type: 'agent' }, action: { name: 'write' }, resource: archived };
    assert.deepEqual((await ask('cert-second-admin', '/access/v1/search/subject', writers)).results, [
      agentOf('cert-second'),
    ]);
    assert.deepEqual((await ask('cert-second', '/access/v1/search/subject', writers)).results, []);
    assert.deepEqual((await ask('cert-first', '/access/v1/search/subject', writers)).results, []);
    // S2 and S5
    const records = (who: string, name: string, resource: object = { type: 'record' }) =>
      ask(who, '/access/v1/search/resource', { subject: agentOf(who), action: { name }, resource });
    const all = [first, { type: 'record', id: 'record-2' }];
    for (const resource of [{ type: 'record' }, first]) {
      const { results, context, page } = await records('cert-first', 'read', resource);
      assert.deepEqual([results, context.complete, page.next_token], [all, true, '']);
    }
    assert.deepEqual((await records('cert-second-admin', 'write')).results, all);
    assert.deepEqual((await records('cert-second', 'write')).results, []);
    // S3 and S6
    const actions = async (who: string, resource: object) =>
      (await ask(who, '/access/v1/search/action', { subject: agentOf(who), resource })).results;
    assert.deepEqual(await actions('cert-first', first), [{ name: 'read' }, { name: 'write' }, { name: 'delete' }]);
    assert.deepEqual(await actions('cert-second-admin', archived), [{ name: 'read' }, { name: 'write' }]);
    assert.deepEqual(await actions('cert-second', archived), [{ name: 'read' }]);
    // What nobody knows is nothing, and no error.
    assert.deepEqual(await actions('cert-first', { type: 'spaceship', id: 'x' }), []);
    const nobody = { subject: { type: 'user', id: 'nonexistent-user' }, resource: first };
    assert.deepEqual((await ask('cert-first', '/access/v1/search/action', nobody)).results, []);
    const ships = { subject: { type: 'spaceship' }, action: read, resource: first };
    assert.deepEqual((await ask('cert-first', '/access/v1/search/subject', ships)).results, []);
  });

  test('certification: whatever is required and missing is 400, on each endpoint', async () => {
    const subject = agentOf('cert-first');
    const action = { name: 'read' };
    const resource = { type: 'record', id: 'record-1' };
    const whole = { subject, action, resource };
    const lacking: [string, object, string][] = [
      ['evaluation', { action, resource }, 'subject'],
      ['evaluation', { subject, resource }, 'action'],
      ['evaluation', { subject, action }, 'resource'],
      ['evaluation', { ...whole, subject: { id: subject.id } }, 'subject.type'],
      ['evaluation', { ...whole, subject: { type: 'agent' } }, 'subject.id'],
      ['evaluation', { ...whole, action: {} }, 'action.name'],
      ['evaluation', { ...whole, resource: { id: 'record-1' } }, 'resource.type'],
      ['evaluation', { ...whole, resource: { type: 'record' } }, 'resource.id'],
      ['evaluation', { ...whole, subject: 'cert-first' }, 'subject'],
      ['evaluation', { ...whole, action: { name: 123 } }, 'action.name'],
      ['evaluations', { subject, action }, 'resource'],
      ['search/subject', { subject: { type: 'agent' }, resource }, 'action'],
      ['search/subject', { subject: { type: 'agent' }, action, resource: { type: 'record' } }, 'resource.id'],
      ['search/resource', { action, resource: { type: 'record' } }, 'subject'],
      ['search/resource', { subject: { type: 'agent' }, action, resource: { type: 'record' } }, 'subject.id'],
      ['search/action', { subject }, 'resource'],
      ['search/action', { subject: { type: 'agent' }, resource }, 'subject.id'],
    ];
    for (const [endpoint, body, path] of lacking) {
      const { status, errors } = await ask('cert-first', `/access/v1/${endpoint}`, body);
      assert.deepEqual([status, errors?.[0]?.path], [400, path], `${endpoint} ${JSON.stringify(body)}`);
    }
  });
});
