/** Ending sessions under pressure: full policies, conflicts, others' changes, lost answers. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { ProviderError, RevocationOutcome, RevocationTarget } from '../contract.ts';
import { denialFor, denialPolicyName, denies } from './denial.ts';
import { type AwsBenchOptions, type AwsHarness, agentRole, lease, withBench } from './harness.test-support.ts';
import { inlinePolicyLimit } from './role-policy.ts';

const never = () => new AbortController().signal;

/** A lease of the database only: as many as a test needs, all of the same role. */
const paper = (harness: AwsHarness, template: RevocationTarget, count: number): RevocationTarget[] =>
  Array.from({ length: count }, (_, n) => ({
    ...template,
    leaseId: `lse_paper${String(n).padStart(15, '0')}`,
    handle: { ...template.handle, issued_at: new Date(harness.clock.now().getTime() - 60_000 + n).toISOString() },
  }));

async function settle(
  harness: AwsHarness,
  target: RevocationTarget,
  outstanding: RevocationTarget[],
): Promise<RevocationOutcome> {
  const [first] = await harness.provider.revoke([target], outstanding, never());
  if (first?.state !== 'settling') return first as RevocationOutcome;
  target.settlingSince = harness.clock.now();
  harness.clock.advance(10_000);
  const [second] = await harness.provider.revoke([target], outstanding, never());
  return second as RevocationOutcome;
}

const errorOf = (outcome: RevocationOutcome | undefined): ProviderError => {
  assert.equal(outcome?.state, 'failed');
  return outcome.error;
};

test('a denial is not called revoked before the lag has passed, and the credential does work until then', async () => {
  await withBench(async (harness) => {
    const { target, use } = await lease(harness, 'lse_lag');
    const [first] = await harness.provider.revoke([target], [target], never());
    assert.equal(first?.state, 'settling');
    target.settlingSince = harness.clock.now();
    harness.clock.advance(9_000);
    assert.equal(await use(), 'accepted', 'which is why it may not be shown as revoked yet');
    assert.equal((await harness.provider.revoke([target], [target], never()))[0]?.state, 'settling');
    harness.clock.advance(1_000);
    const [last] = await harness.provider.revoke([target], [target], never());
    assert.ok(last?.state === 'revoked');
    assert.match(String(last.evidence.document_sha256), /^[0-9a-f]{64}$/);
    assert.equal(last.evidence.denied_since, target.settlingSince.toISOString());
    assert.equal(last.evidence.read_back_at, harness.clock.now().toISOString());
    assert.match(String(last.evidence.propagation), /^eventual/, 'what was waited for is not called seen');
    assert.equal(last.alsoEnded, undefined, 'nobody else was ended');
    assert.equal(await use(), 'refused');
  });
});

test('a denial that somebody removed is written again and its lag starts again', async () => {
  await withBench(async (harness) => {
    const { target, use } = await lease(harness, 'lse_removed');
    await harness.provider.revoke([target], [target], never());
    target.settlingSince = harness.clock.now();
    harness.sandbox.setInlinePolicy(agentRole, denialPolicyName, null);
    harness.clock.advance(10_000);
    const [outcome] = await harness.provider.revoke([target], [target], never());
    assert.equal(outcome?.state, 'settling');
    assert.equal(await use(), 'accepted');
    harness.clock.advance(10_000);
    assert.equal((await harness.provider.revoke([target], [target], never()))[0]?.state, 'revoked');
    assert.equal(await use(), 'refused');
  });
});

