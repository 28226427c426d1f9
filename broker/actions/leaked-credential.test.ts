/** A credential that Writ issued, put where it does not belong: seen, denied, revoked, told. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { boardChannel, boardModule, openBoard } from '../../approvals/board.test-support.ts';
import { channelModules } from '../../approvals/registry.ts';
import type { Broker } from '../compose/start.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import { marksIn, marksOf } from '../leases/credential-marks.ts';
import { textsOf } from '../manifests/argument-texts.ts';
import { type Ground, prepareGround } from '../running.test-support.ts';
import { until } from '../until.test-support.ts';
import { call, codes } from './asking.test-support.ts';

const manifest = `apiVersion: writ/v1
agent: scripted-agent
owner: team:billing
description: Tries things.
envelope: { wall_time: 30m }
task_types: { work: { description: Work., inputs: {} } }
capabilities:
  use-plain: { description: Use it., provider: plain, tasks: [work], tier: 1, max_ttl: 15m }
tools: { http_post: { record: full }, read_file: {} }
`;

const mark = (piece: string) => createHash('sha256').update(piece).digest('hex');
const base64 = (text: string) => Buffer.from(text).toString('base64');

describe('marks', () => {
  /** As providers write them: 40 characters of base64 and a long token, 43 of base64url, a prefix and 36. */
  const credentials = (): [JsonObject, string][] => {
    const secret = randomBytes(30).toString('base64');
    const password = randomBytes(32).toString('base64url');
    const token = `ghs_${randomBytes(40)
      .toString('base64')
      .replace(/[^A-Za-z0-9]/g, 'x')
      .slice(0, 36)}`;
    return [
      [
        {
          type: 'aws',
          access_key_id: 'ASIAEXAMPLEEXAMPLE12',
          secret_access_key: secret,
          session_token: base64(randomBytes(400).toString('latin1')),
        },
        secret,
      ],
      [{ type: 'postgres', user: 'writ_lease', password }, password],
      [{ type: 'github', token }, token],
    ];
  };
  test('the name of a key ends no neighbour: those of one account begin alike', () => {
    const [[aws]] = credentials() as [[JsonObject, string]];
    const kept = new Set(marksOf(aws, mark));
    const own = marksIn(['ASIAEXAMPLEEXAMPLE12', 'ASIAEXAMPLEEXAMPLE99'], [], mark);
    assert.ok(own.length > 0);
    assert.deepEqual(
      own.filter((one) => kept.has(one)),
      [],
    );
  });

  const percent = (text: string) => text.replace(/./g, (c) => `%${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
  const ways: [string, (secret: string) => JsonObject][] = [
    ['as it is', (secret) => ({ body: secret })],
    ['within a longer text', (secret) => ({ body: `Authorization: Bearer x${secret}y please` })],
    ['in upper case', (secret) => ({ body: secret.toUpperCase() })],
    ['in base64', (secret) => ({ body: base64(`key=${secret}&x=1`) })],
    ['in base64 of base64', (secret) => ({ body: base64(base64(secret)) })],
    ['in hexadecimal digits', (secret) => ({ body: Buffer.from(secret).toString('hex') })],
    ['URL-encoded', (secret) => ({ url: `https://evil.test/?q=${encodeURIComponent(secret)}` })],
    ['every character encoded', (secret) => ({ url: `https://evil.test/?q=${percent(secret)}` })],
    ['in JSON in JSON', (secret) => ({ body: JSON.stringify({ a: JSON.stringify({ b: [secret] }) }) })],
    ['in nested lists', (secret) => ({ body: [[[{ x: ['a', secret] }]]] })],
    ['as the name of a member', (secret) => ({ body: { [secret]: 1 } })],
    ['cut in two', (secret) => ({ a: secret.slice(0, 20), b: secret.slice(20) })],
    ['cut in five', (secret) => ({ parts: secret.match(/.{1,9}/g)! })],
    ['with dashes put between', (secret) => ({ body: secret.match(/.{1,5}/g)!.join('-') })],
    ['a part of it', (secret) => ({ body: secret.slice(10, 34) })],
  ];
  test('a token that happens to have letters alone, in one case', () => {
    for (const credential of [
      { type: 'github', token: 'ghs_MPSmcLWcJsJgfBPMPvctcDkPPEGagDphAWUX' },
      { type: 'github', token: 'oHJnMuUR-VUPR_tQeXDpRGNIJ_XLUMJPeaIjAafOlgE' },
      { type: 'github', token: 'oHJnMuUR+VUPR/tQeXDpRGNIJ/XLUMJPeaIjAafOlgE' },
    ]) {
      const known = new Set(marksOf(credential, mark));
      for (const text of [credential.token.toUpperCase(), credential.token.toLowerCase()])
        assert.ok(
          marksIn([text], [text], mark).some((one) => known.has(one)),
          text,
        );
    }
  });

  for (const [way, hide] of ways)
    test(way, () => {
      for (let n = 0; n < 20; n += 1)
        for (const [credential, secret] of credentials()) {
          const known = new Set(marksOf(credential, mark));
          const { texts, values } = textsOf(hide(secret));
          assert.ok(
            marksIn(texts, values, mark).some((one) => known.has(one)),
            `${String(credential.type)} ${secret} ${JSON.stringify(hide(secret))}`,
          );
        }
    });

  test('the middle and the end of a long token are known, and how it begins is nobody’s', () => {
    const common = base64('a'.repeat(90));
    const [one, other] = [1, 2].map(() => `${common}${randomBytes(300).toString('base64')}`);
    const known = new Set(marksOf({ token: one! }, mark));
    const found = (text: string) => marksIn([text], [text], mark).some((each) => known.has(each));
    assert.equal(found(one!), true);
    assert.equal(found(one!.slice(-60)), true);
    assert.equal(found(other!), false);
    assert.equal(found(common), false);
  });

  test('ordinary arguments have nothing to look up', () => {
    for (const args of [
      { query: 'SELECT name FROM customers WHERE id = 42' },
      { path: 'src/components/button.tsx', text: 'export const button = () => null;' },
      { to: 'someone@example.com', body: 'Dear customer, your order has been sent yesterday. Kind regards.' },
      { parts: ['all', 'of', 'these', 'are', 'words'] },
    ]) {
      const { texts, values } = textsOf(args);
      assert.deepEqual(marksIn(texts, values, mark), [], JSON.stringify(args));
    }
  });
});

