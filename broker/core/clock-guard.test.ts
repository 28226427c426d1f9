import assert from 'node:assert/strict';
import { test } from 'node:test';
import { manualClock } from './clock.ts';
import { guardClock, largestSkewMs } from './clock-guard.ts';
import { createLog } from './log.ts';

const at = new Date('2026-03-01T12:00:00Z');

function guarded(shared: (clock: ReturnType<typeof manualClock>) => Promise<Date>) {
  const clock = manualClock(at);
  const lines: string[] = [];
  const guard = guardClock(clock, () => shared(clock), createLog('info', { write: (line) => void lines.push(line) }));
  return { clock, guard, lines };
}

test('a clock that is too far off, ahead or behind, does not hold, is said once, and holds again once it is right', async () => {
  let shared = at;
  const { clock, guard, lines } = guarded(async () => shared);
  assert.equal(await guard.check(), true);
  assert.equal(guard.skewMs(), 0);
  for (const skewMs of [30 * 60_000, -30 * 60_000]) {
    clock.set(new Date(shared.getTime() + skewMs));
    assert.equal(await guard.check(), false);
    assert.equal(await guard.check(), false);
    assert.deepEqual([guard.holds(), guard.skewMs()], [false, skewMs]);
    clock.set(new Date(shared.getTime() + largestSkewMs));
    assert.equal(await guard.check(), true);
  }
  const said = lines.map((line) => (JSON.parse(line) as { msg: string }).msg);
  assert.equal(said.filter((line) => /too far/.test(line)).length, 2);
  assert.equal(said.filter((line) => /agrees/.test(line)).length, 2);
  shared = new Date(shared.getTime() + 1);
});

test('a database that answers late is no skew, and one that does not answer changes nothing', async () => {
  let answers = true;
  const { guard } = guarded(async (clock) => {
    if (!answers) throw new Error('gone');
    clock.advance(40_000);
    const now = clock.now();
    clock.advance(40_000);
    return now;
  });
  assert.equal(await guard.check(), true);
  assert.equal(guard.skewMs(), 0);
  answers = false;
  assert.equal(await guard.check(), true);
});
