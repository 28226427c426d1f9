/** A candidate beside the manifest in force, through the public door: it says, and does nothing. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { call, codes } from '../actions/asking.test-support.ts';
import type { Broker } from '../compose/start.ts';
import { type Ground, prepareGround } from '../running.test-support.ts';
import { createTestDatabase, testBackends } from '../store/store.test-support.ts';
import { until } from '../until.test-support.ts';

const manifest = `apiVersion: writ/v1
agent: scripted-agent
owner: team:billing
description: Tries things.
envelope: { wall_time: 30m }
task_types: { work: { description: Work., inputs: {} } }
capabilities:
  use-plain:
    description: Use it.
    provider: plain
    tasks: [work]
    tier: 1
    max_ttl: 15m
    choose: { scope: { type: string, enum: [all, one], default: all } }
tools:
  read_file: { labels: [files] }
  post: { destination: [url] }
  shell: { args: { command: { pattern: 'ls.*' } } }
rules:
  - { id: twice, on: { tool: shell }, when: { count: { more_than: 3, within: session } }, effect: deny }
`;
const candidate = manifest
  .replace("'ls.*'", "'(?:ls|cat).*'")
  .replace('tier: 1', 'tier: 2')
  .replace(
    'effect: deny }',
    `effect: deny }
  - { id: after-reading, on: { tool: post }, when: { formerly: { tool: read_file, kind: response, within: session } }, effect: terminate }
  - { id: known-twice, on: { tool: read_file }, when: { count: { of: { tool: shell }, more_than: 1, within: session } }, effect: deny }
  - { id: again, on: { tool: post }, when: { formerly: { tool: post, same: ['arg:url'], within: 1h } }, scope: agent, effect: deny }
  - { id: after-grant, on: { tool: shell }, when: { formerly: { capability: use-plain, kind: attempt, within: session } }, effect: deny }`,
  );

for (const backend of await testBackends())
  describe(`shadow mode on ${backend}`, () => {
    let ground: Ground;
    let broker: Broker;
    let database: Awaited<ReturnType<typeof createTestDatabase>> | null = null;
    const admin = (method: string, query = '', body?: string) =>
      fetch(`${ground.url}/v1/admin/manifests/scripted-agent/candidate${query}`, {
        method,
        headers: { authorization: `Bearer ${broker.bootstrapToken}`, 'content-type': 'application/yaml' },
        ...(body === undefined ? {} : { body }),
      });
    interface Difference {
      kind: string;
      name: string;
      session: string;
      was: { effect: string };
      now: { effect: string; reasons: { policy_id?: string }[] };
      because: string[];
    }
    const differences = async (): Promise<Difference[]> =>
      ((await (await admin('GET')).json()) as { differences: Difference[] }).differences;
    /** The newest one, once there are so many. */
    const newest = async (count: number): Promise<Difference> => {
      await until('the candidate has said so', async () => (await differences()).length >= count);
      const all = await differences();
      assert.equal(all.length, count, JSON.stringify(all));
      return all[0]!;
    };
    const counted = async () => {
      const text = await (await fetch(`${ground.url}/metrics`)).text();
      const lines = text.split('\n').filter((line) => line.startsWith('writ_shadow_decisions_total{'));
      return Object.fromEntries(
        lines.map((line) => [
          /kind="(\w+)",outcome="(\w+)"/.exec(line)!.slice(1).join(' '),
          Number(line.split(' ').at(-1)),
        ]),
      );
    };

    before(async () => {
      ground = await prepareGround();
      await writeFile(join(ground.manifests, 'agent.yaml'), manifest);
      database = backend === 'postgres' ? await createTestDatabase() : null;
      const where = database === null ? { WRIT_DATA_DIR: join(ground.folder, 'data') } : { DATABASE_URL: database.url };
      broker = await ground.start(where);
    });
    after(async () => {
      await broker.stop();
      await database?.drop();
      await ground.close();
    });

    test('a candidate is checked as any manifest is, and comes in force never', async () => {
      assert.equal((await admin('GET')).status, 404);
      assert.equal((await admin('PUT', '?reason=try', manifest.replace('tier: 1', 'tier: 9'))).status, 422);
      assert.equal((await admin('PUT', '?reason=try', candidate.replace('scripted-agent', 'other-agent'))).status, 422);
      const published = await admin('PUT', '?reason=try', candidate);
      assert.equal(published.status, 200, await published.clone().text());
      assert.equal(((await published.json()) as { number: number }).number, 1);
      const inForce = await fetch(`${ground.url}/v1/admin/manifests/scripted-agent`, {
        headers: { authorization: `Bearer ${broker.bootstrapToken}` },
      });
      assert.equal(((await inForce.json()) as { version: number }).version, 1);
    });

    test('every answer is that of the manifest in force; what the candidate says is listed', async () => {
      const session = await ground.session();
      // Looser: a command that the candidate takes.
      assert.deepEqual(codes(await call(session, 'shell', { command: 'cat x' })), ['argument_outside']);
      assert.deepEqual([(await newest(1)).was.effect, (await newest(1)).now.effect], ['deny', 'allow']);
      // Stricter, by what only the candidate remembers: an outcome that was reported.
      const read = await call(session, 'read_file', {});
      assert.equal(read.decision, true);
      assert.equal((await call(session, 'post', { url: 'a.test' })).decision, true);
      const reported = await session(`/v1/actions/${read.context.id}/finish`, { outcome: 'response', output: 'x' });
      assert.ok(reported.ok);
      assert.equal((await call(session, 'post', { url: 'b.test' })).decision, true, 'it ends no session');
      const ended = await newest(2);
      assert.deepEqual(
        [ended.name, ended.now.effect, ended.now.reasons[0]?.policy_id],
        ['post', 'terminate', 'post.rule.after-reading'],
      );
      assert.deepEqual(ended.because, ['again looks at what was before the candidate']);
      // By the same argument, in another session of the agent.
      const other = await ground.session();
      assert.equal((await call(other, 'post', { url: 'a.test' })).decision, true);
      assert.equal((await newest(3)).now.reasons[0]?.policy_id, 'post.rule.again');
      assert.equal((await call(other, 'post', { url: 'c.test' })).decision, true);
      // By a tracker that counts what is really let through.
      for (const n of [1, 2]) assert.equal((await call(other, 'shell', { command: `ls ${n}` })).decision, true);
      assert.equal((await call(other, 'read_file', {})).decision, true);
      assert.equal((await newest(4)).now.reasons[0]?.policy_id, 'read_file.rule.known-twice');
      // A grant: the credential is minted, although the candidate would have asked a person.
      const granted = await other('/v1/grants', { capability: 'use-plain', params: { scope: 'one' } });
      assert.equal(granted.status, 201);
      const grant = await newest(5);
      assert.deepEqual(
        [grant.kind, grant.name, grant.was.effect, grant.now.effect],
        ['grant', 'use-plain', 'allow', 'approve'],
      );
      assert.equal((await call(other, 'shell', { command: 'ls 3' })).decision, true);
      assert.equal((await newest(6)).now.reasons[0]?.policy_id, 'shell.rule.after-grant');
      // A tracker that both have: the fourth is denied by both, as the candidate knows the same history.
      assert.deepEqual(codes(await call(other, 'shell', { command: 'ls 4' })), ['rule']);
      await until('all was counted', async () => (await counted())['call stricter'] === 4);
      const { 'call looser': looser, 'grant other': other_effect, 'call failed': failed } = await counted();
      assert.deepEqual([looser, other_effect, failed], [1, 1, undefined]);
    });

    test('withdrawn, it says nothing any more; what it said stays, and another one begins anew', async () => {
      assert.equal((await admin('DELETE')).status, 200);
      assert.equal((await admin('DELETE')).status, 404);
      const session = await ground.session();
      assert.equal((await call(session, 'shell', { command: 'cat x' })).decision, false);
      assert.equal((await differences()).length, 6);
      const again = (await (await admin('PUT', '?reason=again', candidate)).json()) as { number: number };
      assert.equal(again.number, 2);
      assert.deepEqual(await differences(), []);
      assert.equal((await call(session, 'post', { url: 'a.test' })).decision, true, 'it was called before');
      assert.equal((await call(session, 'shell', { command: 'cat x' })).decision, false);
      assert.equal((await newest(1)).name, 'shell', 'and what an earlier candidate remembered is gone');
    });

    // The embedded database cannot be broken from outside.
    const onServer = backend === 'postgres' ? test : null;
    onServer?.('what fails in it changes no answer', async () => {
      const client = new pg.Client({ connectionString: database!.url });
      await client.connect();
      try {
        await client.query('ALTER TABLE shadow_cell RENAME TO gone');
        const session = await ground.session();
        assert.equal((await call(session, 'post', { url: 'd.test' })).decision, true);
        await until('it failed', async () => ((await counted())['call failed'] ?? 0) > 0);
        assert.deepEqual(codes(await call(session, 'shell', { command: 'cat x' })), ['argument_outside']);
      } finally {
        await client.query('ALTER TABLE IF EXISTS gone RENAME TO shadow_cell');
        await client.end();
      }
    });

    test('only an admin may publish, see or withdraw one', async () => {
      const session = await ground.session();
      const path = '/v1/admin/manifests/scripted-agent/candidate';
      assert.equal((await session.get(path)).status, 401);
      for (const method of ['GET', 'PUT', 'DELETE'])
        assert.equal((await fetch(`${ground.url}${path}?reason=x`, { method })).status, 401);
    });
  });