test('a denial that was written again, and could not be read back, starts its lag at the next look', async () => {
  const afterWrite = { fail: () => {} };
  const onAction = (action: string) => action === 'PutRolePolicy' && afterWrite.fail();
  await withBench(
    async (harness) => {
      const [a, b] = [await lease(harness, 'lse_due'), await lease(harness, 'lse_beside')];
      const both = [a.target, b.target];
      const [first] = await harness.provider.revoke(both, both, never());
      assert.ok(first?.state === 'settling' && first.anew === true);
      for (const target of both) target.settlingSince = harness.clock.now();
      harness.clock.advance(10_000);
      harness.sandbox.setInlinePolicy(agentRole, denialPolicyName, null);
      afterWrite.fail = () => harness.sandbox.fault('GetRolePolicy', { code: 'ServiceFailure', status: 500 }, 1);
      const [failed] = await harness.provider.revoke([a.target], both, never());
      afterWrite.fail = () => {};
      assert.ok(failed?.state === 'failed');
      assert.deepEqual(failed.rewritten, ['lse_beside'], 'whose denial had gone is told all the same');
      // As the broker does after a failure.
      a.target.settlingSince = null;
      const [next] = await harness.provider.revoke([a.target], both, never());
      assert.ok(next?.state === 'settling' && next.anew === false);
      assert.equal(next.evidence.denied_since, harness.clock.now().toISOString());
    },
    { sandbox: { onAction } },
  );
});

test('evidence says when it was seen: after the answer, and a neighbour’s removed denial is told', async () => {
  const slow = { ms: 0, by: (_ms: number) => {} };
  const onAction = (action: string) => slow.by(/RolePolicy$/.test(action) ? slow.ms : 0);
  await withBench(
    async (harness) => {
      slow.by = harness.clock.advance;
      const [a, b] = [await lease(harness, 'lse_first'), await lease(harness, 'lse_second')];
      await harness.provider.revoke([a.target], [a.target], never());
      a.target.settlingSince = harness.clock.now();
      harness.clock.advance(9_000);
      harness.sandbox.setInlinePolicy(agentRole, denialPolicyName, null);
      // Each answer of IAM takes its time.
      const asked = harness.clock.now().getTime();
      slow.ms = 2_000;
      const [outcome] = await harness.provider.revoke([b.target], [a.target, b.target], never());
      slow.ms = 0;
      assert.ok(outcome?.state === 'settling');
      assert.deepEqual(outcome.rewritten, ['lse_first']);
      const answered = harness.clock.now().getTime();
      assert.ok(answered >= asked + 4_000);
      for (const member of ['denied_since', 'read_back_at'])
        assert.equal(Date.parse(String(outcome.evidence[member])), answered, member);
      assert.equal(outcome.recheckAt.getTime(), answered + 10_000);
    },
    { sandbox: { onAction } },
  );
});

test('a role that has no denial yet is understood, in AWS’s words and in a bare 404', async () => {
  for (const missingPolicy of ['wrapped', 'bare'] as const) {
    await withBench(
      async (harness) => {
        assert.deepEqual(await harness.provider.prune?.(agentRole, [], never()), []);
        const { target, use } = await lease(harness, 'lse_missing');
        assert.equal((await settle(harness, target, [target])).state, 'revoked', missingPolicy);
        assert.equal(await use(), 'refused');
      },
      { sandbox: { missingPolicy } },
    );
  }
});

test('every lease of many is refused by a store whose matcher never goes back', async () => {
  const options = {
    env: { WRIT_AWS_REVOKE_KEY: 'userid' },
    sandbox: { matcher: 'first-fit', sourceIdentityHonoured: false },
  };
  await withBench(async (harness) => {
    const ids = Array.from(
      { length: 60 },
      (_, n) => `lse_${createHash('sha256').update(String(n)).digest('hex').slice(0, 20)}`,
    );
    const leases = [];
    for (const id of ids) leases.push(await lease(harness, id));
    const targets = leases.map(({ target }) => target);
    await harness.provider.revoke(targets, targets, never());
    harness.clock.advance(10_000);
    assert.deepEqual([...new Set(await Promise.all(leases.map(({ use }) => use())))], ['refused']);
  }, options as AwsBenchOptions);
});

