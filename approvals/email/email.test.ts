/** Notices as mails: the suite of all channels, headers that nobody can add to, and no word before TLS. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { manualClock } from '../../broker/core/clock.ts';
import { type KeptMail, startMailServer } from '../../sandbox/smtp/start.ts';
import { type ChannelHarness, channelConformance, hostileText, noticeFor } from '../conformance.ts';
import { DeliveryError, type Notice } from '../contract.ts';
import { email } from './index.ts';

const clock = manualClock(new Date('2026-03-04T12:00:00Z'));
const good = { SMTP_HOST: '127.0.0.1', WRIT_EMAIL_FROM: 'writ@example.com', WRIT_EMAIL_TO: 'approvals@example.com' };

async function open(options: Parameters<typeof startMailServer>[0] = {}, env: object = { WRIT_SMTP_TLS: 'none' }) {
  const server = await startMailServer(options);
  const output: string[] = [];
  const say = (fields: object, message: string) => void output.push(`${message} ${JSON.stringify(fields)}`);
  const settings = email.settings.parse({ ...good, SMTP_PORT: String(server.port), ...env });
  const make = () => email.create(settings, { clock, log: { warn: say, error: say } });
  const harness: ChannelHarness = {
    channel: make(),
    again: make,
    otherSide: { seen: () => server.mails().map(read), requests: server.requests, fail: server.fail },
    output: () => output.join('\n'),
    close: server.close,
  };
  const deliver = async (notice: Notice) => harness.channel.deliver?.(notice, new AbortController().signal);
  return { harness, server, deliver };
}

/**
 * As a mail program shows it: what looks like an address is a link. A person reads `https[:]//` as the
 * address that it was.
 */
function read({ text }: KeptMail) {
  const meant = (line: string) => line.replaceAll('[:]', ':').replaceAll('[.]', '.');
  return {
    text: meant(text),
    links: text.match(/\b[a-z]+:\/\/[^\s<>|)]+|\bwww\.[^\s]+|\bmailto:[^\s]+/gi) ?? [],
    mentions: [],
    agentWords: text
      .split('\n')
      .filter((line) => line.startsWith('> '))
      .map((line) => meant(line.slice(2))),
  };
}

channelConformance('email', async () => (await open()).harness);

test('nothing that anybody wrote becomes a header, and an outcome answers its mail', async () => {
  const { harness, server, deliver } = await open();
  try {
    const break_ = 'bot\r\nBcc: evil@evil.example\r\n\r\nhello';
    const pending = noticeFor({
      agent: break_,
      capability: `${break_}\u2028`,
      approvers: ['team:billing', 'user:lead@example.com'],
    });
    await deliver(pending);
    const [mail] = server.mails();
    assert.deepEqual(mail?.to, ['approvals@example.com', 'lead@example.com']);
    assert.equal(mail?.headers.get('bcc'), undefined);
    assert.match(mail?.headers.get('subject') ?? '', /^bot Bcc: evil@evil\.example hello asks for /);
    assert.match(mail?.headers.get('content-type') ?? '', /^text\/plain; charset=utf-8/);
    await deliver({
      ...pending,
      id: `${pending.id}_settled`,
      kind: 'settled',
      outcome: { result: 'denied', words: 'Denied.', reason: hostileText, at: clock.now() },
      earlier: [{ id: pending.id, kind: 'pending', reference: null }],
    });
    const [first, second] = server.mails();
    assert.equal(first?.headers.get('message-id'), `<${pending.id}@example.com>`);
    assert.equal(second?.headers.get('in-reply-to'), first?.headers.get('message-id'));
    assert.deepEqual(read(second!).links, [pending.url]);
  } finally {
    await harness.close();
  }
});

test('nothing is said without TLS that holds, unless the server is this machine and the setting says so', async () => {
  const refused = (error: unknown) => error instanceof DeliveryError;
  const login = { SMTP_USER: 'writ', SMTP_PASSWORD: 'secret' };
  for (const starttls of [false, true]) {
    // Without STARTTLS, and with a certificate that nobody vouches for.
    const { harness, server, deliver } = await open({ starttls, login: { user: 'writ', pass: 'secret' } }, login);
    await assert.rejects(deliver(noticeFor()), refused);
    assert.equal(server.requests(), 1);
    assert.deepEqual(server.mails(), []);
    await harness.close();
  }
  const { harness, server, deliver } = await open(
    { login: { user: 'writ', pass: 'secret' } },
    { ...login, WRIT_SMTP_TLS: 'none' },
  );
  await deliver(noticeFor());
  assert.equal(server.mails().length, 1);
  await harness.close();
});

test('settings: addresses that are addresses, TLS, and a login that is whole', () => {
  assert.ok(email.settings.safeParse(good).success);
  for (const [changes, place] of [
    [{ WRIT_SMTP_TLS: 'none', SMTP_HOST: 'mail.example.com' }, 'WRIT_SMTP_TLS'],
    [{ WRIT_EMAIL_FROM: 'Writ <writ@example.com>' }, 'WRIT_EMAIL_FROM'],
    [{ WRIT_EMAIL_TO: 'a@example.com\r\nBcc: b@example.com' }, 'WRIT_EMAIL_TO'],
    [{ SMTP_USER: 'writ' }, 'SMTP_PASSWORD'],
    [{ WRIT_EMAIL_ROUTES: 'team:billing=nobody' }, 'WRIT_EMAIL_ROUTES'],
  ] as const) {
    const faults = email.settings.safeParse({ ...good, ...changes }).error?.issues ?? [];
    assert.deepEqual(
      faults.map(({ path }) => path.join('.')),
      [place],
    );
  }
});
