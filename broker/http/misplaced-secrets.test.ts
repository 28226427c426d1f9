/**
 * A token that an agent sends where a name belongs is neither in the database nor in the log, whichever door
 * it came through.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { assertEventsFit } from '../audit/rows.test-support.ts';
import type { Broker } from '../compose/start.ts';
import { type Ground, prepareGround, source } from '../running.test-support.ts';
import { migratedImage } from '../store/store.test-support.ts';

const tools = 'tools: { read_file: { description: Read. } }\n';

let ground: Ground;
let broker: Broker;

before(async () => {
  ground = await prepareGround();
  await writeFile(join(ground.manifests, 'agent.yaml'), source + tools);
  broker = await ground.start({}, { inMemory: await migratedImage() });
});
after(async () => {
  await assertEventsFit(broker.store);
  await broker.stop();
  await ground.close();
});

test('a token in place of a name is kept nowhere', async () => {
  const sent = new Map<string, string>();
  const token = (where: string): string => {
    const made = `ghs_${randomBytes(18).toString('hex')}`;
    sent.set(made, where);
    return made;
  };
  const agent = await ground.session();
  const statuses: number[] = [];
  const post = async (path: string, body: object, headers: Record<string, string> = {}) => {
    const answer = await agent.withHeaders(path, body, headers);
    statuses.push(answer.status);
    return (await answer.json()) as { snapshot: string; context?: { id: string } };
  };

  await post('/v1/grants', { capability: token('capability') });
  await post('/v1/grants', { capability: 'use-plain', params: { [token('parameter')]: 1 } });
  await post('/v1/grants', { capability: 'use-plain', params: { scope: token('value of a parameter') } });
  await post('/v1/grants', { capability: 'use-plain', [token('member')]: 1 });
  await post('/v1/grants', { capability: 'use-plain' }, { 'idempotency-key': token('idempotency key') });
  await post('/v1/grants/batch', { requests: [{ capability: token('one of several') }, { capability: 'use-plain' }] });

  const call = (more: object) => ({
    subject: { type: 'agent', id: 'scripted-agent' },
    action: { name: 'read_file' },
    resource: { type: 'tool', id: 'read_file' },
    ...more,
  });
  const tool = token('tool');
  await post('/access/v1/evaluation', call({ action: { name: tool }, resource: { type: 'tool', id: tool } }));
  for (const context of [
    { arguments: { [token('argument')]: 1 } },
    { arguments: { path: token('value of an argument') } },
    { prompted_by: token('what prompted it') },
    { call_id: token('id of a call') },
  ])
    await post('/access/v1/evaluation', call({ context }));
  await post('/access/v1/evaluation', call({ resource: { type: token('type'), id: token('resource') } }));
  const capability = { type: 'capability', id: token('capability, by AuthZEN') };
  await post('/access/v1/evaluation', call({ action: { name: 'request' }, resource: capability }));
  const made = await post('/access/v1/evaluation', call({ context: { arguments: { path: 'a' } } }));
  const entities = [token('entity')];
  await post(`/v1/actions/${made.context?.id}/finish`, { outcome: 'response', entities, output: token('output') });
  const given = (await (await agent.get('/v1/tools/snapshot')).json()) as { snapshot: string };
  const reported = {
    call_id: token('id of a reported call'),
    tool: token('reported tool'),
    arguments: { [token('argument of a reported call')]: 1 },
    made_at: new Date().toISOString(),
    prompted_by: token('what prompted a reported call'),
  };
  await post('/v1/actions/report', { snapshot: given.snapshot, calls: [reported] });
  await post('/v1/session/words', { text: token('words') });
  await post('/v1/session/sleep', { [token('member of sleep')]: 1 });
  await agent.get(`/v1/grants/${token('path')}?after=${token('query')}`);

  for (const task of [
    { task_type: token('task type') },
    { task_type: 'work', inputs: { [token('input')]: 'x' } },
    { task_type: 'work', capabilities: [token('scope')] },
    { task_type: 'work', on_behalf_of: `user:${token('person')}` },
  ])
    await assert.rejects(ground.session(undefined, 'scripted', task), /invalid_authorization_details/);
  for (const form of [
    { grant_type: token('grant type') },
    { grant_type: 'client_credentials', client_id: token('client'), client_secret: token('secret') },
    { grant_type: 'urn:openid:params:grant-type:ciba', auth_req_id: token('handle') },
  ]) {
    const answer = await fetch(`${ground.url}/oauth/token`, {
      method: 'POST',
      body: new URLSearchParams(form as Record<string, string>),
    });
    assert.equal(answer.status, 400);
  }
  await fetch(`${ground.url}/v1/locks`, { headers: { authorization: `Bearer ${token('admin')}` } });

  assert.ok(statuses.every((status) => status < 500));
  const tables = await broker.store.prisma.$queryRawUnsafe<{ name: string }[]>(
    "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'",
  );
  assert.ok(tables.length > 20);
  const kept = [...ground.log];
  for (const { name } of tables) {
    const rows = await broker.store.prisma.$queryRawUnsafe<{ row: string }[]>(
      `SELECT to_jsonb(t)::text AS row FROM "${name}" t`,
    );
    kept.push(...rows.map(({ row }) => `${name}: ${row}`));
  }
  const found = [...sent].flatMap(([value, where]) =>
    kept.filter((text) => text.includes(value)).map((text) => `${where} in ${text.slice(0, 200)}`),
  );
  assert.deepEqual(found, []);
});