test('the outstanding leases are the whole truth: what is not among them is dropped, other policies stay', async () => {
  const others = {
    'admin-owned': {
      Version: '2012-10-17',
      Statement: { Effect: 'Deny' as const, Action: 's3:DeleteBucket', Resource: '*' },
    },
  };
  await withBench(async (harness) => {
    const { sandbox, provider, clock } = harness;
    sandbox.setInlinePolicy(agentRole, 'admin-owned', JSON.stringify(others['admin-owned']));
    const [a, b] = [await lease(harness, 'lse_a', 300), await lease(harness, 'lse_b', 900)];
    await provider.revoke([a.target], [a.target, b.target], never());
    assert.match(sandbox.inlinePolicies(agentRole)[denialPolicyName] ?? '', /lse_a.*lse_b/);
    clock.advance(300_000);
    await provider.prune?.(agentRole, [a.target, b.target], never());
    assert.match(sandbox.inlinePolicies(agentRole)[denialPolicyName] ?? '', /lse_a/, 'it stands a minute longer');
    clock.advance(60_000);
    await provider.prune?.(agentRole, [a.target, b.target], never());
    assert.doesNotMatch(sandbox.inlinePolicies(agentRole)[denialPolicyName] ?? '', /lse_a/);
    assert.equal(await b.use(), 'refused');
    clock.advance(600_000);
    await provider.prune?.(agentRole, [b.target], never());
    assert.deepEqual(Object.keys(sandbox.inlinePolicies(agentRole)), ['admin-owned']);
    await provider.prune?.(agentRole, [], never());
  });
});

test('names fill the policy first; only what does not fit is cut off, by the earliest moment that is enough', async () => {
  await withBench(async (harness) => {
    const { target } = await lease(harness, 'lse_template');
    const now = harness.clock.now();
    const few = denialFor(paper(harness, target, 300), now, inlinePolicyLimit);
    assert.equal(few?.cutOff, null);
    const many = paper(harness, target, 900).map((each, n) => ({
      ...each,
      handle: { ...each.handle, issued_at: new Date(now.getTime() - 3_600_000 + n * 1000).toISOString() },
    }));
    const denial = denialFor(many, now, inlinePolicyLimit);
    assert.ok(denial?.text && denial.cutOff);
    assert.ok(denial.text.length <= inlinePolicyLimit);
    for (const each of many) assert.ok(denies(denial.text, each, now), 'all of them are denied');
    const named = many.filter((each) => denial.text?.includes(each.leaseId));
    assert.ok(named.length > 300, 'the policy is used for names');
    const firstNamed = Date.parse(String(named[0]?.handle?.issued_at));
    assert.ok(denial.cutOff.getTime() <= firstNamed, 'no later than needed');
    assert.equal(denialFor(many, now, 20), null);
    assert.deepEqual(denialFor(many, now, 9_000), denialFor([...many].reverse(), now, 9_000), 'order does not matter');
  });
});

/** As the broker makes them, in the same millisecond. */
const realIds = ['lse_0hk3v9t2rqz7m4c8w1xd', 'lse_0hk3v9t2rb6n0gfjps3k'] as const;

// What a document holds of one kind; what is promised is less (role-room.test.ts).
test('so many leases of one role are denied one by one; the next takes the oldest by issue time', async () => {
  await withBench(async (harness) => {
    const { target } = await lease(harness, 'lse_template');
    const now = harness.clock.now();
    const cutOff = (count: number, template: RevocationTarget) =>
      denialFor(paper(harness, template, count), now, inlinePolicyLimit)?.cutOff;
    assert.equal(paper(harness, target, 1)[0]?.leaseId.length, realIds[0].length);
    const byUserId = { ...target, handle: { ...target.handle, revoke_key: 'userid' } };
    for (const [template, most] of [
      [target, 374],
      [byUserId, 348],
    ] as const) {
      assert.equal(cutOff(most, template), null);
      assert.ok(cutOff(most + 1, template) instanceof Date);
    }
  });
});

