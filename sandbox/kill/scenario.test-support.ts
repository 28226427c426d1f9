/** One killing: the way to the step, the death, and what a clean broker makes of what is left. */
import assert from 'node:assert/strict';
import type { Broker } from '../../broker/main.ts';
import { type Agent, type Answer, approve, openSession } from './agent.test-support.ts';
import { alive, atRest, explained, leasesOf, type ProviderName } from './holds.test-support.ts';
import { type Driven, foreverMs, type Lane, type Victim } from './lane.test-support.ts';
import type { Flow } from './table.test-support.ts';

/** How long after its session's end a lease may take: a mint's deadline, a dead worker's claim and lock, the lag. */
const settlesMs = 150_000;

interface Course {
  agent: Agent;
  /** Repeats what the agent asked for when the broker died. */
  again(): Promise<Answer | null>;
  act(): Promise<unknown>;
}

/** Everything before the steps that count. */
async function prepare(lane: Lane, victim: Victim, provider: ProviderName, flow: Flow): Promise<Course> {
  const agent = await openSession(lane.world);
  const ask = (capability: string, more = {}) =>
    agent.call('POST', '/v1/grants', { capability, ...more }, `once-${capability}`);
  if (flow === 'issue') return { agent, again: () => ask(`read-${provider}`), act: () => ask(`read-${provider}`) };
  if (flow === 'redeem') {
    const pending = await ask(`ask-${provider}`);
    assert.equal(pending?.status, 202);
    await approve(pending.body.approval_url, pending.body.id);
    const redeem = () => agent.call('POST', `/v1/grants/${pending.body.id}/redeem`);
    return { agent, again: redeem, act: redeem };
  }
  const issued = await ask(`read-${provider}`, flow === 'expire' ? { ttl_seconds: 60 } : {});
  assert.equal(issued?.status, 201);
  const again = () => ask(`read-${provider}`, flow === 'expire' ? { ttl_seconds: 60 } : {});
  const after = (ms: number) => new Date(lane.clock.now().getTime() + ms);
  if (flow === 'expire') return { agent, again, act: () => lane.drive(victim, after(150_000)) };
  const act = async () => {
    await agent.call('POST', '/v1/session/end');
    await lane.drive(victim, after(foreverMs));
  };
  return { agent, again, act };
}

/** The steps of a run that is not killed. */
export async function steps(lane: Lane, provider: ProviderName, flow: Flow): Promise<string[] | null> {
  const victim = await lane.startVictim();
  try {
    const course = await prepare(lane, victim, provider, flow);
    await victim.arm(null);
    await course.act();
    const taken = await victim.steps();
    await victim.kill();
    await aftermath(lane, provider, flow, null, course);
    return taken;
  } finally {
    await victim.kill();
  }
}

/** Kills the broker after the `n`-th of `names`, counted from 1, and lets a clean one go on. */
export async function killAfter(
  lane: Lane,
  provider: ProviderName,
  flow: Flow,
  names: string[],
  n: number,
): Promise<void> {
  const victim = await lane.startVictim();
  try {
    const course = await prepare(lane, victim, provider, flow);
    const byItself = names[n - 1] !== 'answered';
    await victim.arm(byItself ? n : null);
    const answer = await course.act();
    // The connection breaks a moment before the process is known to be gone; an order to the dead is not answered.
    const taken = byItself ? await victim.steps() : null;
    assert.equal(taken, null, `the step never came: ${taken?.join()}; ${JSON.stringify(answer)}`);
    if (!byItself) assert.equal((answer as Answer | null)?.status, 201, JSON.stringify(answer));
    assert.equal(await victim.kill(), 'SIGKILL');
    await aftermath(lane, provider, flow, names.slice(0, n), course);
  } finally {
    await victim.kill();
  }
}

async function aftermath(
  lane: Lane,
  provider: ProviderName,
  flow: Flow,
  done: string[] | null,
  { agent, again }: Course,
): Promise<void> {
  const { world, clock } = lane;
  const issuing = flow === 'issue' || flow === 'redeem';
  const recorded = !issuing || done === null || done.includes('lease_outcome');
  // The mint's last word is the step before the outcome; Google's account token lives before it is cut down.
  const minted = recorded || done.some((step) => /^sts$|access_tokens|generateAccessToken/.test(step));
  if (issuing) assert.equal((await alive(world, provider)) > 0, minted, 'what the counterpart minted');

  const broker = await lane.restart();
  try {
    const after = (ms: number) => new Date(clock.now().getTime() + ms);
    const look = () => explained(world, broker.store, provider, clock.now());
    await look();

    // The session lives on; the mint's deadline passes. What the agent never got it does not get by asking again.
    await lane.drive(broker, after(60_000), look);
    const [lease, ...others] = await leasesOf(broker.store, agent.sessionId);
    assert.deepEqual(others, []);
    if (issuing) {
      assert.equal(lease?.status === 'active', recorded, `the lease is ${lease?.status}`);
      assert.notEqual(lease?.status, 'issuing');
      const repeated = await again();
      assert.ok(repeated !== null && repeated.body.credential === undefined, JSON.stringify(repeated));
      assert.equal((await leasesOf(broker.store, agent.sessionId)).length, 1, 'no second lease');
    }

    // The task ends: nothing works any more but a GitHub token that nobody ever saw, and its row says so.
    await agent.call('POST', '/v1/session/end');
    await lane.drive(broker, after(settlesMs), look);
    await settled(lane, broker, provider, agent, { lost: provider === 'github' && !recorded, minted, flow });

    await lane.drive(broker, after(foreverMs), look);
    // Time for a dead holder's lock to end, and for Google to feel that an account is enabled again.
    await broker.advance(120_000);
    await atRest(world, broker.store, agent.sessionId, clock.now());
  } finally {
    await broker.stop();
  }
}

async function settled(
  { world }: Lane,
  broker: Broker & Driven,
  provider: ProviderName,
  agent: Agent,
  { lost, minted, flow }: { lost: boolean; minted: boolean; flow: Flow },
): Promise<void> {
  const [lease] = await leasesOf(broker.store, agent.sessionId);
  assert.ok(lease !== undefined);
  if (lost) {
    assert.equal(lease.status, 'revoking');
    assert.deepEqual(lease.due_at, lease.provider_expires_at, 'looked at again when GitHub ends it');
    assert.equal(await alive(world, provider), minted ? 1 : 0);
  } else {
    assert.equal(
      lease.status,
      flow === 'expire' && provider !== 'github' ? 'expired' : 'revoked',
      lease.last_error ?? '',
    );
    assert.equal(await alive(world, provider), 0, 'dead at the provider');
  }
}
