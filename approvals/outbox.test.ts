/**
 * The outbox on both databases: a notice for each pending grant and channel, delivered once when nothing
 * fails and in the end whatever fails.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { createSideChannelMetrics } from '../broker/core/side-channel.ts';
import { type GrantDeps, type GrantRequest, grantReads, requestGrant } from '../broker/grants/request-grant.ts';
import { type Harness, openHarness, statement } from '../broker/harness.test-support.ts';
import { type Caller, readSession } from '../broker/sessions/authenticate.ts';
import { endSession } from '../broker/sessions/end-session.ts';
import { testBackends } from '../broker/store/store.test-support.ts';
import { until } from '../broker/until.test-support.ts';
import { type Board, boardChannel, openBoard } from './board.test-support.ts';
import { hostileText } from './conformance.ts';
import { type Channel, DeliveryError, type Digest, type Message, type Notice } from './contract.ts';
import { digestWriter, lastDay, writeDigests } from './digest.ts';
import { insertIncident } from './incidents.ts';
import { noticeTextMax } from './message-size.ts';
import { deliverDue, deliveringChannels, type OutboxDeps, openOutbox } from './outbox.ts';
import { expireUndecided, type Reading, review } from './review.ts';
import { person } from './rows.test-support.ts';

interface Row {
  id: string;
  grant_id: string;
  channel: string;
  due_at: Date | null;
  attempts: number;
  delivered_at: Date | null;
  last_error: string | null;
}

async function openOffice(backend: 'pglite' | 'postgres', noticeChannels: readonly string[]) {
  const h = await openHarness(backend, { providers: [{ name: 'plain' }], noticeChannels });
  const logged: string[] = [];
  const log = (fields: object, message: string) => void logged.push(`${message} ${JSON.stringify(fields)}`);
  const deps: OutboxDeps = {
    store: h.store,
    clock: h.clock,
    log: { warn: log, error: log, info: log },
    metrics: createSideChannelMetrics(new Registry()),
    random: () => 0.5,
    escalateSeconds: 0,
    reminds: false,
    channels: [],
    publicUrl: 'https://writ.example',
    describePlan: (plan) => h.provider('plain').describe(plan),
    approversOf: async () => ['team:billing'],
    aboutGrant: async () => ({ owner: 'team:billing' }),
  };
  const caller = await h.open();
  return {
    h,
    deps,
    logged,
    caller,
    ask: (justification: string | null = null) => askFor(h, caller, 'ask-plain', justification),
    deliver: (channel: Channel, limit = 20) =>
      deliverDue(deps, deliveringChannels([channel])[0]!, limit, new AbortController().signal),
    rows: () => rowsOf(h),
  };
}

function askFor(h: Harness, caller: Caller, capability: string, justification: string | null) {
  const request = { capability, params: undefined, ttlSeconds: undefined, justification, credentialJwk: null };
  return askWith(h.grants, caller, request);
}

/**
 * As the HTTP mount does it: the session is read with what the request wants to know, then the request is
 * made.
 */
async function askWith(grants: GrantDeps, caller: Caller, request: GrantRequest) {
  const reads = grantReads(grants, request.capability, null);
  const session = await readSession(grants.store, caller, grants.clock.now(), reads);
  return requestGrant(grants, session, request, null, null);
}

const rowsOf = (h: Harness) =>
  h.store.run<Row>(
    statement(`
      SELECT id, grant_id, channel, due_at, attempts, delivered_at, last_error
      FROM approval_outbox ORDER BY created_at, channel, id`),
    [],
  );

const secondsFrom = (h: Harness, at: Date | null | undefined) => (at!.getTime() - h.clock.now().getTime()) / 1000;

/** Nobody vouches for who started these sessions, so two people must agree. */
async function approve(h: Harness, grantId: string, reading?: Omit<Reading, 'loginId'>): Promise<void> {
  const emails = ['approver@example.com', 'second@example.com'];
  const deps = { store: h.store, clock: h.clock, approversOf: async () => emails.map((email) => `user:${email}`) };
  for (const email of emails) {
    const { planDigest } = await h.store.prisma.grant.findUniqueOrThrow({ where: { id: grantId } });
    const told = { grantId, verdict: 'approve' as const, planDigest, channel: 'web', requestId: 'req_1' };
    const read = reading === undefined ? {} : { reading: { ...reading, loginId: 'log_1' } };
    await review(deps, { ...told, ...read, reviewer: person(email) });
  }
}

