/** Snapshots through the public door: what is in one, and what becomes of calls that are reported by it. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { compactVerify, createLocalJWKSet, type JSONWebKeySet } from 'jose';
import type { Broker } from '../compose/start.ts';
import { manualClock } from '../core/clock.ts';
import { type Ground, prepareGround } from '../running.test-support.ts';
import { call, type Session } from './asking.test-support.ts';

const manifest = (rules: string, tools = '') => `apiVersion: writ/v1
agent: scripted-agent
owner: team:billing
description: Tries things.
envelope: { wall_time: 30m }
task_types:
  work: { description: Work., inputs: { customer: { type: integer, min: 1 } } }
  rest: { description: Rest., inputs: {} }
capabilities:
  use-plain: { description: Use it., provider: plain, tasks: [work], tier: 1, max_ttl: 15m }
tools:
  read_clock: {}
  read_rates: { tasks: [work], args: { customer: "\${inputs.customer}", day: { pattern: '[a-z]{3}' }, page: { min: 1, max: 3, optional: true } }, no_other_args: true }
  rest_only: { tasks: [rest] }
  read_file: { sensitivity: 2 }
  any_case: { args: { word: { pattern: '(?i)yes' } } }
  labelled: { labels: [files] }
  touches: { entity: 'order:\${args.id}' }
  send_mail: { destination: [to] }
  trap: { canary: true }
  kept: { record: full }
  counted: {}
${tools}
rules:
  - id: often
    on: { tool: counted }
    when: { count: { more_than: 2, within: session } }
    effect: deny
  - { id: after-reading, on: { tool: send_mail }, when: { formerly: { sensitivity: 2, within: session } }, effect: deny }
${rules}
`;

interface Reported {
  call_id: string;
  id: string | null;
  effect: string | null;
  error: string | null;
}

describe('snapshots', () => {
  const clock = manualClock(new Date());
  let ground: Ground;
  let broker: Broker;
  const publish = async (rules = '', tools = '') => {
    const path = `${ground.url}/v1/admin/manifests/scripted-agent`;
    const authorization = `Bearer ${broker.bootstrapToken}`;
    const etag = (await fetch(path, { headers: { authorization } })).headers.get('etag')!;
    const headers = { authorization, 'content-type': 'application/yaml', 'if-match': etag };
    const answer = await fetch(`${path}?reason=test`, { method: 'PUT', headers, body: manifest(rules, tools) });
    assert.ok(answer.ok, await answer.text());
  };
  before(async () => {
    ground = await prepareGround();
    await writeFile(join(ground.manifests, 'agent.yaml'), manifest(''));
    broker = await ground.start({}, { clock });
  });
  after(async () => {
    await broker.stop();
    await ground.close();
  });

  const open = () => ground.session(clock.now(), 'scripted', { task_type: 'work', inputs: { customer: 7 } });
  const take = async (session: Session): Promise<string> => {
    const { snapshot, expires_in } = (await (await session.get('/v1/tools/snapshot')).json()) as {
      snapshot: string;
      expires_in: number;
    };
    assert.ok(expires_in > 0 && expires_in <= 60);
    return snapshot;
  };
  const made = (tool: string, args: object = {}, more: object = {}) => ({
    call_id: crypto.randomUUID(),
    tool,
    arguments: args,
    made_at: clock.now().toISOString(),
    ...more,
  });
  const report = async (session: Session, snapshot: string, ...calls: object[]): Promise<Reported[]> => {
    const response = await session('/v1/actions/report', { snapshot, calls });
    assert.equal(response.status, 200, await response.clone().text());
    return ((await response.json()) as { reports: Reported[] }).reports;
  };
  const lastEvent = async (session: Session) => {
    const chain = claimsOf(session.authorization).sid;
    const where = { type: 'action.reported', chain };
    const row = await broker.store.prisma.auditEvent.findFirstOrThrow({ where, orderBy: { seq: 'desc' } });
    return row.payload as { [name: string]: unknown };
  };
  const claimsOf = (jws: string) => JSON.parse(Buffer.from(jws.split('.')[1]!, 'base64url').toString());

  test('holds the tools that no rule and no history is about, with their limits for this session', async () => {
    const session = await open();
    const jws = await take(session);
    const keys = (await (await fetch(`${ground.url}/.well-known/jwks.json`)).json()) as JSONWebKeySet;
    const { payload, protectedHeader } = await compactVerify(jws, createLocalJWKSet(keys));
    assert.equal(protectedHeader.typ, 'writ-snapshot+jwt');
    const { tools, iat, exp, sub, manifest_version } = JSON.parse(new TextDecoder().decode(payload));
    assert.deepEqual(
      { sub, manifest_version, seconds: exp - iat },
      { sub: 'scripted-agent', manifest_version: 1, seconds: 60 },
    );
    assert.deepEqual(
      tools.map(({ name }: { name: string }) => name),
      ['read_clock', 'read_rates'],
    );
    const [customer, day, page] = tools[1].args;
    assert.deepEqual(customer, { path: 'customer', optional: false, values: [7] });
    assert.equal(day.pattern.steps.at(-1)[0], 'match');
    assert.deepEqual(page, { path: 'page', optional: true, min: 1, max: 3 });
    assert.deepEqual(tools[1].only, ['customer', 'day', 'page']);
  });

  test('is no token, and no token is one', async () => {
    const session = await open();
    const jws = await take(session);
    const used = await fetch(`${ground.url}/v1/session`, { headers: { authorization: `Bearer ${jws}` } });
    assert.equal(used.status, 401);
    const token = session.authorization.split(' ')[1]!;
    await report(session, token, made('read_clock'));
    assert.deepEqual((await lastEvent(session)).uncovered, ['no_snapshot']);
  });

  test('a reported call is on record once, with digests of its arguments, and its outcome', async () => {
    const session = await open();
    const jws = await take(session);
    const one = made('read_rates', { customer: 7, day: 'mon' }, { outcome: 'response', prompted_by: 'turn-3' });
    const [answer] = await report(session, jws, one);
    assert.deepEqual({ ...answer, id: '' }, { call_id: one.call_id, id: '', effect: 'allow', error: null });
    assert.deepEqual(await report(session, jws, one), [answer]);
    const rows = await broker.store.prisma.action.findMany({ where: { id: answer!.id! } });
    assert.deepEqual(
      rows.map(({ tool, outcome, effect }) => [tool, outcome, effect]),
      [['read_rates', 'response', 'allow']],
    );
    const payload = await lastEvent(session);
    assert.deepEqual(
      [payload.snapshot, payload.uncovered, payload.made_at, payload.prompted_by],
      [claimsOf(jws).jti, [], one.made_at, 'turn-3'],
    );
    assert.ok(!JSON.stringify(payload).includes('mon"'), 'no value of an argument is kept');
    const [changed] = await report(session, jws, { ...one, arguments: { customer: 7, day: 'tue' } });
    assert.equal(changed!.error, 'idempotency_mismatch');
  });

  test('a host that reports what it never was allowed: on record, marked, and in history', async () => {
    const session = await open();
    const other = await take(await open());
    const jws = await take(session);
    const [head, body, signature] = jws.split('.');
    const claims = claimsOf(jws);
    const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url');
    const wider = encode({ ...claims, tools: [...claims.tools, { name: 'read_file', args: [], only: null }] });
    const none = encode({ alg: 'none', typ: 'writ-snapshot+jwt' });
    for (const [snapshot, one, uncovered] of [
      [other, made('read_clock'), ['no_snapshot']],
      [`${head}.${wider}.${signature}`, made('read_file'), ['no_snapshot']],
      [`${none}.${body}.`, made('read_clock'), ['no_snapshot']],
      [jws, made('counted'), ['tool_not_in_it']],
      [jws, made('read_rates', { customer: 8, day: 'mon' }), ['argument_outside']],
      [
        jws,
        made('read_clock', {}, { made_at: new Date(clock.now().getTime() - 60_000).toISOString() }),
        ['outside_its_life'],
      ],
      [
        jws,
        made('read_clock', {}, { made_at: new Date(clock.now().getTime() + 30_000).toISOString() }),
        ['outside_its_life'],
      ],
    ] as const) {
      const before = ground.log.length;
      await report(session, snapshot, one);
      assert.deepEqual((await lastEvent(session)).uncovered, uncovered);
      assert.ok(
        ground.log.slice(before).some((line) => line.includes('call_not_allowed')),
        'people are told',
      );
    }
    // What was made counts: one was reported, so the second that is asked for is the last.
    assert.equal((await call(session, 'counted')).decision, true);
    assert.equal((await call(session, 'counted')).decision, false);
    // And so it does where the reported call itself would have been denied.
    const mail = await report(session, jws, made('read_file'), made('send_mail', { to: 'a@example.com' }));
    assert.deepEqual(
      mail.map(({ effect }) => effect),
      ['allow', 'deny'],
    );
    assert.equal((await call(session, 'send_mail', { to: 'a@example.com' })).decision, false);
  });

  test('a rule that came meanwhile cannot deny the call, and ends the session by it', async () => {
    const session = await open();
    const jws = await take(session);
    const rule = '  - { id: no-clock, on: { tool: read_clock }, effect: terminate }';
    await publish(rule);
    const [answer] = await report(session, jws, made('read_clock'));
    assert.equal(answer!.effect, 'terminate');
    const event = await lastEvent(session);
    assert.deepEqual([event.uncovered, event.hits], [[], ['no-clock']]);
    assert.equal((await session.get('/v1/tools/snapshot')).status, 401);

    // What was made before the end, and what was made after it, is on record all the same; once.
    const earlier = made('read_clock');
    clock.advance(10_000);
    const later = made('read_clock');
    for (const [one, uncovered] of [
      [earlier, []],
      [later, ['after_the_end']],
    ] as const) {
      const [first] = await report(session, jws, one);
      assert.equal(first!.effect, 'deny');
      const seen = await lastEvent(session);
      assert.deepEqual([seen.uncovered, seen.action_id], [uncovered, first!.id]);
      assert.deepEqual(await report(session, jws, one), [first]);
    }
    await publish();
  });

  test('a call that was made and would be denied counts against later ones, and lets none pass', async () => {
    const rules = `
  - { id: no-tests, on: { tool: run_tests }, effect: deny }
  - { id: untested, on: { tool: deploy }, effect: deny, unless: { formerly: { tool: run_tests, within: session } } }
  - { id: tested, on: { tool: archive }, effect: deny, when: { formerly: { tool: run_tests, within: session } } }`;
    await publish(rules, '  run_tests: {}\n  deploy: {}\n  archive: {}');
    const session = await open();
    const jws = await take(session);
    assert.equal((await call(session, 'archive')).decision, true);
    await report(session, jws, made('run_tests'));
    assert.equal((await call(session, 'deploy')).decision, false, 'a lie opens nothing');
    assert.equal((await call(session, 'archive')).decision, false, 'and closes what it may');
    await publish();
  });

  test('nothing is let through where rules ask for origins, or a policy or a decoy is about every call', async () => {
    for (const rules of [
      '  - { id: origin, on: { tool: send_mail }, when: { untrusted: [destination] }, effect: deny }',
      '  - { id: person, on: { tool: touches }, effect: approve }',
      '  - { id: new, on: { tool: send_mail }, when: { first_time: destination }, effect: flag }',
      '  - { id: night, on: "*", when: { hours: { zone: UTC, from: "00:00", to: "00:01" } }, effect: deny }',
      'canaries: [{ id: decoy, value: never-a-value }]',
      'cedar: |\n  @id("never")\n  forbid (principal, action in Writ::Action::"calls", resource) when { context.sensitivity == 3 };',
    ]) {
      await publish(rules);
      assert.deepEqual(claimsOf(await take(await open())).tools, [], rules);
    }
    await publish();
  });

  test('never outlives the session', async () => {
    const session = await open();
    clock.advance(165_000);
    const { exp, iat } = claimsOf(await take(session));
    assert.ok(exp - iat <= 15, 'the heartbeat is due before');
  });
});

test('switched off, none is given', async () => {
  const ground = await prepareGround();
  const broker = await ground.start({ WRIT_SNAPSHOT_SECONDS: '0' });
  try {
    const answer = await (await ground.session()).get('/v1/tools/snapshot');
    assert.deepEqual(await answer.json(), { snapshot: null, expires_in: 0 });
  } finally {
    await broker.stop();
    await ground.close();
  }
});
