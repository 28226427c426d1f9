/**
 * The suite that every provider passes, run against its counterpart in `sandbox/`. A provider's test makes a bench (provider, counterpart,
 * parameters, a way to use a credential for real) and calls `conformance('aws', makeBench)`; nothing here knows any provider.
 *
 * Every test gets a bench of its own, so tests may break the counterpart as they like.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { manualClock } from '../broker/clock.ts';
import type { JsonObject, Plan } from '../broker/vocabulary.ts';
import {
  type Issued,
  type Provider,
  ProviderError,
  type RevocationOutcome,
  type RevocationTarget,
} from './contract.ts';

export type ManualClock = ReturnType<typeof manualClock>;

export interface ConformanceBench {
  provider: Provider;
  clock: ManualClock;
  /** Each is valid: it parses, plans, issues, and its credential works inside its scope. The first one is used where one is enough. */
  goodParams: unknown[];
  /** Each is refused by the schema or by `plan()`, before any I/O, with an error at `path` (keys and indexes joined by dots). */
  badParams: { params: unknown; path: string }[];
  /** Exercises the counterpart's real data API, inside or outside the scope of `goodParams[paramsIndex]` (default 0). */
  use(credential: JsonObject, inside: boolean, paramsIndex?: number): Promise<'accepted' | 'refused'>;
  upstream: {
    /** How many requests the counterpart has received so far, data API included. Counted when the request arrives. */
    requests(): number;
    /** How the minting endpoint behaves from now on; null = normally. `hang`: takes the request and never answers. */
    fail(kind: 'hang' | 'unavailable' | 'refused' | null): void;
    /** The `providerCode` that goes with `refused`. */
    expectedRefusalCode: string;
  };
  /** Everything the provider logged or printed, for the search for secrets. */
  output(): string;
  /** Secrets besides the credential that must not leak either: identity tokens signed so far, an app's private key. */
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

