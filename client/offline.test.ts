/** Calls that are made by a snapshot, with a real broker: let through, reported, and not let through. */
import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { after, afterEach, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { CompactSign, exportJWK, generateKeyPair, type JSONWebKeySet } from 'jose';
import { manualClock } from '../broker/core/clock.ts';
import type { JsonObject } from '../broker/core/vocabulary.ts';
import { marksIn } from '../broker/leases/credential-marks.ts';
import { textsOf } from '../broker/manifests/argument-texts.ts';
import { until } from '../broker/until.test-support.ts';
import { type Harness, openHarness } from './broker.test-support.ts';
import { type Session, WritDenied, WritError, withWrit } from './index.ts';
import { snapshotOf } from './snapshot.test-support.ts';
import { covers, holds, mayHoldCredential, plainArguments, readSnapshot, type Snapshot } from './snapshot.ts';

describe('calls made without asking', () => {
  const clock = manualClock(new Date());
  let harness: Harness;
  before(async () => {
    harness = await openHarness({ clock });
  });
  after(() => harness.close());
  afterEach(() => {
    harness.front.fate = () => 'pass';
    harness.front.rewrite = (_seen, body) => body;
  });
  const open = (options: Parameters<Harness['open']>[0] = {}) => harness.open({ clock, offline: true, ...options });
  const seen = (path: string) => harness.front.seen.filter((one) => one.path.startsWith(path)).length;
  const onRecord = (session: Session) =>
    harness.broker.store.prisma.action.findMany({ where: { sessionId: session.id }, orderBy: { tool: 'asc' } });
  const events = async (session: Session) => {
    const where = { chain: session.id, type: 'action.reported' };
    const rows = await harness.broker.store.prisma.auditEvent.findMany({ where, orderBy: { seq: 'asc' } });
    return rows.map(({ payload }) => payload as { [name: string]: unknown });
  };
  const rate = (more: object = {}) => ({ customer: '42', day: 'mon', ...more });

  it('are not sent anywhere, and are on record when the session has ended', async () => {
    const session = await open();
    const asked = seen('/access/v1/evaluation');
    const made: unknown[] = [];
    const read_rate = async (args: object) => made.push(args);
    const tools = withWrit({ read_rate }, session);
    for (const day of ['mon', 'tue', 'wed']) await tools.read_rate(rate({ day }));
    assert.equal(made.length, 3);
    assert.deepEqual(await onRecord(session), []);
    await session.end();
    assert.equal(seen('/access/v1/evaluation'), asked);
    assert.deepEqual(
      (await onRecord(session)).map(({ tool, outcome }) => `${tool} ${outcome}`),
      ['read_rate response', 'read_rate response', 'read_rate response'],
    );
  });

  it('are reported at a time, with how they came out', async () => {
    const session = await open();
    const asked = seen('/access/v1/evaluation');
    const first = await session.call('read_rate', rate({ page: 2 }), { promptedBy: 'turn-1' });
    await first.finish({ outcome: 'response', output: 'looked at by nobody' });
    const second = await session.call('read_policy', {});
    assert.deepEqual(await onRecord(session), []);
    clock.advance(1_000);
    await until('they are on record', async () => (await onRecord(session)).length === 2);
    assert.deepEqual(
      (await onRecord(session)).map(({ outcome }) => outcome),
      [null, 'response'],
    );
    // What comes out later is reported later, and nobody waits for it.
    await second.finish({ outcome: 'error' });
    clock.advance(1_000);
    await until('so is the outcome', async () => (await onRecord(session))[0]?.outcome === 'error');
    const [event] = await events(session);
    assert.deepEqual([event!.uncovered, event!.effect, event!.prompted_by], [[], 'allow', 'turn-1']);
    assert.equal(event!.made_at !== undefined && seen('/access/v1/evaluation') - asked, 0);
  });

  it('are reported when there are many, in few requests', async () => {
    const session = await open();
    const before = seen('/v1/actions/report');
    for (let n = 0; n < 60; n += 1) {
      const call = await session.call('read_policy', { page: n % 7 });
      await call.finish({ outcome: 'response' });
    }
    await session.end();
    assert.equal((await onRecord(session)).length, 60);
    assert.ok(seen('/v1/actions/report') - before <= 2);
    assert.ok((await events(session)).every(({ uncovered, effect }) => effect === 'allow' && String(uncovered) === ''));
  });

  it('what the snapshot does not cover is asked for', async () => {
    const session = await open();
    for (const [tool, args, allowed] of [
      ['read_invoice', { id: '7' }, true],
      ['search_invoices', {}, true],
      ['send_mail', { to: 'a@example.com' }, true],
      ['drop_table', {}, false],
      ['read_rate', rate({ customer: '43' }), false],
      ['read_rate', rate({ day: 'sun' }), false],
      ['read_rate', rate({ page: 4 }), false],
      ['read_rate', rate({ more: 1 }), false],
      ['read_rate', rate({ day: ['mon', 'tue'] }), true],
      ['read_policy', { note: 'ghs_0123456789abcdefABCD' }, true],
    ] as const) {
      const asked = seen('/access/v1/evaluation');
      const call = session.call(tool, args);
      if (allowed) await (await call).finish({ outcome: 'response' });
      else await assert.rejects(call, (error) => error instanceof WritDenied, tool);
      assert.equal(seen('/access/v1/evaluation') - asked, 1, `${tool} ${JSON.stringify(args)}`);
    }
    const asked = seen('/access/v1/evaluation');
    await session.call('read_policy', {}, { offline: false });
    await session.call('read_policy', {}, { costUsd: 0.1 });
    assert.equal(seen('/access/v1/evaluation') - asked, 2);
  });

  it('one that is over lets nothing through; the next comes by itself', async () => {
    const session = await open();
    const asked = () => seen('/access/v1/evaluation');
    harness.front.fate = ({ path }) =>
      path === '/v1/tools/snapshot' ? { status: 400, body: { code: 'bad_request' } } : 'pass';
    const taken = seen('/v1/tools/snapshot');
    clock.advance(30_000);
    await until('another was asked for', () => seen('/v1/tools/snapshot') > taken);
    await until('it holds no more', async () => {
      const before = asked();
      await session.call('read_policy');
      return asked() > before;
    });
    harness.front.fate = () => 'pass';
    clock.advance(30_000);
    await until('it has another', async () => {
      const before = asked();
      await session.call('read_policy');
      return asked() === before;
    });
  });

  it('what a signature does not hold for lets nothing through', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const forgedBy = (input: string) =>
      sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url');
    const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url');
    const decode = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString());
    let earlier = '';
    const forgeries: { [what: string]: (head: string, body: string, signature: string) => string } = {
      'as it came': (...parts) => {
        earlier = parts.join('.');
        return earlier;
      },
      'of another session': () => earlier,
      'by another key': (head, body) => `${head}.${body}.${forgedBy(`${head}.${body}`)}`,
      'by a key of its own choice': (head, body) => {
        const own = encode({ ...decode(head), jwk: createPublicKey(privateKey).export({ format: 'jwk' }) });
        return `${own}.${body}.${forgedBy(`${own}.${body}`)}`;
      },
      changed: (head, body, signature) => {
        const claims = decode(body);
        return `${head}.${encode({ ...claims, exp: claims.exp - 1 })}.${signature}`;
      },
      'without a signature': (head, body) => `${encode({ ...decode(head), alg: 'none' })}.${body}.`,
      nothing: () => 'x',
    };
    for (const [what, forge] of Object.entries(forgeries)) {
      harness.front.rewrite = ({ path }, text) => {
        if (path !== '/v1/tools/snapshot') return text;
        const [head, body, signature] = JSON.parse(text).snapshot.split('.');
        return JSON.stringify({ snapshot: forge(head, body, signature), expires_in: 60 });
      };
      const session = await open();
      const asked = seen('/access/v1/evaluation');
      await session.call('read_policy');
      assert.equal(seen('/access/v1/evaluation') - asked, what === 'as it came' ? 0 : 1, what);
    }
  });

  it('what cannot be reported makes the next call be asked for, and is not lost', async () => {
    const session = await open();
    harness.front.fate = ({ path }) =>
      path === '/v1/actions/report' ? { status: 400, body: { code: 'bad_request' } } : 'pass';
    const call = await session.call('read_policy', { page: 1 });
    await call.finish({ outcome: 'response' });
    const before = seen('/v1/actions/report');
    clock.advance(1_000);
    await until('the report was refused', () => seen('/v1/actions/report') > before);
    let unasked = 0;
    await until('calls are asked for', async () => {
      const asked = seen('/access/v1/evaluation');
      await session.call('read_policy');
      unasked += 1;
      return seen('/access/v1/evaluation') > asked;
    });
    harness.front.fate = () => 'pass';
    await session.end();
    assert.equal((await events(session)).length, unasked, 'the first, and all but the last of these');
  });

  it('what was called before an admin ended the session is reported all the same', async () => {
    const session = await open();
    await session.call('read_policy');
    const ended = await fetch(`${harness.url}/v1/admin/sessions/${session.id}/end`, {
      method: 'POST',
      headers: { authorization: `Bearer ${harness.broker.bootstrapToken}` },
    });
    assert.equal(ended.status, 200);
    await assert.rejects(session.call('send_mail'), (error) => error instanceof WritError);
    await session.ended;
    await until('it is on record', async () => (await events(session)).length === 1);
    await assert.rejects(session.call('read_policy'), (error) => error instanceof WritError);
  });

  it('labels of what came back are on record before the next call', async () => {
    const session = await open();
    const call = await session.call('read_policy');
    await call.finish({ outcome: 'response', labels: ['secret'] });
    assert.deepEqual(
      (await onRecord(session)).map(({ labels, outcome }) => [labels, outcome]),
      [[['secret'], 'response']],
    );
  });
});