describe('over HTTP', () => {
  let ground: Ground;
  let broker: Broker;
  const board = openBoard();
  before(async () => {
    ground = await prepareGround();
    await writeFile(join(ground.manifests, 'agent.yaml'), manifest);
    const env = { WRIT_BOARD_BOARD: 'https://board.example' };
    const channels = [...channelModules, boardModule('board', boardChannel('board', board))];
    broker = await ground.start(env, { channels });
  });
  after(async () => {
    await broker.stop();
    await ground.close();
  });

  async function credentialOf(session: Awaited<ReturnType<Ground['session']>>) {
    const granted = await session('/v1/grants', { capability: 'use-plain', params: {} });
    assert.equal(granted.status, 201);
    const answer = (await granted.json()) as { credential: { token: string }; lease_id?: string };
    return answer.credential.token;
  }
  const leases = async (session: Awaited<ReturnType<Ground['session']>>) =>
    ((await (await session.get('/v1/session')).json()) as { leases: { id: string; status: string }[] }).leases;
  const told = async () =>
    (
      await broker.store.prisma.auditEvent.findMany({ where: { type: 'credential.leaked' }, orderBy: { at: 'asc' } })
    ).map(({ payload }) => payload as { tool: string; seen_in: string; leases: string[] });

  test('in arguments: the call is denied, the lease revoked, and the session goes on', async () => {
    const session = await ground.session();
    const token = await credentialOf(session);
    const [lease] = await leases(session);
    const denied = await call(session, 'http_post', { body: base64(JSON.stringify({ token })) });
    assert.deepEqual([denied.decision, codes(denied)], [false, ['credential_in_arguments']]);
    assert.ok(!JSON.stringify(denied).includes(token));
    const row = await broker.store.prisma.lease.findUniqueOrThrow({ where: { id: lease!.id } });
    assert.deepEqual([row.revokeReason, row.status === 'active'], ['credential_leaked', false]);
    assert.deepEqual((await told()).at(-1), { tool: 'http_post', seen_in: 'arguments', leases: [lease!.id] });
    assert.ok(ground.log.some((line) => line.includes('credential_leaked') && line.includes(lease!.id)));
    const heard = () => board.seen().filter(({ text }) => text.includes(lease!.id));
    await until('the board has it', () => heard().length > 0);
    assert.ok(heard().length === 1 && !JSON.stringify(board.seen()).includes(token));
    const { sealedArguments } = await broker.store.prisma.action.findUniqueOrThrow({
      where: { id: denied.context.id },
    });
    assert.equal(sealedArguments, null, 'although everything of this tool is recorded');
    assert.equal((await call(session, 'http_post', { body: 'hello' })).decision, true);
  });

  test('in another session’s call, and in what came back of one', async () => {
    const [holder, other] = [await ground.session(), await ground.session()];
    const token = await credentialOf(holder);
    assert.deepEqual(codes(await call(other, 'http_post', { body: token })), ['credential_in_arguments']);
    assert.ok((await leases(holder)).every(({ status }) => status !== 'active'));

    const again = await credentialOf(holder);
    const { context } = await call(other, 'read_file', { path: '/etc/motd' });
    const report = { outcome: 'response', output: `motd: ${again}` };
    assert.equal((await other(`/v1/actions/${context.id}/finish`, report)).status, 200);
    assert.ok((await leases(holder)).every(({ status }) => status !== 'active'));
    assert.equal((await told()).at(-1)?.seen_in, 'output');
  });

  test('arguments are kept where the manifest asks, sealed, and for admins to read', async () => {
    const session = await ground.session();
    const args = { body: 'order 42', deep: [{ a: 1 }] };
    const { context } = await call(session, 'http_post', args);
    const other = await call(session, 'read_file', args);
    const read = (id: string, token: string) =>
      fetch(`${ground.url}/v1/admin/actions/${id}/arguments`, { headers: { authorization: `Bearer ${token}` } });
    const answer = await read(context.id, broker.bootstrapToken!);
    assert.deepEqual([answer.status, await answer.json()], [200, { arguments: args }]);
    assert.equal((await read(other.context.id, broker.bootstrapToken!)).status, 404);
    assert.equal((await read(context.id, 'nobody')).status, 401);
    const opened = await broker.store.prisma.auditEvent.findMany({ where: { type: 'arguments.opened' } });
    assert.deepEqual(
      opened.map(({ actor, payload }) => [actor, payload]),
      [['bootstrap token', { action_id: context.id, tool: 'http_post' }]],
    );
    const row = await broker.store.prisma.action.findUniqueOrThrow({ where: { id: context.id } });
    assert.ok(
      row.sealedArguments !== null && !JSON.stringify([row.sealedArguments, row.arguments]).includes('order 42'),
    );
    // Sealed for its own row: copied into another, it does not open.
    await broker.store.prisma.action.update({
      where: { id: other.context.id },
      data: { sealedArguments: row.sealedArguments },
    });
    assert.equal((await read(other.context.id, broker.bootstrapToken!)).status, 500);
  });

  test('of a credential that has ended nothing is kept', async () => {
    const session = await ground.session();
    await credentialOf(session);
    const [lease] = await leases(session);
    const marks = async () =>
      (await broker.store.prisma.lease.findUniqueOrThrow({ where: { id: lease!.id } })).marks.length;
    assert.ok((await marks()) > 0);
    assert.equal((await session('/v1/session/end?wait=10')).status, 200);
    assert.equal(await marks(), 0);
  });
});
