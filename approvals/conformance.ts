/**
 * The suite that every channel which delivers passes, run against its counterpart. A channel's test makes a
 * harness (the channel, and what people see on the other side) and calls
 * `channelConformance('slack', makeHarness)`; nothing here knows any channel.
 *
 * Every test gets a harness of its own, so tests may break the counterpart as they like.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { type Channel, DeliveryError, type Digest, type Incident, type Message, type Notice } from './contract.ts';

/**
 * One message as a person sees it: rendered, so that what was markup is gone and what only looked like it is
 * there.
 */
export interface SeenMessage {
  text: string;
  /** Addresses that a person can follow from it. */
  links: string[];
  /** People and groups that it calls by name. */
  mentions: string[];
  /** The parts that it sets apart as written by the agent. */
  agentWords: string[];
}

export interface ChannelHarness {
  channel: Channel;
  /** The same channel made anew with the same settings: another process, which remembers nothing. */
  again(): Channel;
  otherSide: {
    /** Every message that people see now, oldest first. */
    seen(): SeenMessage[];
    /** Requests received so far, whatever came of them. */
    requests(): number;
    /**
     * From now on. `hang`: takes the request and never answers; `answer_lost`: shows the message, then the
     * connection breaks. null = normally.
     */
    fail(kind: 'hang' | 'unavailable' | 'refused' | 'answer_lost' | null): void;
  };
  /** Everything that the channel logged or printed. */
  output(): string;
  close(): Promise<void>;
}

/** What an agent might write to be more than text: HTML, Slack's mrkdwn, Markdown, mentions, a link. */
export const hostileText =
  '</p><script>alert(1)</script> <!channel> <@U123> @here *bold* [approve](https://evil.example/x) <https://evil.example|ok> &amp; {"a":1}';

export const noticeFor = (changes: Partial<Notice> = {}): Notice => ({
  id: 'ntc_0000000000000000conf',
  kind: 'pending',
  attempt: 1,
  outcome: null,
  earlier: [],
  grantId: 'gnt_0000000000000000conf',
  url: 'https://writ.example/approvals/gnt_0000000000000000conf',
  agent: 'invoice-bot',
  capability: 'read-orders',
  taskType: 'answer-invoice-question',
  approvers: ['team:billing'],
  approvedHere: false,
  summary: ['Read objects under customers/42/ in the S3 bucket orders'],
  revocability: 'Writ ends it within seconds.',
  ttlSeconds: 900,
  planDigest: 'sha256:0000',
  requestedAt: new Date('2026-03-04T12:00:00Z'),
  decideBy: new Date('2026-03-04T12:05:00Z'),
  justification: { writtenBy: 'agent', text: 'The customer asks about invoice 4711.', left: 0 },
  inputs: [{ name: 'customer_id', value: { writtenBy: 'agent', text: '42', left: 0 } }],
  ...changes,
});

/** A tool's name is in the agent's hand: whoever calls one that does not exist names it. */
export const incidentFor = (changes: Partial<Incident> = {}): Incident => ({
  id: 'ntc_0000000000000000inci',
  kind: 'incident',
  attempt: 1,
  sessionId: 'ses_0000000000000000conf',
  url: 'https://writ.example/sessions/ses_0000000000000000conf',
  agent: 'invoice-bot',
  what: `It touched a decoy (payroll) by the tool ${hostileText}.`,
  consequence: 'Its session has ended, and everything it held is revoked.',
  recipients: ['team:billing'],
  at: new Date('2026-03-04T12:00:00Z'),
  ...changes,
});