describe('the check', () => {
  const tools = [
    { name: 'free', args: [], only: null },
    { name: 'bound', args: [{ path: 'to.name', optional: false, values: ['a', 7, true] }], only: ['to'] },
  ];

  it('looks at arguments as JSON has them', () => {
    const snapshot = snapshotOf(tools);
    const told = (args: { [name: string]: unknown }) => {
      const plain = plainArguments(args);
      return plain !== undefined && covers(snapshot, 'bound', plain);
    };
    assert.ok(told({ to: { name: 'a' } }) && told({ to: { name: 7, more: 1 } }));
    let asked = 0;
    const changing = {
      get name() {
        asked += 1;
        return asked === 1 ? 'a' : 'b';
      },
    };
    const plain = plainArguments({ to: changing })!;
    assert.deepEqual([plain, covers(snapshot, 'bound', plain)], [{ to: { name: 'a' } }, true]);
    for (const args of [
      {},
      { to: 'a' },
      { to: [{ name: 'a' }] },
      { to: { name: ['a'] } },
      { to: { name: null } },
      { to: { name: '7' } },
      { to: { toJSON: () => ({ name: 'b' }), name: 'a' } },
      { to: Object.create({ name: 'a' }) },
      { to: { name: 'a' }, cc: 'b' },
      { to: { name: 'a', long: 'x'.repeat(9_000) } },
      { to: { name: 7n } },
    ])
      assert.equal(told(args as { [name: string]: unknown }), false);
  });

  it('asks where a credential may stand in the arguments, in one piece or several', () => {
    for (const args of [
      { note: 'the token ghs_abcdefgh12345678 of it' },
      { note: 'AKIAabcdefghijklmn' },
      { key: 'ghs_abcd1', rest: 'efgh5678' },
      { list: [['ghs_abcd1'], { x: 'efgh5678' }] },
      { ghs_abcdefgh12345678: 1 },
      { note: '%67%68%73%5f%61%62%63%64' },
      { note: 'ｇｈｓ＿ａｂｃｄｅｆｇｈ１２３４５６７８' },
      { note: 'ghs_abcd\u200befgh12345678' },
      { number: 1234567890123456 },
    ])
      assert.equal(mayHoldCredential(args), true, JSON.stringify(args));
    for (const args of [
      {},
      { path: 'src/components/button.ts' },
      { note: 'Read what came on Monday, page 12.' },
      { n: 7 },
    ])
      assert.equal(mayHoldCredential(args), false, JSON.stringify(args));
  });

  it('takes for a credential whatever the broker may', () => {
    const letters = 'abcXYZ019_-./ +%=ｆ\u200b\n"';
    const piece = fc.string({ unit: fc.constantFrom(...letters), maxLength: 24 });
    const coded = (coding: 'hex' | 'base64') => piece.map((text) => Buffer.from(`Ab1${text}`).toString(coding));
    const part = fc.oneof(piece, coded('hex'), coded('base64'), piece.map(encodeURIComponent), fc.nat());
    const value = fc.oneof(part, fc.array(part, { maxLength: 3 }), fc.dictionary(piece, part, { maxKeys: 2 }));
    const seen = { taken: 0, free: 0 };
    const holdsNone = fc.property(fc.dictionary(fc.constantFrom('a', 'b', 'c'), value, { minKeys: 1 }), (written) => {
      const args = plainArguments(written) as JsonObject;
      const { texts, values } = textsOf(args);
      const marks = marksIn(texts, values, (text) => text);
      seen[marks.length > 0 ? 'taken' : 'free'] += 1;
      assert.ok(marks.length === 0 || mayHoldCredential(args), JSON.stringify(args));
    });
    fc.assert(holdsNone, { numRuns: 4000, seed: 20261126 });
    assert.ok(seen.taken > 500 && seen.free > 500, JSON.stringify(seen));
  });

  it('reads a snapshot strictly', async () => {
    const { privateKey, publicKey } = await generateKeyPair('ES256');
    const keys: JSONWebKeySet = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k', alg: 'ES256' }] };
    const now = 1_800_000_000;
    const claims = { iss: 'https://b', aud: 'https://b', sid: 'ses_1', iat: now, exp: now + 60, tools };
    const expected = { issuer: 'https://b', sessionId: 'ses_1', asked: now * 1000 };
    const read = async (more: object = {}, typ = 'writ-snapshot+jwt'): Promise<Snapshot | null> => {
      const text = Buffer.from(JSON.stringify({ ...claims, ...more }));
      const jws = await new CompactSign(text).setProtectedHeader({ alg: 'ES256', kid: 'k', typ }).sign(privateKey);
      return readSnapshot(jws, keys, expected);
    };
    const good = await read();
    assert.ok(good !== null && holds(good, now * 1000) && holds(good, now * 1000 + 59_999));
    assert.ok(!holds(good, now * 1000 + 60_000) && !holds(good, now * 1000 - 1));
    for (const more of [
      { sid: 'ses_2' },
      { iss: 'https://c' },
      { aud: 'https://c' },
      { exp: now + 61 },
      { exp: now },
      { iat: now - 120, exp: now - 60 },
      { iat: now + 120, exp: now + 180 },
      { tools: {} },
      { tools: [{ name: 'x', only: null, args: [{ path: 'a', optional: false, unless: 'b' }] }] },
    ])
      assert.equal(await read(more), null, JSON.stringify(more));
    assert.equal(await read({}, 'at+jwt'), null);
  });

  it('says how long it takes', () => {
    const many = Array.from({ length: 200 }, (_, n) => ({ ...tools[1]!, name: `tool-${n}` }));
    const snapshot = snapshotOf([...many, ...tools]);
    const args = { to: { name: 'a' }, note: 'Read what came on Monday.' };
    const rounds = 20_000;
    const started = performance.now();
    for (let n = 0; n < rounds; n += 1) covers(snapshot, 'free', plainArguments(args)!);
    console.log(`the local check: ${(((performance.now() - started) / rounds) * 1000).toFixed(1)} µs`);
    assert.ok(covers(snapshot, 'free', args));
  });
});
