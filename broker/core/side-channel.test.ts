import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { manualClock } from './clock.ts';
import { createSideChannel, createSideChannelMetrics } from './side-channel.ts';

test('what fails on and off is said once, its pauses grow on, and so is its return when that lasts', () => {
  const clock = manualClock(new Date('2026-01-01T00:00:00Z'));
  const lines: string[] = [];
  const say = (_fields: object, message: string) => void lines.push(message.split(':')[0]!);
  const metrics = createSideChannelMetrics(new Registry());
  const log = { warn: say, info: say };
  const channel = createSideChannel('redis', 'nothing is lost', { log, metrics, random: () => 1, clock });
  const pauses: number[] = [];
  for (let n = 0; n < 20; n += 1) {
    pauses.push(channel.failed({}));
    clock.advance(1_000);
    channel.works();
    clock.advance(1_000);
  }
  assert.deepEqual(lines.splice(0), ['redis fails', 'redis works again', 'redis fails on and off']);
  assert.deepEqual(pauses.slice(0, 5), [1_000, 2_000, 4_000, 8_000, 16_000]);
  channel.works();
  assert.deepEqual(lines.splice(0), [], 'a moment is not long enough');
  clock.advance(60_000);
  channel.works();
  channel.works();
  assert.deepEqual(lines.splice(0), ['redis works again']);
  clock.advance(60_000);
  assert.equal(channel.failed({}), 1_000);
  assert.deepEqual(lines, ['redis fails']);
});