test('a lease is denied by its own name, never by another’s', async () => {
  await withBench(async (harness) => {
    const now = harness.clock.now();
    const [ended, alive] = [await lease(harness, realIds[0]), await lease(harness, realIds[1])];
    const outcome = await settle(harness, ended.target, [ended.target]);
    assert.equal(outcome.state, 'revoked');
    assert.equal(await ended.use(), 'refused');
    assert.equal(await alive.use(), 'accepted');
    const text = harness.sandbox.inlinePolicies(agentRole)[denialPolicyName];
    assert.equal(denies(text, ended.target, now), true);
    assert.equal(denies(text, alive.target, now), false);
  });
});

test('a full role policy: the overflow is denied by issue time, later sessions live, and the evidence says so', async () => {
  await withBench(async (harness) => {
    const { sandbox, clock } = harness;
    const filler = {
      Version: '2012-10-17',
      Statement: [{ Effect: 'Deny', Action: 's3:DeleteBucket', Resource: `arn:aws:s3:::${'x'.repeat(9_700)}` }],
    };
    sandbox.setInlinePolicy(agentRole, 'admin-owned', JSON.stringify(filler));
    const old = await lease(harness, 'lse_old');
    const bystander = await lease(harness, 'lse_bystander');
    clock.advance(2_000);
    const young = await lease(harness, 'lse_young');
    const outstanding = [
      old.target,
      ...paper(harness, old.target, 40).map((each) => ({ ...each, handle: old.target.handle })),
    ];
    const outcome = await settle(harness, old.target, outstanding);
    assert.equal(outcome.state, 'revoked');
    assert.ok(outcome.state === 'revoked' && outcome.evidence.overflow === true);
    assert.ok(typeof outcome.evidence.all_sessions_denied_that_were_issued_before === 'string');
    assert.equal(await old.use(), 'refused');
    assert.deepEqual(
      outcome.alsoEnded?.issuedBefore.toISOString(),
      outcome.evidence.all_sessions_denied_that_were_issued_before,
    );
    const issuedAt = (target: RevocationTarget) => new Date(String(target.handle?.issued_at));
    const { issuedBefore } = outcome.alsoEnded ?? { issuedBefore: clock.now() };
    assert.ok(issuedAt(bystander.target) < issuedBefore, 'so the core can tell that this one is ended');
    assert.ok(issuedAt(young.target) >= issuedBefore, 'and that this one is not');
    assert.equal(await young.use(), 'accepted', 'what was issued after the cut-off is not touched');
    assert.equal(await bystander.use(), 'refused', 'the known cost: told in the evidence');
    assert.equal(
      JSON.parse(sandbox.inlinePolicies(agentRole)['admin-owned'] ?? '').Statement[0].Action,
      's3:DeleteBucket',
    );
  });
});

test('no room even for a cut-off: failed with LimitExceeded at once, never called revoked', async () => {
  await withBench(async (harness) => {
    const { target, use } = await lease(harness, 'lse_no_room');
    const filler = {
      Version: '2012-10-17',
      Statement: [{ Effect: 'Deny', Action: 's3:DeleteBucket', Resource: `arn:aws:s3:::${'x'.repeat(10_120)}` }],
    };
    harness.sandbox.setInlinePolicy(agentRole, 'admin-owned', JSON.stringify(filler));
    const before = harness.sandbox.requests();
    const [outcome] = await harness.provider.revoke([target], [target], never());
    const error = errorOf(outcome);
    assert.equal(error.code, 'upstream_refused');
    assert.equal(error.providerCode, 'LimitExceededException');
    // Assume the revoke role, read, write once, list and read the others: a full policy is not throttling.
    assert.equal(harness.sandbox.requests() - before, 5);
    assert.equal(await use(), 'accepted');
  });
});

