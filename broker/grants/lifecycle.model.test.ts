/**
 * Random walks through sessions, grants and leases by the real functions; after each step the rows are held
 * against what the provider knows.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ProviderError } from '../../providers/contract.ts';
import type { EventType } from '../audit/events.ts';
import { assertEventsFit } from '../audit/rows.test-support.ts';
import { WritError } from '../core/errors.ts';
import { type Harness, openHarness } from '../harness.test-support.ts';
import { revokeByAdmin } from '../leases/order-revocation.ts';
import { type Caller, readSession } from '../sessions/authenticate.ts';
import { endSession } from '../sessions/end-session.ts';
import { heartbeat } from '../sessions/heartbeat.ts';
import { testBackends } from '../store/store.test-support.ts';

const of = fc.nat(9);
const kind = <Do extends string, Rest extends object>(
  weight: number,
  name: Do,
  rest: { [K in keyof Rest]: fc.Arbitrary<Rest[K]> },
) => ({
  weight,
  arbitrary: fc.record({ do: fc.constant(name), ...rest }) as unknown as fc.Arbitrary<{ do: Do } & Rest>,
});
const step = fc.oneof(
  kind(2, 'open', { maxGrants: fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined }) }),
  kind(2, 'child', { of, maxGrants: fc.integer({ min: 1, max: 3 }) }),
  kind(6, 'grant', {
    of,
    provider: fc.constantFrom('plain', 'hour', 'doc', 'pool'),
    ttl: fc.constantFrom(30, 120, 900),
  }),
  kind(3, 'end', { of }),
  kind(2, 'heartbeat', { of }),
  kind(2, 'revoke', { of }),
  kind(3, 'advance', { seconds: fc.constantFrom(1, 20, 70, 200, 1000) }),
  kind(6, 'beat', {}),
  kind(3, 'upstream', {
    mint: fc.constantFrom('well', 'well', 'refuses', 'loses'),
    revoke: fc.constantFrom('well', 'fails', 'settles', 'waits'),
  }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** A lease's arrows (docs/architecture.md, words); a status may stay. */
const arrows: Record<string, string[]> = {
  issuing: ['active', 'revoking', 'failed'],
  active: ['revoking', 'expired'],
  revoking: ['revoked', 'expired', 'failed'],
  revoked: [],
  expired: [],
  failed: [],
};
/** What a walk may skip over between two looks: issuing → active → revoking → revoked, say. */
function reachable(from: string): Set<string> {
  const found = new Set([from]);
  for (const at of found) for (const next of arrows[at]!) found.add(next);
  return found;
}

class Walk {
  sessions: Caller[] = [];
  before = new Map<string, string>();
  harness: Harness;
  constructor(harness: Harness) {
    this.harness = harness;
  }

  pick(n: number): Caller | undefined {
    return this.sessions.length === 0 ? undefined : this.sessions[n % this.sessions.length];
  }

  async take(step: Step): Promise<void> {
    const { harness } = this;
    try {
      switch (step.do) {
        case 'open':
          this.sessions.push(await harness.open(step.maxGrants === undefined ? {} : { maxGrants: step.maxGrants }));
          return;
        case 'child': {
          const caller = this.pick(step.of);
          if (caller === undefined) return;
          const facts = await readSession(harness.store, caller, harness.clock.now());
          const parent = {
            id: facts.id,
            rootId: facts.rootId,
            expiresAt: facts.expiresAt,
            act: null,
            capabilities: facts.capabilities,
            narrowed: facts.narrowed,
            grantsLeft: facts.maxGrants === null ? null : facts.maxGrants - facts.counts.session,
          };
          const capabilities = ['use-plain', 'use-hour'];
          this.sessions.push(await harness.open({ maxGrants: step.maxGrants, child: { parent, capabilities } }));
          return;
        }
        case 'grant': {
          const caller = this.pick(step.of);
          if (caller !== undefined) await harness.ask(caller, step.provider, { ttl: step.ttl });
          return;
        }
        case 'end': {
          const caller = this.pick(step.of);
          if (caller !== undefined) await endSession(harness.ending, harness.end(caller.sessionId));
          return;
        }
        case 'heartbeat': {
          const caller = this.pick(step.of);
          if (caller === undefined) return;
          const facts = await readSession(harness.store, caller, harness.clock.now());
          await heartbeat(harness.opening, facts);
          return;
        }
        case 'revoke': {
          const leases = await harness.store.prisma.lease.findMany({ select: { id: true }, orderBy: { id: 'desc' } });
          const lease = leases[step.of % Math.max(1, leases.length)];
          if (lease === undefined) return;
          const order = { leaseId: lease.id, actor: 'admin', requestId: null, now: harness.clock.now() };
          await revokeByAdmin(harness.ending, order);
          return;
        }
        case 'advance':
          harness.clock.advance(step.seconds * 1000);
          return;
        case 'beat':
          await harness.tick();
          await this.nothingActiveUnderEnded();
          return;
        case 'upstream':
          this.upstream(step.mint, step.revoke);
          return;
      }
    } catch (error) {
      // Being refused is a way to go on; anything nobody foresaw is not.
      if (!(error instanceof WritError) || error.code === 'internal') throw error;
    }
  }

