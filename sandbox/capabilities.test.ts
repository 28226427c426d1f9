import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Json } from '../broker/core/vocabulary.ts';
import { type Agent, type Deployment, startDeployment } from './deployment.test-support.ts';

const more = `
  file-by-month:
    description: Read one month's file.
    provider: gcp
    tasks: [answer-invoice-question]
    tier: 3
    max_ttl: 5m
    max_grants: 2
    params: { bucket: statements, role: roles/storage.objectViewer }
    choose:
      prefix: { type: string, pattern: "months/[0-9]{2}/", description: Which month. }
  hand-on:
    description: For sub-agents.
    provider: gcp
    tasks: [answer-invoice-question]
    tier: 1
    max_ttl: 5m
    max_grants: 2
    delegate_only: true
    params: { bucket: statements, role: roles/storage.objectViewer, prefix: "all/" }
  of-another-task:
    description: Nothing for this task.
    provider: gcp
    tasks: [close-month]
    tier: 1
    max_ttl: 5m
    params: { bucket: statements, role: roles/storage.objectViewer, prefix: "closed/" }
  decoy:
    description: Read everything.
    canary: true
    provider: gcp
    tasks: [answer-invoice-question]
    tier: 1
    max_ttl: 5m
    params: { bucket: statements, role: roles/storage.objectViewer, prefix: "everything/" }
tools: { probe: {} }
cedar: |
  @id("probe")
  @effect("downgrade")
  @withhold("capability:read-customer-files")
  forbid (principal, action == Writ::Action::"call:probe", resource);
`;

let deployment: Deployment;
before(async () => {
  deployment = await startDeployment();
  const example = await readFile(join(import.meta.dirname, 'example/manifests/invoice-bot.yaml'), 'utf8');
  const source = example.replace(
    'task_types:\n',
    'task_types:\n  close-month: { description: Close a month., inputs: {} }\n',
  );
  const published = await deployment.publish('invoice-bot', source + more);
  assert.equal(published.status, 200, published.text);
});
after(() => deployment.close());

const listed = async (agent: Agent) => {
  const reply = await agent.call('GET', '/v1/capabilities');
  assert.equal(reply.status, 200, reply.text);
  return reply.body as unknown as {
    task_type: string;
    grants_left: number;
    capabilities: { name: string; state: string; grants_left: number; [member: string]: unknown }[];
  };
};
const stateOf = async (agent: Agent, capability: string) => {
  const one = (await listed(agent)).capabilities.find(({ name }) => name === capability);
  return [one?.state, one?.grants_left];
};

test('an agent asks what it may ask for: names, parameters, tier, what is left', async () => {
  const agent = await deployment.openAgent();
  const { capabilities, ...whole } = await listed(agent);
  assert.deepEqual([whole.task_type, whole.grants_left], ['answer-invoice-question', 20]);
  assert.deepEqual(
    capabilities.map(({ name, tier, grants_left, state, delegate_only }) => [
      name,
      tier,
      grants_left,
      state,
      delegate_only,
    ]),
    [
      ['read-customer-files', 1, 20, 'open', false],
      ['correct-customer-invoice', 2, 20, 'open', false],
      ['read-policy-repository', 1, 20, 'open', false],
      ['read-statements', 1, 20, 'open', false],
      ['file-by-month', 3, 2, 'open', false],
      ['hand-on', 1, 2, 'open', true],
      ['decoy', 1, 20, 'open', false],
    ],
  );
  const [files, , , , month] = capabilities;
  assert.deepEqual(files, {
    name: 'read-customer-files',
    description: "Read one customer's files in the orders bucket.",
    provider: 'aws',
    tier: 1,
    max_ttl_seconds: 900,
    grants_left: 20,
    delegate_only: false,
    state: 'open',
    params: {
      role: 'arn:aws:iam::111122223333:role/writ-orders',
      service: 's3',
      access: 'read',
      bucket: 'orders',
      prefix: 'customers/42/',
    },
    choose: {},
  });
  assert.deepEqual(month?.choose, {
    prefix: { type: 'string', pattern: 'months/[0-9]{2}/', description: 'Which month.' },
  });
  assert.doesNotMatch(JSON.stringify(capabilities), /canary/, 'a decoy looks like any other');
});

