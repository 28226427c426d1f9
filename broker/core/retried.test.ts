import assert from 'node:assert/strict';
import { test } from 'node:test';
import { manualClock } from './clock.ts';
import { createRetried } from './retried.ts';

test('what fails every second is said once, each reason once, again after a while, and when it is over', () => {
  const clock = manualClock(new Date('2026-01-01T00:00:00Z'));
  const lines: [words: string, failures: unknown][] = [];
  const say = (fields: { failures?: number }, words: string) => void lines.push([words, fields.failures]);
  const retried = createRetried(clock, { error: say, info: say });
  const fail = (reason: string, name = 'job') => retried.failed(name, new Error(reason), {}, reason);
  const seconds = (count: number, reason: string) => {
    for (let n = 0; n < count; n += 1) {
      fail(reason);
      clock.advance(1_000);
    }
  };
  seconds(100, 'cut');
  seconds(100, 'refused');
  seconds(100, 'cut');
  fail('cut', 'other');
  assert.deepEqual(lines.splice(0), [
    ['cut', undefined],
    ['refused', 101],
    ['cut', undefined],
  ]);
  seconds(900, 'cut');
  assert.deepEqual(lines.splice(0), [['cut', 1001]], 'a quarter of an hour after the last line');
  for (let n = 0; n < 50; n += 1) fail(`lease ${n}`);
  assert.equal(lines.splice(0).length, 3, 'messages that differ each time fill no log');
  retried.works('job', {}, 'works');
  retried.works('job', {}, 'works');
  fail('cut');
  assert.deepEqual(lines, [
    ['works', 1250],
    ['cut', undefined],
  ]);
});
