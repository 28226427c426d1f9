/** Requests decided in Slack: who may, what was on the card, and every way of pretending. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { identityRecord, namesToRemember } from '../../broker/people/identity.ts';
import { until } from '../../broker/until.test-support.ts';
import type { Block } from '../../sandbox/slack/block-kit.ts';
import { hostileText } from '../conformance.ts';
import { expireUndecided, review } from '../review.ts';
import { addBatch, addSession, after, eventsOf, person, plan, start, vouched } from '../rows.test-support.ts';
import { slack } from './index.ts';
import { isFromSlack } from './signature.ts';
import { openSlackHouse } from './slack.test-support.ts';

type House = Awaited<ReturnType<typeof openSlackHouse>>;

const house = (title: string, body: (h: House) => Promise<void>, env: Record<string, string> = {}) =>
  test(title, async () => {
    const h = await openSlackHouse(env);
    try {
      await body(h);
    } finally {
      await h.close();
    }
  });

/** A request whose card is in the room. */
async function asked(h: House, ...given: Parameters<House['ask']>) {
  const id = await h.ask(...given);
  await h.deliver();
  return { id, card: h.slack.messages().at(-1)! };
}

const whispered = (h: House) => h.slack.whispers().map(({ user, text }) => `${user}: ${text}`);
const lastWhisper = (h: House) => whispered(h).at(-1) ?? '';
const buttonsOf = (card: { blocks: Block[] }) =>
  card.blocks
    .filter(({ type }) => type === 'actions')
    .flatMap(({ elements }) => elements as { action_id: string; value?: string; url?: string }[]);

test('the signature is as Slack documents it, and holds in its window on both sides alone', () => {
  const secret = '8f742231b10e8888abcd99yyyzzz85a5';
  const body = Buffer.from(
    'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c',
  );
  const timestamp = '1531420618';
  const signature = 'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503';
  const at = (seconds: number) => new Date((Number(timestamp) + seconds) * 1000);
  const holds = (changes: object, seconds = 0) =>
    isFromSlack(secret, { timestamp, signature, body, ...changes }, at(seconds));
  assert.ok(holds({}));
  for (const seconds of [-300, 300]) assert.ok(holds({}, seconds));
  for (const seconds of [-301, 301]) assert.ok(!holds({}, seconds));
  for (const changes of [
    { body: Buffer.concat([body, Buffer.from('x')]) },
    { timestamp: '1531420619' },
    { timestamp: '1531420618.0' },
    { timestamp: undefined },
    { signature: undefined },
    { signature: '' },
    { signature: signature.slice(0, -1) },
    { signature: signature.toUpperCase() },
    { signature: signature.replace('v0=', 'v1=') },
  ])
    assert.ok(!holds(changes), JSON.stringify(changes));
});

