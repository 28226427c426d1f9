/** What is read from any provider's answer: its words, its waiting time, its date. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { manualClock } from '../broker/core/clock.ts';
import { mayHaveMade, neverSent, passes } from './answer-absent.ts';
import { httpDate, observedClock } from './answer-date.ts';
import { answerText } from './answer-text.ts';
import { waitSeconds } from './answer-wait.ts';

const start = new Date('2026-03-01T12:00:00Z');
const never = new AbortController().signal;

test('a provider’s words are one short line without anything secret in it', () => {
  assert.equal(answerText('Rate exceeded'), 'Rate exceeded');
  assert.equal(answerText('a\r\nforged: line\u202e'), 'a forged: line');
  for (const nothing of [undefined, null, '', '  ', 5, { message: 'x' }]) assert.equal(answerText(nothing), null);
  assert.equal(answerText('word '.repeat(200))?.length, 300);
  const secrets = [
    `ghs_${'a1B2'.repeat(9)}`,
    'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl',
    `ya29.c.${'x'.repeat(40)}`,
    'ASIAQWERTYUIOPASDFGH',
    'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
  ];
  for (const secret of secrets) {
    const text = answerText(`The token ${secret} is no good`) ?? '';
    assert.ok(!text.includes(secret.slice(5)), text);
    assert.match(text, /^The token \[redacted\] is no good$/);
  }
  const arn = 'User: arn:aws:sts::111122223333:assumed-role/writ-orders/lse_1kk2bya30zb5da7pgkts is not authorized';
  assert.equal(answerText(arn), arn);
});

test('a waiting time is read in every form, and bounded', () => {
  const date = new Date(start.getTime() + 30_000).toUTCString();
  assert.equal(waitSeconds('5', null, start), 5);
  assert.equal(waitSeconds('0', null, start), 1);
  assert.equal(waitSeconds('1.5', null, start), 2);
  assert.equal(waitSeconds(date, null, start), 30);
  assert.equal(waitSeconds(date, null, null), null);
  assert.equal(waitSeconds(undefined, new Date(start.getTime() + 90_000), start), 90);
  assert.equal(waitSeconds('99999999', null, start), 3_600);
  assert.equal(waitSeconds(undefined, new Date(start.getTime() - 90_000), start), 1);
  for (const nothing of [null, undefined, '', 'soon', '-5']) assert.equal(waitSeconds(nothing, null, null), null);
});

test('a waiting time that is none is no short one, and of two the longer is kept to', () => {
  // Words and numbers of which `Date.parse` makes years long past.
  for (const nothing of ['-5', '+5', 'soon 5', '60;', '5 s', '1e3', 'Infinity', 'NaN', '0x10'])
    assert.equal(waitSeconds(nothing, null, start), null, nothing);
  assert.equal(waitSeconds('-5', new Date(start.getTime() + 90_000), start), 90);
  assert.equal(waitSeconds('99999999999999999999', null, start), 3_600);
  assert.equal(waitSeconds('5, 30', null, start), 30);
  assert.equal(waitSeconds('Sunday, 01-Mar-26 12:00:30 GMT', null, start), 30);
  assert.equal(waitSeconds('2026-03-01T12:00:30Z', null, start), 30);
  assert.equal(waitSeconds('Sun, 01 Mar 2026 13:00:30 +0100', null, start), 30);
  assert.equal(waitSeconds('Fri, 31 Dec 2100 00:00:00 GMT', null, start), 3_600);
  assert.equal(waitSeconds('Thu, 01 Jan 1970 00:00:00 GMT', null, start), 1);
});

test('a date without a zone is in GMT, wherever this machine stands', () => {
  const zone = process.env.TZ;
  process.env.TZ = 'America/New_York';
  try {
    for (const text of ['Sun Mar  1 12:00:00 2026', '2026-03-01T12:00:00', 'Sun, 01 Mar 2026 12:00:00'])
      assert.equal(httpDate(text), start.getTime(), text);
    for (const none of ['', '0', '5', '2026', 'soon', 'March']) assert.ok(Number.isNaN(httpDate(none)), none);
  } finally {
    if (zone === undefined) delete process.env.TZ;
    else process.env.TZ = zone;
  }
});

test('a failure before anything was sent is told from one after, and passing statuses from lasting ones', () => {
  const failure = (about: object) => Object.assign(new Error('x'), about);
  const unsent = [
    { code: 'ECONNREFUSED' },
    { code: 'ENOTFOUND' },
    { code: 'EAI_AGAIN' },
    { code: 'ENETUNREACH' },
    { code: 'UND_ERR_CONNECT_TIMEOUT' },
    { code: 'ETIMEDOUT', syscall: 'connect' },
    { code: 'ECONNRESET', syscall: 'connect' },
    { code: 'CERT_HAS_EXPIRED' },
    { code: 'SELF_SIGNED_CERT_IN_CHAIN' },
    { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' },
    { code: 'ERR_TLS_CERT_ALTNAME_INVALID' },
    { code: 'ETIMEDOUT', errors: [{ code: 'ETIMEDOUT', syscall: 'connect' }, { code: 'ENETUNREACH' }] },
  ];
  for (const about of unsent) assert.equal(neverSent(failure(about)), true, JSON.stringify(about));
  const maybe = [{}, { code: 'ECONNRESET' }, { code: 'ETIMEDOUT' }, { code: 'EPIPE' }, { code: 'EPROTO' }, { code: 5 }];
  for (const about of maybe) assert.equal(neverSent(failure(about)), false, JSON.stringify(about));
  for (const nothing of [null, undefined, 'ECONNREFUSED']) assert.equal(neverSent(nothing), false);
  assert.deepEqual(
    [408, 425, 429, 500, 502, 503, 504, 599].filter((status) => !passes(status)),
    [],
  );
  assert.deepEqual([200, 301, 307, 400, 401, 403, 404, 409, 422].filter(passes), []);
  assert.deepEqual([429, 500, 502, 503, 504].filter(mayHaveMade), [500, 502, 503, 504]);
});

test('the provider’s time is learnt from its answers, within what a whole second and the way can tell', async () => {
  const clock = manualClock(new Date(start.getTime() + 400));
  let pings = 0;
  const observed = observedClock(clock, async () => {
    pings += 1;
    observed.observe(new Date(clock.now().getTime() - 90_000).toUTCString(), clock.now());
  });
  assert.equal(observed.skewMs(), null);
  assert.deepEqual(observed.now(), clock.now());
  observed.observe(start.toUTCString(), clock.now());
  assert.equal(observed.skewMs(), 0);
  const sentAt = clock.now();
  clock.advance(8_000);
  observed.observe(new Date(start.getTime() + 3_000).toUTCString(), sentAt);
  assert.equal(observed.skewMs(), 0, 'it was told on the way');
  observed.observe(new Date(start.getTime() - 60_000).toUTCString(), clock.now());
  assert.ok(Math.abs((observed.skewMs() ?? 0) + 68_000) <= 1_000);
  assert.equal(pings, 0);
  await observed.askNow(never);
  assert.equal(pings, 0, 'learnt just now');
  clock.advance(600_000);
  const told = await observed.askNow(never);
  assert.equal(pings, 1);
  assert.ok(Math.abs(told.getTime() - (clock.now().getTime() - 90_000)) <= 1_000);
});

test('a date that is missing, malformed, from a cache, or of another day is not believed', () => {
  const clock = manualClock(start);
  const observed = observedClock(clock, async () => {});
  observed.observe(undefined, start);
  observed.observe('soon', start);
  observed.observe(new Date(start.getTime() - 40_000).toUTCString(), start, '40');
  observed.observe('Thu, 01 Jan 1970 00:00:00 GMT', start);
  assert.equal(observed.skewMs(), null);
});