/** Names of agents, capabilities and people are their own choice. */
export const digestFor = (changes: Partial<Digest> = {}): Digest => ({
  id: 'dig_0000000000000000conf',
  kind: 'digest',
  attempt: 1,
  owner: 'team:billing',
  recipients: ['team:billing'],
  url: 'https://writ.example/approvals/team?until=2026-03-04T07%3A00%3A00.000Z',
  from: new Date('2026-03-03T07:00:00Z'),
  until: new Date('2026-03-04T07:00:00Z'),
  totals: { approved: 2, ahead: 0, denied: 1, expired: 0, lapsed: 0, automatic: 7 },
  lines: ['invoice-bot: read-orders: 2 approved, 1 denied', `other-bot: ${hostileText}: 7 automatic`],
  people: ['a@example.com: 2 approved (1 of them faster than a person can read), 1 denied'],
  hasty: 1,
  ...changes,
});

/** Members that nobody but the broker writes, and that lead somewhere or name something. */
const brokersOwn = new Set(['id', 'kind', 'grantId', 'sessionId', 'url', 'planDigest', 'writtenBy', 'reference']);

/** The same with `hostileText` in the place of every text that is not the broker's own. */
function hostile<T>(value: T, name = ''): T {
  if (typeof value === 'string') return (brokersOwn.has(name) ? value : hostileText) as T;
  if (Array.isArray(value)) return value.map((member) => hostile(member, name)) as T;
  if (value === null || typeof value !== 'object' || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, hostile(member, key)])) as T;
}

const never = () => new AbortController().signal;

async function deliver(channel: Channel, notice: Message, signal = never()): Promise<string | null> {
  assert.ok(channel.deliver !== undefined, 'the channel delivers');
  const reference = await channel.deliver(notice, signal);
  assert.ok(reference === null || reference.length <= 1000, 'a reference is small');
  return reference;
}

const failsAs = (code: string) => (error: unknown) => error instanceof DeliveryError && error.code === code;