house('approved in Slack, and the card says so', async (h) => {
  const { id, card } = await asked(h);
  assert.deepEqual(
    buttonsOf(card).map(({ action_id }) => action_id),
    ['approve', 'open', 'deny'],
  );
  const answer = await h.slack.press('U0APPROVER', card, 'approve');
  assert.equal(answer.status, 200);
  assert.equal(await h.status(id), 'approved');
  const [row] = await h.store.prisma.review.findMany();
  assert.deepEqual(
    [row?.channel, row?.verdict, (row?.reviewer as { email?: string } | undefined)?.email],
    ['slack', 'approve', 'approver@example.com'],
  );
  assert.equal(lastWhisper(h), 'U0APPROVER: Approved.');
  await h.deliver();
  const [read, ...others] = h.read();
  assert.equal(others.length, 0, 'rewritten, not posted again');
  assert.match(read!.text, /Approved by approver@example\.com \(slack\), for 15 min\./);
  assert.match(read!.text, /Read objects under customers\/42\//, 'what was asked is kept');
  assert.deepEqual(buttonsOf(h.slack.messages()[0]!), [], 'nothing left to press');
});

house('denied in a modal that asks why; the reason is on the card', async (h) => {
  const { id, card } = await asked(h);
  await h.slack.press('U0APPROVER', card, 'deny');
  assert.equal(await h.status(id), 'pending', 'not before there is a reason');
  await h.slack.submit('U0APPROVER', 'Not before <!channel> noon');
  assert.equal(await h.status(id), 'denied');
  assert.equal(lastWhisper(h), 'U0APPROVER: Denied. The agent reads your reason.');
  await h.deliver();
  assert.match(h.read()[0]!.text, /Denied by approver@example\.com \(slack\)\.[\s\S]*Not before <!channel> noon/);
  assert.deepEqual(h.read()[0]!.mentions, []);
});

house('whoever pretends to be Slack is refused, on the record, and changes nothing', async (h) => {
  const { id, card } = await asked(h);
  const payload = h.slack.pressed('U0APPROVER', card, 'approve');
  const body = new URLSearchParams({ payload: JSON.stringify(payload) }).toString();
  const signed = h.slack.sign(body);
  const url = `${h.deps.publicUrl}/slack/interactions`;
  const send = async (sent: string, headers: Record<string, string>, type = 'application/x-www-form-urlencoded') =>
    (await fetch(url, { method: 'POST', headers: { 'content-type': type, ...headers }, body: sent })).status;
  const tampered = body.replace('U0APPROVER', 'U0SECOND');
  assert.notEqual(tampered, body);
  assert.equal(await send(tampered, signed), 401);
  assert.equal(await send(body, {}), 401);
  assert.equal(await send(body, { ...signed, 'x-slack-signature': `v0=${'0'.repeat(64)}` }), 401);
  for (const seconds of [-301, 301]) assert.equal((await h.slack.post(payload, after(seconds))).status, 401);
  assert.equal(await send(body, signed, 'application/json'), 400);
  assert.equal(await h.status(id), 'pending');
  assert.equal(h.refused.length, 6);
  assert.equal(whispered(h).length, 0);

  // The true one works once, on whichever process.
  const again = h.slack.pressed('U0APPROVER', card, 'approve');
  const form = new URLSearchParams({ payload: JSON.stringify(again) }).toString();
  const headers = h.slack.sign(form);
  assert.equal(await send(form, headers), 200);
  assert.equal(await h.status(id), 'approved');
  assert.equal(await send(form, headers), 401);
  h.clock.advance(299_000);
  assert.equal(await send(form, headers), 401);
  assert.equal(whispered(h).length, 1);
});

house('two clicks are one decision, and the second is told', async (h) => {
  const { id, card } = await asked(h);
  await Promise.all([h.slack.press('U0APPROVER', card, 'approve'), h.slack.press('U0APPROVER', card, 'approve')]);
  assert.equal(await h.store.prisma.review.count(), 1);
  assert.equal(await h.status(id), 'approved');
  const told = whispered(h).sort();
  assert.equal(told[0], 'U0APPROVER: Approved.');
  assert.match(
    told[1]!,
    /^U0APPROVER: Nothing was changed\. (This request has been decided already|Somebody else was faster)/,
  );
  // Against a denial, from a modal that was open all the time.
  const other = await asked(h);
  await h.slack.press('U0SECOND', other.card, 'deny');
  await h.slack.press('U0APPROVER', other.card, 'approve');
  await h.slack.submit('U0SECOND', 'no');
  assert.equal(await h.status(other.id), 'approved');
  assert.match(lastWhisper(h), /^U0SECOND: Nothing was changed\. This request has been decided already/);
});

house('who cannot be told is refused politely: guests, unsure e-mails, foreigners, who left', async (h) => {
  const { id, card } = await asked(h);
  for (const user of ['U0GUEST', 'U0UNSURE', 'U0GONE']) {
    assert.equal((await h.slack.press(user, card, 'approve')).status, 200);
    assert.match(lastWhisper(h), new RegExp(`^${user}: Writ does not know who you are`));
    await h.slack.press(user, card, 'deny');
    await h.slack.submit(user, 'because');
    assert.match(lastWhisper(h), new RegExp(`^${user}: Writ does not know who you are`));
  }
  await h.slack.press('U0FOREIGN', card, 'approve');
  assert.match(lastWhisper(h), /^U0FOREIGN: Writ takes answers from its own workspace alone/);
  // Signed by Slack, and of another workspace that has the app.
  const elsewhere = { ...h.slack.pressed('U0APPROVER', card, 'approve'), team: { id: 'T0OTHER' } };
  await h.slack.post(elsewhere);
  assert.match(lastWhisper(h), /its own workspace alone/);
  assert.equal(await h.status(id), 'pending');
  assert.equal(await h.store.prisma.review.count(), 0);
  // Each of them is on record.
  const { sessionId } = await h.store.prisma.grant.findUniqueOrThrow({ where: { id } });
  const refused = (await eventsOf(h.store, sessionId)).filter(({ type }) => type === 'review.refused');
  assert.deepEqual(
    refused.map(({ actor, payload }) => [actor, payload.verdict, payload.refused_because]),
    [
      ...['U0GUEST', 'U0UNSURE', 'U0GONE'].flatMap((user) => [
        [`user:${user}`, 'approve', 'not_an_approver'],
        [`user:${user}`, 'deny', 'not_an_approver'],
      ]),
      ['user:U0FOREIGN', 'approve', 'not_an_approver'],
      ['user:U0APPROVER', 'approve', 'not_an_approver'],
    ],
  );
});

house(
  'without the setting an e-mail says nothing; the map does',
  async (h) => {
    const { id, card } = await asked(h);
    await h.slack.press('U0APPROVER', card, 'approve');
    assert.match(lastWhisper(h), /does not know who you are/);
    assert.equal(await h.status(id), 'pending');
    await h.slack.press('U0UNSURE', card, 'approve');
    assert.equal(await h.status(id), 'approved');
  },
  { WRIT_SLACK_VERIFIED_EMAILS: '0', WRIT_SLACK_PEOPLE: 'U0UNSURE=second@example.com' },
);

house('nobody approves their own run in Slack, and the record has it', async (h) => {
  h.approvers.push('user:somebody@example.com');
  const { id, card } = await asked(h);
  await h.slack.press('U0STARTER', card, 'approve');
  assert.match(lastWhisper(h), /^U0STARTER: Nothing was changed\. The session acts for you or was started by you/);
  const [event] = (await eventsOf(h.store, 'ses_1')).filter(({ type }) => type === 'review.refused');
  assert.deepEqual(
    [event?.actor, event?.payload.refused_because, event?.payload.channel],
    ['user:somebody@example.com', 'party', 'slack'],
  );
  assert.equal(await h.status(id), 'pending');
  // Who started it is named by a kind of name that Slack does not give: it bars, it does not permit.
  const other = await asked(h, {}, { startedBy: vouched('octocat', 'github') });
  await h.slack.press('U0APPROVER', other.card, 'approve');
  assert.match(lastWhisper(h), /nobody can tell that you are somebody else/);
  assert.equal(await h.status(other.id), 'pending');
});

house('a run that an account of the identity provider started is not approved by who may be it', async (h) => {
  const session = { subject: { issuer: 'https://login.example', subject: 'sub-unknown' } };
  const { id, card } = await asked(h, {}, session);
  await h.slack.press('U0APPROVER', card, 'approve');
  assert.match(lastWhisper(h), /sign in on the web once/);
  // Known now, as the very account.
  await signIn(h, person('approver@example.com', { subject: 'sub-unknown' }), -1);
  await h.slack.press('U0APPROVER', card, 'approve');
  assert.match(lastWhisper(h), /The session acts for you or was started by you/);
  assert.equal(await h.status(id), 'pending');
});

house('groups are the identity provider’s: who is not signed in there has none', async (h) => {
  h.approvers.splice(0, 9, 'team:billing');
  const { id, card } = await asked(h);
  await h.slack.press('U0APPROVER', card, 'approve');
  assert.match(lastWhisper(h), /Only the owner of the agent or of the capability decides/);
  // A login that has ended counts no more, nor does one of somebody else's address.
  await signIn(h, person('approver@example.com', { groups: ['billing'] }), -1);
  await signIn(h, person('other@example.com', { groups: ['billing'] }), 3600);
  await h.slack.press('U0APPROVER', card, 'approve');
  assert.equal(await h.status(id), 'pending');
  await signIn(h, person('approver@example.com', { groups: ['billing'] }), 3600);
  await h.slack.press('U0APPROVER', card, 'approve');
  assert.equal(await h.status(id), 'approved');
});

house('an address that two accounts are signed in with is nobody’s login', async (h) => {
  h.approvers.splice(0, 9, 'team:billing');
  const { id, card } = await asked(h);
  await signIn(h, person('approver@example.com', { groups: ['billing'] }), 3600);
  await signIn(h, person('approver@example.com', { subject: 'another', groups: ['billing'] }), 3600);
  await h.slack.press('U0APPROVER', card, 'approve');
  assert.match(lastWhisper(h), /Only the owner of the agent or of the capability decides/);
  assert.equal(await h.status(id), 'pending');
});

house('a card of a session that has ended decides nothing, and whoever presses is told', async (h) => {
  const { id, card } = await asked(h);
  await h.store.prisma.session.update({ where: { id: 'ses_1' }, data: { status: 'ended', endedAt: h.clock.now() } });
  await h.slack.press('U0APPROVER', card, 'approve');
  assert.match(lastWhisper(h), /The session has ended; there is nothing left to decide/);
  assert.equal(await h.status(id), 'pending');
});

house('where two must approve, the web and Slack of one person are one', async (h) => {
  const { id, card } = await asked(h, {}, { startedBy: null });
  const { planDigest } = await h.store.prisma.grant.findUniqueOrThrow({ where: { id } });
  const told = { grantId: id, verdict: 'approve' as const, planDigest, channel: 'web', requestId: 'req_1' };
  await review(h.deps, { ...told, reviewer: person('approver@example.com') });
  await h.slack.press('U0APPROVER', card, 'approve');
  assert.match(lastWhisper(h), /You approved this; one more person must/);
  // Of two places nobody can tell whether it is another person, whatever their addresses are.
  await h.slack.press('U0SECOND', card, 'approve');
  assert.match(lastWhisper(h), /nobody can tell that you are somebody else/);
  assert.equal(await h.status(id), 'pending');
  await signIn(h, person('second@example.com'), 3600);
  await h.slack.press('U0SECOND', card, 'approve');
  assert.equal(await h.status(id), 'approved');
});

house('another permission than the one on the card is not approved by its button', async (h) => {
  const { id, card } = await asked(h, {}, { startedBy: null });
  const { planDigest } = await h.store.prisma.grant.findUniqueOrThrow({ where: { id } });
  const told = { grantId: id, verdict: 'approve' as const, planDigest, channel: 'web', requestId: 'req_1' };
  h.approvers.push('user:third@example.com');
  await review(h.deps, { ...told, reviewer: person('third@example.com'), ttlSeconds: 60 });
  await h.slack.press('U0APPROVER', card, 'approve');
  assert.match(lastWhisper(h), /The permission on the card is not the one that stands/);
  assert.equal(await h.status(id), 'pending');
});

house('where the manifest does not say so, Slack leads to the page and approves nothing', async (h) => {
  const decidable = await asked(h);
  h.about.approvedIn = [];
  const { id, card } = await asked(h);
  assert.deepEqual(
    buttonsOf(card).map(({ action_id, url }) => [action_id, url]),
    [
      ['open', `${h.deps.publicUrl}/approvals/${id}`],
      ['deny', undefined],
    ],
  );
  // An older card, or one whose deny button was taken for an approval: Slack would not send it.
  const deny = buttonsOf(card).find(({ action_id }) => action_id === 'deny');
  const forged = {
    ...h.slack.pressed('U0APPROVER', card, 'deny'),
    actions: [{ action_id: 'approve', value: deny?.value }],
  };
  await h.slack.post(forged);
  assert.match(lastWhisper(h), /This is approved on the page alone/);
  await h.slack.press('U0APPROVER', decidable.card, 'approve');
  assert.match(lastWhisper(h), /This is approved on the page alone/);
  // Nor where a passkey is asked for.
  h.about.approvedIn = ['slack'];
  const strict = await asked(h, { tier: 3 });
  assert.ok(!buttonsOf(strict.card).some(({ action_id }) => action_id === 'approve'));
  assert.equal(await h.store.prisma.review.count(), 0);
});

house('what takes a challenge is approved on the page alone, and a card of before approves it no more', async (h) => {
  const decidable = await asked(h);
  assert.ok(buttonsOf(decidable.card).some(({ action_id }) => action_id === 'approve'));
  h.about.challenged = true;
  const { id, card } = await asked(h);
  assert.deepEqual(
    buttonsOf(card).map(({ action_id, url }) => [action_id, url]),
    [
      ['open', `${h.deps.publicUrl}/approvals/${id}`],
      ['deny', undefined],
    ],
  );
  await h.slack.press('U0APPROVER', decidable.card, 'approve');
  assert.match(lastWhisper(h), /This is approved on the page alone/);
  // The review itself takes none without an answer, whatever a channel hands on.
  const { planDigest } = await h.store.prisma.grant.findUniqueOrThrow({ where: { id } });
  const reviewer = person('approver@example.com');
  const given = { grantId: id, reviewer, verdict: 'approve' as const, planDigest, channel: 'slack', requestId: 'req' };
  await assert.rejects(review(h.deps, given), { code: 'forbidden', extensions: { refused_because: 'no_answer' } });
  assert.equal(await h.store.prisma.review.count(), 0);
});

house('a click on a card that came just now is asked to be confirmed, in words; then it counts, once', async (h) => {
  h.deps.warnsHasty = true;
  const { id, card } = await asked(h);
  h.clock.advance(1000);
  await h.slack.press('U0APPROVER', card, 'approve');
  assert.equal(await h.status(id), 'pending');
  const modal = h.slack.modal('U0APPROVER') ?? assert.fail('no modal');
  const words = JSON.stringify(modal);
  assert.match(words, /You decided after 1 s: faster than this can be read\. It counts only if you confirm it\./);
  assert.match(words, /Read objects under customers\/42\//);
  assert.ok(!words.includes('mrkdwn'));
  await h.slack.submit('U0APPROVER', '');
  assert.equal(await h.status(id), 'approved');
  const [event] = await eventsOf(h.store, `ses_${id.slice(4)}`);
  assert.deepEqual([event?.payload.hasty_seconds, event?.payload.hasty_confirmed], [1, true]);

  // What was confirmed for one is nothing for another, nor by somebody else; a denial needs none.
  const two = await asked(h);
  await h.slack.press('U0APPROVER', two.card, 'approve');
  const [value, room] = JSON.parse(String(h.slack.modal('U0APPROVER')?.private_metadata)) as string[];
  const [, , used] = JSON.parse(String(modal.private_metadata)) as string[];
  const private_metadata = JSON.stringify([value, room, used]);
  const user = { id: 'U0APPROVER' };
  const view = { callback_id: 'writ_confirm', private_metadata };
  await h.slack.post({ type: 'view_submission', team: { id: h.slack.teamId }, user, view });
  assert.match(lastWhisper(h), /Nothing was changed\. What was confirmed is not what was sent now/);
  assert.equal(await h.status(two.id), 'pending');
  await h.slack.press('U0APPROVER', two.card, 'deny');
  await h.slack.submit('U0APPROVER', 'Not today.');
  assert.equal(await h.status(two.id), 'denied');

  const slow = await asked(h);
  h.clock.advance(15_000);
  await h.slack.press('U0APPROVER', slow.card, 'approve');
  assert.equal(await h.status(slow.id), 'approved');
});

house('a permission that the card cannot show whole is approved on the page alone', async (h) => {
  const short = await asked(h);
  const cuts: [string, string[]][] = [
    ['more lines than a message has', Array.from({ length: 21 }, (_, n) => `Read objects under customers/${n}/`)],
    ['a line that is too long', [`Read ${'customers/42/ '.repeat(40)}and everything else`]],
  ];
  for (const [what, lines] of cuts) {
    h.permission.splice(0, Number.POSITIVE_INFINITY, ...lines);
    const { card } = await asked(h);
    assert.ok(!buttonsOf(card).some(({ action_id }) => action_id === 'approve'), what);
    await h.slack.press('U0APPROVER', short.card, 'approve');
    assert.match(lastWhisper(h), /This is approved on the page alone/, what);
  }
  assert.equal(await h.store.prisma.review.count(), 0);
});

house('whatever an agent writes is text in every field of the card, within Slack’s limits', async (h) => {
  const bidi = '\u202edenied\u2066';
  const long = 'x'.repeat(5000);
  const inputs = Object.fromEntries(
    Array.from({ length: 12 }, (_, n) => [`field_${n}`, `${hostileText} ${bidi} ${n} ${long}`]),
  );
  const { card } = await asked(h, { justification: `${hostileText} ${bidi}` }, { inputs });
  const [read] = h.read();
  assert.deepEqual(read!.mentions, []);
  assert.deepEqual(
    read!.links,
    buttonsOf(card).flatMap(({ url }) => url ?? []),
  );
  assert.ok(!/[\u202e\u2066]/.test(JSON.stringify(card)));
  assert.ok(read!.agentWords.some((words) => words.startsWith(`${hostileText} ⟨U+202E⟩denied`)));
  assert.match(read!.text, /and 4 more: see the page/);
  const marked = JSON.stringify(card.blocks).match(/"type":"(mrkdwn|plain_text)"/g) ?? [];
  assert.ok(marked.every((type) => type.includes('plain_text')));
  // Buttons carry an id and nothing that anybody wrote.
  for (const { value } of buttonsOf(card)) if (value !== undefined) assert.match(value, /^gnt_1\.[\w-]{22}$/);
});

house('Slack that asks to wait is left alone; nothing is sent twice, and the page decides meanwhile', async (h) => {
  h.slack.fail(30);
  const id = await h.ask();
  await h.deliver();
  const row = () => h.store.prisma.approvalNotice.findFirstOrThrow({ where: { grantId: id, kind: 'pending' } });
  assert.deepEqual([(await row()).dueAt, (await row()).lastError], [after(30), 'unavailable']);
  h.slack.fail('unavailable');
  h.clock.advance(30_000);
  await h.deliver();
  h.slack.fail('answer_lost');
  h.clock.advance(4_000);
  await h.deliver();
  assert.equal(h.slack.messages().length, 1, 'it arrived, and nobody here knows');
  h.slack.fail(null);
  h.clock.advance(8_000);
  await h.deliver();
  const ours = h.slack.messages();
  assert.equal(ours.length, 1);
  assert.equal((await row()).reference, `C0ROOM:${ours[0]!.ts}`);
  const { planDigest } = await h.store.prisma.grant.findUniqueOrThrow({ where: { id } });
  const told = { grantId: id, verdict: 'approve' as const, planDigest, channel: 'web', requestId: 'req_1' };
  await review(h.deps, { ...told, reviewer: person('approver@example.com') });
  await h.deliver();
  assert.match(h.read()[0]!.text, /Approved by approver@example\.com \(web\)/);
});

house('a card whose place nobody kept is found and rewritten', async (h) => {
  h.slack.fail('answer_lost');
  const id = await h.ask();
  await h.deliver();
  h.slack.fail(null);
  h.clock.advance(300_000);
  await expireUndecided(h.store, h.clock.now(), 10);
  await h.deliver();
  await h.deliver();
  assert.equal(await h.status(id), 'denied');
  assert.equal(h.read().length, 1);
  assert.match(h.read()[0]!.text, /Expired: nobody decided in time/);
  // A card that somebody deleted misleads nobody.
  const { card } = await asked(h, { decideBy: after(900) });
  const messages = h.slack.messages() as unknown[];
  messages.splice(messages.indexOf(card), 1);
  h.clock.advance(900_000);
  await expireUndecided(h.store, h.clock.now(), 10);
  await h.deliver();
  assert.equal(await h.store.prisma.approvalNotice.count({ where: { dueAt: { not: null } } }), 0);
});

house(
  'each owner has a room, and after silence the next place is told; all of them are rewritten',
  async (h) => {
    h.approvers.splice(0, 9, 'team:billing', 'user:approver@example.com');
    const id = await h.ask({ decideBy: after(600) });
    await h.deliver();
    assert.deepEqual(
      h.slack.messages().map(({ channel }) => channel),
      ['C0ROOM', 'D0APPROVER'],
    );
    h.clock.advance(120_000);
    await h.deliver();
    const escalated = h.slack.messages().slice(2);
    assert.deepEqual(
      escalated.map(({ channel }) => channel),
      ['C0NEXT', 'D0APPROVER'],
    );
    assert.match(h.read()[2]!.text, /^Still waits: /);
    await h.slack.press('U0APPROVER', escalated[0]!, 'approve');
    assert.equal(await h.status(id), 'approved');
    await h.deliver();
    assert.ok(h.read().every(({ text }) => /Approved by approver@example\.com/.test(text)));
  },
  { WRIT_SLACK_ROUTES: 'team:billing=C0ROOM>C0NEXT,user:approver@example.com=U0APPROVER' },
);

house(
  'while Slack is down the next room is asked at once, and before the end both are reminded, once',
  async (h) => {
    h.approvers.splice(0, 9, 'user:approver@example.com');
    const rooms = () => h.slack.messages().map(({ channel }) => channel);
    h.slack.fail('unavailable');
    const id = await h.ask({ decideBy: after(600) }, { heartbeatDeadline: after(600) });
    await h.deliver();
    const due = await h.store.prisma.approvalNotice.findMany({ where: { grantId: id }, orderBy: { kind: 'asc' } });
    assert.deepEqual(
      due.map(({ kind, lastError }) => [kind, lastError]),
      [
        ['escalated', 'unavailable'],
        ['pending', 'unavailable'],
      ],
    );
    h.slack.fail(null);
    h.clock.advance(60_000);
    await h.deliver();
    assert.deepEqual(rooms().sort(), ['C0NEXT', 'C0ROOM']);
    h.clock.advance(329_000);
    await h.deliver();
    assert.equal(rooms().length, 2);
    // 60 s + 120 s of silence, then half of the 420 s that are left.
    h.clock.advance(1000);
    await h.deliver();
    await h.deliver();
    assert.deepEqual(rooms().slice(2), ['C0ROOM', 'C0NEXT']);
    assert.match(h.read()[2]!.text, /^Its time is soon over: /);
    await h.slack.press('U0APPROVER', h.slack.messages()[3]!, 'approve');
    assert.equal(await h.status(id), 'approved');
    await h.deliver();
    assert.ok(h.read().every(({ text }) => /Approved by approver@example\.com/.test(text)));
  },
  { WRIT_SLACK_ROUTES: 'user:approver@example.com=C0ROOM>C0NEXT' },
);

house(
  'over Socket Mode, with nothing open to the outside, and again after Slack moved the socket',
  async (h) => {
    assert.equal(h.channel.router, undefined);
    const settings = slack.settings.parse({
      SLACK_BOT_TOKEN: h.slack.botToken,
      SLACK_TEAM_ID: h.slack.teamId,
      SLACK_APP_TOKEN: h.slack.appToken,
      SLACK_API_URL: h.slack.apiUrl,
      WRIT_SLACK_CHANNEL: 'C0ROOM',
      WRIT_SLACK_VERIFIED_EMAILS: '1',
    });
    const channel = slack.create(settings, { clock: h.clock, log: h.deps.log });
    const listening = channel.listen?.(h.deps);
    assert.ok(listening !== undefined);
    await until('the socket is open', () => h.slack.sockets() === 1);
    const { id, card } = await asked(h);
    assert.deepEqual(await h.slack.press('U0APPROVER', card, 'approve'), { status: 200, body: '{}' });
    assert.equal(await h.status(id), 'approved');
    const opened = h.slack.calls('apps.connections.open');
    h.slack.moveSockets();
    await until(
      'another socket is open',
      () => h.slack.sockets() === 1 && h.slack.calls('apps.connections.open') > opened,
    );
    const other = await asked(h);
    await h.slack.press('U0APPROVER', other.card, 'deny');
    await h.slack.submit('U0APPROVER', 'no');
    assert.equal(await h.status(other.id), 'denied');
    await listening.stop();
    await until('it is closed', () => h.slack.sockets() === 0);
  },
  { SLACK_SIGNING_SECRET: '', SLACK_APP_TOKEN: 'xapp-unused' },
);

test('settings: half a configuration stops the start, and says what is wrong', () => {
  const good = {
    SLACK_BOT_TOKEN: 'xoxb-1',
    SLACK_TEAM_ID: 'T0123',
    SLACK_SIGNING_SECRET: '0123456789abcdef',
    WRIT_SLACK_CHANNEL: 'C0123',
  };
  assert.ok(slack.settings.safeParse(good).success);
  for (const [changes, place] of [
    [{ SLACK_SIGNING_SECRET: undefined }, 'SLACK_SIGNING_SECRET'],
    [{ SLACK_TEAM_ID: undefined }, 'SLACK_TEAM_ID'],
    [{ SLACK_API_URL: 'http://slack.example/api/' }, 'SLACK_API_URL'],
    [{ WRIT_SLACK_ROUTES: 'billing=C0123' }, 'WRIT_SLACK_ROUTES'],
    [{ WRIT_SLACK_ROUTES: 'team:billing=#room' }, 'WRIT_SLACK_ROUTES'],
    [{ WRIT_SLACK_ROUTES: 'team:billing=C0123,team:billing=C0456' }, 'WRIT_SLACK_ROUTES'],
    [{ WRIT_SLACK_PEOPLE: 'approver=a@example.com' }, 'WRIT_SLACK_PEOPLE'],
    [{ WRIT_SLACK_PEOPLE: 'U0123=nobody' }, 'WRIT_SLACK_PEOPLE'],
  ] as const) {
    const read = slack.settings.safeParse({ ...good, ...changes });
    assert.deepEqual(
      read.error?.issues.map(({ path }) => path.join('.')),
      [place],
      JSON.stringify(changes),
    );
  }
});

/** A login on the web, which ends after so many seconds from now; it leaves the account's names behind. */
async function signIn(h: House, identity: ReturnType<typeof person>, seconds: number): Promise<void> {
  const { issuer, subject } = identity;
  for (const { kind, value } of namesToRemember(identity))
    await h.store.prisma.accountName.upsert({
      where: { issuer_subject_kind_value: { issuer, subject, kind, value } },
      create: { issuer, subject, kind, value, firstSeen: start },
      update: {},
    });
  const now = h.clock.now();
  const row = {
    token_hash: createHash('sha256').update(randomBytes(8)).digest('hex'),
    identity: identityRecord(identity),
    csrf: 'csrf',
    created_at: now,
    checked_at: now,
    sealed: null,
    expires_at: new Date(now.getTime() + seconds * 1000),
  };
  const data = {
    tokenHash: row.token_hash,
    identity: row.identity,
    csrf: row.csrf,
    createdAt: now,
    checkedAt: now,
    expiresAt: row.expires_at,
  };
  await h.store.prisma.login.create({ data: { ...data, proof: h.store.proofs.make('login', row) } });
}

/** Several that wait at once, with their notice. */
async function askedTogether(h: House, ids: string[], lines: (id: string) => string[]) {
  await addSession(h.store, { id: `ses_${ids[0]}` });
  const members = ids.map((id) => ({
    id,
    capability: `read-${id.replace('_', '-')}`,
    plan: { ...plan, permission: { of: id }, ttl_seconds: 300 },
    summary: lines(id),
  }));
  const batch = await addBatch(h.store, { id: `gnt_${ids[0]}_all`, sessionId: `ses_${ids[0]}` }, members);
  const notice = { id: `ntc_${batch}`, grantId: batch, channel: 'slack', kind: 'pending', createdAt: start };
  await h.store.prisma.approvalNotice.create({ data: { ...notice, dueAt: start } });
  await h.deliver();
  return { batch, card: h.slack.messages().at(-1)! };
}

house('several at once are one card that says all of each, and one press decides them', async (h) => {
  const ids = ['a_1', 'a_2', 'a_3'];
  const { batch, card } = await askedTogether(h, ids, (id) => [
    `Read objects of ${id}`,
    `Only those of ${id} <!channel>`,
  ]);
  assert.equal(h.slack.messages().length, 1);
  const { text, mentions } = h.read().at(-1)!;
  for (const words of [
    'invoice-bot asks for read-a-1 and others at once',
    ...ids.flatMap((id, index) => {
      const which = `${index + 1}. read-${id.replace('_', '-')}: `;
      return [`${which}Read objects of ${id}`, `${which}Only those of ${id} <!channel>`, `${which}for 5 min`];
    }),
  ])
    assert.ok(text.includes(words), `${words} in ${text}`);
  assert.deepEqual(mentions, []);
  await h.slack.press('U0APPROVER', card, 'approve');
  assert.equal(await h.status(batch), 'approved');
  for (const id of ids) assert.equal(await h.status(id), 'approved');
  await h.deliver();
  assert.match(h.read().at(-1)!.text, /Approved by approver@example\.com \(slack\)/);
});

house('several that a card does not hold are named on it, and decided on the page', async (h) => {
  const ids = ['b_1', 'b_2', 'b_3'];
  const { batch, card } = await askedTogether(h, ids, (id) =>
    Array.from({ length: 9 }, (_, n) => `Fact ${n} of ${id}`),
  );
  const { text } = h.read().at(-1)!;
  for (const [index, id] of ids.entries())
    assert.ok(text.includes(`${index + 1}. read-${id.replace('_', '-')}: what it gives is on the page`), text);
  assert.doesNotMatch(text, /Fact \d/);
  assert.deepEqual(
    buttonsOf(card).map(({ action_id }) => action_id),
    ['open', 'deny'],
  );
  const denying = buttonsOf(card).find(({ action_id }) => action_id === 'deny');
  assert.equal(await h.status(batch), 'pending');
  assert.ok(denying?.value?.startsWith(`${batch}.`));
});
