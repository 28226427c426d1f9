import assert from 'node:assert/strict';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { manualClock } from '../core/clock.ts';
import { getJson } from '../core/get-json.ts';
import { fetchedOnCall } from './fetched-rota.ts';
import { type Identity, identityFromClaims, isApprover } from './identity.ts';
import { asOnCall, type OnCall } from './on-call.ts';
import { readWeeklyRotas, turnAt, type WeeklyRotas } from './weekly-rota.ts';

const person: Identity = {
  issuer: 'https://login.example',
  subject: 'sub-1',
  email: 'a@example.com',
  emailVerified: true,
  groups: [],
  aliases: [],
};
const rota = (people: Record<string, string[]>): OnCall => ({ peopleOn: async (name) => people[name] ?? [] });

test('on call is who a rota names by a proven name, and only of the rotas that were asked about', async () => {
  const both = rota({
    payments: ['user:A@example.com'],
    storage: ['user:a@example.com'],
    other: ['user:b@example.com'],
  });
  const found = await asOnCall(both, person, ['oncall:payments', 'oncall:other', 'oncall:gone', 'team:x']);
  assert.deepEqual(found.onCall, ['payments']);
  assert.ok(isApprover(found, ['oncall:payments']));
  assert.ok(!isApprover(found, ['oncall:storage', 'oncall:other', 'oncall:', 'team:payments']));
  const unverified = { ...person, emailVerified: false };
  assert.equal((await asOnCall(both, unverified, ['oncall:payments'])).onCall, undefined);
});

test('nobody says of themselves that they are on call', async () => {
  const claims = { iss: 'https://login.example', sub: 's', onCall: ['payments'], on_call: ['payments'] };
  const signedIn = identityFromClaims(claims, { groupsClaim: 'groups', aliasClaims: [] });
  assert.ok(!isApprover(signedIn, ['oncall:payments']));
  const claimed = { ...person, onCall: ['payments'] };
  assert.equal((await asOnCall(rota({}), claimed, ['oncall:payments'])).onCall, undefined);
  assert.equal((await asOnCall(undefined, claimed, ['oncall:payments'])).onCall, undefined);
});

const read = (text: string) => {
  const rotas = readWeeklyRotas(text);
  assert.ok(!Array.isArray(rotas), String(rotas));
  return rotas as WeeklyRotas;
};

test('turns of a week hand over at the same hour on the wall, in summer and in winter', () => {
  const { payments } = Object.fromEntries(
    read(
      'rotas: {payments: {zone: Europe/Berlin, handover: "2026-10-19T09:00", turns: ["user:a@example.com", ["user:b@example.com", "user:c@example.com"]]}}',
    ),
  );
  assert.ok(payments !== undefined);
  const at = (text: string) => turnAt(payments, new Date(text));
  assert.deepEqual(at('2026-10-19T06:59:59Z'), []);
  assert.deepEqual(at('2026-10-19T07:00:00Z'), ['user:a@example.com']);
  // The clock goes back on the 25th: 09:00 in Berlin is 08:00 UTC from then on.
  assert.deepEqual(at('2026-10-26T07:59:59Z'), ['user:a@example.com']);
  assert.deepEqual(at('2026-10-26T08:00:00Z'), ['user:b@example.com', 'user:c@example.com']);
  assert.deepEqual(at('2026-11-02T08:00:00Z'), ['user:a@example.com']);
});

test('a rota file with any fault is refused whole, each fault named', () => {
  const faults = (text: string) => readWeeklyRotas(text) as string[];
  const one = (member: string) =>
    faults(`rotas: {p: {zone: UTC, handover: "2026-11-23T09:00", turns: ["user:a@example.com"], ${member}}}`);
  assert.match(String(faults('rotas: {P: {}}')), /rotas/);
  assert.match(String(one('people: []')), /people/);
  for (const [zone, handover, turns] of [
    ['Mars/Olympus', '2026-11-23T09:00', '["user:a@example.com"]'],
    ['UTC', '2026-06-31T09:00', '["user:a@example.com"]'],
    ['UTC', '2026-11-23', '["user:a@example.com"]'],
    ['UTC', '2026-11-23T09:00', '[]'],
    ['UTC', '2026-11-23T09:00', '["team:payments"]'],
    ['UTC', '2026-11-23T09:00', '["user:somebody"]'],
    ['UTC', '2026-11-23T09:00', '["oncall:other"]'],
  ])
    assert.ok(
      Array.isArray(faults(`rotas: {p: {zone: ${zone}, handover: "${handover}", turns: ${turns}}}`)),
      `${zone} ${handover} ${turns}`,
    );
  assert.ok(
    Array.isArray(
      faults('rotas: {p: &a {zone: UTC, handover: "2026-11-23T09:00", turns: ["user:a@example.com"]}, q: *a}'),
    ),
  );
});

