import assert from 'node:assert/strict';
import { test } from 'node:test';
import { manualClock } from '../core/clock.ts';
import { until } from '../until.test-support.ts';
import { createSignalPoller, type PollDeps } from './poll.ts';

test('a transmitter that asks to be left alone is, for as long as it says, within five minutes', async () => {
  const date = 'Mon, 23 Nov 2026 09:00:00 GMT';
  const asks: [{ [name: string]: string }, number][] = [
    [{ 'retry-after': '120' }, 120],
    [{ 'retry-after': 'Mon, 23 Nov 2026 09:01:30 GMT', date }, 90],
    [{ 'retry-after': '86400' }, 300],
    [{ 'retry-after': 'soon' }, 2],
    [{}, 2],
  ];
  for (const [headers, seconds] of asks) {
    const clock = manualClock(new Date(date));
    let asked = 0;
    let failures = 0;
    const answer = async () => {
      asked += 1;
      return new Response('{}', { status: 429, headers });
    };
    const channel = {
      failed: () => {
        failures += 1;
        return 2_000;
      },
      works: () => {},
      dropped: () => {},
    };
    // What verifies and stores is not reached.
    const deps = { url: 'https://idp.example/poll', token: 'poll-token', clock, channel, fetch: answer };
    const poller = createSignalPoller(deps as unknown as PollDeps);
    poller.tick();
    await until('it is refused', () => failures === 1);
    await new Promise(setImmediate);
    clock.advance(seconds * 1000 - 1);
    poller.tick();
    assert.equal(asked, 1, JSON.stringify(headers));
    clock.advance(1);
    poller.tick();
    await until('it is asked again', () => asked === 2);
    await poller.stop();
  }
});
