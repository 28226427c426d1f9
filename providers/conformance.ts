/**
 * The suite that every provider passes, run against its counterpart in `sandbox/`. A provider's test makes a
 * harness (provider, counterpart, parameters, a way to use a credential for real) and calls
 * `conformance('aws', makeHarness)`; nothing here knows any provider.
 *
 * Every test gets a harness of its own, so tests may break the counterpart as they like.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { manualClock } from '../broker/core/clock.ts';
import {
  type Finding,
  type Issued,
  type Json,
  type JsonObject,
  type Plan,
  type Provider,
  ProviderError,
  type RevocationOutcome,
  type RevocationTarget,
} from './contract.ts';

export type ManualClock = ReturnType<typeof manualClock>;

export interface ConformanceHarness {
  provider: Provider;
  clock: ManualClock;
  /**
   * Each is valid: it parses, plans, issues, and its credential works inside its scope. The first one is used
   * where one is enough.
   */
  goodParams: unknown[];
  /** Those of which `state` is read; and how somebody else changes it at the counterpart. */
  statefulParams?: unknown[];
  changeState?(params: unknown): Promise<void>;
  /**
   * Each is refused by the schema or by `plan()`, before any I/O, with an error at `path` (keys and indexes
   * joined by dots).
   */
  badParams: { params: unknown; path: string }[];
  /**
   * Exercises the counterpart's real data API, inside or outside the scope of `goodParams[paramsIndex]`
   * (default 0).
   */
  use(credential: JsonObject, inside: boolean, paramsIndex?: number): Promise<'accepted' | 'refused'>;
  upstream: {
    /**
     * How many requests the counterpart has received so far, data API included. Counted when the request
     * arrives.
     */
    requests(): number;
    /**
     * How the minting endpoint behaves from now on; null = normally. `hang`: takes the request and never
     * answers. `throttled`: refuses for now, and says for how long (`throttledSeconds`).
     */
    fail(kind: 'hang' | 'unavailable' | 'refused' | 'throttled' | null): void;
    throttledSeconds: number;
    /** A mint that hangs does so where nothing can have been minted yet, and the provider knows. */
    hangsBeforeMint?: true;
    /**
     * Answers to a mint that are outside of what the provider can truly have given: each is switched on by
     * its function. An end in the past and one far too late are among them.
     */
    odd: { [name: string]: () => void };
    /** The `providerCode` that goes with `refused`. */
    expectedRefusalCode: string;
  };
  /** What is wrong with this counterpart for good, as `diagnose` says it. */
  knownFault?: RegExp;
  /**
   * Ways in which the counterpart is not set up as it should be, each switched on by its function: what
   * `diagnose` is for.
   */
  breaks: { [name: string]: () => void | Promise<void> };
  /** Everything the provider logged or printed, for the search for secrets. */
  output(): string;
  /**
   * Secrets besides the credential that must not leak either: identity tokens signed so far, an app's private
   * key.
   */
  otherSecrets?(): string[];
  /** Moves the clock of provider and counterpart. */
  advance(ms: number): Promise<void>;
  close(): Promise<void>;
}

interface Lease {
  leaseId: string;
  plan: Plan;
  issued: Issued;
  target: RevocationTarget;
}

/**
 * Registers the suite with node:test. `make` is called once per test.
 * @param realTime the counterpart's clock cannot be moved: `advance` waits, and what would take a quarter of
 *   an hour is tried with the shortest lifetime alone
 */