test('what a session and its children used is not left; a narrowed one sees its own', async () => {
  const agent = await deployment.openAgent();
  const child = await deployment.tokenRequest({
    subjectToken: agent.token,
    task: { task_type: 'answer-invoice-question', capabilities: ['hand-on'], envelope: { max_grants: 3 } },
    form: { subject_token_type: 'urn:ietf:params:oauth:token-type:access_token' },
  });
  assert.equal(child.status, 200, child.text);
  const own = deployment.agentOf(child.body);
  assert.deepEqual(
    (await listed(own)).capabilities.map(({ name }) => name),
    ['hand-on'],
  );
  assert.deepEqual(await stateOf(agent, 'hand-on'), ['open', 2]);
  assert.equal((await agent.grant({ capability: 'hand-on' })).status, 403, 'a denial takes nothing');
  assert.deepEqual(await stateOf(agent, 'hand-on'), ['open', 2]);
  const given = await own.grant({ capability: 'hand-on' });
  assert.equal(given.status, 201, given.text);
  assert.deepEqual(
    [await stateOf(agent, 'hand-on'), await stateOf(own, 'hand-on')],
    [
      ['open', 1],
      ['open', 1],
    ],
  );
  assert.equal((await agent.grant({ capability: 'file-by-month', params: { prefix: 'months/03/' } })).status, 202);
  assert.deepEqual(await stateOf(agent, 'file-by-month'), ['open', 1]);
  assert.equal((await agent.grant({ capability: 'file-by-month', params: { prefix: 'months/04/' } })).status, 202);
  assert.deepEqual(await stateOf(agent, 'file-by-month'), ['spent', 0]);
  assert.equal((await listed(agent)).grants_left, 15, 'three went to the child, two were used');
});

test('what a rule took, and what an admin locked, is said', async () => {
  const agent = await deployment.openAgent();
  const call = await agent.call('POST', '/access/v1/evaluation', {
    subject: { type: 'session', id: agent.sessionId },
    action: { name: 'tools/call' },
    resource: { type: 'tool', id: 'probe' },
  });
  assert.equal(call.status, 200, call.text);
  assert.deepEqual(await stateOf(agent, 'read-customer-files'), ['withheld', 20]);
  const locked = await deployment.asAdmin('POST', '/v1/locks', {
    body: { level: 'provider', subject: 'github', reason: 'test' },
  });
  assert.equal(locked.status, 200, locked.text);
  const other = await deployment.openAgent();
  assert.deepEqual(await stateOf(other, 'read-policy-repository'), ['locked', 20]);
  assert.deepEqual(await stateOf(other, 'read-customer-files'), ['open', 20]);
});

test('a near name is named, of capabilities, parameters, task types and inputs', async () => {
  const agent = await deployment.openAgent();
  const faultsOf = (body: { errors?: unknown }) => body.errors;
  assert.deepEqual(faultsOf((await agent.grant({ capability: 'read-statments' })).body), [
    { path: 'capability', message: 'is not a capability of this agent; did you mean read-statements?' },
  ]);
  assert.deepEqual(faultsOf((await agent.grant({ capability: 'file-by-month', params: { prefx: 'x' } })).body), [
    { path: 'params.prefx', message: 'is not a parameter of this capability; did you mean prefix?' },
    { path: 'params.prefix', message: 'is required' },
  ]);
  const refused = async (task: { [member: string]: Json }) => faultsOf((await deployment.tokenRequest({ task })).body);
  assert.deepEqual(await refused({ task_type: 'answer-invoice-questions' }), [
    {
      path: 'authorization_details[0].task_type',
      message: 'is not a task type of this agent; did you mean answer-invoice-question?',
    },
  ]);
  assert.deepEqual(await refused({ inputs: { costumer_id: '42' } }), [
    {
      path: 'authorization_details[0].inputs.costumer_id',
      message: 'is not an input of this task type; did you mean customer_id?',
    },
    { path: 'authorization_details[0].inputs.customer_id', message: 'is required' },
  ]);
});

test('an ended session is told so', async () => {
  const agent = await deployment.openAgent();
  await agent.call('POST', '/v1/session/end');
  assert.equal((await agent.call('GET', '/v1/capabilities')).status, 401);
  assert.equal((await deployment.send('GET', '/v1/capabilities')).status, 401);
});
