import assert from 'node:assert/strict';
import { after as afterAll, test } from 'node:test';
import { review } from '../../approvals/review.ts';
import { addGrant, addSession, after, person, plan, start } from '../../approvals/rows.test-support.ts';
import { manualClock } from '../core/clock.ts';
import { planDigest } from '../decide/plan-digest.ts';
import { openTestStore } from '../store/store.test-support.ts';
import { aboutCallTo, aboutGrant, spared as sparedBecause, waitingAlike } from './spare-people.ts';

const store = await openTestStore();
afterAll(() => store.close());

const owner = person('owner@example.com', { groups: ['billing'] });
const spared = async (...args: Parameters<typeof sparedBecause>) => (await sparedBecause(...args))?.code ?? null;
const limits = { requestsPerHour: 3, cooldownSeconds: 300 };
let made = 0;

/** A request of an agent's, in a session of its own. */
async function asked(agent: string, grant: Partial<Parameters<typeof addGrant>[1]> = {}) {
  made += 1;
  const sessionId = await addSession(store, { id: `ses_${made}`, agent });
  const id = await addGrant(store, { id: `gnt_${made}`, sessionId, agent, ...grant });
  const deny = (at = start) =>
    review(
      { store, clock: manualClock(at), approversOf: async () => ['team:billing'] },
      {
        grantId: id,
        reviewer: owner,
        verdict: 'deny',
        reason: 'no',
        planDigest: planDigest(grant.plan ?? plan),
        channel: 'web',
        requestId: 'req',
      },
    );
  return { sessionId, id, deny };
}

test('what a person denied is denied for a while: to this agent, for whatever lifetime, in whatever session', async () => {
  const about = (agent: string, of = plan) => aboutGrant({ agent }, 'read-customer-files', of);
  await (await asked('denied-bot')).deny();
  const why = (...args: Parameters<typeof about>) => spared(store, limits, about(...args), after(299));
  assert.equal(await why('denied-bot'), 'denied_lately');
  assert.equal(await why('denied-bot', { ...plan, ttl_seconds: 60 }), 'denied_lately');
  assert.equal(await why('other-bot'), null);
  const other = { ...plan, permission: { Statement: [] } };
  assert.equal(await why('denied-bot', other), null, 'another permission');
  assert.equal(await spared(store, limits, aboutGrant({ agent: 'denied-bot' }, 'other', plan), after(1)), null);
  assert.equal(await spared(store, limits, about('denied-bot'), after(301)), null, 'its time is over');
  assert.equal(await spared(store, { ...limits, cooldownSeconds: 0 }, about('denied-bot'), after(1)), null);
});

test('a call is the same by its tool and arguments, whatever else the question says', async () => {
  const args = { to: { type: 'text', digest: 'abc' } };
  const question = { provider: 'call', permission: { tool: 'mail', arguments: args, rules: [] }, ttl_seconds: 300 };
  await (await asked('calling-bot', { capability: 'tool:mail', plan: question })).deny();
  const why = (tool: string, shown: typeof args) =>
    spared(store, limits, aboutCallTo({ agent: 'calling-bot' }, tool, shown), after(10));
  assert.equal(await why('tool:mail', args), 'denied_lately');
  assert.equal(await why('tool:post', args), null);
  assert.equal(await why('tool:mail', { to: { type: 'text', digest: 'abd' } }), null);
});

test('so many requests of an agent reach people in an hour, answered or not; what policy decided is none', async () => {
  const about = aboutGrant({ agent: 'eager-bot' }, 'read-customer-files', { ...plan, permission: { n: 9 } });
  const nth = (n: number) => ({ plan: { ...plan, permission: { n } } });
  await asked('eager-bot', nth(1));
  await asked('eager-bot', { ...nth(2), status: 'denied', decideBy: null });
  await (await asked('eager-bot', nth(3))).deny();
  assert.equal(await spared(store, limits, about, after(10)), null);
  await asked('eager-bot', { ...nth(4), requestedAt: after(5) });
  assert.equal(await spared(store, limits, about, after(10)), 'asked_too_often');
  assert.equal(await spared(store, { ...limits, requestsPerHour: 0 }, about, after(10)), null);
  assert.equal(await spared(store, limits, about, after(3601)), null);
});

test('a request that waits is found again by the same session, for the same plan and key alone', async () => {
  const { sessionId, id, deny } = await asked('twice-bot');
  const find = (more: Partial<Parameters<typeof waitingAlike>[2]> = {}, session = sessionId, at = after(10)) =>
    waitingAlike(store, session, { capability: 'read-customer-files', plan, credentialJwk: null, ...more }, at);
  assert.equal(await find(), id);
  assert.equal(await find({ plan: { ...plan, ttl_seconds: 60 } }), null);
  assert.equal(await find({ credentialJwk: { kty: 'EC' } }), null, 'its credential would be sealed to another key');
  assert.equal(await find({ capability: 'other' }), null);
  assert.equal(await find({}, 'ses_none'), null);
  assert.equal(await find({}, sessionId, after(301)), null, 'nobody can decide it any more');
  await deny();
  assert.equal(await find(), null);
});
