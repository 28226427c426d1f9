/** What answers a warning is good once. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { manualClock } from '../broker/core/clock.ts';
import { checkConfirmation, isTooFast, leastSecondsFor, makeConfirmation } from './confirmation.ts';
import { person } from './rows.test-support.ts';

test('what answers a warning is looked at as often as one likes, and used once', async () => {
  const used = new Set<string>();
  const deps = {
    clock: manualClock(new Date('2026-03-04T12:00:00Z')),
    challengeKey: randomBytes(32),
    once: async (key: string) => !used.has(key) && used.add(key) !== null,
  };
  const reader = person('approver@example.com');
  const what = { grantId: 'gnt_1', seenDigest: 'sha256:a', planDigest: 'sha256:b', reader, loginId: 'log_1' };
  const token = await makeConfirmation(deps, what, 1.5);
  for (const use of [false, false, true])
    assert.deepEqual(await checkConfirmation(deps, what, token, use), { tookSeconds: 1.5 });
  const again = await checkConfirmation(deps, what, token, true);
  assert.equal('bar' in again && again.bar.code, 'not_confirmed');
  const elsewhere = { ...deps, challengeKey: randomBytes(32), once: async () => true };
  assert.ok('bar' in (await checkConfirmation(elsewhere, what, token, true)), 'made by another broker');
});

test('more text takes longer to read, up to ten seconds', () => {
  const reading = { loginId: 'log_1', tookSeconds: 3 };
  assert.equal(isTooFast({ ...reading, leastSeconds: leastSecondsFor(['short']) }), false);
  assert.equal(isTooFast({ ...reading, leastSeconds: leastSecondsFor(['x'.repeat(120)]) }), true);
  assert.equal(leastSecondsFor(['x'.repeat(10_000)]), 10);
});
