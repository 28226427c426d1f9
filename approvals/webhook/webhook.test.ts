/**
 * Notices as signed webhooks: the suite of all channels, the documented signature, and where they must not
 * go.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { manualClock } from '../../broker/core/clock.ts';
import { isGlobal, lookupGlobal, PrivateAddress } from '../../broker/core/global-address.ts';
import { startWebhookReceiver, type WebhookMessage } from '../../sandbox/webhook/start.ts';
import { type ChannelHarness, channelConformance, noticeFor } from '../conformance.ts';
import { DeliveryError } from '../contract.ts';
import { postNotice, signatureOf } from './deliver.ts';
import { webhook } from './index.ts';

const clock = manualClock(new Date('2026-03-04T12:00:00Z'));

async function open(): Promise<ChannelHarness & { fail(kind: 'redirect' | number | null): void }> {
  const receiver = await startWebhookReceiver(clock);
  const given = { WRIT_WEBHOOK_URL: receiver.url, WRIT_WEBHOOK_SECRET: receiver.secret };
  const output: string[] = [];
  const say = (fields: object, message: string) => void output.push(`${message} ${JSON.stringify(fields)}`);
  const make = () => webhook.create(webhook.settings.parse(given), { clock, log: { warn: say, error: say } });
  return {
    channel: make(),
    again: make,
    otherSide: { seen: () => receiver.messages().map(read), requests: receiver.requests, fail: receiver.fail },
    fail: receiver.fail,
    output: () => output.join('\n'),
    close: receiver.close,
  };
}

/** A program reads it: nothing in JSON is markup, and one member alone is an address to follow. */
function read({ type, data }: WebhookMessage) {
  const all: string[] = [];
  const agentWords: string[] = [];
  const walk = (value: unknown): void => {
    if (typeof value === 'string') all.push(value);
    if (typeof value !== 'object' || value === null) return;
    const { written_by, text } = value as { written_by?: unknown; text?: unknown };
    if (written_by === 'agent') agentWords.push(String(text));
    Object.values(value).forEach(walk);
  };
  walk(data);
  return { text: [type, ...all].join('\n'), links: [String(data.url)], mentions: [], agentWords };
}

channelConformance('webhook', open);

test('the signature is as Standard Webhooks documents it', () => {
  const secret = Buffer.from('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64');
  assert.equal(
    signatureOf(secret, 'msg_p5jXN8AQM9LWM0D4loKWxJek', '1614265330', '{"test": 2432232314}'),
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  );
});

test('no redirect is followed, and the wish to wait is passed on', async () => {
  const harness = await open();
  const deliver = () => harness.channel.deliver?.(noticeFor(), new AbortController().signal);
  const fails = (code: string, seconds?: number) => (error: unknown) =>
    error instanceof DeliveryError && error.code === code && error.retryAfterSeconds === seconds;
  try {
    harness.fail('redirect');
    await assert.rejects(async () => deliver(), fails('refused'));
    assert.equal(harness.otherSide.requests(), 1);
    harness.fail(77);
    await assert.rejects(async () => deliver(), fails('unavailable', 77));
  } finally {
    await harness.close();
  }
});

test('it is not turned against private addresses, by number or by name', async () => {
  const secret = Buffer.alloc(32);
  const post = (url: string) =>
    postNotice(
      { WRIT_WEBHOOK_URL: url, WRIT_WEBHOOK_SECRET: secret, WRIT_WEBHOOK_ALLOW_PRIVATE: false },
      noticeFor(),
      clock.now(),
      new AbortController().signal,
    );
  const refused = (error: unknown) => error instanceof DeliveryError && error.code === 'refused';
  for (const host of ['10.1.2.3', '169.254.169.254', '[fd00::1]', '[::ffff:10.0.0.1]', '0.0.0.0', '0x0a000001'])
    await assert.rejects(post(`https://${host}/`), refused, host);
  // Nor by a name: what it leads to is looked at, and is what would be connected to.
  const found = await new Promise((resolve) => lookupGlobal('localhost', {}, (error) => resolve(error)));
  assert.ok(found instanceof PrivateAddress);
  for (const address of ['::ffff:192.168.0.1', '64:ff9b::a00:1', 'fe80::1', '100.64.0.1', 'nowhere'])
    assert.ok(!isGlobal(address), address);
  for (const address of ['93.184.215.14', '2606:2800:21f:cb07::1']) assert.ok(isGlobal(address), address);
});

test('settings: https, no password in the address, a secret of its form', () => {
  const good = {
    WRIT_WEBHOOK_URL: 'https://hooks.example/writ',
    WRIT_WEBHOOK_SECRET: `whsec_${Buffer.alloc(24).toString('base64')}`,
  };
  assert.ok(webhook.settings.safeParse(good).success);
  for (const [changes, place] of [
    [{ WRIT_WEBHOOK_URL: 'http://hooks.example/writ' }, 'WRIT_WEBHOOK_URL'],
    [{ WRIT_WEBHOOK_URL: 'https://user:secret@hooks.example/writ' }, 'WRIT_WEBHOOK_URL'],
    [{ WRIT_WEBHOOK_SECRET: undefined }, 'WRIT_WEBHOOK_SECRET'],
    [{ WRIT_WEBHOOK_SECRET: 'whsec_c2hvcnQ=' }, 'WRIT_WEBHOOK_SECRET'],
  ] as const) {
    const faults = webhook.settings.safeParse({ ...good, ...changes }).error?.issues ?? [];
    assert.deepEqual(
      faults.map(({ path }) => path.join('.')),
      [place],
    );
  }
});