test('a conflicting change is tried again at once; a lasting one is reported as retryable', async () => {
  await withBench(async (harness) => {
    const { target } = await lease(harness, 'lse_conflict');
    const conflict = { code: 'ConcurrentModification', status: 409 };
    harness.sandbox.fault('PutRolePolicy', conflict, 2);
    assert.equal((await harness.provider.revoke([target], [target], never()))[0]?.state, 'settling');
    harness.sandbox.setInlinePolicy(agentRole, denialPolicyName, null);
    harness.sandbox.fault('PutRolePolicy', conflict);
    const [outcome] = await harness.provider.revoke([target], [target], never());
    const error = errorOf(outcome);
    assert.equal(error.code, 'upstream_unavailable');
    assert.equal(error.retryable, true);
  });
});

test('IAM failing or hanging gives each lease its own failure', async () => {
  await withBench(async (harness) => {
    const { target } = await lease(harness, 'lse_iam');
    harness.sandbox.fault('GetRolePolicy', { code: 'ServiceFailure', status: 500 });
    assert.equal(errorOf((await harness.provider.revoke([target], [target], never()))[0]).code, 'upstream_unavailable');
    harness.sandbox.fault('GetRolePolicy', { code: 'AccessDenied', status: 403 });
    assert.equal(errorOf((await harness.provider.revoke([target], [target], never()))[0]).code, 'upstream_refused');
    harness.sandbox.fault('GetRolePolicy', 'hang');
    const patience = new AbortController();
    const before = harness.sandbox.requests();
    const revoking = harness.provider.revoke([target], [target], patience.signal);
    while (harness.sandbox.requests() === before) await new Promise(setImmediate);
    patience.abort();
    assert.equal(errorOf((await revoking)[0]).code, 'upstream_timeout');
  });
});

test('a write that was given up on may still arrive, and says so; one that was answered is over', async () => {
  await withBench(async (harness) => {
    const { target } = await lease(harness, 'lse_late');
    harness.sandbox.fault('PutRolePolicy', { code: 'ServiceFailure', status: 500 });
    const answered = errorOf((await harness.provider.revoke([target], [target], never()))[0]);
    assert.deepEqual([answered.code, answered.mayHaveMinted], ['upstream_unavailable', false]);
    harness.sandbox.fault('PutRolePolicy', { code: 'GatewayTimeout', status: 504 });
    assert.equal(errorOf((await harness.provider.revoke([target], [target], never()))[0]).mayHaveMinted, true);
    harness.sandbox.fault('PutRolePolicy', 'hang');
    for (const write of [
      async (signal: AbortSignal) => errorOf((await harness.provider.revoke([target], [target], signal))[0]),
      async (signal: AbortSignal) =>
        harness.provider.prune?.(agentRole, [target], signal).then(
          () => undefined,
          (error: ProviderError) => error,
        ),
    ]) {
      const patience = new AbortController();
      const before = harness.sandbox.requests();
      const writing = write(patience.signal);
      // Each reads the policy before it writes it.
      while (harness.sandbox.requests() < before + 2) await new Promise(setImmediate);
      patience.abort();
      const error = await writing;
      assert.deepEqual([error?.code, error?.mayHaveMinted], ['upstream_timeout', true]);
    }
  });
});

test('at AWS no session opens another: nothing is found, and the plan says nothing of it', async () => {
  await withBench(async (harness) => {
    assert.deepEqual(await harness.provider.findLimits?.(never()), []);
    const { target } = await lease(harness, 'lse_limits');
    assert.doesNotMatch(harness.provider.describe(target.plan).summary.join(), /Warning/);
  });
});

test('the revoke role’s own session is renewed before it ends', async () => {
  await withBench(async (harness) => {
    const first = await lease(harness, 'lse_first');
    assert.equal((await settle(harness, first.target, [first.target])).state, 'revoked');
    harness.clock.advance(3_600_000);
    const second = await lease(harness, 'lse_second');
    assert.equal((await settle(harness, second.target, [second.target])).state, 'revoked');
    assert.equal(await second.use(), 'refused');
    const revokers = harness.sandbox.sessions().filter((session) => session.arn.endsWith('/writ-revoker'));
    assert.equal(revokers.length, 2);
  });
});

