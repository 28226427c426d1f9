/** Replay and suggestions through the public door: a real broker, its record, and the command of an admin. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { call } from '../actions/asking.test-support.ts';
import type { Broker } from '../compose/start.ts';
import { type Ground, prepareGround } from '../running.test-support.ts';

const manifest = `apiVersion: writ/v1
agent: scripted-agent
owner: team:billing
description: Tries things.
envelope: { wall_time: 2h, max_calls: 50 }
task_types:
  work: { description: Work., inputs: {} }
  # One customer's tickets.
  answer:
    description: Answer.
    inputs:
      customer: { type: integer }
      reply_to: { type: string, pattern: '[a-z]+@[a-z.]+' }
  never: { description: Never used., inputs: {} }
capabilities:
  use-plain:
    description: Use it.
    provider: plain
    tasks: [work, answer]
    tier: 1
    max_ttl: 15m
    choose: { scope: { type: string, enum: [all, one, two], default: all } }
  other: { description: Not used., provider: plain, tasks: [work], tier: 1, max_ttl: 15m }
tools:
  read_order: { entity: 'order:\${args.order}' } # the customer's, by hand
  send_mail: { destination: [to] }
  shell: { args: { command: { pattern: '(?:ls|cat) .*' } } }
  unused: {}
egress:
  known: ['*.example.com', park.example.org]
rules:
  - id: nothing-out
    on: { tool: send_mail }
    when: { formerly: { tool: shell, within: session }, destination: unknown }
    effect: deny
`;

const run = promisify(execFile);

describe('replay and suggest', () => {
  let ground: Ground;
  let broker: Broker;
  let candidate: string;
  const writ = async (...args: string[]) => {
    const env = { ...process.env, WRIT_URL: ground.url, WRIT_ADMIN_TOKEN: broker.bootstrapToken! };
    const command = join(import.meta.dirname, '../cli/writ.ts');
    const { stdout } = await run(process.execPath, [command, ...args], { env });
    return stdout;
  };
  const replayed = async (text: string) => {
    await writeFile(candidate, text);
    return JSON.parse(await writ('manifest', 'replay', '--since', '1h', '--json', candidate));
  };

  before(async () => {
    ground = await prepareGround();
    candidate = join(ground.folder, 'candidate.yaml');
    await writeFile(join(ground.manifests, 'agent.yaml'), manifest);
    broker = await ground.start();
    for (const customer of [41, 42]) {
      const inputs = { customer, reply_to: customer === 41 ? 'a@shop.test' : 'b@shop.test' };
      const session = await ground.session(undefined, 'scripted', { task_type: 'answer', inputs });
      assert.equal((await call(session, 'read_order', { order: customer })).decision, true);
      assert.equal((await call(session, 'send_mail', { to: inputs.reply_to })).decision, true);
      assert.equal((await call(session, 'shell', { command: 'ls here' })).decision, true);
      assert.equal((await call(session, 'send_mail', { to: 'evil.test' })).decision, false);
      const granted = await session('/v1/grants', {
        capability: 'use-plain',
        params: { scope: 'one' },
        ttl_seconds: 300,
      });
      assert.equal(granted.status, 201, await granted.clone().text());
      assert.equal((await session('/v1/session/end')).status, 200);
    }
  });
  after(async () => {
    await broker.stop();
    await ground.close();
  });

  const counts = (one: { [group: string]: { count: number } | number }) =>
    ['newly_denied', 'newly_allowed', 'other_effect', 'undecidable'].map(
      (name) => (one[name] as { count: number }).count,
    );

  test('the manifest in force, replayed, changes nothing', async () => {
    const same = await replayed(manifest);
    assert.deepEqual([same.decided, same.unchanged, ...counts(same)], [10, 10, 0, 0, 0, 0]);
  });

  test('what would be denied, allowed, or be another permission is told one by one', async () => {
    const changed = manifest
      .replace(
        `read_order: { entity: 'order:\${args.order}' }`,
        `read_order: { entity: 'order:\${args.order}', args: { order: 41 } }`,
      )
      .replace('known: [', "known: ['evil.test', ")
      .replace('tier: 1\n    max_ttl: 15m', 'tier: 1\n    max_ttl: 2m');
    const found = await replayed(changed);
    assert.deepEqual(counts(found), [1, 2, 2, 0]);
    assert.equal(found.newly_denied.first[0].name, 'read_order');
    assert.equal(found.newly_denied.first[0].now.reasons[0].code, 'argument_outside');
    assert.deepEqual(found.other_effect.first[0].because, ['for 120 s instead of 300 s']);
    assert.deepEqual(
      found.newly_allowed.first.map(({ name }: { name: string }) => name),
      ['send_mail', 'send_mail'],
    );
  });

  test('a pattern on a value that is not kept is undecidable, with the reason; nobody guesses', async () => {
    const found = await replayed(manifest.replace('(?:ls|cat) .*', 'ls .*'));
    assert.deepEqual(counts(found), [0, 0, 0, 2]);
    assert.deepEqual(found.undecidable.first[0].now.effects, ['allow', 'deny']);
    assert.deepEqual(found.undecidable.first[0].because, [
      'the value of command is not kept, and the manifest limits it',
    ]);
  });

  test('for people it is told in words, and a manifest with a fault is refused by its place', async () => {
    await writeFile(candidate, manifest.replace('(?:ls|cat) .*', 'ls .*'));
    const told = await writ('manifest', 'replay', '--since', '1h', '--first', '1', candidate);
    assert.match(told, /^scripted-agent since .*: 10 calls and grants decided anew, 8 as they were\nnewly denied: 0\n/);
    assert.match(told, /undecidable: 2\n {2}\S+ call shell \(act_\w+, ses_\w+\): allow → allow or deny\n/);
    assert.match(told, /… and 1 more\n$/);
    await writeFile(candidate, manifest.replace('tier: 1', 'tier: 9'));
    await assert.rejects(writ('manifest', 'replay', candidate), ({ code, stderr }) => {
      assert.equal(code, 1);
      assert.match(stderr, /capabilities\.use-plain\.tier/);
      return true;
    });
  });

  test('only an admin may ask', async () => {
    const path = `${ground.url}/v1/admin/manifests/scripted-agent`;
    const session = await ground.session();
    assert.equal((await fetch(`${path}/suggestion`)).status, 401);
    assert.equal((await session.get('/v1/admin/manifests/scripted-agent/suggestion')).status, 401);
    assert.equal(
      (
        await fetch(`${path}/replay`, {
          method: 'POST',
          body: manifest,
          headers: { 'content-type': 'application/yaml' },
        })
      ).status,
      401,
    );
  });

  test('what is suggested is narrower, valid, and changes nothing that was let through', async () => {
    const told = JSON.parse(await writ('manifest', 'suggest', '--agent', 'scripted-agent', '--since', '1h', '--json'));
    const cuts = new Map(told.cuts.map(({ path, to }: { path: string; to: unknown }) => [path, to]));
    assert.equal(cuts.get('capabilities.other'), null);
    assert.equal(cuts.get('tools.unused'), null);
    assert.equal(cuts.get('task_types.never'), null);
    assert.equal(cuts.get('capabilities.use-plain.max_ttl'), '5m');
    assert.deepEqual(cuts.get('capabilities.use-plain.choose.scope'), { type: 'string', enum: ['one'] });
    assert.equal(cuts.get('tools.read_order.args.order'), `\${inputs.customer}`);
    assert.equal(cuts.get('tools.send_mail.args.to'), `\${inputs.reply_to}`);
    assert.equal(cuts.get('tools.shell.no_other_args'), true);
    assert.equal(cuts.get('envelope.max_calls'), 4);
    assert.equal(cuts.get('envelope.wall_time'), '1m');
    assert.match(told.manifest, /# One customer's tickets\./, 'comments stay');

    await writeFile(candidate, told.manifest);
    assert.match(
      await writ('manifest', 'check', candidate).catch(({ stderr }) => stderr),
      /provider/,
      'valid but for the scripted provider',
    );
    const found = await replayed(told.manifest);
    assert.deepEqual([found.newly_denied.count, found.other_effect.count], [0, 0]);
    assert.ok(found.undecidable.first.every(({ was }: { was: { effect: string } }) => was.effect === 'deny'));
    const diff = await writ('manifest', 'suggest', '--agent', 'scripted-agent', '--since', '1h');
    assert.match(diff, /^--- scripted-agent v1$/m);
    assert.match(diff, /^- {2}never: /m);
  });

  test('who could ever do something is asked over all manifests in force', async () => {
    const told = await writ('manifest', 'who-can', '--tool', 'shell');
    assert.match(told, /^yes: scripted-agent v1, shell, in a session for work$/m);
    assert.match(told, /such as .*"command":"(?:ls|cat) /);
    const silent = await writ('manifest', 'who-can', '--provider', 'plain', '--action', '*', '--resource', '*');
    assert.match(silent, /^cannot tell: scripted-agent v1, use-plain, in a session for answer$/m);
    assert.match(silent, /^ {4}plain does not say what its plans reach$/m);
    await assert.rejects(
      writ('manifest', 'who-can', '--provider', 'plian', '--action', '*', '--resource', '*'),
      /is no provider that is switched on here/,
    );
  });
});
