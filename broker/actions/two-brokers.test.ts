/** Two brokers on one PostgreSQL: what is right in one process is right in two. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { freePort } from '../../sandbox/free-port.ts';
import type { Broker } from '../compose/start.ts';
import { createCatalog } from '../manifests/catalog.ts';
import { type Ground, prepareGround } from '../running.test-support.ts';
import { createTestDatabase, testBackends } from '../store/store.test-support.ts';
import { until } from '../until.test-support.ts';
import { type Answer, ask, call, codes, type Session } from './asking.test-support.ts';
import { checkHistory } from './check-history.ts';

const servers = (await testBackends()).includes('postgres');

const manifest = `apiVersion: writ/v1
agent: scripted-agent
owner: team:billing
description: Tries things.
envelope: { wall_time: 30m }
task_types: { work: { description: Work., inputs: {} } }
capabilities:
  use-plain: { description: Use it., provider: plain, tasks: [work], tier: 1, max_ttl: 15m }
  late-plain: { description: Use it late., provider: plain, tasks: [work], tier: 1, max_ttl: 15m }
  glass-plain: { description: Never., provider: plain, tasks: [work], tier: 1, max_ttl: 15m }
tools:
  step: { args: { n: { min: 0 } } }
  spend: {}
  next: { entity: 'chain:\${args.id}' }
  forbidden: {}
  agreed: {}
  late: {}
  submit: { entity: 'expense:\${args.id}' }
  approve: { entity: 'expense:\${args.id}' }
rules:
  - id: budget
    on: { tool: spend }
    when: { count: { more_than: 50, within: session } }
    effect: deny
  - id: in-turn
    on: { tool: next }
    unless: { formerly: { tool: step, within: 1h } }
    effect: deny
  - { id: agreed, on: { tool: agreed }, effect: approve }
  - id: canary
    on: { tool: forbidden }
    effect: terminate
  - id: glass
    on: { capability: glass-plain }
    effect: terminate
  - { id: used, on: { tool: next }, when: { formerly: { capability: use-plain, within: 1h } }, effect: flag }
  - id: stepped
    on: { tool: next }
    when: { formerly: { tool: step, within: 1h } }
    effect: flag
separation_of_duties:
  - { id: expenses, duties: [{ tool: submit }, { tool: approve }], same: [entity], within: 30d }
`;

describe('two brokers', { skip: !servers }, () => {
  let ground: Ground;
  let database: Awaited<ReturnType<typeof createTestDatabase>>;
  let sql: pg.Client;
  const brokers: Broker[] = [];
  const urls: string[] = [];
  before(async () => {
    ground = await prepareGround();
    database = await createTestDatabase();
    sql = new pg.Client({ connectionString: database.direct });
    await sql.connect();
    await writeFile(join(ground.manifests, 'agent.yaml'), manifest);
    brokers.push(await ground.start({ DATABASE_URL: database.url }));
    const port = await freePort();
    brokers.push(await ground.start({ DATABASE_URL: database.url, PORT: String(port) }));
    urls.push(ground.url, `http://127.0.0.1:${port}`);
  });
  after(async () => {
    for (const broker of brokers) await broker.stop();
    await sql?.end();
    await database?.drop();
    await ground?.close();
  });

  const askAt = (session: Session, at: number, name: string, args: object = {}) =>
    ask(session, name, args, {}, urls[at % 2]);
  const callAt = (session: Session, at: number, name: string, args: object = {}) =>
    call(session, name, args, {}, urls[at % 2]);
  const allowed = (answers: readonly Answer[]) => answers.filter(({ decision }) => decision).length;

  test('100 dependent calls at once in one session: none is lost, none is wrongly denied', async () => {
    const session = await ground.session();
    assert.equal((await callAt(session, 0, 'next', { id: 'x' })).decision, false, 'nothing to depend on yet');
    await callAt(session, 1, 'step', { n: 1 });
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, n) =>
        callAt(session, n, n % 4 === 0 ? 'step' : 'next', n % 4 === 0 ? { n } : { id: `${n}` }),
      ),
    );
    assert.equal(allowed(answers), 100);
    const ids = new Set(answers.map(({ context }) => context.id));
    assert.equal(await brokers[0]!.store.prisma.action.count({ where: { id: { in: [...ids] } } }), 100);
  });

  test('a budget of 50 lets exactly 50 through, and what was denied before cost none of it', async () => {
    const session = await ground.session();
    const refused = await Promise.all(Array.from({ length: 30 }, (_, n) => callAt(session, n, 'step', { n: -1 })));
    assert.equal(allowed(refused), 0);
    const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => callAt(session, n, 'spend')));
    assert.equal(allowed(answers), 50);
    assert.equal((await callAt(session, 0, 'step', { n: 1 })).decision, true, 'of other tools there is no budget');
  });

  test('people are asked about no more calls in an hour than the limit, from whichever sessions at once', async () => {
    const sessions = await Promise.all(Array.from({ length: 90 }, () => ground.session()));
    const answers = await Promise.all(sessions.map((session, n) => callAt(session, n, 'agreed', { n })));
    const effects = Map.groupBy(answers, ({ context }) => context.effect);
    assert.equal(effects.get('approve')?.length, 60, 'the default of WRIT_APPROVAL_REQUESTS_PER_HOUR');
    for (const answer of effects.get('deny') ?? []) assert.ok(codes(answer).includes('asked_too_often'));
  });

  test('submitted here and approved there at the same moment: one at most', async () => {
    const [here, there] = [await ground.session(), await ground.session()];
    const won = { submit: 0, approve: 0, neither: 0 };
    for (let round = 0; round < 60; round += 1) {
      const id = `race-${round}`;
      const [submitted, approved] = await Promise.all([
        callAt(here, round, 'submit', { id }),
        callAt(there, round + 1, 'approve', { id }),
      ]);
      assert.ok(!(submitted.decision && approved.decision), `both in round ${round}`);
      won[submitted.decision ? 'submit' : approved.decision ? 'approve' : 'neither'] += 1;
    }
    console.log(`60 rounds: ${JSON.stringify(won)}`);
    assert.equal(won.neither, 0, 'whoever is decided first may');
  });

  for (const asked of ['a call', 'a grant of a sub-agent'] as const)
    test(`a broker that dies after the verdict on ${asked}: the session is over, and the reconciler ends it`, async () => {
      const session = await ground.session();
      assert.equal((await session('/v1/grants', { capability: 'use-plain', params: {} })).status, 201);
      const view = (await (await session.get('/v1/session')).json()) as { session: { id: string } };
      const sessionId = view.session.id;
      // As if each process died where it starts to end the session.
      await sql.query(`CREATE FUNCTION test_died() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN IF NEW.id = '${sessionId}' AND NEW.status = 'ended' THEN RAISE EXCEPTION 'died'; END IF; RETURN NEW; END $$`);
      await sql.query('CREATE TRIGGER test_died BEFORE UPDATE ON session FOR EACH ROW EXECUTE FUNCTION test_died()');
      const child = await session.child(['glass-plain']);
      const fatal = () =>
        asked === 'a call'
          ? askAt(session, 0, 'forbidden')
          : child('/v1/grants', { capability: 'glass-plain', params: {} });
      assert.ok((await fatal()).status >= 500);
      const row = () => brokers[1]!.store.prisma.session.findUniqueOrThrow({ where: { id: sessionId } });
      assert.equal((await row()).status, 'active', 'nobody has ended it yet');
      for (const at of [0, 1]) {
        assert.equal((await askAt(session, at, 'spend')).status, 401);
        assert.equal((await session(`${urls[at]}/v1/grants`, { capability: 'use-plain', params: {} })).status, 401);
        assert.equal((await session(`${urls[at]}/v1/session/heartbeat`)).status, 401);
      }
      await sql.query('DROP TRIGGER test_died ON session; DROP FUNCTION test_died()');
      await until('the reconciler has been there', async () => (await row()).status === 'ended');
      assert.equal((await row()).endReason, 'ended_by_rule');
      await until('its credential is dead', async () => {
        const leases = await brokers[1]!.store.prisma.lease.findMany({ where: { sessionId } });
        return leases.length === 1 && leases.every(({ status }) => status === 'revoked');
      });
    });

  test('a manifest that another broker has just published: its rules see what was before', async () => {
    const [session, other] = [await ground.session(), await ground.session()];
    for (const one of [session, other]) assert.ok((await callAt(one, 0, 'step', { n: 1 })).decision);
    const late = `${manifest}`.replace(
      'separation_of_duties:',
      `  - { id: late, on: { tool: late }, when: { formerly: { tool: step, within: 1h } }, effect: deny }
  - { id: late-grant, on: { capability: late-plain }, when: { formerly: { tool: step, within: 1h } }, effect: deny }
separation_of_duties:`,
    );
    const address = `${urls[1]}/v1/admin/manifests/scripted-agent`;
    const authorization = `Bearer ${brokers[0]!.bootstrapToken}`;
    const etag = (await fetch(address, { headers: { authorization } })).headers.get('etag') ?? '';
    const published = await fetch(`${address}?reason=tried`, {
      method: 'PUT',
      headers: { authorization, 'content-type': 'application/yaml', 'if-match': etag },
      body: late,
    });
    assert.ok(published.ok, await published.text());
    assert.equal((await callAt(session, 0, 'late')).decision, false);
    const grant = await other(`${urls[0]}/v1/grants`, { capability: 'late-plain', params: {} });
    assert.equal(grant.status, 403, await grant.text());
  });

  test('history made anew from the calls on record is what the brokers decided on', async () => {
    const session = await ground.session();
    const { context } = await callAt(session, 0, 'step', { n: 1 });
    await session(`${urls[1]}/v1/actions/${context.id}/finish`, { outcome: 'response', labels: ['files'] });
    const { store } = brokers[0]!;
    const check = () => checkHistory(store, createCatalog(store), new Date());
    const { right, differing } = await check();
    assert.deepEqual(differing, []);
    assert.ok(right > 60, `${right} cells`);
    const moved = await store.prisma.grant.count({ where: { askedMoves: { isEmpty: false } } });
    assert.ok(moved > 0, 'grants are among it');

    // Whoever writes the database sets a count back, takes a memory away and makes one up.
    const cells = await store.prisma.monitorCell.findMany({ where: { NOT: { scope: { startsWith: 'session:' } } } });
    const [one, other] = cells.filter(({ state }) => state !== null);
    const name = ({ scope, cell }: { scope: string; cell: string }) => `${scope}/${cell}`;
    const made = { scope: one!.scope, cell: 'abcdef', state: { t: 1 }, version: 1, movedAt: new Date() };
    const at = ({ scope, cell }: { scope: string; cell: string }) => ({ where: { scope_cell: { scope, cell } } });
    await store.prisma.monitorCell.update({ ...at(one!), data: { state: { t: 1 } } });
    await store.prisma.monitorCell.delete(at(other!));
    await store.prisma.monitorCell.create({ data: made });
    const found = (await check()).differing.map(({ cell, what }) => `${cell} ${what}`).sort();
    const expected = [`${name(one!)} changed`, `${name(other!)} missing`, `${name(made)} unexplained`];
    assert.deepEqual(found, expected.sort());
  });
});