export function conformance(name: string, make: () => Promise<ConformanceHarness>, realTime = false): void {
  const check = (title: string, body: (harness: ConformanceHarness) => Promise<void>) =>
    test(`${name} conformance: ${title}`, realTime ? {} : { timeout: 60_000 }, async () => {
      const harness = await make();
      try {
        await body(harness);
      } finally {
        await harness.close();
      }
    });

  check('equal parameters give an equal plan of pure data, without I/O', async (harness) => {
    for (const params of harness.goodParams) {
      const before = harness.upstream.requests();
      const first = planFor(harness, params, 900);
      await harness.advance(5_000);
      const second = planFor(harness, structuredClone(params), 900);
      assert.deepEqual(first, second);
      assert.deepEqual(JSON.parse(JSON.stringify(first)), first, 'the plan survives JSON');
      assert.equal(first.provider, harness.provider.name);
      assert.ok(first.ttl_seconds > 0 && first.ttl_seconds <= 900, 'the plan never outlives what was asked');
      assert.equal(harness.upstream.requests(), before, 'planning is pure');
    }
  });

  check('the plan is described in plain words', async (harness) => {
    for (const params of harness.goodParams) {
      const { summary, revocability } = harness.provider.describe(planFor(harness, params, 900));
      assert.ok(summary.length > 0);
      for (const line of [...summary, revocability.text]) {
        assert.match(line, /^\P{Cc}{3,500}$/u, 'one line of text, without control characters');
        assert.doesNotMatch(line, /undefined|\[object|\bNaN\b|^\s*[{[]/);
      }
      assert.ok(['immediate', 'eventual', 'expiry'].includes(revocability.kind));
    }
  });

  check('what a plan reaches is told as patterns, by the plan alone', async (harness) => {
    const { provider, upstream } = harness;
    if (provider.reach === undefined) return;
    for (const params of harness.goodParams) {
      const plan = planFor(harness, params, 900);
      const before = upstream.requests();
      const reached = provider.reach(structuredClone(plan));
      assert.deepEqual(provider.reach(plan), reached);
      assert.equal(upstream.requests(), before);
      assert.ok(reached.length > 0, 'a plan that reaches nothing would be nobody’s');
      for (const { actions, resources, onlyIf, uncertain } of reached) {
        assert.ok(actions.length > 0 && resources.length > 0);
        for (const pattern of [...actions, ...resources]) assert.match(pattern, /^\P{Cc}+$/u);
        for (const words of [onlyIf, uncertain]) if (words !== undefined) assert.match(words, /^\P{Cc}{3,}$/u);
      }
    }
  });

  check('asked whether all is well, it says so, and leaves nothing behind that may do anything', async (harness) => {
    const findings = await findingsOf(harness);
    assert.deepEqual(
      findings.filter(({ state, found }) => state === 'fails' && !harness.knownFault?.test(found ?? '')),
      [],
    );
    assert.ok(
      findings.some(({ state }) => state === 'holds'),
      'something was looked at',
    );
  });

  check('what is wrong at the target is found, with what to do about it', async (harness) => {
    assert.ok(Object.keys(harness.breaks).length > 0);
    for (const [name, breakIt] of Object.entries(harness.breaks)) {
      const fresh = await make();
      try {
        await fresh.breaks[name]!();
        const found = (await findingsOf(fresh)).filter(({ state }) => state === 'fails');
        assert.ok(found.length > 0, `${name} was not found`);
        for (const { what, found: words, fix } of found) {
          assert.ok((words ?? '').length > 3, `${name}: ${what}`);
          assert.ok((fix ?? '').length > 10, `${name}: ${what} without a fix`);
        }
      } finally {
        await fresh.close();
      }
      assert.ok(breakIt);
    }
  });

  check('a target that does not answer is a finding, and holds nobody up', async (harness) => {
    harness.upstream.fail('hang');
    const findings = await harness.provider.diagnose!(usedBy(harness), AbortSignal.timeout(500));
    assert.ok(findings.length > 0);
    noSecretIn(harness, findings);
  });

  check('bad parameters fail before any I/O and name their path', async (harness) => {
    for (const { params, path } of harness.badParams) {
      const before = harness.upstream.requests();
      const paths = refusalPaths(harness, params);
      assert.ok(paths.includes(path), `${JSON.stringify(params).slice(0, 300)}: wanted ${path}, got [${paths}]`);
      assert.equal(harness.upstream.requests(), before);
    }
  });

  check('what is left of a list is narrower, and nothing else is', async (harness) => {
    const { provider, goodParams } = harness;
    if (provider.narrower === undefined) return;
    const plans = goodParams.map((params) => planFor(harness, params, 900));
    for (const [index, plan] of plans.entries()) {
      assert.ok(provider.narrower(plan, plan), 'a plan is within itself');
      assert.ok(provider.narrower({ ...plan, ttl_seconds: 60 }, plan), 'a shorter one too');
      assert.equal(provider.narrower({ ...plan, ttl_seconds: plan.ttl_seconds + 1 }, plan), false, 'a longer one not');
      for (const less of withOneLess(goodParams[index] as JsonObject)) {
        const parsed = provider.params.safeParse(less);
        if (!parsed.success) continue;
        const narrowed = provider.plan(parsed.data, 900);
        assert.ok(provider.narrower(narrowed, plan), JSON.stringify(less));
        assert.equal(provider.narrower(plan, narrowed), false, 'and not the other way round');
      }
      for (const [other, wider] of plans.entries())
        if (JSON.stringify(wider.permission) !== JSON.stringify(plan.permission))
          assert.ok(!(provider.narrower(plan, wider) && provider.narrower(wider, plan)), `${index} against ${other}`);
      // Whatever text or number of it is another, it is another permission.
      for (const changed of withOneChanged(plan.permission)) {
        let within: boolean;
        try {
          within = provider.narrower({ ...plan, permission: changed }, plan);
        } catch {
          continue;
        }
        assert.equal(within, false, JSON.stringify(changed));
      }
    }
  });

  check(
    'each level on offer names something that was asked for, and is narrower when it is lowered',
    async (harness) => {
      const { provider, goodParams } = harness;
      if (provider.levels === undefined) return;
      assert.ok(provider.narrower !== undefined, 'nothing is lowered that nobody proves');
      for (const params of goodParams) {
        const plan = planFor(harness, params, 900);
        for (const { pointer, name, now, steps, begins } of provider.levels(provider.params.parse(params))) {
          for (const words of [name, now]) assert.match(words, /^\P{Cc}+$/u);
          assert.notEqual(steps === undefined, begins === undefined, 'steps, or a text that is typed');
          const all =
            steps ??
            [`${begins}${begins === '' || begins?.endsWith('/') ? '' : '/'}conformance/`].map((value) => ({ value }));
          for (const { value } of all) {
            const parsed = provider.params.safeParse(withMember(params as JsonObject, pointer, value));
            // Without it, nothing may be left of what it belongs to.
            if (!parsed.success) continue;
            const lowered = provider.plan(parsed.data, 900);
            assert.ok(provider.narrower(lowered, plan), `${pointer}: ${JSON.stringify(value)}`);
            assert.equal(provider.narrower(plan, lowered), false, 'and not the other way round');
          }
        }
      }
    },
  );

  check(
    'the state of a plan is read the same while nothing changes, small, in words, and leaves nothing behind',
    async (harness) => {
      const { provider } = harness;
      if (provider.state === undefined) return;
      for (const [index, params] of (harness.statefulParams ?? []).entries()) {
        const plan = planFor(harness, params, 900);
        const seen: JsonObject = await provider.state(plan, never());
        const again: JsonObject = await provider.state(plan, never());
        assert.deepEqual(JSON.parse(JSON.stringify(seen)), again, 'pure data, and the same');
        assert.ok(JSON.stringify(seen).length < 16_384, 'small');
        for (const secret of harness.otherSecrets?.() ?? [])
          assert.ok(!JSON.stringify(seen).includes(secret), 'a secret was found');
        const words = provider.describe({ ...plan, state: { round: 0, seen } }).summary;
        const without = provider.describe(plan).summary;
        assert.ok(
          words.length > without.length && without.every((line) => words.includes(line)),
          'said beside the permission',
        );
        await harness.changeState?.(params);
        const changed = await provider.state(plan, never());
        assert.notDeepEqual(changed, again, 'a change is seen');
        assert.notDeepEqual(
          provider.describe({ ...plan, state: { round: 1, seen: changed } }).summary,
          words,
          'and said',
        );
        // The credential does not depend on it.
        const { issued } = await issue(harness, `state${index}`, { ...plan, state: { round: 1, seen: changed } });
        assert.ok(issued.expiresAt > new Date(0));
      }
      assert.ok((harness.statefulParams ?? []).length > 0, 'whoever reads a state shows it');
      const aborted = AbortSignal.abort(new Error('gone'));
      await assert.rejects(provider.state(planFor(harness, (harness.statefulParams as unknown[])[0], 900), aborted));
    },
  );

  check('inside its scope the credential is accepted, outside it is refused', async (harness) => {
    for (const [index, params] of harness.goodParams.entries()) {
      const { issued } = await issue(harness, `scope${index}`, planFor(harness, params, 900));
      assert.equal(await harness.use(issued.credential, true, index), 'accepted', JSON.stringify(params));
      assert.equal(await harness.use(issued.credential, false, index), 'refused', JSON.stringify(params));
    }
  });

  check('a credential never ends later than asked', async (harness) => {
    const { minTtlSeconds, maxTtlSeconds, longestProviderLifetimeSeconds } = harness.provider.limits;
    for (const ttl of realTime ? [minTtlSeconds] : [minTtlSeconds, Math.min(900, maxTtlSeconds)]) {
      const asked = harness.clock.now().getTime();
      const { issued } = await issue(harness, `ttl${ttl}`, planFor(harness, harness.goodParams[0], ttl));
      // The counterpart reads a real clock somewhere between the two; a manual one has not moved.
      const answered = harness.clock.now().getTime();
      const ends = issued.expiresAt.getTime();
      const providerEnds = issued.providerExpiresAt.getTime();
      assert.ok(ends <= answered + ttl * 1000, `ends ${ends - answered} ms after the answer, wanted at most ${ttl} s`);
      assert.ok(ends > asked, 'it is alive at first');
      assert.ok(providerEnds >= ends);
      assert.ok(
        providerEnds <= answered + longestProviderLifetimeSeconds * 1000,
        'the upper bound for a lost answer holds',
      );
      await harness.advance(providerEnds - harness.clock.now().getTime() + 1_000);
      assert.equal(await harness.use(issued.credential, true), 'refused', 'the provider enforces its end');
    }
  });

  check('concurrent issues never share a credential', async (harness) => {
    const plan = planFor(harness, harness.goodParams[0], 900);
    const count = Math.min(5, harness.provider.pool?.(plan)?.length ?? 5);
    assert.ok(count >= 2, 'a harness with a pool has at least two members');
    const leases = await Promise.all(
      Array.from({ length: count }, (_, member) => issue(harness, `twin${member}`, plan, member)),
    );
    const secrets = leases.flatMap((lease) => secretsOf(lease.issued));
    assert.ok(secrets.length >= count);
    assert.equal(new Set(secrets).size, secrets.length);
  });

  check('a revoked credential is refused, and revoking again changes nothing', async (harness) => {
    const plan = planFor(harness, harness.goodParams[0], 900);
    const kind = harness.provider.describe(plan).revocability.kind;
    const lease = await issue(harness, 'ended', plan);
    assert.equal(await harness.use(lease.issued.credential, true), 'accepted');
    for (const round of ['first', 'second']) {
      const outcome = await revokeToTheEnd(harness, lease.target, [lease.target]);
      assert.equal(outcome.state, kind === 'expiry' ? 'wait_for_expiry' : 'revoked', `${round}: ${explain(outcome)}`);
      if (kind === 'expiry') await passExpiry(harness, lease.issued);
      assert.equal(await harness.use(lease.issued.credential, true), 'refused', `after the ${round} revocation`);
    }
  });

  check('an immediate kill needs no second look, an eventual one is not called revoked at once', async (harness) => {
    const plan = planFor(harness, harness.goodParams[0], 900);
    const kind = harness.provider.describe(plan).revocability.kind;
    const { target } = await issue(harness, 'first-look', plan);
    const [outcome] = await harness.provider.revoke([target], [target], never());
    const wanted = { immediate: 'revoked', eventual: 'settling', expiry: 'wait_for_expiry' }[kind];
    assert.equal(outcome?.state, wanted, explain(outcome));
  });

  check('a probe, where there is one, tells the living from the dead and changes nothing', async (harness) => {
    const { probe } = harness.provider;
    if (probe === undefined) return;
    const plan = planFor(harness, harness.goodParams[0], 900);
    const ended = await issue(harness, 'probed', plan, 0);
    const neighbour = await issue(harness, 'probed-too', plan, 1);
    assert.equal((await probe(ended.target, never())).alive, true);
    assert.equal(await harness.use(ended.issued.credential, true), 'accepted');
    assert.equal((await revokeToTheEnd(harness, ended.target, [ended.target])).state, 'revoked');
    const dead = await probe(ended.target, never());
    assert.equal(dead.alive, false);
    assert.equal((await probe(neighbour.target, never())).alive, true);
    const lost = { ...ended.target, handle: null, secret: null };
    assert.equal((await probe(lost, never())).alive, true, 'not knowing is no proof of death');
    for (const secret of secretsOf(ended.issued)) assert.ok(!everythingIn(dead).includes(secret), 'a secret was found');
  });

  check('what is already gone can be revoked', async (harness) => {
    const plan = planFor(harness, harness.goodParams[0], harness.provider.limits.minTtlSeconds);
    const expired = await issue(harness, 'expired', plan);
    await passExpiry(harness, expired.issued);
    const afterExpiry = await revokeToTheEnd(harness, expired.target, [expired.target]);
    assert.ok(['revoked', 'wait_for_expiry'].includes(afterExpiry.state), explain(afterExpiry));

    const lost = lostTarget(harness, 'lost-answer', plan);
    const afterCrash = await revokeToTheEnd(harness, lost, [lost]);
    assert.ok(['revoked', 'wait_for_expiry'].includes(afterCrash.state), explain(afterCrash));
  });

  check('a credential whose mint answer was lost ends all the same', async (harness) => {
    const plan = planFor(harness, harness.goodParams[0], 900);
    const lease = await issue(harness, 'lost', plan);
    const lost = { ...lostTarget(harness, 'lost', plan), leaseId: lease.leaseId, reserved: lease.target.reserved };
    const outcome = await revokeToTheEnd(harness, lost, [lost]);
    assert.notEqual(outcome.state, 'failed', explain(outcome));
    if (outcome.state === 'wait_for_expiry') await passExpiry(harness, lease.issued);
    assert.equal(await harness.use(lease.issued.credential, true), 'refused');
  });

  check(
    'revoking one leaves its neighbour alive, and ending the neighbour does not revive the first',
    async (harness) => {
      const plan = planFor(harness, harness.goodParams[0], 900);
      const ended = await issue(harness, 'ended', plan, 0);
      const neighbour = await issue(harness, 'neighbour', plan, 1);
      const first = await revokeToTheEnd(harness, ended.target, [ended.target]);
      assert.equal(await harness.use(neighbour.issued.credential, true), 'accepted');
      if (first.state !== 'revoked') return;
      assert.equal(await harness.use(ended.issued.credential, true), 'refused');
      const second = await revokeToTheEnd(harness, neighbour.target, [ended.target, neighbour.target]);
      assert.equal(second.state, 'revoked', explain(second));
      assert.equal(await harness.use(neighbour.issued.credential, true), 'refused');
      assert.equal(await harness.use(ended.issued.credential, true), 'refused');
    },
  );

  check('a batch of revocations is answered one by one, in order', async (harness) => {
    const plan = planFor(harness, harness.goodParams[0], 900);
    const [a, b] = [await issue(harness, 'batch0', plan, 0), await issue(harness, 'batch1', plan, 1)];
    const outcomes = await harness.provider.revoke([a.target, b.target], [a.target, b.target], never());
    assert.equal(outcomes.length, 2);
    for (const outcome of outcomes) assert.notEqual(outcome.state, 'failed', explain(outcome));
    assert.deepEqual(await harness.provider.revoke([], [a.target, b.target], never()), []);
  });

  check('upstream refusals are final and carry the provider’s code', async (harness) => {
    harness.upstream.fail('refused');
    const error = await failedIssue(harness, never());
    assert.equal(error.code, 'upstream_refused');
    assert.equal(error.retryable, false);
    assert.equal(error.providerCode, harness.upstream.expectedRefusalCode);
    assert.equal(error.mayHaveMinted, false);
  });

  check('an unavailable upstream is retryable, and works again once it is back', async (harness) => {
    harness.upstream.fail('unavailable');
    const error = await failedIssue(harness, never());
    assert.equal(error.code, 'upstream_unavailable');
    assert.equal(error.retryable, true);
    assert.ok(error.providerCode, 'it names the provider’s code or status');
    harness.upstream.fail(null);
    const { issued } = await issue(harness, 'recovered', planFor(harness, harness.goodParams[0], 900));
    assert.equal(await harness.use(issued.credential, true), 'accepted');
  });

  check('the provider’s waiting time is handed on', async (harness) => {
    harness.upstream.fail('throttled');
    const error = await failedIssue(harness, never());
    assert.deepEqual(
      [error.code, error.retryable, error.mayHaveMinted, error.retryAfterSeconds],
      ['upstream_unavailable', true, false, harness.upstream.throttledSeconds],
    );
    assert.ok(error.providerText, 'and its words are kept for the log');
  });

  check(
    'an answer outside its bounds is not believed: nothing is delivered, and what came can be ended',
    async (harness) => {
      const names = Object.keys(harness.upstream.odd);
      for (const wanted of ['ends-in-the-past', 'ends-too-late']) assert.ok(names.includes(wanted), wanted);
      for (const [index, name] of names.entries()) {
        harness.upstream.odd[name]?.();
        const plan = planFor(harness, harness.goodParams[0], 900);
        const leaseId = leaseIdFor(`odd${index}`);
        const error = await failedIssue(harness, never(), leaseId, index);
        assert.equal(error.code, 'upstream_mismatch', name);
        harness.upstream.fail(null);
        if (!error.mayHaveMinted) continue;
        const minted = error.minted();
        assert.ok(
          minted !== null && minted.providerExpiresAt > harness.clock.now(),
          `${name}: what ends it is handed over`,
        );
        const target = {
          ...lostTarget(harness, 'odd', plan),
          leaseId,
          reserved: harness.provider.pool?.(plan)?.[index] ?? null,
          handle: minted.handle,
          secret: minted.secret ?? null,
          providerExpiresAt: minted.providerExpiresAt,
        };
        const outcome = await revokeToTheEnd(harness, target, [target]);
        assert.ok(['revoked', 'wait_for_expiry'].includes(outcome.state), `${name}: ${explain(outcome)}`);
      }
    },
  );

  check('a hanging upstream ends with upstream_timeout when the broker gives up', async (harness) => {
    harness.upstream.fail('hang');
    const patience = new AbortController();
    const before = harness.upstream.requests();
    const failing = failedIssue(harness, patience.signal);
    for (let round = 0; harness.upstream.requests() === before && round < 2_000; round += 1) await wait(5);
    assert.ok(harness.upstream.requests() > before, 'the request arrived');
    patience.abort(new Error('the broker gave up'));
    const error = await failing;
    assert.equal(error.code, 'upstream_timeout');
    assert.equal(error.retryable, true);
    assert.equal(error.mayHaveMinted, harness.upstream.hangsBeforeMint !== true);
  });

  check('nothing is sent, and nothing minted, when the broker has given up already', async (harness) => {
    const before = harness.upstream.requests();
    const error = await failedIssue(harness, AbortSignal.abort(new Error('no time left')));
    assert.deepEqual([error.code, error.retryable, error.mayHaveMinted], ['upstream_timeout', true, false]);
    assert.equal(harness.upstream.requests(), before);
  });

  check('revoke answers, and does not throw, when the broker has no time left', async (harness) => {
    const { target } = await issue(harness, 'no-time', planFor(harness, harness.goodParams[0], 900));
    const outcomes = await harness.provider.revoke([target], [target], AbortSignal.abort(new Error('no time left')));
    assert.equal(outcomes.length, 1);
    assert.notEqual(outcomes[0]?.state, 'revoked', 'nothing was shown, so nothing is revoked');
  });

  check('no secret in plan, handle, evidence, errors or output', async (harness) => {
    const lease = await issue(harness, 'secretive', planFor(harness, harness.goodParams[0], 900));
    const secrets = [...secretsOf(lease.issued), ...(harness.otherSecrets?.() ?? [])];
    assert.ok(secretsOf(lease.issued).length > 0, 'the credential has something to hide');
    const seen: unknown[] = [lease.plan, harness.provider.describe(lease.plan), lease.issued.handle];
    seen.push(await harness.provider.revoke([lease.target], [lease.target], never()));
    seen.push(await revokeToTheEnd(harness, lease.target, [lease.target]));
    for (const kind of ['refused', 'unavailable'] as const) {
      harness.upstream.fail(kind);
      seen.push(await failedIssue(harness, never()));
      const [outcome] = await harness.provider.revoke([lease.target], [lease.target], never());
      seen.push(outcome);
    }
    secrets.push(...(harness.otherSecrets?.() ?? []));
    const text = [...seen.map(everythingIn), harness.output()].join('\n');
    for (const secret of secrets)
      for (const form of [
        secret,
        encodeURIComponent(secret),
        Buffer.from(secret).toString('base64').replace(/=+$/, ''),
      ])
        assert.ok(!text.includes(form), 'a secret was found');
  });
}

const usedBy = ({ provider, goodParams }: ConformanceHarness) =>
  goodParams.map((params) => provider.params.parse(params));

async function findingsOf(harness: ConformanceHarness): Promise<Finding[]> {
  assert.ok(harness.provider.diagnose !== undefined, 'it can be asked');
  const findings = await harness.provider.diagnose(usedBy(harness), AbortSignal.timeout(20_000));
  for (const { what, found, fix } of findings)
    for (const words of [what, found, fix]) if (words !== undefined) assert.match(words, /^\P{Cc}{3,1000}$/u);
  noSecretIn(harness, findings);
  return findings;
}

function noSecretIn(harness: ConformanceHarness, findings: Finding[]): void {
  const told = JSON.stringify(findings) + harness.output();
  for (const secret of harness.otherSecrets?.() ?? []) assert.ok(!told.includes(secret), 'a secret was told');
}

function planFor(harness: ConformanceHarness, params: unknown, ttlSeconds: number): Plan {
  return harness.provider.plan(harness.provider.params.parse(params), ttlSeconds);
}

/** Issues on the pool member with the given index, or without a pool when the provider has none. */
async function issue(harness: ConformanceHarness, tag: string, plan: Plan, member = 0): Promise<Lease> {
  const leaseId = leaseIdFor(tag);
  const reserved = harness.provider.pool?.(plan)?.[member];
  const intentAt = harness.clock.now();
  const issued = await harness.provider.issue({
    plan,
    leaseId,
    sessionId: 'ses_conformance',
    agent: 'conformance-bot',
    signal: never(),
    ...(reserved === undefined ? {} : { reserved }),
  });
  assert.equal(issued.credential.type, harness.provider.name);
  // What is said of it is all that is in it.
  harness.provider.credential?.parse(issued.credential);
  const target: RevocationTarget = {
    leaseId,
    plan,
    handle: issued.handle,
    secret: issued.secret ?? null,
    reserved: reserved ?? null,
    intentAt,
    providerExpiresAt: issued.providerExpiresAt,
    settlingSince: null,
  };
  return { leaseId, plan, issued, target };
}

async function failedIssue(
  harness: ConformanceHarness,
  signal: AbortSignal,
  leaseId = leaseIdFor('fails'),
  member = 0,
): Promise<ProviderError> {
  const plan = planFor(harness, harness.goodParams[0], 900);
  const reserved = harness.provider.pool?.(plan)?.[member];
  const context = { plan, leaseId, sessionId: 'ses_conformance', agent: 'conformance-bot', signal };
  try {
    await harness.provider.issue({ ...context, ...(reserved === undefined ? {} : { reserved }) });
  } catch (error) {
    assert.ok(error instanceof ProviderError, `not a ProviderError: ${error}`);
    return error;
  }
  assert.fail('issue should have failed');
}

/** What the database knows of a lease whose broker died after asking for the mint. */
function lostTarget(harness: ConformanceHarness, tag: string, plan: Plan): RevocationTarget {
  const intentAt = harness.clock.now();
  const bound = intentAt.getTime() + harness.provider.limits.longestProviderLifetimeSeconds * 1000;
  return {
    leaseId: leaseIdFor(tag),
    plan,
    handle: null,
    secret: null,
    reserved: harness.provider.pool?.(plan)?.[0] ?? null,
    intentAt,
    providerExpiresAt: new Date(bound),
    settlingSince: null,
  };
}

/** Revokes as the broker does: again at every `recheckAt`, until the outcome is final. */
async function revokeToTheEnd(
  harness: ConformanceHarness,
  target: RevocationTarget,
  outstanding: RevocationTarget[],
): Promise<RevocationOutcome> {
  for (let round = 0; round < 10; round += 1) {
    const [outcome] = await harness.provider.revoke([target], outstanding, never());
    assert.ok(outcome);
    if (outcome.state !== 'settling') return outcome;
    target.settlingSince ??= harness.clock.now();
    const pause = outcome.recheckAt.getTime() - harness.clock.now().getTime();
    assert.ok(pause > 0, 'recheckAt lies ahead');
    await harness.advance(pause);
  }
  assert.fail('revocation never settled');
}

async function passExpiry(harness: ConformanceHarness, issued: Issued): Promise<void> {
  const left = issued.providerExpiresAt.getTime() - harness.clock.now().getTime();
  await harness.advance(Math.max(0, left) + 1_000);
}

/** Where the schema or `plan()` says the parameters are wrong; fails when neither refuses them. */
function refusalPaths(harness: ConformanceHarness, params: unknown): string[] {
  const parsed = harness.provider.params.safeParse(params);
  if (!parsed.success) return parsed.error.issues.flatMap((issue) => issuePaths(issue, []));
  try {
    harness.provider.plan(parsed.data, 900);
  } catch (error) {
    assert.ok(error instanceof ProviderError, `not a ProviderError: ${error}`);
    assert.equal(error.code, 'bad_params');
    assert.equal(error.retryable, false);
    return [error.path ?? ''];
  }
  assert.fail(`accepted: ${JSON.stringify(params).slice(0, 300)}`);
}

interface SchemaIssue {
  code?: string | undefined;
  path: PropertyKey[];
  keys?: string[];
  errors?: SchemaIssue[][];
}

/** All paths in one zod issue: an unknown key is named, the branches of a union are followed. */
function issuePaths(issue: SchemaIssue, above: PropertyKey[]): string[] {
  const path = [...above, ...issue.path];
  const paths = [path.map(String).join('.')];
  for (const key of issue.keys ?? []) paths.push([...path, key].map(String).join('.'));
  for (const branch of issue.errors ?? []) for (const inner of branch) paths.push(...issuePaths(inner, path));
  return paths;
}

/** The secret values of a credential, recognised by the names of their members. */
function secretsOf(issued: Issued): string[] {
  const found = issued.secret === undefined ? [] : [issued.secret];
  const walk = (value: unknown, key: string) => {
    if (typeof value === 'string' && /token|secret|password|private/.test(key) && !/type|expir|_url|_uri/.test(key))
      found.push(value);
    if (typeof value === 'object' && value !== null)
      for (const [name, inner] of Object.entries(value)) walk(inner, name.toLowerCase());
  };
  walk(issued.credential, '');
  return [...new Set(found)];
}

/** An object's every reachable own property as text, errors with their message, stack and causes included. */
function everythingIn(value: unknown): string {
  const seen = new Set<unknown>();
  const walk = (item: unknown): string => {
    if (typeof item !== 'object' || item === null) return String(item);
    if (seen.has(item)) return '';
    seen.add(item);
    return Reflect.ownKeys(item)
      .map((key) => `${String(key)}=${walk((item as Record<PropertyKey, unknown>)[key])}`)
      .join('\n');
  };
  return walk(value);
}

const leaseIdFor = (tag: string) => `lease-${tag}`;

const explain = (outcome: RevocationOutcome | undefined) =>
  outcome?.state === 'failed' ? `${outcome.error.code}: ${outcome.error.message}` : JSON.stringify(outcome);

/** A signal that never aborts. */
const never = () => new AbortController().signal;

/** With a member set, or left out. @param pointer JSON Pointer to a member whose parents are there */
function withMember(params: JsonObject, pointer: string, value: Json | undefined): JsonObject {
  const changed = structuredClone(params);
  const names = pointer.slice(1).split('/');
  const last = names.pop() as string;
  const parent = names.reduce((at, name) => at[name] as JsonObject, changed);
  if (value === undefined) delete parent[last];
  else parent[last] = value;
  return changed;
}

/** The value with one member less of each list that has two, a copy for each member. */
function withOneLess(value: JsonObject): JsonObject[] {
  return copiesOf(value, (member) =>
    Array.isArray(member) && member.length > 1 ? member.map((_, index) => member.toSpliced(index, 1)) : [],
  );
}

/** The value with one text, number or boolean changed, a copy for each. */
function withOneChanged(value: JsonObject): JsonObject[] {
  return copiesOf(value, (member) => {
    if (typeof member === 'string') return [`${member}x`, `x${member}`];
    if (typeof member === 'number') return [member + 1];
    return typeof member === 'boolean' ? [!member] : [];
  });
}

function copiesOf(whole: JsonObject, changesOf: (value: Json) => Json[]): JsonObject[] {
  const copies: JsonObject[] = [];
  const walk = (value: Json, put: (changed: Json) => Json): void => {
    for (const changed of changesOf(value)) copies.push(put(changed) as JsonObject);
    if (typeof value !== 'object' || value === null) return;
    if (Array.isArray(value)) {
      for (const [index, member] of value.entries()) walk(member, (changed) => put(value.with(index, changed)));
      return;
    }
    for (const [key, member] of Object.entries(value)) walk(member, (changed) => put({ ...value, [key]: changed }));
  };
  walk(whole, (changed) => changed);
  return copies;
}