test('a token that aged on the way is signed anew, once', async () => {
  await withBench(async (harness) => {
    harness.sandbox.fault('AssumeRoleWithWebIdentity', { code: 'ExpiredTokenException', status: 400 }, 1);
    await lease(harness, 'lse_resigned');
    assert.equal(harness.tokens.length, 2);
    harness.sandbox.fault('AssumeRoleWithWebIdentity', { code: 'ExpiredTokenException', status: 400 });
    await assert.rejects(lease(harness, 'lse_stale'), {
      code: 'upstream_refused',
      providerCode: 'ExpiredTokenException',
    });
    assert.equal(harness.tokens.length, 4);
  });
});

test('a session that could not be denied later is not handed out', async () => {
  await withBench(
    async (harness) => {
      await assert.rejects(lease(harness, 'lse_unmarked'), { code: 'upstream_mismatch', mayHaveMinted: true });
    },
    { sandbox: { sourceIdentityHonoured: false } },
  );
  await withBench(
    async (harness) => {
      await assert.rejects(lease(harness, 'lse_untrusted'), { code: 'upstream_refused', providerCode: 'AccessDenied' });
    },
    { trusted: ['sts:TagSession'] },
  );
});

test('the session carries the lease where AWS’s own logs show it', async () => {
  await withBench(async (harness) => {
    await lease(harness, 'lse_marked');
    const [session] = harness.sandbox.sessions();
    assert.equal(session?.sourceIdentity, 'lse_marked');
    assert.ok(session?.arn.endsWith('/lse_marked'));
    assert.deepEqual(session?.tags, {
      'writ-agent': 'invoice-bot',
      'writ-session': 'ses_x',
      'writ-lease': 'lse_marked',
    });
  });
});

test('AWS could not fetch our keys just now: tried once more, and then retryable; a token that is no good is final', async () => {
  const call = 'AssumeRoleWithWebIdentity';
  const passing =
    "Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity documentation for requirements";
  await withBench(async (harness) => {
    harness.sandbox.fault(call, { code: 'InvalidIdentityToken', status: 400, message: passing }, 1);
    await lease(harness, 'lse_again');
    harness.sandbox.fault(call, { code: 'IDPCommunicationError', status: 400 }, 1);
    await lease(harness, 'lse_once_more');
    harness.sandbox.fault(call, { code: 'InvalidIdentityToken', status: 400, message: passing });
    await assert.rejects(lease(harness, 'lse_later'), {
      code: 'upstream_unavailable',
      retryable: true,
      mayHaveMinted: false,
      providerText: passing,
    });
    harness.sandbox.fault(call, { code: 'InvalidIdentityToken', status: 400, message: 'Incorrect token audience' });
    await assert.rejects(lease(harness, 'lse_never'), { code: 'upstream_refused', retryable: false });
  });
});

test('a refusal just after a binding was made is met once more; throttling is not, and its waiting time is handed on', async () => {
  const call = 'AssumeRoleWithWebIdentity';
  await withBench(async (harness) => {
    harness.sandbox.fault(call, { code: 'AccessDenied', status: 403 }, 1);
    await lease(harness, 'lse_bound_just_now');
    const before = harness.sandbox.requests();
    harness.sandbox.fault(call, { code: 'Throttling', status: 400, message: 'Rate exceeded', retryAfterSeconds: 30 });
    await assert.rejects(lease(harness, 'lse_throttled'), {
      code: 'upstream_unavailable',
      mayHaveMinted: false,
      retryAfterSeconds: 30,
    });
    assert.equal(harness.sandbox.requests(), before + 1, 'throttled once, not thrice');
  });
});
