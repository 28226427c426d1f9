/** Tools of several shapes, called through a real broker. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Harness, openHarness } from './broker.test-support.ts';
import { type Session, WritDenied, withWrit } from './index.ts';

let harness: Harness;
let session: Session;
before(async () => {
  harness = await openHarness();
});
after(() => harness.close());

const made: string[] = [];
const plain = (name: string) => async (args: { [name: string]: unknown }) => {
  made.push(`${name} ${JSON.stringify(args)}`);
  return `result of ${name}`;
};

class StructuredTool {
  name = 'search_invoices';
  #secret = 'private state';
  async invoke(input: { args?: object }) {
    made.push(`search_invoices ${JSON.stringify(input.args ?? input)} ${this.#secret}`);
    return 'three invoices';
  }
}

test('functions and tools of three libraries are asked for, called, and reported', async () => {
  session = await harness.open();
  const tools = withWrit(
    {
      read_invoice: plain('read_invoice'),
      aiSdk: { name: 'read_policy', description: 'Of the AI SDK.', execute: plain('read_policy') },
      openAi: {
        type: 'function' as const,
        name: 'list_customers',
        invoke: async (_context: unknown, json: string) => `got ${json}`,
      },
      langChain: new StructuredTool(),
    },
    session,
  );
  assert.equal(await tools.read_invoice({ id: '7' }), 'result of read_invoice');
  assert.equal(await tools.aiSdk.execute({ page: 1 }), 'result of read_policy');
  assert.equal(tools.aiSdk.description, 'Of the AI SDK.');
  assert.equal(await tools.openAi.invoke({}, '{"page":1}'), 'got {"page":1}');
  const toolCall = { type: 'tool_call', id: 'call_1', args: { query: 'open' } };
  assert.equal(await tools.langChain.invoke(toolCall), 'three invoices');
  assert.ok(tools.langChain instanceof StructuredTool);
  assert.deepEqual(made.splice(0), [
    'read_invoice {"id":"7"}',
    'read_policy {"page":1}',
    'search_invoices {"query":"open"} private state',
  ]);
  const rows = await harness.broker.store.prisma.action.findMany({ where: { sessionId: session.id } });
  assert.deepEqual(rows.map(({ tool, outcome }) => `${tool} ${outcome}`).sort(), [
    'list_customers response',
    'read_invoice response',
    'read_policy response',
    'search_invoices response',
  ]);
});

test('what a result says of its call is on record with it', async () => {
  const report = (tool: string, output: unknown) => ({
    costUsd: 0.25,
    entities: [`${tool}:${output}`],
    labels: ['pii'],
  });
  const { read_policy } = withWrit({ read_policy: async (_args: object) => 7 }, session, { report });
  assert.equal(await read_policy({ page: 3 }), 7);
  const row = await harness.broker.store.prisma.action.findFirstOrThrow({
    where: { sessionId: session.id, labels: { has: 'pii' } },
  });
  assert.equal(row.reportedCostMicroUsd, 250_000n);
  assert.equal((row.entities as { begins: string; length: number }[])[0]?.length, 'read_policy:7'.length);
});

test('a denied call is not made, and its message says what would pass', async () => {
  const tools = withWrit({ drop_table: plain('drop_table'), read_invoice: plain('read_invoice') }, session);
  await assert.rejects(tools.drop_table({}), (error: WritDenied) => {
    assert.ok(error instanceof WritDenied);
    assert.match(error.message, /^The call of drop_table was denied: Call a tool of the list/);
    return error.reasons[0]?.code === 'tool_unknown';
  });
  await assert.rejects(tools.read_invoice({ id: 'x; DROP' }), /id must match/);
  assert.deepEqual(made, []);
});

test('a tool that fails is reported as failed, and fails as it did', async () => {
  const failure = new Error('the disk is full');
  const broken = { read_invoice: () => Promise.reject(failure) };
  await assert.rejects(
    withWrit(broken, session).read_invoice(),
    (error) => error === failure || error instanceof WritDenied,
  );
  await assert.rejects(
    withWrit({ read_policy: () => Promise.reject(failure) }, session).read_policy(),
    (error) => error === failure,
  );
  const row = await harness.broker.store.prisma.action.findFirstOrThrow({
    where: { sessionId: session.id, tool: 'read_policy' },
    orderBy: { askedAt: 'desc' },
  });
  assert.equal(row.outcome, 'error');
});

test('what a model may be shown', async () => {
  const names = (await session.tools()).map(({ name }) => name);
  assert.deepEqual(names, [
    'read_invoice',
    'read_policy',
    'list_customers',
    'search_invoices',
    'send_mail',
    'read_rate',
  ]);
});

test('a call that a rule ends the session for: the credential it held is dead', async () => {
  const mail = withWrit({ send_mail: plain('send_mail') }, session);
  await assert.rejects(mail.send_mail({ to: 'somebody@elsewhere.example' }), /Invoices stay in the house/);
  assert.deepEqual(await session.ended, { reason: 'ended_by_rule' });
  assert.deepEqual(made, []);
});