/** A process that dies at a statement. */
const killedAt = (h: Harness, name: string): Harness['store']['run'] =>
  ((what: { name: string }, values: never) => {
    if (what.name === name) throw new Error('killed');
    return h.store.run(what as never, values);
  }) as Harness['store']['run'];

async function whileAsked(board: Board, work: () => Promise<unknown>): Promise<void> {
  const before = board.requests();
  const working = work();
  await until('the board is asked', () => board.requests() > before);
  return void working;
}

for (const backend of await testBackends()) {
  const office = (
    title: string,
    channels: string[],
    body: (o: Awaited<ReturnType<typeof openOffice>>) => Promise<void>,
  ) =>
    test(`${backend}: ${title}`, async () => {
      const opened = await openOffice(backend, channels);
      try {
        await body(opened);
      } finally {
        await opened.h.close();
      }
    });

  office('a pending grant has a row a channel; what needs no person has none', ['one', 'two'], async (o) => {
    await askFor(o.h, o.caller, 'use-plain', null);
    assert.deepEqual(await o.rows(), []);
    const answer = await o.ask();
    assert.equal(answer.outcome, 'pending');
    const grantId = answer.outcome === 'pending' ? answer.grant.id : '';
    const rows = await o.rows();
    assert.deepEqual(
      rows.map((row) => [row.grant_id, row.channel, row.attempts, row.delivered_at]),
      [
        [grantId, 'one', 0, null],
        [grantId, 'two', 0, null],
      ],
    );
    assert.equal(new Set(rows.map(({ id }) => id)).size, 2);
    assert.equal(await o.deliver({ name: 'three', deliver: () => assert.fail('not its notice') }), 0);
  });

  test(`${backend}: the notices cost no round trip, and without a channel that delivers there are none`, async () => {
    const trips: number[] = [];
    for (const channels of [[], ['one', 'two', 'three']]) {
      const { h, ask, rows } = await openOffice(backend, channels);
      await ask();
      const before = h.store.roundTrips();
      await ask();
      trips.push(h.store.roundTrips() - before);
      assert.equal((await rows()).length, channels.length * 2);
      await h.close();
    }
    assert.equal(trips[0], trips[1]);
  });

  office('a grant that is not written has no notice', ['one'], async (o) => {
    const { h, caller } = o;
    // The session ends between the decision and the write: the statement finds nothing to write for.
    const store: typeof h.store = {
      ...h.store,
      run: async (one, values) => {
        if (one.name === 'grant_record') await endSession(h.ending, h.end(caller.sessionId));
        return h.store.run(one, values);
      },
    };
    const request = {
      capability: 'ask-plain',
      params: undefined,
      ttlSeconds: undefined,
      justification: null,
      credentialJwk: null,
    };
    await assert.rejects(askWith({ ...h.grants, store }, caller, request));
    assert.deepEqual(await o.rows(), []);
    assert.equal(await h.store.prisma.grant.count(), 0);
  });

  office('a notice that cannot be written takes the grant with it', ['one', 'one'], async (o) => {
    // Two of one channel break the table's key, at the very end of the statement.
    await assert.rejects(o.ask());
    assert.deepEqual(await o.rows(), []);
    assert.equal(await o.h.store.prisma.grant.count(), 0);
    assert.equal(await o.h.store.prisma.auditEvent.count({ where: { type: 'grant.pending' } }), 0);
  });

  office('the table takes no row without a grant, nor what makes no sense', ['one'], async (o) => {
    await o.ask();
    const { run } = o.h.store;
    const insert = statement(`
      INSERT INTO approval_outbox (id, grant_id, channel, kind, created_at, due_at) VALUES ($1, $2, 'x', $3, now(), now())`);
    const [row] = await o.rows();
    await assert.rejects(run(insert, ['ntc_a', 'gnt_nobody', 'pending']), /foreign key/);
    await assert.rejects(run(insert, ['ntc_a', row!.grant_id, 'rumour']), /kind_check|subject_check/);
    await assert.rejects(run(insert, ['ntc_a', row!.grant_id, 'incident']), /subject_check/);
    await assert.rejects(run(insert, ['ntc_a', null, 'pending']), /subject_check/);
    const update = (set: string) => run(statement(`UPDATE approval_outbox SET ${set}`), []);
    await assert.rejects(update('delivered_at = now()'), /state_check/);
    await assert.rejects(update('delivered_at = now(), due_at = NULL'), /state_check/);
    await assert.rejects(update(`last_error = 'POST https://hooks.example/T0/secret'`), /error_check/);
  });

  office('each notice is delivered once, however many workers look', ['board'], async (o) => {
    const board = openBoard();
    const channel = boardChannel('board', board);
    for (let n = 0; n < 7; n += 1) await o.ask();
    // A connection each is open before they start, so that they really look at the same time.
    const workers = [20, 3, 20, 5, 20, 20];
    const sleeping = statement('SELECT pg_sleep(0.05)');
    await Promise.all(workers.map(() => o.h.store.run(sleeping, [])));
    await Promise.all(workers.map((limit) => o.deliver(channel, limit)));
    while ((await o.deliver(channel)) > 0);
    const rows = await o.rows();
    assert.deepEqual([...board.keys].sort(), rows.map(({ id }) => id).sort());
    assert.equal(board.seen().length, 7);
    for (const row of rows)
      assert.deepEqual([row.attempts, row.due_at, row.delivered_at, row.last_error], [1, null, o.h.clock.now(), null]);
    o.h.clock.advance(120_000);
    assert.equal(await o.deliver(channel), 0);
  });

  office('a channel that fails is tried again, later each time, and its code alone is kept', ['board'], async (o) => {
    const board = openBoard();
    const channel = boardChannel('board', board);
    await o.ask('a secret plan');
    board.fail('unavailable');
    const waits: number[] = [];
    for (let n = 0; n < 7; n += 1) {
      assert.equal(await o.deliver(channel), 1);
      const [row] = await o.rows();
      waits.push(secondsFrom(o.h, row?.due_at));
      assert.equal(row?.last_error, 'unavailable');
      assert.equal(await o.deliver(channel), 0, 'not before its time');
      o.h.clock.set(row!.due_at!);
    }
    assert.deepEqual(waits, [2, 4, 8, 16, 32, 60, 60]);
    board.fail(null);
    await o.deliver(channel);
    const [row] = await o.rows();
    assert.deepEqual([row?.due_at, row?.last_error, row?.attempts], [null, null, 8]);
    assert.equal(board.keys.length, 1);
    assert.equal(o.logged.length, 7);
    assert.ok(!o.logged.join().includes('secret plan'));
  });

  office('the pause that the other side asks for is kept, within reason', ['picky'], async (o) => {
    await o.ask();
    for (const [asked, given] of [
      [90, 90],
      [86_400, 300],
    ]) {
      const error = new DeliveryError('unavailable', 'slow down', { retryAfterSeconds: asked! });
      o.h.clock.set((await o.rows())[0]!.due_at!);
      await o.deliver({ name: 'picky', deliver: () => Promise.reject(error) });
      assert.equal(secondsFrom(o.h, (await o.rows())[0]?.due_at), given);
    }
  });

  office('whatever else a channel throws is a failure too, and its words go nowhere', ['wild'], async (o) => {
    await o.ask();
    const thrown = new TypeError('fetch failed: https://hooks.example/T0/secret');
    await o.deliver({
      name: 'wild',
      deliver: () => {
        throw thrown;
      },
    });
    assert.equal((await o.rows())[0]?.last_error, 'failed');
    assert.match(o.logged.join(), /"code":"failed","kind":"TypeError"/);
    assert.ok(!o.logged.join().includes('secret'));
  });

  office('a channel that hangs is given up after ten seconds, heeding its signal or not', ['board'], async (o) => {
    const board = openBoard();
    await o.ask();
    board.fail('hang');
    for (const flaws of [{}, { ignoresAbort: true }]) {
      let found: number | undefined;
      await whileAsked(board, async () => {
        found = await o.deliver(boardChannel('board', board, flaws));
      });
      o.h.clock.advance(9_999);
      assert.equal(found, undefined);
      o.h.clock.advance(1);
      await until('the delivery ends', () => found === 1);
      const [row] = await o.rows();
      assert.equal(row?.last_error, 'timed_out');
      o.h.clock.set(row!.due_at!);
    }
    board.fail(null);
    await o.deliver(boardChannel('board', board));
    assert.equal(board.seen().length, 1);
  });

  office('a claim whose holder died is another’s after thirty seconds', ['board'], async (o) => {
    const board = openBoard();
    await o.ask();
    board.fail('hang');
    await whileAsked(board, () => o.deliver(boardChannel('board', board, { ignoresAbort: true })));
    board.fail(null);
    // The holder's clock stands still, so that it never gives up; the other worker has its own.
    const later = new Date(o.h.clock.now().getTime() + 30_000);
    const elsewhere = { ...o.deps, clock: { ...o.deps.clock, now: () => later } };
    const channel = deliveringChannels([boardChannel('board', board)])[0]!;
    const early = { ...o.deps, clock: { ...o.deps.clock, now: () => new Date(later.getTime() - 1) } };
    assert.equal(await deliverDue(early, channel, 20, new AbortController().signal), 0);
    assert.equal(await deliverDue(elsewhere, channel, 20, new AbortController().signal), 1);
    assert.deepEqual(
      (await o.rows()).map((row) => [row.attempts, row.delivered_at]),
      [[2, later]],
    );
    // The first one's failure comes after all, and changes nothing.
    o.h.clock.advance(10_000);
    await until('the first one gives up', () => o.logged.length === 1);
    await o.deliver(boardChannel('board', board));
    assert.deepEqual(
      (await o.rows()).map((row) => [row.due_at, row.delivered_at]),
      [[null, later]],
    );
  });

  office(
    'a channel that hangs or fails delays no other, nor whoever starts it',
    ['hung', 'failing', 'well'],
    async (o) => {
      const boards = { hung: openBoard(), failing: openBoard(), well: openBoard() };
      boards.hung.fail('hang');
      boards.failing.fail('refused');
      for (let n = 0; n < 25; n += 1) await o.ask();
      const channels = Object.entries(boards).map(([name, board]) => boardChannel(name, board));
      const outbox = openOutbox({ ...o.deps, channels });
      outbox.deliver();
      outbox.deliver();
      await until('the good channel has all of them', () => boards.well.keys.length === 25);
      await until('the failing channel was asked', () => boards.failing.requests() === 25);
      assert.equal(boards.hung.requests(), 20, 'one batch, and the next waits for it');
      await outbox.stop();
      const left = (await o.rows()).filter((row) => row.due_at !== null);
      assert.equal(left.length, 50);
      assert.ok(left.every((row) => row.delivered_at === null));
      assert.equal(boards.well.seen().length, 25);
    },
  );

  office('stopping ends what is under way, and it is delivered by the next', ['board'], async (o) => {
    const board = openBoard();
    await o.ask();
    board.fail('hang');
    const outbox = openOutbox({ ...o.deps, channels: [boardChannel('board', board)] });
    outbox.deliver();
    await until('the board is asked', () => board.requests() === 1);
    await outbox.stop();
    const [row] = await o.rows();
    assert.equal(secondsFrom(o.h, row?.due_at), 2);
    o.h.clock.set(row!.due_at!);
    board.fail(null);
    await o.deliver(boardChannel('board', board));
    assert.equal(board.seen().length, 1);
  });

  office('nobody is told of a grant that waits no more', ['board'], async (o) => {
    const board = openBoard();
    await o.ask();
    o.h.clock.advance(300_000);
    assert.equal(await o.deliver(boardChannel('board', board)), 1, 'its time is over, though nobody has said so yet');
    assert.equal((await expireUndecided(o.h.store, o.h.clock.now(), 10)).length, 1);
    const another = await o.h.open();
    await askFor(o.h, another, 'ask-plain', null);
    await endSession(o.h.ending, o.h.end(another.sessionId));
    await o.deliver(boardChannel('board', board));
    assert.equal(board.requests(), 0);
    for (const row of await o.rows()) assert.deepEqual([row.attempts, row.due_at, row.delivered_at], [0, null, null]);
  });

  office('how it ended is told to whom was told that it waits, with where that was', ['ear', 'deaf'], async (o) => {
    const heard: Notice[] = [];
    const ear: Channel = {
      name: 'ear',
      deliver: async (notice) => {
        if (notice.kind !== 'incident' && notice.kind !== 'digest') heard.push(notice);
        return `place of ${notice.id}`;
      },
    };
    const { h } = o;
    const lapse = async () => assert.equal((await expireUndecided(h.store, h.clock.now(), 10)).length, 1);
    await o.ask();
    await o.deliver(ear);
    h.clock.advance(300_000);
    await lapse();
    await o.deliver(ear);
    assert.deepEqual(
      heard.map(({ kind, outcome }) => [kind, outcome?.result]),
      [
        ['pending', undefined],
        ['settled', 'expired'],
      ],
    );
    assert.deepEqual(heard[1]?.earlier, [{ id: heard[0]!.id, kind: 'pending', reference: `place of ${heard[0]!.id}` }]);
    assert.equal(heard[1]?.capability, 'ask-plain', 'with what was asked');
    // Who was never told that it waits, is told nothing.
    await o.deliver({ name: 'deaf', deliver: () => assert.fail('nobody was told') });
    assert.ok((await o.rows()).every((row) => row.due_at === null));

    // An approval that nobody collects ends twice, and both are told.
    const answer = await askFor(h, await h.open(), 'ask-plain', null);
    await o.deliver(ear);
    const id = answer.outcome === 'pending' ? answer.grant.id : '';
    await approve(h, id);
    const [before] = (await o.rows()).filter((row) => row.grant_id === id && row.channel === 'ear');
    await o.deliver(ear);
    h.clock.advance(301_000);
    await lapse();
    await o.deliver(ear);
    const told = heard.slice(3);
    assert.deepEqual(
      told.map(({ outcome }) => outcome?.result),
      ['approved', 'lapsed'],
    );
    assert.match(
      told[0]!.outcome!.words,
      /^Approved by \w+@example\.com \(web\) and \w+@example\.com \(web\), for 15 min\.$/,
    );
    assert.match(told[1]!.outcome!.words, /^Approved by .+, and then: lapsed/);
    assert.notEqual(told[0]!.id, told[1]!.id, 'it says something else');
    assert.equal(told[1]!.earlier[0]!.reference, `place of ${before!.id}`);
  });

  office(
    'a session that ends settles what waited in it; an outcome waits for what it rewrites',
    ['board'],
    async (o) => {
      const board = openBoard();
      const channel = boardChannel('board', board);
      await o.ask();
      board.fail('answer_lost');
      await o.deliver(channel);
      board.fail(null);
      await endSession(o.h.ending, o.h.end(o.caller.sessionId));
      // The pending notice may have arrived: it is given up, and only then what became of it is told.
      assert.equal(await o.deliver(channel), 0, 'its claim stands');
      o.h.clock.advance(2_000);
      while ((await o.deliver(channel)) > 0);
      const texts = board.seen().map(({ text }) => text);
      assert.equal(texts.length, 2);
      assert.match(texts[1]!, /the agent’s session ended/);
      // Delivered again, should the first answer be lost, it is the same.
      assert.equal(new Set(board.keys).size, 2);
    },
  );

  office('an outcome is not lost to one that is under way', ['board'], async (o) => {
    const heard: Notice[] = [];
    const answer = await o.ask();
    const hear = (then?: () => Promise<void>): Channel => ({
      name: 'board',
      deliver: async (notice) => {
        if (notice.kind !== 'incident' && notice.kind !== 'digest') heard.push(notice);
        await then?.();
        return null;
      },
    });
    await o.deliver(hear());
    await approve(o.h, answer.outcome === 'pending' ? answer.grant.id : '');
    await o.deliver(
      hear(async () => {
        o.h.clock.advance(9_000);
        await endSession(o.h.ending, o.h.end(o.caller.sessionId));
      }),
    );
    assert.equal(await o.deliver(hear()), 0, 'what is under way comes first');
    o.h.clock.advance(21_000);
    await o.deliver(hear());
    assert.deepEqual(
      heard.map(({ outcome }) => outcome?.result),
      [undefined, 'approved', 'session_ended'],
    );
  });

  office('after silence people are told again, and at once where a place refuses', ['one', 'two'], async (o) => {
    const deps = { ...o.deps, escalateSeconds: 120 };
    const heard: string[] = [];
    const hear = (name: string, refuse = false): Channel & Required<Pick<Channel, 'deliver'>> => ({
      name,
      deliver: async (notice) => {
        heard.push(`${name} ${notice.kind}`);
        if (refuse && notice.kind === 'pending') throw new DeliveryError('refused', 'no such room');
        return null;
      },
    });
    const round = async () => {
      for (const channel of [hear('one'), hear('two', true)])
        while ((await deliverDue(deps, channel, 20, new AbortController().signal)) > 0);
      return heard.splice(0);
    };
    await o.ask();
    assert.deepEqual(await round(), ['one pending', 'two pending', 'two escalated']);
    o.h.clock.advance(119_999);
    assert.deepEqual(await round(), ['two pending']);
    o.h.clock.advance(1);
    assert.deepEqual(await round(), ['one escalated']);
    // What is decided in time is told to nobody again.
    const answer = await o.ask();
    await round();
    await approve(o.h, answer.outcome === 'pending' ? answer.grant.id : '');
    assert.deepEqual(await round(), ['one settled']);
    o.h.clock.advance(2_000);
    assert.deepEqual(await round(), ['two settled'], 'once it is sure that the refused one is not tried again');
    o.h.clock.advance(121_000);
    assert.deepEqual(
      (await round()).filter((line) => line.startsWith('one')),
      [],
    );
  });

  /** Tells everything that is due, to a channel with a next place. */
  const listening = (o: Awaited<ReturnType<typeof openOffice>>, more: Partial<OutboxDeps> = {}) => {
    const deps = { ...o.deps, escalateSeconds: 120, reminds: true, ...more };
    const heard: Notice[] = [];
    const fails = { code: null as null | 'unavailable' | 'refused' };
    const channel = {
      name: 'ear',
      hasNext: () => true,
      deliver: async (notice: Message) => {
        if (fails.code !== null) throw new DeliveryError(fails.code, 'no');
        heard.push(notice as Notice);
        return null;
      },
    };
    const round = async (seconds: number) => {
      o.h.clock.advance(seconds * 1000);
      // Its heartbeats come.
      await o.h.store.prisma.session.updateMany({
        data: { heartbeatDeadline: new Date(o.h.clock.now().getTime() + 180_000) },
      });
      while ((await deliverDue(deps, channel, 20, new AbortController().signal)) > 0);
      return heard.splice(0).map(({ kind }) => kind);
    };
    return { heard, fails, round, deps, channel };
  };

  office('whoever was told is reminded once, between the next ones’ turn and the end', ['ear'], async (o) => {
    const { round, heard, deps, channel } = listening(o);
    await o.ask();
    assert.deepEqual(await round(0), ['pending']);
    assert.deepEqual(await round(119), []);
    assert.deepEqual(await round(1), ['escalated']);
    assert.deepEqual(await round(89), []);
    // A process that dies after it was told leaves it to another: the same notice, by its id.
    o.h.clock.advance(1000);
    const dies = { ...deps, store: { ...o.h.store, run: killedAt(o.h, 'outbox_delivered') } };
    await assert.rejects(deliverDue(dies, channel, 20, new AbortController().signal), /killed/);
    const [first] = heard.splice(0);
    assert.equal(first?.kind, 'reminder');
    o.h.clock.advance(31_000);
    while ((await deliverDue(deps, channel, 20, new AbortController().signal)) > 0);
    const [again] = heard.splice(0);
    assert.deepEqual([again?.kind, again?.id, again?.attempt], ['reminder', first.id, 2]);
    assert.deepEqual(await round(40), []);
  });

  office('nobody is reminded of what was settled, nor of what nobody was told', ['ear'], async (o) => {
    const { round, fails } = listening(o);
    const answer = await o.ask();
    await round(0);
    await round(120);
    await approve(o.h, answer.outcome === 'pending' ? answer.grant.id : '');
    assert.deepEqual(await round(0), ['settled']);
    assert.deepEqual(await round(120), []);
    await o.ask();
    fails.code = 'unavailable';
    await round(0);
    for (let seconds = 0; seconds < 240; seconds += 10) await round(10);
    fails.code = null;
    // The last minute: it is told for the first time now.
    assert.deepEqual((await round(59)).sort(), ['escalated', 'pending']);
    assert.deepEqual(await round(1), []);
  });

  office('reminders can be switched off, and come without escalation', ['ear'], async (o) => {
    const off = listening(o, { reminds: false });
    await o.ask();
    await off.round(0);
    assert.deepEqual(await off.round(120), ['escalated']);
    assert.deepEqual(await off.round(179), []);
    o.h.clock.advance(1000);
    await expireUndecided(o.h.store, o.h.clock.now(), 10);
    await off.round(0);
    const alone = listening(o, { escalateSeconds: 0 });
    await o.ask();
    assert.deepEqual(await alone.round(0), ['pending']);
    assert.deepEqual(await alone.round(150), ['reminder']);
  });

  office(
    'of a short wait the next ones are told when half of it is over, and nobody is reminded',
    ['ear'],
    async (o) => {
      const { round } = listening(o);
      await askWith({ ...o.h.grants, approvalTimeoutSeconds: 60 }, o.caller, {
        capability: 'ask-plain',
        params: undefined,
        ttlSeconds: undefined,
        justification: null,
        credentialJwk: null,
      });
      assert.deepEqual(await round(0), ['pending']);
      assert.deepEqual(await round(29), []);
      assert.deepEqual(await round(1), ['escalated']);
      assert.deepEqual(await round(29), []);
    },
  );

  office(
    'where a channel is down, the next ones are asked at once, and all when it works again',
    ['ear'],
    async (o) => {
      const { round, fails, deps } = listening(o);
      await o.ask();
      fails.code = 'unavailable';
      await round(0);
      const [pending, escalated] = (await o.rows()).sort((a, b) => b.attempts - a.attempts);
      assert.deepEqual([pending?.last_error, escalated?.last_error], ['unavailable', 'unavailable']);
      assert.equal(secondsFrom(o.h, escalated?.due_at), 2, 'it was tried at once');
      fails.code = null;
      assert.deepEqual((await round(2)).sort(), ['escalated', 'pending']);
      assert.deepEqual(await round(60), [], 'each once');
      // Nobody else is there to be told: the same ones are tried again as it is.
      const board = openBoard();
      board.fail('unavailable');
      await o.ask('another');
      const alone = { ...boardChannel('ear', board) } as Channel & Required<Pick<Channel, 'deliver'>>;
      await deliverDue(deps, alone, 20, new AbortController().signal);
      assert.equal((await o.rows()).filter(({ delivered_at }) => delivered_at === null).length, 2, 'and its reminder');
    },
  );

  office('an incident is told until it is heard, for a day, and before what is asked', ['board'], async (o) => {
    const { h } = o;
    const board = openBoard();
    const channel = boardChannel('board', board);
    const by = `the tool ${hostileText}\u202e${'x'.repeat(noticeTextMax)}`;
    const tell = async (name: string) => {
      const tells = {
        ids: [`ntc_${name}`],
        channels: ['board'],
        incident: {
          agent: 'scripted-agent',
          owner: 'team:billing',
          happening: { what: 'canary_touched', canaries: [], by },
        },
      };
      const happened = `SELECT $1::text AS session_id, $2::timestamptz AS at, $3::jsonb AS tells`;
      const insert = statement(`WITH happened AS (${happened}) ${insertIncident('happened')}`);
      await h.store.run(insert, [o.caller.sessionId, h.clock.now(), JSON.stringify(tells)]);
    };
    await o.ask();
    await tell('first');
    board.fail('unavailable');
    assert.equal(await o.deliver(channel, 1), 1);
    board.fail(null);
    h.clock.advance(61_000);
    assert.equal(await o.deliver(channel, 1), 1);
    const [message] = board.seen();
    assert.ok(message?.text.includes(`It touched a decoy () by the tool ${hostileText}⟨U+202E⟩x`), message?.text);
    assert.deepEqual(message?.links, [`https://writ.example/sessions/${o.caller.sessionId}`]);
    board.fail('unavailable');
    await tell('second');
    await o.deliver(channel);
    h.clock.advance(24 * 3_600_000);
    board.fail(null);
    await o.deliver(channel);
    assert.equal(board.seen().filter(({ links }) => links[0]?.includes('/sessions/')).length, 1);
    assert.equal(await o.deliver(channel), 0);
  });

  office(
    'once a day an owner is told what was decided in their name, whoever writes it and however often',
    ['ear', 'other'],
    async (o) => {
      const { h } = o;
      const ask = async (caller: Caller) => {
        const answer = await askFor(h, caller, 'ask-plain', null);
        return answer.outcome === 'pending' ? answer.grant.id : '';
      };
      const early = await ask(o.caller);
      await approve(h, early);
      // As of a session that slept for a week until somebody decided.
      const days = statement(`UPDATE grants SET requested_at = requested_at - interval '7 days' WHERE id = $1`);
      await h.store.run(days, [early]);
      await ask(o.caller);
      h.clock.advance(301_000);
      await expireUndecided(h.store, h.clock.now(), 10);
      const caller = await h.open();
      await approve(h, await ask(caller), { tookSeconds: 1, leastSeconds: 5 });
      await askFor(h, caller, 'use-plain', null);

      const heard: Digest[] = [];
      const ear = (name: string, then = async () => {}): Channel => ({
        name,
        deliver: async (notice) => {
          if (notice.kind === 'digest') heard.push(notice);
          await then();
          return null;
        },
      });
      const writer = () => digestWriter(h.store, h.clock, { minuteOfDay: 7 * 60, channels: ['ear', 'other'] });
      await Promise.all([writer()(), writer()()]);
      await o.deliver(ear('ear'));
      assert.equal(heard.length, 0, 'the day is not over');

      h.clock.set(new Date('2026-03-02T07:00:00Z'));
      // Two replicas at once, one that comes later, and one that writes what is written.
      await Promise.all([writer()(), writer()(), writer()()]);
      assert.ok((await writeDigests(h.store, ['ear', 'other'], lastDay(7 * 60, h.clock.now()), h.clock.now())) >= 1);
      // A process dies while it tells: another tells it again, under the same id.
      await o.deliver(ear('ear', () => Promise.reject(new Error('killed'))));
      h.clock.advance(60_000);
      await o.deliver(ear('ear'));
      await o.deliver(ear('ear'));
      await writer()();
      await o.deliver(ear('ear'));
      const ids = new Set(heard.map(({ id }) => id));
      const owners = new Set(heard.map(({ owner }) => owner));
      assert.equal(ids.size, owners.size, 'one for each owner');
      const digest = heard.at(-1);
      assert.ok(digest !== undefined);
      assert.deepEqual(digest.totals, { approved: 1, ahead: 0, denied: 0, expired: 1, lapsed: 1, automatic: 1 });
      assert.deepEqual(digest.people, [
        'approver@example.com: 2 approved (1 of them faster than a person can read), 0 denied',
        'second@example.com: 2 approved (1 of them faster than a person can read), 0 denied',
      ]);
      assert.equal(digest.hasty, 2);
      assert.equal(digest.url, 'https://writ.example/approvals/team?until=2026-03-02T07%3A00%3A00.000Z');
      const delivered = heard.length;
      h.clock.set(new Date('2026-03-02T08:00:00Z'));
      await writer()();
      await o.deliver(ear('ear'));
      assert.equal(heard.length, delivered);
      // Nobody told the other channel for a day: that is news to nobody.
      h.clock.set(new Date('2026-03-03T07:30:00Z'));
      await o.deliver(ear('other'));
      assert.equal(heard.length, delivered);
      // A day in which nothing was decided is not spoken of.
      await writer()();
      await o.deliver(ear('ear'));
      assert.equal(heard.length, delivered);
    },
  );

  office('a notice says what is asked, clamps and marks the agent’s words, and holds no key', ['ear'], async (o) => {
    const { h } = o;
    const heard: Message[] = [];
    const long = `${hostileText} \u202egnp.exe${'x'.repeat(noticeTextMax)}`;
    const credentialJwk = { kty: 'OKP', crv: 'X25519', x: 'the-agents-key' };
    const request = { capability: 'ask-plain', params: undefined, ttlSeconds: 60, justification: long, credentialJwk };
    const answer = await askWith(h.grants, o.caller, request);
    assert.equal(answer.outcome, 'pending');
    await o.deliver({
      name: 'ear',
      deliver: async (notice) => {
        heard.push(notice);
        return null;
      },
    });
    const [notice] = heard;
    assert.ok(notice !== undefined && notice.kind === 'pending');
    const { id } = await h.store.prisma.grant.findFirstOrThrow();
    assert.equal(notice.grantId, id);
    assert.equal(notice.url, `https://writ.example/approvals/${id}`);
    assert.equal(notice.capability, 'ask-plain');
    assert.deepEqual(notice.approvers, ['team:billing']);
    assert.ok(notice.summary.length > 0);
    assert.equal(notice.ttlSeconds, 60);
    assert.equal(secondsFrom(h, notice.decideBy), 300);
    assert.equal(notice.justification?.writtenBy, 'agent');
    assert.equal([...(notice.justification?.text ?? '')].length, noticeTextMax);
    assert.ok((notice.justification?.left ?? 0) > 0);
    assert.ok(notice.justification?.text.startsWith(`${hostileText} ⟨U+202E⟩gnp`), 'readable, not yet escaped');
    const all = JSON.stringify(notice);
    for (const secret of ['the-agents-key', o.caller.token]) assert.ok(!all.includes(secret));
  });
}