/** What the rota's server does next. */
let answer: (response: ServerResponse) => void;
let asked = 0;
const authorizations: (string | undefined)[] = [];
const server = createServer((request, response) => {
  asked += 1;
  authorizations.push(request.headers.authorization);
  answer(response);
});
await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
after(() => {
  server.closeAllConnections();
  server.close();
});
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/rota`;
const says = (text: string) => (response: ServerResponse) => response.end(text);
const good = says('{"on_call": {"payments": ["user:a@example.com"]}}');

function fetched(clock = manualClock(new Date('2026-11-23T09:00:00Z'))) {
  const failures: unknown[] = [];
  const channel = { failed: (about: object) => failures.push(about), works: () => {}, dropped: () => {} };
  const place = { url, token: 'secret-of-the-rota', allowPrivate: false };
  return { clock, failures, onCall: fetchedOnCall({ clock, place, staleSeconds: 600, channel }) };
}

test('a rota is asked once a minute, whoever wants to know, with its token', async () => {
  const { clock, onCall } = fetched();
  answer = good;
  const before = asked;
  const all = await Promise.all([1, 2, 3].map(() => onCall.peopleOn('payments')));
  assert.deepEqual(
    all,
    [1, 2, 3].map(() => ['user:a@example.com']),
  );
  assert.deepEqual(await onCall.peopleOn('other'), []);
  assert.equal(asked, before + 1);
  assert.equal(authorizations.at(-1), 'Bearer secret-of-the-rota');
  answer = says('{"on_call": {}}');
  clock.advance(60_000);
  assert.deepEqual(await onCall.peopleOn('payments'), []);
});

test('an answer that is not of the shape, or no answer, puts nobody on call; the last good one counts for a while', async () => {
  const bad: [string, (response: ServerResponse) => void][] = [
    ['a name of a group', says('{"on_call": {"payments": ["team:everybody"]}}')],
    ['a bare name', says('{"on_call": {"payments": ["a@example.com"]}}')],
    ['one bad name among good ones', says('{"on_call": {"payments": ["user:a@example.com", 1]}}')],
    ['another rota that is bad', says('{"on_call": {"payments": ["user:a@example.com"], "Payments": []}}')],
    ['members besides', says('{"on_call": {"payments": ["user:a@example.com"]}, "everybody": true}')],
    ['a list', says('[]')],
    ['no JSON', says('<html>')],
    ['no UTF-8', (response) => response.end(Buffer.from([0x22, 0xff, 0x22]))],
    ['oversized', says(`{"on_call": {"payments": ["user:a@example.com"]}}${' '.repeat(70_000)}`)],
    ['an error', (response) => response.writeHead(500).end('{"on_call": {"payments": ["user:a@example.com"]}}')],
    [
      'cut off',
      (response) => response.writeHead(200, { 'content-length': 100 }).write('{"on', () => response.destroy()),
    ],
    ['a redirect', (response) => response.writeHead(302, { location: `${url}/elsewhere` }).end()],
  ];
  for (const [what, behaviour] of bad) {
    const { clock, failures, onCall } = fetched();
    answer = behaviour;
    const before = asked;
    assert.deepEqual(await onCall.peopleOn('payments'), [], what);
    assert.equal(asked, before + 1, `${what}: nothing is followed`);
    assert.equal(failures.length, 1, what);
    await onCall.peopleOn('payments');
    assert.equal(asked, before + 1, `${what}: it is left alone for a while`);
    answer = good;
    clock.advance(10_000);
    assert.deepEqual(await onCall.peopleOn('payments'), ['user:a@example.com'], what);
    answer = behaviour;
    clock.advance(599_000);
    assert.deepEqual(await onCall.peopleOn('payments'), ['user:a@example.com'], `${what}: the last good answer`);
    clock.advance(1_000);
    assert.deepEqual(await onCall.peopleOn('payments'), [], `${what}: too old`);
  }
});

test('a rota’s server that asks to be left alone is, for as long as it says, within five minutes', async () => {
  for (const [told, seconds] of [
    ['120', 120],
    ['86400', 300],
    ['1', 10],
    ['soon', 10],
  ] as const) {
    const { clock, onCall } = fetched();
    answer = (response) => response.writeHead(429, { 'retry-after': told }).end();
    const before = asked;
    await onCall.peopleOn('payments');
    answer = good;
    clock.advance(seconds * 1000 - 1);
    assert.deepEqual(await onCall.peopleOn('payments'), []);
    assert.equal(asked, before + 1, told);
    clock.advance(1);
    assert.deepEqual(await onCall.peopleOn('payments'), ['user:a@example.com'], told);
    // The next failure is another one.
    answer = (response) => response.writeHead(500).end();
    clock.advance(60_000);
    await onCall.peopleOn('payments');
    clock.advance(10_000);
    await onCall.peopleOn('payments');
    assert.equal(asked, before + 4, told);
  }
});

test('a rota that hangs is waited for five seconds, in its headers and in its body', async () => {
  const hanging: ((response: ServerResponse) => void)[] = [
    () => {},
    (response) => response.writeHead(200).write('{"on_call"'),
  ];
  for (const hang of hanging) {
    const { clock, failures, onCall } = fetched();
    const reached = Promise.withResolvers<void>();
    answer = (response) => {
      hang(response);
      reached.resolve();
    };
    const people = onCall.peopleOn('payments');
    await reached.promise;
    clock.advance(5_000);
    assert.deepEqual(await people, []);
    assert.equal(failures.length, 1);
  }
});

test('a rota is read over https alone, and not from the private network of the broker', async () => {
  const from = (place: string) =>
    getJson({ url: place, token: null, allowPrivate: false, maxBytes: 100 }, AbortSignal.timeout(60_000));
  await assert.rejects(from('http://rota.example/'), /not https/);
  await assert.rejects(from('https://10.0.0.1/'), { name: 'PrivateAddress' });
  await assert.rejects(from('https://[fd00::1]/'), { name: 'PrivateAddress' });
  await assert.rejects(from('https://169.254.169.254/latest'), { name: 'PrivateAddress' });
});
