/** One killing: the way to the step, the death, and what a clean broker makes of what is left. */
import assert from 'node:assert/strict';
import type { Broker } from '../../broker/compose/start.ts';
import { type Agent, type Answer, approve, openSession } from './agent.test-support.ts';
import { alive, atRest, explained, leasesOf, type ProviderName } from './assertions.test-support.ts';
import { type BrokerProcess, type Driven, foreverMs, type KillEnvironment } from './environment.test-support.ts';
import type { Flow } from './table.test-support.ts';

/**
 * How long after its session's end a lease may take: a mint's deadline, a dead worker's claim and lock, the
 * lag.
 */
const settlesMs = 150_000;

interface Course {
  agent: Agent;
  /** Repeats what the agent asked for when the broker died. */
  again(): Promise<Answer | null>;
  act(): Promise<unknown>;
}

/** Everything before the steps that count. */
async function prepare(
  environment: KillEnvironment,
  brokerProcess: BrokerProcess,
  provider: ProviderName,
  flow: Flow,
): Promise<Course> {
  const agent = await openSession(environment.world);
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
  const after = (ms: number) => new Date(environment.clock.now().getTime() + ms);
  if (flow === 'expire') return { agent, again, act: () => environment.drive(brokerProcess, after(150_000)) };
  const act = async () => {
    await agent.call('POST', '/v1/session/end');
    await environment.drive(brokerProcess, after(foreverMs));
  };
  return { agent, again, act };
}

/** The steps of a run that is not killed. */
export async function steps(
  environment: KillEnvironment,
  provider: ProviderName,
  flow: Flow,
): Promise<string[] | null> {
  const brokerProcess = await environment.startBrokerProcess();
  try {
    const course = await prepare(environment, brokerProcess, provider, flow);
    await brokerProcess.arm(null);
    await course.act();
    const taken = await brokerProcess.steps();
    await brokerProcess.kill();
    await aftermath(environment, provider, flow, null, course);
    return taken;
  } finally {
    await brokerProcess.kill();
  }
}

/** Kills the broker after the `n`-th of `names`, counted from 1, and lets a clean one go on. */
export async function killAfter(
  environment: KillEnvironment,
  provider: ProviderName,
  flow: Flow,
  names: string[],
  n: number,
): Promise<void> {
  const brokerProcess = await environment.startBrokerProcess();
  try {
    const course = await prepare(environment, brokerProcess, provider, flow);
    const byItself = names[n - 1] !== 'answered';
    await brokerProcess.arm(byItself ? n : null);
    const answer = await course.act();
    // The connection breaks a moment before the process is known to be gone; an order to the dead is not
    // answered.
    const taken = byItself ? await brokerProcess.steps() : null;
    assert.equal(taken, null, `the step never came: ${taken?.join()}; ${JSON.stringify(answer)}`);
    if (!byItself) assert.equal((answer as Answer | null)?.status, 201, JSON.stringify(answer));
    assert.equal(await brokerProcess.kill(), 'SIGKILL');
    await aftermath(environment, provider, flow, names.slice(0, n), course);
  } finally {
    await brokerProcess.kill();
  }
}

async function aftermath(
  environment: KillEnvironment,
  provider: ProviderName,
  flow: Flow,
  done: string[] | null,
  { agent, again }: Course,
): Promise<void> {
  const { world, clock } = environment;
  const issuing = flow === 'issue' || flow === 'redeem';
  const recorded = !issuing || done === null || done.includes('lease_outcome');
  const intent = done?.findIndex((step) => /^grant_(intent|claim)/.test(step)) ?? 0;
  const intended = !issuing || intent >= 0;
  // The mint's last word is the step before the outcome; Google's account token lives before it is cut down.
  const minting = intended ? (done ?? []).slice(intent) : [];
  const minted = recorded || minting.some((step) => /^sts$|access_tokens|generateAccessToken/.test(step));
  if (issuing) assert.equal((await alive(world, provider)) > 0, minted, 'what the counterpart minted');

  const broker = await environment.restart();
  try {
    const after = (ms: number) => new Date(clock.now().getTime() + ms);
    const look = () => explained(world, broker.store, provider, clock.now());
    await look();

    // The session lives on; the mint's deadline passes. What the agent never got it does not get by asking
    // again.
    await environment.drive(broker, after(60_000), look);
    const [lease, ...others] = await leasesOf(broker.store, agent.sessionId);
    assert.deepEqual(others, []);
    if (issuing) {
      assert.equal(lease?.status === 'active', recorded, `the lease is ${lease?.status}`);
      assert.notEqual(lease?.status, 'issuing');
      const repeated = await again();
      // Without an intent nothing had happened: the request is as good as new.
      assert.equal(repeated?.body.credential === undefined, intended, JSON.stringify(repeated));
      assert.equal((await leasesOf(broker.store, agent.sessionId)).length, 1, 'no second lease');
    }

    // The task ends: nothing works any more but a GitHub token that nobody ever saw, and its row says so.
    await agent.call('POST', '/v1/session/end');
    await environment.drive(broker, after(settlesMs), look);
    await settled(environment, broker, provider, agent, {
      lost: provider === 'github' && !recorded,
      minted: minted || !intended,
      flow,
    });

    await environment.drive(broker, after(foreverMs), look);
    // Time for a dead holder's lock to end, and for Google to feel that an account is enabled again.
    await broker.advance(120_000);
    await atRest(world, broker.store, agent.sessionId, clock.now());
  } finally {
    await broker.stop();
  }
}

async function settled(
  { world }: KillEnvironment,
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