test('a channel that fails is said once, left alone for longer and longer, and tried with one notice', async (t) => {
  const o = await openOffice('pglite', ['board']);
  t.after(() => o.h.close());
  for (let n = 0; n < 30; n += 1) await o.ask();
  let down = true;
  let tries = 0;
  const deliver = async () => {
    tries += 1;
    if (down) throw new DeliveryError('unavailable', 'no');
    return null;
  };
  const outbox = openOutbox({ ...o.deps, channels: [{ name: 'board', deliver }] });
  const round = async (seconds: number) => {
    o.h.clock.advance(seconds * 1000);
    outbox.deliver();
    await outbox.idle();
  };
  await round(0);
  const first = tries;
  assert.ok(first <= 20, `${first} tried at first`);
  for (let n = 0; n < 10; n += 1) await round(1);
  assert.ok(tries <= first + 4, `${tries - first} more in ten seconds`);
  assert.equal(o.logged.length, 1, o.logged.join('\n'));
  assert.match(o.logged[0]!, /approvals-board fails/);
  down = false;
  for (let n = 0; n < 4; n += 1) await round(61);
  assert.equal((await o.rows()).filter(({ delivered_at }) => delivered_at === null).length, 0);
  assert.equal(o.logged.length, 2);
  assert.match(o.logged[1]!, /approvals-board works again/);
  await outbox.stop();
});