  upstream(mintHow: string, revokeHow: string): void {
    for (const provider of this.harness.providers.values()) {
      provider.script.issue = async (_context, mint) => {
        if (mintHow === 'refuses') throw new ProviderError('upstream_refused', 'no');
        const issued = mint();
        if (mintHow === 'loses') throw new ProviderError('upstream_timeout', 'lost on the way');
        return issued;
      };
      provider.script.revoke = async (target, kill) => {
        if (revokeHow === 'fails') {
          return { state: 'failed', error: new ProviderError('upstream_unavailable', 'down') };
        }
        if (revokeHow === 'waits') return { state: 'wait_for_expiry', evidence: {} };
        if (revokeHow === 'settles' && target.settlingSince === null) {
          return { state: 'settling', recheckAt: new Date(this.harness.clock.now().getTime() + 5000), evidence: {} };
        }
        kill();
        return { state: 'revoked', evidence: { said: 'gone' } };
      };
    }
  }

  async nothingActiveUnderEnded(): Promise<void> {
    const ended = await this.harness.store.prisma.session.findMany({
      where: { status: 'ended' },
      select: { id: true },
    });
    const active = await this.harness.store.prisma.lease.findMany({
      where: { status: { in: ['active', 'issuing'] }, sessionId: { in: ended.map((session) => session.id) } },
    });
    assert.deepEqual(active, [], 'an ended session holds a live lease after a beat');
  }

  async hold(): Promise<void> {
    const { harness } = this;
    const [leases, sessions, grants] = await Promise.all([
      harness.store.prisma.lease.findMany(),
      harness.store.prisma.session.findMany(),
      harness.store.prisma.grant.findMany(),
    ]);
    const status = new Map(leases.map((lease) => [lease.id, lease.status]));
    for (const provider of harness.providers.values()) {
      for (const id of provider.alive()) {
        assert.ok(
          ['issuing', 'active', 'revoking'].includes(status.get(id) ?? 'no row'),
          `${provider.name} accepts ${id}, which is ${status.get(id)}`,
        );
      }
    }
    for (const [id, from] of this.before) {
      const to = status.get(id);
      assert.ok(to !== undefined && reachable(from).has(to), `${id} went from ${from} to ${to}`);
    }
    this.before = status;
    for (const lease of leases) {
      const over = ['revoked', 'expired', 'failed'].includes(lease.status);
      assert.equal(lease.dueAt === null, over);
      assert.equal(lease.endedAt !== null, over);
      if (over) assert.equal(lease.sealed, null);
    }
    const held = await harness.store.prisma.poolSlot.findMany();
    assert.equal(new Set(held.map((slot) => slot.member)).size, held.length);
    for (const session of sessions) {
      const own = grants.filter((grant) => grant.sessionId === session.id && grant.status !== 'denied').length;
      const handedOn = sessions
        .filter((child) => child.parentId === session.id && session.maxGrants !== null)
        // What a child did not use came back, unless its parent had ended before it.
        .map((child) =>
          child.status === 'ended' && child.endReason !== 'parent_ended' ? child.grantCount : child.maxGrants,
        )
        .reduce<number>((sum, taken) => sum + (taken ?? 0), 0);
      assert.equal(session.grantCount, own + handedOn, `count of ${session.id}`);
      if (session.maxGrants !== null) assert.ok(session.grantCount <= session.maxGrants, `envelope of ${session.id}`);
    }
  }
}

for (const backend of await testBackends()) {
  describe(`sessions, grants and leases on ${backend}`, () => {
    test('whatever happens in whatever order, no live credential lacks a row that will end it', async () => {
      const written = new Set<EventType>();
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 50, maxLength: 70, size: 'max' }), async (steps) => {
          const harness = await openHarness(backend, {
            providers: [
              { name: 'plain' },
              { name: 'hour', lifetimeSeconds: 3600, secret: true },
              { name: 'doc', lockKey: true },
              { name: 'pool', pool: ['m1', 'm2'], lifetimeSeconds: 300 },
            ],
          });
          try {
            const walk = new Walk(harness);
            await walk.take({ do: 'open', maxGrants: undefined });
            for (const one of steps) {
              await walk.take(one);
              await walk.hold();
            }
            // However it went: a day later nothing is left, and the record holds.
            walk.upstream('well', 'well');
            for (let i = 0; i < 3; i += 1) {
              harness.clock.advance(8 * 3600_000);
              await harness.tick();
              await walk.hold();
            }
            for (const status of walk.before.values()) assert.ok(['revoked', 'expired', 'failed'].includes(status));
            for (const provider of harness.providers.values()) assert.deepEqual(provider.alive(), []);
            assert.equal((await harness.verify()).broken, null);
            for (const type of await assertEventsFit(harness.store)) written.add(type);
          } finally {
            await harness.close();
          }
        }),
        { seed: 20261121, numRuns: 8, endOnFailure: true },
      );
      const common = [
        'lease.issued',
        'lease.revoke_failed',
        'lease.settling',
        'lease.expired',
        'pool.released',
      ] as const;
      for (const type of common) {
        assert.ok(written.has(type), `the walks never came by ${type}, only by ${[...written]}`);
      }
    });
  });
}