/** Title → check. Exported so that a test can show that each refuses a channel that breaks it. */
export const channelChecks: { [title: string]: (harness: ChannelHarness) => Promise<void> } = {
  'people read who asks for what, and are led to the page': async ({ channel, otherSide }) => {
    const notice = noticeFor();
    await deliver(channel, notice);
    const [message, ...others] = otherSide.seen();
    assert.equal(others.length, 0, 'one message');
    for (const text of [notice.agent, notice.capability, ...notice.summary, notice.justification?.text ?? ''])
      assert.ok(message?.text.includes(text), `${text} is to be read`);
    assert.deepEqual(message?.links, [notice.url]);
  },

  'people read what happened in a session, and are led to its page': async ({ channel, again, otherSide }) => {
    const incident = incidentFor();
    await deliver(channel, incident);
    await deliver(again(), { ...incident, attempt: 2 });
    const [message, ...others] = otherSide.seen();
    assert.equal(others.length, 0, 'one message');
    for (const text of [incident.agent, incident.what, incident.consequence])
      assert.ok(message?.text.includes(text), `${text} is to be read`);
    assert.deepEqual(message?.links, [incident.url]);
    assert.deepEqual(message?.mentions, [], 'nobody is called');
  },

  'people read what was decided in their name, and are led to its page': async ({ channel, again, otherSide }) => {
    const digest = digestFor();
    await deliver(channel, digest);
    await deliver(again(), { ...digest, attempt: 2 });
    const [message, ...others] = otherSide.seen();
    assert.equal(others.length, 0, 'one message');
    for (const text of [digest.owner, ...digest.lines, ...digest.people])
      assert.ok(message?.text.includes(text), `${text} is to be read`);
    assert.deepEqual(message?.links, [digest.url]);
    assert.deepEqual(message?.mentions, [], 'nobody is called');
  },

  'the same notice is seen once, also when another process delivers it again': async (harness) => {
    await deliver(harness.channel, noticeFor());
    await deliver(harness.channel, noticeFor({ attempt: 2 }));
    await deliver(harness.again(), noticeFor({ attempt: 3 }));
    assert.equal(harness.otherSide.seen().length, 1);
  },

  'a notice whose answer was lost is seen once': async ({ channel, again, otherSide }) => {
    otherSide.fail('answer_lost');
    await assert.rejects(deliver(channel, noticeFor()));
    otherSide.fail(null);
    await deliver(again(), noticeFor({ attempt: 2 }));
    assert.equal(otherSide.seen().length, 1);
  },

  'who was told reads how it ended, with what was asked': async ({ channel, again, otherSide }) => {
    const pending = noticeFor();
    for (const known of [true, false]) {
      const reference = await deliver(channel, { ...pending, id: `${pending.id}_${known}`, grantId: `gnt_${known}` });
      const settled: Notice = {
        ...pending,
        id: `${pending.id}_${known}_settled`,
        grantId: `gnt_${known}`,
        kind: 'settled',
        outcome: {
          result: 'denied',
          words: 'Denied by approver@example.com (web).',
          reason: `Ask the finance team first. ${hostileText}`,
          at: new Date('2026-03-04T12:03:00Z'),
        },
        // A process that died before it could keep where the message is.
        earlier: [{ id: `${pending.id}_${known}`, kind: 'pending', reference: known ? reference : null }],
      };
      await deliver(again(), settled);
      await deliver(again(), { ...settled, attempt: 2 });
      const told = otherSide.seen().filter(({ text }) => text.includes('Denied by approver@example.com (web).'));
      assert.equal(told.length, known ? 1 : 2, 'once for each');
      const last = told.at(-1);
      for (const text of [pending.agent, pending.capability, ...pending.summary, settled.outcome?.reason ?? ''])
        assert.ok(last?.text.includes(text), `${text} is still to be read`);
      assert.deepEqual(last?.mentions, [], 'nobody is called');
    }
  },

  'who was told is reminded by a message of its own, once, and reads there too how it ended': async (harness) => {
    const { channel, again, otherSide } = harness;
    const pending = noticeFor();
    const first = await deliver(channel, pending);
    const reminder: Notice = {
      ...pending,
      id: `${pending.id}_reminder`,
      kind: 'reminder',
      earlier: [{ id: pending.id, kind: 'pending', reference: first }],
    };
    otherSide.fail('answer_lost');
    await assert.rejects(deliver(channel, reminder));
    otherSide.fail(null);
    const reference = await deliver(again(), { ...reminder, attempt: 2 });
    const seen = otherSide.seen();
    assert.equal(seen.length, 2, 'one more message');
    for (const text of [pending.agent, pending.capability, ...pending.summary])
      assert.ok(seen[1]?.text.includes(text), `${text} is to be read`);
    assert.deepEqual(seen[1]?.links, [pending.url]);
    assert.notEqual(seen[1]?.text, seen[0]?.text, 'it says that it is none of a new request');
    const outcome = {
      result: 'expired' as const,
      words: 'Nobody decided in time.',
      reason: null,
      at: pending.decideBy,
    };
    const earlier = [...reminder.earlier, { id: reminder.id, kind: 'reminder' as const, reference }];
    await deliver(channel, { ...pending, id: `${pending.id}_settled`, kind: 'settled', outcome, earlier });
    assert.ok(otherSide.seen().some(({ text }) => text.includes(outcome.words)));
    const open = otherSide.seen().filter(({ text }) => text === seen[1]?.text);
    assert.ok(open.length === 0 || otherSide.seen().length > seen.length, 'rewritten, or followed by its end');
  },

  'notices with different ids are different messages, whatever they say': async ({ channel, otherSide }) => {
    await deliver(channel, noticeFor());
    await deliver(channel, noticeFor({ id: 'ntc_0000000000000000more' }));
    assert.equal(otherSide.seen().length, 2);
  },

  'it ends as soon as its signal aborts': async ({ channel, otherSide }) => {
    otherSide.fail('hang');
    const before = otherSide.requests();
    const deadline = new AbortController();
    const delivering = deliver(channel, noticeFor(), deadline.signal);
    delivering.catch(() => {});
    while (otherSide.requests() === before) await wait(5);
    deadline.abort(new Error('the time is up'));
    const ended = delivering.then(
      () => 'resolved',
      () => 'rejected',
    );
    assert.equal(await Promise.race([ended, wait(2000, 'still waiting', { ref: false })]), 'rejected');
  },

  'it asks nothing when its signal has aborted already': async ({ channel, otherSide }) => {
    const before = otherSide.requests();
    await assert.rejects(deliver(channel, noticeFor(), AbortSignal.abort(new Error('the time is up'))));
    assert.equal(otherSide.requests(), before);
  },

  'a refusal and an outage are told apart, and both pass': async ({ channel, otherSide }) => {
    for (const kind of ['refused', 'unavailable'] as const) {
      otherSide.fail(kind);
      await assert.rejects(deliver(channel, noticeFor()), failsAs(kind));
    }
    otherSide.fail(null);
    await deliver(channel, noticeFor({ attempt: 3 }));
    assert.equal(otherSide.seen().length, 1);
  },

  'what the agent wrote is text, and is shown as the agent’s': async ({ channel, otherSide }) => {
    const justification = { writtenBy: 'agent' as const, text: hostileText, left: 7 };
    const notice = noticeFor({
      justification,
      inputs: [{ name: 'customer_id', value: { ...justification, left: 0 } }],
      // Values that the agent chose stand in the provider's words too.
      summary: [`Read ${hostileText}`],
    });
    await deliver(channel, notice);
    const [message] = otherSide.seen();
    assert.ok(message !== undefined);
    assert.ok(message.agentWords.includes(hostileText), 'the reason is to be read as it was written, as the agent’s');
    assert.ok(message.text.includes(`Read ${hostileText}`), 'the permission is to be read as it was written');
    assert.deepEqual(message.links, [notice.url], 'no link but the page');
    assert.deepEqual(message.mentions, [], 'nobody is called');
  },

  'no field of a notice is markup, a link or a mention, whoever wrote it': async ({ channel, otherSide }) => {
    // Every text of a notice, so that a new field is tried as well; what the broker alone makes stays.
    const [pending, incident] = [hostile(noticeFor()), hostile(incidentFor())];
    const outcome = { result: 'denied' as const, words: hostileText, reason: hostileText, at: pending.requestedAt };
    await deliver(channel, incident);
    const reference = await deliver(channel, pending);
    const earlier = [{ id: pending.id, kind: 'pending' as const, reference }];
    const seen = otherSide.seen();
    await deliver(channel, { ...pending, id: `${pending.id}_settled`, kind: 'settled', outcome, earlier });
    const told = [...seen, ...otherSide.seen()];
    assert.ok(told.filter(({ text }) => text.includes(hostileText)).length >= 3, 'each is to be read');
    for (const { links, mentions } of told) {
      assert.deepEqual(
        links.filter((link) => link !== pending.url && link !== incident.url),
        [],
        'no other link',
      );
      assert.deepEqual(mentions, [], 'nobody is called');
    }
  },

  'nothing of a notice’s text is logged': async ({ channel, otherSide, output }) => {
    const text = 'what the agent wrote';
    const notice = noticeFor({ justification: { writtenBy: 'agent', text, left: 0 } });
    await deliver(channel, notice);
    otherSide.fail('refused');
    await assert.rejects(deliver(channel, { ...notice, id: 'ntc_0000000000000000fail' }), (error) => {
      assert.ok(!String(error).includes(text), 'nor is it in an error');
      return true;
    });
    for (const line of [text, ...notice.summary]) assert.ok(!output().includes(line), `${line} was logged`);
  },
};

/** Registers the suite with node:test. `make` is called once per test. */
export function channelConformance(name: string, make: () => Promise<ChannelHarness>): void {
  for (const [title, check] of Object.entries(channelChecks)) {
    test(`${name} conformance: ${title}`, { timeout: 60_000 }, async () => {
      const harness = await make();
      try {
        await check(harness);
      } finally {
        await harness.close();
      }
    });
  }
}
