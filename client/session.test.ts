import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { exportPKCS8, generateKeyPair } from 'jose';
import { manualClock } from '../broker/core/clock.ts';
import { until } from '../broker/until.test-support.ts';
import { type Harness, openHarness } from './broker.test-support.ts';
import { type Clock, fileToken, githubActionsToken, type Session, Writ, WritError } from './index.ts';

const code = (expected: string) => (error: unknown) => error instanceof WritError && error.code === expected;
const never = { subjectToken: 'never sent', taskType: 'answer-invoice-question' };

const claimsOf = (header = '') => JSON.parse(Buffer.from(header.split('.')[1] ?? '', 'base64url').toString());

describe('sessions', () => {
  const clock = manualClock(new Date());
  let harness: Harness;
  before(async () => {
    harness = await openHarness({ clock });
  });
  after(() => harness.close());
  const open = (options: Parameters<Harness['open']>[0] = {}) => harness.open({ clock, ...options });
  const beats = (session: Session) =>
    harness.front.seen.filter(
      ({ path, headers }) => path === '/v1/session/heartbeat' && claimsOf(headers.authorization).sid === session.id,
    ).length;

  it('reads every page of its overview, and stops where the broker does', async () => {
    const session = await open();
    await session.grant('read-repository');
    const again = Buffer.from('.').toString('base64url');
    const claim = (when: RegExp) => {
      harness.front.rewrite = ({ path }, body) =>
        when.test(path) ? JSON.stringify({ ...JSON.parse(body), next: again }) : body;
    };
    try {
      claim(/^\/v1\/session\?limit=500$/);
      assert.equal((await session.overview()).leases.length, 2, 'the page after the first is from the start again');
      claim(/^\/v1\/session\?/);
      await assert.rejects(session.overview(), (error) => error instanceof WritError && error.code === 'bad_answer');
      claim(/^\/v1\/session\/end/);
      assert.equal((await session.end()).leases.length, 2);
    } finally {
      harness.front.rewrite = (_seen, body) => body;
    }
  });

  it('tells what it may ask for, and what is left of it', async () => {
    const session = await open({ envelope: { maxGrants: 2 } });
    await session.grant('read-repository');
    const [files, ...others] = await session.capabilities();
    assert.deepEqual(
      [files!, ...others].map(({ name, tier, grantsLeft, state }) => [name, tier, grantsLeft, state]),
      [
        ['read-customer-files', 1, 1, 'open'],
        ['write-customer-files', 2, 1, 'open'],
        ['read-repository', 1, 1, 'open'],
        ['read-archive', 1, 1, 'open'],
      ],
    );
    assert.deepEqual(files?.choose, { access: { type: 'string', enum: ['read', 'list'], default: 'read' } });
    assert.deepEqual([files?.maxTtlSeconds, files?.delegateOnly, files?.params.prefix], [900, false, 'customers/42/']);
  });

  it('opens with a platform token, and is bound to a key unless told otherwise', async () => {
    const session = await open({
      onBehalfOf: 'user:owner@example.com',
      envelope: { wallTimeSeconds: 120, maxGrants: 3 },
    });
    const { session: seen } = await session.overview();
    assert.equal(seen.id, session.id);
    assert.equal(seen.agent, 'invoice-bot');
    assert.deepEqual(seen.inputs, { customer_id: '42' });
    assert.equal(seen.onBehalfOf, 'user:owner@example.com');
    assert.equal(seen.grantsLeft, 3);
    assert.equal(session.expiresAt.getTime(), seen.openedAt.getTime() + 120_000);
    const sent = harness.front.seen.at(-1)!.headers;
    assert.match(sent.authorization!, /^DPoP /);
    assert.ok(sent.dpop);

    const bearer = await open({ dpop: false });
    await bearer.overview();
    const plain = harness.front.seen.at(-1)!.headers;
    assert.match(plain.authorization!, /^Bearer /);
    assert.equal(plain.dpop, undefined);
  });

  it('a thief of the token alone gets nowhere, and no proof is sent twice', async () => {
    const session = await open();
    await session.overview();
    const { authorization, dpop } = harness.front.seen.at(-1)!.headers as { authorization: string; dpop: string };
    const steal = (headers: { [name: string]: string }) => fetch(`${harness.url}/v1/session`, { headers });
    assert.equal((await steal({ authorization })).status, 401);
    assert.equal((await steal({ authorization: authorization.replace('DPoP', 'Bearer') })).status, 401);
    assert.equal((await steal({ authorization, dpop })).status, 401);
    await session.overview();
    const proofs = harness.front.seen.map(({ headers }) => headers.dpop).filter((proof) => proof !== undefined);
    // The thief's own repetition is the only one.
    assert.equal(new Set(proofs).size, proofs.length - 1);
  });

  it('opens from a job of GitHub Actions, from a file, and with a key of its own', async () => {
    await open({ subjectToken: githubActionsToken(harness.jobEnvironment) });

    const path = join(harness.folder, 'token');
    await writeFile(path, `${await harness.platformToken(harness.url)}\n`);
    await open({ subjectToken: fileToken(path) });

    const { privateKey } = harness.clientKey;
    for (const key of [
      privateKey,
      privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
      { ...(privateKey.export({ format: 'jwk' }) as object), kty: 'EC', kid: 'one' },
    ]) {
      const options = { url: harness.url, clock, taskType: never.taskType, inputs: { customer_id: '42' } };
      const session = await Writ.openSession({ ...options, clientKey: { clientId: 'invoice-bot-key', key } });
      await session.end();
    }
  });

  it('says what was wrong, and never repeats a secret', async () => {
    await assert.rejects(open({ subjectToken: githubActionsToken({}) }), code('no_identity'));
    await assert.rejects(open({ subjectToken: fileToken(join(harness.folder, 'absent')) }), code('no_identity'));
    await assert.rejects(open({ inputs: {} }), (error) => {
      assert.ok(error instanceof WritError);
      assert.equal(error.code, 'invalid_authorization_details');
      assert.equal(error.status, 400);
      assert.match(error.requestId!, /^req_/);
      assert.equal(error.problem?.errors?.[0]?.path, 'authorization_details[0].inputs.customer_id');
      return true;
    });
    const foreign = await exportPKCS8((await generateKeyPair('ES256', { extractable: true })).privateKey);
    for (const key of [foreign, 'not a key']) {
      const asked = Writ.openSession({
        url: harness.url,
        clock,
        taskType: never.taskType,
        clientKey: { clientId: 'invoice-bot-key', key },
      });
      await assert.rejects(asked, (error) => {
        assert.ok(error instanceof WritError && ['invalid_client', 'no_identity'].includes(error.code));
        assert.ok(!JSON.stringify([error.message, error.problem, String(error.cause)]).includes(key.slice(0, 60)));
        return true;
      });
    }
  });

  it('sends nothing over plain http to another machine', async () => {
    for (const url of ['http://writ.example.com', 'http://127.0.0.1.example.com', 'ftp://127.0.0.1', 'writ']) {
      await assert.rejects(Writ.openSession({ ...never, url }), code('insecure_url'), url);
    }
  });

  it('beats in the background, and so outlives both its token and the missed-heartbeat limit', async () => {
    let rests = 0;
    const watched: Clock = {
      now: clock.now,
      sleep: (ms, signal) => {
        rests += 1;
        return clock.sleep(ms, signal);
      },
    };
    const session = await open({ clock: watched });
    // Seven minutes: the first token lives five, and three missed beats end a session.
    for (let minute = 1; minute <= 7; minute += 1) {
      await until('it rests', () => rests === minute);
      clock.advance(60_000);
    }
    await until('it rests', () => rests === 8);
    assert.equal(beats(session), 7);
    assert.equal((await session.overview()).session.status, 'active');
    await session.end();
  });

  it('stops beating when it has ended, and says who ended it', async () => {
    const session = await open();
    const { session: ended, leases } = await session.end();
    assert.equal(ended.status, 'ended');
    assert.deepEqual(leases, []);
    assert.deepEqual(await session.ended, { reason: 'ended_by_agent' });
    assert.ok(session.signal.aborted);
    const count = beats(session);
    clock.advance(60_000);
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(beats(session), count);
    assert.equal((await session.end()).session.endReason, 'ended_by_agent');
    await assert.rejects(session.grant('read-customer-files'), code('session_ended'));
  });

  it('notices at its next heartbeat that an admin ended it', async () => {
    const session = await open();
    const response = await fetch(`${harness.url}/v1/admin/sessions/${session.id}/end`, {
      method: 'POST',
      headers: { authorization: `Bearer ${harness.broker.bootstrapToken}` },
    });
    assert.equal(response.status, 200);
    assert.equal(session.signal.aborted, false);
    clock.advance(60_000);
    assert.deepEqual(await session.ended, { reason: 'ended_by_admin' });
  });

  it('notices that its envelope is spent', async () => {
    const session = await open({ envelope: { wallTimeSeconds: 30 } });
    // Towards the end the token shrinks with what is left, so beats come closer together.
    for (let second = 0; second < 35 && !session.signal.aborted; second += 1) {
      clock.advance(1_000);
      await new Promise((resolve) => setTimeout(resolve, 15));
    }
    assert.deepEqual(await session.ended, { reason: 'envelope_spent' });
  });

  it('ends when the block is left, also by an error', async () => {
    let kept: Awaited<ReturnType<typeof open>> | undefined;
    await assert.rejects(async () => {
      await using session = await open();
      kept = session;
      throw new Error('the task failed');
    }, /the task failed/);
    assert.deepEqual(await kept?.ended, { reason: 'ended_by_agent' });
  });

  it('asks a second time when the broker fails at ending, which does no more than once', async () => {
    const session = await open();
    let failures = 0;
    harness.front.fate = ({ path }) => {
      if (!path.startsWith('/v1/session/end') || failures > 0) return 'pass';
      failures += 1;
      return { status: 500, body: { code: 'internal' } };
    };
    try {
      assert.equal((await session.end()).session.status, 'ended');
      assert.equal(failures, 1);
    } finally {
      harness.front.fate = () => 'pass';
    }
  });

  it('stops beating when the block is left, also when the broker cannot be told', async () => {
    let kept: Session | undefined;
    harness.front.fate = ({ path }) =>
      path.startsWith('/v1/session/end') ? { status: 500, body: { code: 'internal' } } : 'pass';
    try {
      await assert.rejects(async () => {
        await using session = await open();
        kept = session;
      }, code('internal'));
    } finally {
      harness.front.fate = () => 'pass';
    }
    assert.ok(kept!.signal.aborted);
    assert.deepEqual(await kept!.ended, { reason: 'ended_by_agent' });
    const count = beats(kept!);
    for (let minute = 0; minute < 2; minute += 1) {
      clock.advance(60_000);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.equal(beats(kept!), count);
    assert.equal((await kept!.end()).session.status, 'ended', 'and it can still be told later');
  });

  describe('a child', () => {
    it('has its own key, fewer capabilities, a sooner end, and ends with its parent', async () => {
      const parent = await open();
      const child = await parent.child({ capabilities: ['read-repository'], envelope: { wallTimeSeconds: 60 } });
      const opening = harness.front.seen.at(-1)!;
      const { session: seen } = await child.overview();
      const proofOf = (dpop: unknown) => JSON.parse(Buffer.from(String(dpop).split('.')[0]!, 'base64url').toString());
      assert.equal(seen.parentId, parent.id);
      assert.deepEqual(seen.capabilities, ['read-repository']);
      assert.ok(child.expiresAt < parent.expiresAt);
      // Opened with the parent's key, used with another.
      assert.notDeepEqual(proofOf(opening.headers.dpop).jwk, proofOf(harness.front.seen.at(-1)!.headers.dpop).jwk);

      assert.equal((await child.grant('read-repository', {}, { type: 'github' })).credential.type, 'github');
      await assert.rejects(child.grant('read-customer-files'), code('denied'));
      await assert.rejects(
        child.child({ capabilities: ['read-customer-files'] }),
        code('invalid_authorization_details'),
      );

      await parent.end();
      assert.deepEqual(await child.ended, { reason: 'parent_ended' });
      assert.equal((await child.overview()).session.endReason, 'parent_ended');
    });

    it('of a bearer session is one too', async () => {
      const parent = await open({ dpop: false });
      const child = await parent.child({ capabilities: ['read-repository'] });
      assert.equal((await child.overview()).session.parentId, parent.id);
    });
  });
});
