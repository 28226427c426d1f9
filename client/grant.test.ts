import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { inspect } from 'node:util';
import { CompactEncrypt, importJWK } from 'jose';
import { type Harness, openHarness } from './broker.test-support.ts';
import { type Clock, type PendingGrant, type Session, WritDenied, WritError, WritNeedsApproval } from './index.ts';

const code = (expected: string) => (error: unknown) => error instanceof WritError && error.code === expected;

let harness: Harness;
let session: Session;
/** Pauses before another try, in milliseconds. They pass at once; heartbeats do not come. */
let pauses: number[] = [];
const clock: Clock = {
  now: () => new Date(),
  sleep: async (ms, signal, background) => {
    if (background === true) {
      await new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
    }
    pauses.push(ms);
  },
};

before(async () => {
  harness = await openHarness();
  session = await harness.open({ clock });
});
after(() => harness.close());
afterEach(() => {
  harness.front.fate = () => 'pass';
  harness.front.rewrite = (_seen, body) => body;
  harness.front.seen.length = 0;
  pauses = [];
});

const requests = (method: string, path: RegExp) =>
  harness.front.seen.filter((seen) => seen.method === method && path.test(seen.path));
const claims = (proof: unknown) => JSON.parse(Buffer.from(String(proof).split('.')[1]!, 'base64url').toString());

/** The next request to this path meets this fate, the ones after it pass. */
function once(path: RegExp, fate: ReturnType<Harness['front']['fate']>): void {
  let met = false;
  harness.front.fate = (seen) => {
    if (met || !path.test(seen.path)) return 'pass';
    met = true;
    return fate;
  };
}

/** Asks for what needs an approval; resolves with the pending grant and the promise of its outcome. */
async function park(
  options = {},
  of = session,
): Promise<{ pending: PendingGrant; outcome: ReturnType<Session['grant']> }> {
  return new Promise((resolve, reject) => {
    const outcome = of.grant(
      'write-customer-files',
      {},
      {
        ...options,
        onPending: (pending) => resolve({ pending, outcome }),
      },
    );
    outcome.catch(reject);
  });
}

