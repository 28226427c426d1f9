import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { manualClock } from './clock.ts';
import { WritError } from './errors.ts';
import { createLongPoller, maxWaitsPerSession, tickMs } from './long-poller.ts';

function ground() {
  const clock = manualClock(new Date('2026-03-01T12:00:00Z'));
  const poller = createLongPoller(clock);
  const asked: string[][] = [];
  const over = new Set<string>();
  let broken: Error | null = null;
  const poll = async (ids: string[]) => {
    asked.push(ids.toSorted());
    if (broken !== null) throw broken;
    return ids.filter((id) => over.has(id));
  };
  const enter = (id: string, sessionId = id, seconds = 30, signal = new AbortController().signal) => {
    const state = { done: false, error: null as unknown };
    void poller.wait({ poll, id, sessionId, seconds, signal }).then(
      () => {
        state.done = true;
      },
      (error) => {
        state.error = error;
      },
    );
    return state;
  };
  const beat = async () => {
    clock.advance(tickMs);
    await wait(1);
  };
  return {
    clock,
    poller,
    poll,
    asked,
    over,
    enter,
    beat,
    fail: (error: Error | null) => {
      broken = error;
    },
  };
}

test('a thousand waits cost one poll a beat, and none when nobody waits', async () => {
  const { asked, over, enter, beat } = ground();
  const states = Array.from({ length: 1000 }, (_, i) => enter(`g${i % 250}`, `s${i % 250}`));
  await beat();
  assert.equal(asked.length, 1);
  assert.equal(asked[0]!.length, 250, 'each id once');
  over.add('g7');
  await beat();
  assert.equal(asked.length, 2);
  assert.equal(states.filter(({ done }) => done).length, 4);
  for (let i = 0; i < 250; i += 1) over.add(`g${i}`);
  await beat();
  assert.ok(states.every(({ done }) => done));
  for (let i = 0; i < 5; i += 1) await beat();
  assert.equal(asked.length, 3);
  enter('again');
  await beat();
  assert.deepEqual(asked.at(-1), ['again'], 'and it looks again for the next');
});

test('a wait is over in time, never after it', async () => {
  const { enter, beat } = ground();
  const one = enter('a', 's', 1);
  for (let i = 0; i < 4; i += 1) {
    await beat();
    assert.equal(one.done, false);
  }
  await beat();
  assert.ok(one.done);
});

test('a session waits so often at once, and other sessions are not held up by it', async () => {
  const { enter, beat, over, poller, poll } = ground();
  const own = Array.from({ length: maxWaitsPerSession }, () => enter('a', 'greedy'));
  const more = { poll, id: 'b', sessionId: 'greedy', seconds: 30, signal: new AbortController().signal };
  await assert.rejects(
    poller.wait(more),
    (error) => error instanceof WritError && error.code === 'rate_limited' && (error.retryAfterSeconds ?? 0) > 0,
  );
  const other = enter('c', 'modest');
  over.add('c').add('a');
  await beat();
  assert.ok(other.done && own.every(({ done }) => done));
  const next = enter('d', 'greedy');
  await beat();
  assert.deepEqual([next.done, next.error], [false, null]);
});

test('whoever goes away is not asked about; when the broker stops every wait ends; an outage is told', async () => {
  const { asked, enter, beat, poller, fail } = ground();
  const gone = new AbortController();
  const left = enter('left', 'l', 30, gone.signal);
  const stayed = enter('stayed');
  gone.abort();
  await beat();
  assert.ok(left.done);
  assert.deepEqual(asked, [['stayed']]);
  fail(new Error('connection refused'));
  await beat();
  assert.match(String(stayed.error), /connection refused/);
  fail(null);
  const held = enter('held');
  poller.close();
  await wait(1);
  assert.ok(held.done, 'without the clock having moved');
  const late = enter('late');
  await wait(1);
  assert.ok(late.done);
});