/** Registers the suite with node:test. `make` is called once per test. */
export function conformance(name: string, make: () => Promise<ConformanceBench>): void {
  const check = (title: string, body: (bench: ConformanceBench) => Promise<void>) =>
    test(`${name} conformance: ${title}`, { timeout: 60_000 }, async () => {
      const bench = await make();
      try {
        await body(bench);
      } finally {
        await bench.close();
      }
    });

  check('equal parameters give an equal plan of pure data, without I/O', async (bench) => {
    for (const params of bench.goodParams) {
      const before = bench.upstream.requests();
      const first = planFor(bench, params, 900);
      await bench.advance(5_000);
      const second = planFor(bench, structuredClone(params), 900);
      assert.deepEqual(first, second);
      assert.deepEqual(JSON.parse(JSON.stringify(first)), first, 'the plan survives JSON');
      assert.equal(first.provider, bench.provider.name);
      assert.ok(first.ttl_seconds > 0 && first.ttl_seconds <= 900, 'the plan never outlives what was asked');
      assert.equal(bench.upstream.requests(), before, 'planning is pure');
    }
  });

  check('the plan is described in plain words', async (bench) => {
    for (const params of bench.goodParams) {
      const { summary, revocability } = bench.provider.describe(planFor(bench, params, 900));
      assert.ok(summary.length > 0);
      for (const line of [...summary, revocability.text]) {
        assert.match(line, /^\P{Cc}{3,500}$/u, 'one line of text, without control characters');
        assert.doesNotMatch(line, /undefined|\[object|\bNaN\b|^\s*[{[]/);
      }
      assert.ok(['immediate', 'eventual', 'expiry'].includes(revocability.kind));
    }
  });

  check('bad parameters fail before any I/O and name their path', async (bench) => {
    for (const { params, path } of bench.badParams) {
      const before = bench.upstream.requests();
      const paths = refusalPaths(bench, params);
      assert.ok(paths.includes(path), `${JSON.stringify(params).slice(0, 300)}: wanted ${path}, got [${paths}]`);
      assert.equal(bench.upstream.requests(), before);
    }
  });

  check('inside its scope the credential is accepted, outside it is refused', async (bench) => {
    for (const [index, params] of bench.goodParams.entries()) {
      const { issued } = await issue(bench, `scope${index}`, planFor(bench, params, 900));
      assert.equal(await bench.use(issued.credential, true, index), 'accepted', JSON.stringify(params));
      assert.equal(await bench.use(issued.credential, false, index), 'refused', JSON.stringify(params));
    }
  });

  check('a credential never ends later than asked', async (bench) => {
    const { minTtlSeconds, maxTtlSeconds, longestProviderLifetimeSeconds } = bench.provider.limits;
    for (const ttl of [minTtlSeconds, Math.min(900, maxTtlSeconds)]) {
      const asked = bench.clock.now().getTime();
      const { issued } = await issue(bench, `ttl${ttl}`, planFor(bench, bench.goodParams[0], ttl));
      const ends = issued.expiresAt.getTime();
      const providerEnds = issued.providerExpiresAt.getTime();
      assert.ok(ends <= asked + ttl * 1000, `ends ${ends - asked} ms after it was asked for, wanted at most ${ttl} s`);
      assert.ok(ends > asked, 'it is alive at first');
      assert.ok(providerEnds >= ends);
      assert.ok(
        providerEnds <= asked + longestProviderLifetimeSeconds * 1000,
        'the upper bound for a lost answer holds',
      );
      await bench.advance(providerEnds - bench.clock.now().getTime() + 1_000);
      assert.equal(await bench.use(issued.credential, true), 'refused', 'the provider enforces its end');
    }
  });

  check('concurrent issues never share a credential', async (bench) => {
    const plan = planFor(bench, bench.goodParams[0], 900);
    const count = Math.min(5, bench.provider.pool?.(plan)?.length ?? 5);
    assert.ok(count >= 2, 'a bench with a pool has at least two members');
    const leases = await Promise.all(
      Array.from({ length: count }, (_, member) => issue(bench, `twin${member}`, plan, member)),
    );
    const secrets = leases.flatMap((lease) => secretsOf(lease.issued));
    assert.ok(secrets.length >= count);
    assert.equal(new Set(secrets).size, secrets.length);
  });

  check('a revoked credential is refused, and revoking again changes nothing', async (bench) => {
    const plan = planFor(bench, bench.goodParams[0], 900);
    const kind = bench.provider.describe(plan).revocability.kind;
    const lease = await issue(bench, 'ended', plan);
    assert.equal(await bench.use(lease.issued.credential, true), 'accepted');
    for (const round of ['first', 'second']) {
      const outcome = await revokeToTheEnd(bench, lease.target, [lease.target]);
      assert.equal(outcome.state, kind === 'expiry' ? 'wait_for_expiry' : 'revoked', `${round}: ${explain(outcome)}`);
      if (kind === 'expiry') await passExpiry(bench, lease.issued);
      assert.equal(await bench.use(lease.issued.credential, true), 'refused', `after the ${round} revocation`);
    }
  });

  check('an immediate kill needs no second look, an eventual one is not called revoked at once', async (bench) => {
    const plan = planFor(bench, bench.goodParams[0], 900);
    const kind = bench.provider.describe(plan).revocability.kind;
    const { target } = await issue(bench, 'first-look', plan);
    const [outcome] = await bench.provider.revoke([target], [target], never());
    const wanted = { immediate: 'revoked', eventual: 'settling', expiry: 'wait_for_expiry' }[kind];
    assert.equal(outcome?.state, wanted, explain(outcome));
  });

  check('a probe, where there is one, tells the living from the dead and changes nothing', async (bench) => {
    const { probe } = bench.provider;
    if (probe === undefined) return;
    const plan = planFor(bench, bench.goodParams[0], 900);
    const ended = await issue(bench, 'probed', plan, 0);
    const neighbour = await issue(bench, 'probed-too', plan, 1);
    assert.equal((await probe(ended.target, never())).alive, true);
    assert.equal(await bench.use(ended.issued.credential, true), 'accepted');
    assert.equal((await revokeToTheEnd(bench, ended.target, [ended.target])).state, 'revoked');
    const dead = await probe(ended.target, never());
    assert.equal(dead.alive, false);
    assert.equal((await probe(neighbour.target, never())).alive, true);
    const lost = { ...ended.target, handle: null, secret: null };
    assert.equal((await probe(lost, never())).alive, true, 'not knowing is no proof of death');
    for (const secret of secretsOf(ended.issued)) assert.ok(!everythingIn(dead).includes(secret), 'a secret was found');
  });

  check('what is already gone can be revoked', async (bench) => {
    const plan = planFor(bench, bench.goodParams[0], bench.provider.limits.minTtlSeconds);
    const expired = await issue(bench, 'expired', plan);
    await passExpiry(bench, expired.issued);
    const afterExpiry = await revokeToTheEnd(bench, expired.target, [expired.target]);
    assert.ok(['revoked', 'wait_for_expiry'].includes(afterExpiry.state), explain(afterExpiry));

    const lost = lostTarget(bench, 'lost-answer', plan);
    const afterCrash = await revokeToTheEnd(bench, lost, [lost]);
    assert.ok(['revoked', 'wait_for_expiry'].includes(afterCrash.state), explain(afterCrash));
  });

  check('a credential whose mint answer was lost ends all the same', async (bench) => {
    const plan = planFor(bench, bench.goodParams[0], 900);
    const lease = await issue(bench, 'lost', plan);
    const lost = { ...lostTarget(bench, 'lost', plan), leaseId: lease.leaseId, reserved: lease.target.reserved };
    const outcome = await revokeToTheEnd(bench, lost, [lost]);
    assert.notEqual(outcome.state, 'failed', explain(outcome));
    if (outcome.state === 'wait_for_expiry') await passExpiry(bench, lease.issued);
    assert.equal(await bench.use(lease.issued.credential, true), 'refused');
  });

  check(
    'revoking one leaves its neighbour alive, and ending the neighbour does not revive the first',
    async (bench) => {
      const plan = planFor(bench, bench.goodParams[0], 900);
      const ended = await issue(bench, 'ended', plan, 0);
      const neighbour = await issue(bench, 'neighbour', plan, 1);
      const first = await revokeToTheEnd(bench, ended.target, [ended.target]);
      assert.equal(await bench.use(neighbour.issued.credential, true), 'accepted');
      if (first.state !== 'revoked') return;
      assert.equal(await bench.use(ended.issued.credential, true), 'refused');
      const second = await revokeToTheEnd(bench, neighbour.target, [ended.target, neighbour.target]);
      assert.equal(second.state, 'revoked', explain(second));
      assert.equal(await bench.use(neighbour.issued.credential, true), 'refused');
      assert.equal(await bench.use(ended.issued.credential, true), 'refused');
    },
  );

  check('a batch of revocations is answered one by one, in order', async (bench) => {
    const plan = planFor(bench, bench.goodParams[0], 900);
    const [a, b] = [await issue(bench, 'batch0', plan, 0), await issue(bench, 'batch1', plan, 1)];
    const outcomes = await bench.provider.revoke([a.target, b.target], [a.target, b.target], never());
    assert.equal(outcomes.length, 2);
    for (const outcome of outcomes) assert.notEqual(outcome.state, 'failed', explain(outcome));
    assert.deepEqual(await bench.provider.revoke([], [a.target, b.target], never()), []);
  });

  check('upstream refusals are final and carry the provider’s code', async (bench) => {
    bench.upstream.fail('refused');
    const error = await failedIssue(bench, never());
    assert.equal(error.code, 'upstream_refused');
    assert.equal(error.retryable, false);
    assert.equal(error.providerCode, bench.upstream.expectedRefusalCode);
    assert.equal(error.mayHaveMinted, false);
  });

  check('an unavailable upstream is retryable, and works again once it is back', async (bench) => {
    bench.upstream.fail('unavailable');
    const error = await failedIssue(bench, never());
    assert.equal(error.code, 'upstream_unavailable');
    assert.equal(error.retryable, true);
    assert.ok(error.providerCode, 'it names the provider’s code or status');
    bench.upstream.fail(null);
    const { issued } = await issue(bench, 'recovered', planFor(bench, bench.goodParams[0], 900));
    assert.equal(await bench.use(issued.credential, true), 'accepted');
  });

  check('a hanging upstream ends with upstream_timeout when the broker gives up', async (bench) => {
    bench.upstream.fail('hang');
    const patience = new AbortController();
    const before = bench.upstream.requests();
    const failing = failedIssue(bench, patience.signal);
    for (let round = 0; bench.upstream.requests() === before && round < 2_000; round += 1) await wait(5);
    assert.ok(bench.upstream.requests() > before, 'the request arrived');
    patience.abort(new Error('the broker gave up'));
    const error = await failing;
    assert.equal(error.code, 'upstream_timeout');
    assert.equal(error.retryable, true);
    assert.equal(error.mayHaveMinted, true);
  });

  check('revoke answers, and does not throw, when the broker has no time left', async (bench) => {
    const { target } = await issue(bench, 'no-time', planFor(bench, bench.goodParams[0], 900));
    const outcomes = await bench.provider.revoke([target], [target], AbortSignal.abort(new Error('no time left')));
    assert.equal(outcomes.length, 1);
    assert.notEqual(outcomes[0]?.state, 'revoked', 'nothing was shown, so nothing is revoked');
  });

  check('no secret in plan, handle, evidence, errors or output', async (bench) => {
    const lease = await issue(bench, 'secretive', planFor(bench, bench.goodParams[0], 900));
    const secrets = [...secretsOf(lease.issued), ...(bench.otherSecrets?.() ?? [])];
    assert.ok(secretsOf(lease.issued).length > 0, 'the credential has something to hide');
    const seen: unknown[] = [lease.plan, bench.provider.describe(lease.plan), lease.issued.handle];
    seen.push(await bench.provider.revoke([lease.target], [lease.target], never()));
    seen.push(await revokeToTheEnd(bench, lease.target, [lease.target]));
    for (const kind of ['refused', 'unavailable'] as const) {
      bench.upstream.fail(kind);
      seen.push(await failedIssue(bench, never()));
      const [outcome] = await bench.provider.revoke([lease.target], [lease.target], never());
      seen.push(outcome);
    }
    secrets.push(...(bench.otherSecrets?.() ?? []));
    const text = [...seen.map(everythingIn), bench.output()].join('\n');
    for (const secret of secrets)
      for (const form of [
        secret,
        encodeURIComponent(secret),
        Buffer.from(secret).toString('base64').replace(/=+$/, ''),
      ])
        assert.ok(!text.includes(form), 'a secret was found');
  });
}

function planFor(bench: ConformanceBench, params: unknown, ttlSeconds: number): Plan {
  return bench.provider.plan(bench.provider.params.parse(params), ttlSeconds);
}

/** Issues on the pool member with the given index, or without a pool when the provider has none. */
async function issue(bench: ConformanceBench, tag: string, plan: Plan, member = 0): Promise<Lease> {
  const leaseId = leaseIdFor(tag);
  const reserved = bench.provider.pool?.(plan)?.[member];
  const intentAt = bench.clock.now();
  const issued = await bench.provider.issue({
    plan,
    leaseId,
    sessionId: 'ses_conformance',
    agent: 'conformance-bot',
    signal: never(),
    ...(reserved === undefined ? {} : { reserved }),
  });
  assert.equal(typeof issued.credential.type, 'string');
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

async function failedIssue(bench: ConformanceBench, signal: AbortSignal): Promise<ProviderError> {
  const plan = planFor(bench, bench.goodParams[0], 900);
  const reserved = bench.provider.pool?.(plan)?.[0];
  const leaseId = leaseIdFor('fails');
  const context = { plan, leaseId, sessionId: 'ses_conformance', agent: 'conformance-bot', signal };
  try {
    await bench.provider.issue({ ...context, ...(reserved === undefined ? {} : { reserved }) });
  } catch (error) {
    assert.ok(error instanceof ProviderError, `not a ProviderError: ${error}`);
    return error;
  }
  assert.fail('issue should have failed');
}

/** What the database knows of a lease whose broker died after asking for the mint. */
function lostTarget(bench: ConformanceBench, tag: string, plan: Plan): RevocationTarget {
  const intentAt = bench.clock.now();
  const bound = intentAt.getTime() + bench.provider.limits.longestProviderLifetimeSeconds * 1000;
  return {
    leaseId: leaseIdFor(tag),
    plan,
    handle: null,
    secret: null,
    reserved: bench.provider.pool?.(plan)?.[0] ?? null,
    intentAt,
    providerExpiresAt: new Date(bound),
    settlingSince: null,
  };
}

/** Revokes as the broker does: again at every `recheckAt`, until the outcome is final. */
async function revokeToTheEnd(
  bench: ConformanceBench,
  target: RevocationTarget,
  standing: RevocationTarget[],
): Promise<RevocationOutcome> {
  for (let round = 0; round < 10; round += 1) {
    const [outcome] = await bench.provider.revoke([target], standing, never());
    assert.ok(outcome);
    if (outcome.state !== 'settling') return outcome;
    target.settlingSince ??= bench.clock.now();
    const pause = outcome.recheckAt.getTime() - bench.clock.now().getTime();
    assert.ok(pause > 0, 'recheckAt lies ahead');
    await bench.advance(pause);
  }
  assert.fail('revocation never settled');
}

async function passExpiry(bench: ConformanceBench, issued: Issued): Promise<void> {
  const left = issued.providerExpiresAt.getTime() - bench.clock.now().getTime();
  await bench.advance(Math.max(0, left) + 1_000);
}

/** Where the schema or `plan()` says the parameters are wrong; fails when neither refuses them. */
function refusalPaths(bench: ConformanceBench, params: unknown): string[] {
  const parsed = bench.provider.params.safeParse(params);
  if (!parsed.success) return parsed.error.issues.flatMap((issue) => issuePaths(issue, []));
  try {
    bench.provider.plan(parsed.data, 900);
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

/** The values in a credential that nobody but the agent may see: told by their names, as the SDK's users read them. */
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

/** A signal for callers with all the time in the world. */
const never = () => new AbortController().signal;