describe('a grant', () => {
  it('comes typed, with the plan in words and the signed decision', async () => {
    const grant = await session.grant('read-customer-files', { access: 'read' }, { type: 'aws', ttlSeconds: 300 });
    assert.match(grant.credential.accessKeyId, /^ASIA/);
    assert.equal(grant.ttlSeconds, 300);
    assert.equal(grant.plan.provider, 'aws');
    assert.match(grant.summary.join('\n'), /customers\/42\//);
    assert.equal(grant.expiresAt, grant.credential.expiration);
    assert.equal(claims(grant.decision).grant_id, grant.id);
    const { leases } = await session.overview();
    assert.ok(
      leases.some(({ id, grantId, status }) => id === grant.leaseId && grantId === grant.id && status === 'active'),
    );
  });

  it('is sealed on the way, so that whoever reads the answer reads no secret', async () => {
    const answers: string[] = [];
    harness.front.rewrite = (_seen, body) => {
      answers.push(body);
      return body;
    };
    const { credential } = await session.grant('read-repository', {}, { type: 'github' });
    assert.equal(answers.length, 1);
    assert.ok(!answers[0]!.includes(credential.token));
    const open = await session.grant('read-repository', {}, { type: 'github', sealed: false });
    assert.ok(answers[1]!.includes(open.credential.token));
  });

  it('is refused when somebody on the way opened it, or sealed it anew', async () => {
    const open = {
      type: 'github',
      token: 'x'.repeat(40),
      api_url: 'http://127.0.0.1',
      expires_at: '2040-01-01T00:00:00Z',
    };
    for (const put of [
      { credential: open },
      { credential_jwe: 'a.b.c.d.e' },
      { credential: open, credential_jwe: null },
    ]) {
      harness.front.rewrite = (_seen, body) => {
        const { credential_jwe: _sealed, ...rest } = JSON.parse(body);
        return JSON.stringify({ ...rest, ...put });
      };
      await assert.rejects(session.grant('read-repository'), code('not_sealed'));
    }
  });

  it('shows no secret when it is logged', async () => {
    const grant = await session.grant('read-customer-files', {}, { type: 'aws' });
    const token = requests('POST', /grants$/)
      .at(-1)!
      .headers.authorization!.split(' ')[1]!;
    const shown = [grant, session, { nested: [grant, session] }]
      .map((value) => inspect(value, { depth: 9 }) + JSON.stringify(value))
      .join();
    for (const secret of [grant.credential.secretAccessKey, grant.credential.sessionToken, token]) {
      assert.ok(secret.length > 20 && !shown.includes(secret));
    }
  });

  it('of another provider than expected is not handed out', async () => {
    await assert.rejects(session.grant('read-repository', {}, { type: 'aws' }), code('wrong_credential'));
  });
});

describe('a denial', () => {
  it('says why, and what would pass', async () => {
    const child = await session.child({ capabilities: ['read-repository'], envelope: { maxGrants: 1 } });
    await assert.rejects(child.grant('read-customer-files'), (error) => {
      assert.ok(error instanceof WritDenied);
      assert.ok(error.reasons.length > 0);
      assert.match(error.grantId!, /^gnt_/);
      return true;
    });
    await child.end();

    await assert.rejects(session.grant('read-customer-files', { prefix: 'customers/43/' }), (error) => {
      assert.ok(error instanceof WritDenied);
      assert.equal(error.nearest?.params.prefix, 'customers/42/');
      return true;
    });
  });

  it('of a malformed request is an error with the path', async () => {
    await assert.rejects(session.grant('read-customer-files', { colour: 'red' }), (error) => {
      assert.ok(error instanceof WritError && !(error instanceof WritDenied));
      assert.equal(error.status, 400);
      assert.match(JSON.stringify(error.problem?.errors), /colour/);
      return true;
    });
  });
});

describe('a grant that a person must decide on', () => {
  it('waits, and is delivered once it is approved', async () => {
    const { pending, outcome } = await park({ type: 'aws', justification: 'The customer asked.' });
    assert.equal(pending.tier, 2);
    assert.ok(pending.decideBy > new Date());
    assert.match(pending.summary.join('\n'), /customers\/42\//);
    const page = await harness.decide(pending.approvalUrl, 'approve');
    assert.equal(page.status, 200, page.html);
    const grant = await outcome;
    assert.equal(grant.id, pending.id);
    assert.equal(grant.credential.type, 'aws');
    assert.equal(claims(grant.decision).approved_by.length, 1);
  });

  it('is denied by that person, with the reason', async () => {
    const { pending, outcome } = await park();
    await harness.decide(pending.approvalUrl, 'deny', 'Not on a Friday.');
    await assert.rejects(outcome, (error) => {
      assert.ok(error instanceof WritDenied);
      assert.equal(error.grantId, pending.id);
      assert.deepEqual(error.reasons, [{ code: 'denied_by_approver', advice: 'Not on a Friday.' }]);
      return true;
    });
  });

  it('is not waited for where the session may sleep: another process wakes it and collects', async () => {
    const own = await harness.open();
    const refused = await own.grant('write-customer-files', {}, { onApproval: 'sleep' }).then(
      () => assert.fail('it did not wait'),
      (error: unknown) => error,
    );
    assert.ok(refused instanceof WritNeedsApproval);
    const { resumption } = refused;
    assert.deepEqual(await own.ended, { reason: 'asleep' });
    assert.ok(resumption.until.getTime() > Date.now() + 23 * 3_600_000);
    await harness.decide(resumption.approvalUrl, 'approve');
    const woken = await harness.resume(resumption.resume);
    assert.equal(woken.id, own.id);
    const grant = await woken.collect(resumption.grantId, { type: 'aws', waitSeconds: 0 });
    assert.equal(grant.id, resumption.grantId);
    assert.match(grant.credential.accessKeyId, /^ASIA/);
    await assert.rejects(harness.resume(resumption.resume), code('invalid_grant'));
    await woken.end();
  });

  it('is not waited for longer than asked, nor after an abort', async () => {
    await assert.rejects(
      park({ waitSeconds: 0 }).then(({ outcome }) => outcome),
      code('approval_timeout'),
    );
    const leaving = new AbortController();
    const { outcome } = await park({ signal: leaving.signal });
    leaving.abort(new Error('changed my mind'));
    await assert.rejects(outcome, /changed my mind/);
  });

  it('is not waited for when the session ends', async () => {
    const own = await harness.open({ clock });
    const { outcome } = await park({}, own);
    await own.end();
    await assert.rejects(outcome, code('session_ended'));
  });

  it('goes on being waited for when the session waits too often at once', async () => {
    once(/^\/v1\/grants\/gnt_/, { status: 429, headers: { 'retry-after': '0' }, body: { code: 'rate_limited' } });
    const { pending, outcome } = await park();
    await harness.decide(pending.approvalUrl, 'approve');
    assert.equal((await outcome).id, pending.id);
  });

  it('survives lost answers while nothing has been delivered', async () => {
    once(/^\/v1\/grants$/, 'lose');
    const { pending, outcome } = await park();
    once(/^\/v1\/grants\/gnt_/, 'lose');
    await harness.decide(pending.approvalUrl, 'approve');
    assert.equal((await outcome).id, pending.id);
  });

  it('is collected again while the approval stands, when the broker says', async () => {
    const { pending, outcome } = await park();
    const kept = { code: 'provider_unavailable', grant_status: 'approved' };
    once(/\/redeem$/, { status: 503, headers: { 'retry-after': '9' }, body: kept });
    await harness.decide(pending.approvalUrl, 'approve');
    assert.equal((await outcome).id, pending.id);
    assert.ok(pauses.includes(9_000));
  });

  it('is collected again while another call is collecting it, when the broker says', async () => {
    const { pending, outcome } = await park();
    const inFlight = { code: 'conflict', grant_status: 'issuing' };
    once(/\/redeem$/, { status: 409, headers: { 'retry-after': '7' }, body: inFlight });
    await harness.decide(pending.approvalUrl, 'approve');
    assert.equal((await outcome).id, pending.id);
    assert.ok(pauses.includes(7_000));
  });

  it('is over when the broker says that it failed', async () => {
    const { pending, outcome } = await park();
    const failed = { code: 'provider_unavailable', grant_status: 'failed' };
    once(/\/redeem$/, { status: 503, headers: { 'retry-after': '9' }, body: failed });
    await harness.decide(pending.approvalUrl, 'approve');
    await assert.rejects(outcome, code('provider_unavailable'));
  });

  it('says so when the credential itself was lost on the way', async () => {
    const { pending, outcome } = await park();
    once(/\/redeem$/, 'lose');
    await harness.decide(pending.approvalUrl, 'approve');
    await assert.rejects(
      outcome,
      (error) => code('credential_lost')(error) && (error as WritError).grantId === pending.id,
    );
  });
});

describe('what goes wrong on the way', () => {
  it('a lost answer with a credential in it is an error of its own, and no second credential is minted', async () => {
    const before = (await session.overview()).leases.length;
    harness.front.seen.length = 0;
    once(/^\/v1\/grants$/, 'lose');
    await assert.rejects(session.grant('read-repository'), code('credential_lost'));
    const [first, second, ...more] = requests('POST', /^\/v1\/grants$/);
    assert.equal(more.length, 0);
    assert.equal(first!.headers['idempotency-key'], second!.headers['idempotency-key']);
    assert.notEqual(first!.headers.dpop, second!.headers.dpop);
    assert.equal((await session.overview()).leases.length, before + 1);
  });

  it('an unavailable broker is asked again, when it says', async () => {
    once(/^\/v1\/grants$/, { status: 503, headers: { 'retry-after': '7' }, body: { code: 'unavailable' } });
    assert.equal((await session.grant('read-repository')).credential.type, 'github');
    assert.deepEqual(pauses, [7_000]);
  });

  it('a gateway’s 503 and an unreachable broker are asked again, but not for ever', async () => {
    for (const fate of [{ status: 503, body: 'no backend' }, 'lose'] as const) {
      harness.front.seen.length = 0;
      harness.front.fate = () => fate;
      await assert.rejects(session.overview(), code(fate === 'lose' ? 'network' : 'unavailable'));
      assert.equal(requests('GET', /session/).length, 4);
    }
  });

  it('what the provider failed at is not asked for behind the agent’s back', async () => {
    harness.github.fail('unavailable');
    try {
      await assert.rejects(session.grant('read-repository'), (error) => {
        assert.ok(error instanceof WritError);
        assert.equal(error.code, 'provider_unavailable');
        return true;
      });
    } finally {
      harness.github.fail(null);
    }
    assert.equal(requests('POST', /^\/v1\/grants$/).length, 1);
  });

  it('a session is not opened twice: the platform’s token is good for one', async () => {
    once(/^\/oauth\/token$/, 'lose');
    await assert.rejects(harness.open({ clock }), code('network'));
    assert.equal(requests('POST', /token/).length, 1);
  });

  it('a redirect is not followed: it would carry the token elsewhere', async () => {
    harness.front.fate = ({ path }) =>
      path === '/elsewhere' ? 'pass' : { status: 307, headers: { location: `${harness.url}/elsewhere` } };
    await assert.rejects(session.overview(), code('network'));
    assert.equal(requests('GET', /elsewhere/).length, 0);
  });

  it('an answer that is not JSON is refused', async () => {
    harness.front.rewrite = () => '<html>';
    await assert.rejects(session.overview(), code('bad_answer'));
  });
});

describe('a server that wants a nonce in the proof', () => {
  const demand = { 'dpop-nonce': 'n-1', 'www-authenticate': 'DPoP error="use_dpop_nonce"' };

  it('gets it, from the token endpoint on', async () => {
    harness.front.fate = ({ path, headers }) => {
      if (claims(headers.dpop).nonce === 'n-1') return 'pass';
      return path === '/oauth/token'
        ? { status: 400, headers: { 'dpop-nonce': 'n-1' }, body: { error: 'use_dpop_nonce' } }
        : { status: 401, headers: demand };
    };
    const own = await harness.open({ clock });
    assert.equal(requests('POST', /token/).length, 2);
    // Known by now, so sent at once.
    await own.overview();
    assert.equal(requests('GET', /session/).length, 1);
    // A server may change its nonce at any time.
    harness.front.fate = ({ headers }) =>
      claims(headers.dpop).nonce === 'n-2' ? 'pass' : { status: 401, headers: { ...demand, 'dpop-nonce': 'n-2' } };
    await own.overview();
    assert.equal(requests('GET', /session/).length, 3);
  });

  it('is tried once only, and never for another 401', async () => {
    const own = await harness.open({ clock });
    harness.front.fate = () => ({ status: 401, headers: demand });
    await assert.rejects(own.overview());
    assert.equal(requests('GET', /session/).length, 2);
    harness.front.seen.length = 0;
    harness.front.fate = () => ({
      status: 401,
      headers: { 'dpop-nonce': 'n-3' },
      body: { code: 'invalid_dpop_proof' },
    });
    await assert.rejects(own.overview(), code('invalid_dpop_proof'));
    assert.equal(requests('GET', /session/).length, 1);
  });
});

describe('a credential of a provider that this version has never heard of', () => {
  const wire = { type: 'vault', lease_token: 'lt-1', expires_at: '2031-01-01T00:00:00Z', paths: ['kv/42'] };

  /** The broker's own answer, with another provider's credential sealed to the key that the request named. */
  async function answerWith(credential: unknown): Promise<void> {
    const granted = await ownAnswer();
    harness.front.fate = (seen) => {
      if (seen.path !== '/v1/grants') return 'pass';
      const { credential_jwk } = JSON.parse(seen.body) as { credential_jwk: JsonWebKey };
      return sealed(credential, credential_jwk).then((credential_jwe) => ({
        status: 201,
        body: { ...granted, credential_jwe },
      }));
    };
  }
  const ownAnswer = async (): Promise<object> => {
    harness.front.fate = () => 'pass';
    const answer = new Promise<string>((resolve) => {
      harness.front.rewrite = (seen, body) => {
        if (seen.path === '/v1/grants') resolve(body);
        return body;
      };
    });
    await session.grant('read-customer-files');
    return JSON.parse(await answer) as object;
  };
  const sealed = async (credential: unknown, jwk: JsonWebKey) =>
    new CompactEncrypt(new TextEncoder().encode(JSON.stringify(credential)))
      .setProtectedHeader({ alg: 'ECDH-ES', enc: 'A256GCM' })
      .encrypt(await importJWK(jwk as never, 'ECDH-ES'));

  it('is handed over as it came, ends with its lease, and stays out of what is printed', async () => {
    await answerWith(wire);
    const grant = await session.grant('read-customer-files', {}, { type: 'vault' });
    assert.deepEqual(grant.credential, wire);
    const type: 'vault' = grant.credential.type;
    assert.equal(type, 'vault');
    const left = grant.expiresAt.getTime() - Date.now();
    assert.ok(left > 0 && left <= 900_000, `the lease has ${left} ms left`);
    assert.ok(!inspect(grant).includes('lt-1') && !JSON.stringify(grant).includes('lt-1'));
  });

  it('comes without its type being named too, and is refused where another was', async () => {
    await answerWith(wire);
    const { credential } = await session.grant('read-customer-files');
    assert.deepEqual(credential, wire);
    await assert.rejects(session.grant('read-customer-files', {}, { type: 'aws' }), code('wrong_credential'));
  });

  it('needs a type all the same', async () => {
    for (const credential of [{ token: 'x' }, { type: '' }, { type: 7 }, null, 'text']) {
      await answerWith(credential);
      await assert.rejects(session.grant('read-customer-files'), code('bad_answer'), JSON.stringify(credential));
    }
  });
});

describe('several grants at once', () => {
  const wanted = [
    { capability: 'read-customer-files', type: 'aws' as const },
    { capability: 'write-customer-files', ttlSeconds: 600, justification: 'To correct it.' },
    { capability: 'no-such' },
    { capability: 'write-customer-files', ttlSeconds: 300 },
  ];

  it('come as they are decided: at once, after one decision on all that wait, or not at all', async () => {
    const pending: PendingGrant[] = [];
    const asked = Promise.withResolvers<void>();
    const outcome = session.grantAll(wanted, {
      onPending: (all) => {
        pending.push(...all);
        asked.resolve();
      },
    });
    await Promise.race([asked.promise, outcome]);
    assert.deepEqual(
      pending.map(({ capability, ttlSeconds }) => [capability, ttlSeconds]),
      [
        ['write-customer-files', 600],
        ['write-customer-files', 300],
      ],
    );
    assert.equal(new Set(pending.map(({ batch }) => batch)).size, 1);
    const page = await harness.decide(pending[0]!.approvalUrl, 'approve');
    assert.match(page.html, /2\. [\s\S]*write-customer-files/);
    const [read, long, none, short] = await outcome;
    for (const [one, ttl] of [
      [read, 900],
      [long, 600],
      [short, 300],
    ] as const) {
      assert.ok(one?.status === 'fulfilled');
      assert.deepEqual([one.value.ttlSeconds, one.value.credential.type], [ttl, 'aws']);
      assert.ok(!inspect(one.value).includes((one.value.credential as { secretAccessKey: string }).secretAccessKey));
    }
    assert.ok(none?.status === 'rejected' && code('bad_request')(none.reason));
    assert.equal(requests('POST', /\/grants\/batch$/).length, 1);
  });

  it('are denied together, each with the reason', async () => {
    const outcome = session.grantAll(wanted.slice(1), {
      onPending: ([first]) => void harness.decide(first!.approvalUrl, 'deny', 'Not on a Friday.'),
    });
    for (const one of (await outcome).filter((_, index) => index !== 1)) {
      assert.ok(one.status === 'rejected' && one.reason instanceof WritDenied);
      assert.deepEqual(one.reason.reasons, [{ code: 'denied_by_approver', advice: 'Not on a Friday.' }]);
    }
  });
});
