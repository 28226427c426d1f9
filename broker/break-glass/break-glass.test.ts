/** From the first person’s word to the third’s: what is given meanwhile, to whom, and what becomes of it. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { Registry } from 'prom-client';
import type { Channel, Incident } from '../../approvals/contract.ts';
import { DeliveryError } from '../../approvals/contract.ts';
import type { BreakGlassHappening, IncidentRecord } from '../../approvals/incidents.ts';
import { deliverDue, deliveringChannels, type OutboxDeps } from '../../approvals/outbox.ts';
import { ProviderError } from '../../providers/contract.ts';
import { jobs } from '../compose/jobs.ts';
import { WritError } from '../core/errors.ts';
import { createSideChannelMetrics } from '../core/side-channel.ts';
import { recheckHeld } from '../grants/recheck.ts';
import { grantReads, requestGrant } from '../grants/request-grant.ts';
import { type Harness, openHarness, statement } from '../harness.test-support.ts';
import { liftLock } from '../locks/lift-lock.ts';
import { setLock } from '../locks/set-lock.ts';
import { publishManifest } from '../manifests/publish.ts';
import type { Identity } from '../people/identity.ts';
import { readCandidate, runReplay } from '../replay/run-replay.ts';
import { runWhoCan } from '../replay/run-who-can.ts';
import { type Caller, readSession } from '../sessions/authenticate.ts';
import { carryOutSignals } from '../signals/carry-out.ts';
import type { Store } from '../store/open.ts';
import { testBackends } from '../store/store.test-support.ts';
import { endBreakGlasses } from '../worker/jobs/end-break-glasses.ts';
import { reconcileOnce } from '../worker/reconciler.ts';
import { agreeToBreakGlass, toAgreeTo } from './agree.ts';
import { askToBreakGlass, type BreakGlassDeps, type BreakGlassRequest, termsOf, toAskFor } from './ask.ts';
import { closeBreakGlass } from './end.ts';
import { createBreakGlassMetrics } from './metrics.ts';
import { readBreakGlass, readBreakGlasses } from './read-break-glasses.ts';
import { reviewBreakGlass } from './review.ts';
import { openSigning } from './signing.test-support.ts';

const agent = 'burning-agent';
const manifest = (more = '') => `apiVersion: writ/v1
agent: ${agent}
owner: team:billing
description: Puts fires out.
envelope: { wall_time: 10h, max_grants: 500 }
task_types:
  work: { description: Work., inputs: {} }
  rest: { description: Rest., inputs: {} }
capabilities:
  frozen: { description: Ask., provider: plain, tasks: [work], tier: 1, max_ttl: 15m, break_glass: true, choose: { scope: { type: string, enum: [one, two], default: one } } }
  asked: { description: Ask., provider: plain, tasks: [work], tier: 2, max_ttl: 15m, break_glass: true }
  watched: { description: Ask., provider: plain, tasks: [work], tier: 2, max_ttl: 15m, break_glass: true }
  spent: { description: Ask., provider: plain, tasks: [work], tier: 2, max_ttl: 15m, max_grants: 1, break_glass: true }
  whole: { description: Ask., provider: plain, tasks: [work], tier: 2, max_ttl: 15m }
  resting: { description: Ask., provider: plain, tasks: [rest], tier: 1, max_ttl: 15m, break_glass: true }
rules:
  - { id: freeze, message: Nothing is deployed now., on: { capability: frozen }, effect: deny }
  - { id: guard, on: { capability: watched }, effect: terminate }
${more}`;

const person = (subject: string, more: Partial<Identity> = {}): Identity => ({
  issuer: 'https://id.example',
  subject,
  groups: ['on-call'],
  aliases: [],
  ...more,
});
const [first, second, third] = [person('first'), person('second'), person('third')];
const owner = person('owner', { groups: ['billing'] });
const stranger = person('stranger', { groups: [] });

const code = (expected: string) => (error: unknown) => error instanceof WritError && error.code === expected;
const denied = (reason: string) => (error: unknown) =>
  error instanceof WritError &&
  error.code === 'denied' &&
  (error.extensions.reasons as { code: string }[]).some((one) => one.code === reason);

for (const backend of await testBackends()) {
  describe(`break-glass on ${backend}`, () => {
    let h: Harness;
    let deps: BreakGlassDeps;
    let signing: ReturnType<typeof openSigning>;
    let metrics: ReturnType<typeof createBreakGlassMetrics>;
    before(async () => {
      h = await openHarness(backend, { providers: [{ name: 'plain', secret: true }] });
      await publish(manifest());
      signing = openSigning(h.store, h.clock);
      deps = {
        ...h.ending,
        catalog: h.grants.catalog,
        people: { isAdmin: ({ groups }) => groups.includes('admins'), group: 'on-call' },
        longestSeconds: 1800,
        reviewSeconds: 3600,
        noticeChannels: ['slack', 'mail'],
        alerts: ['team:security'],
        ...signing.deps,
      };
      metrics = createBreakGlassMetrics(new Registry());
    });
    after(() => h.close());
    const cleaner = person('cleaner');
    beforeEach(async () => {
      for (const { id, state } of await readBreakGlasses(deps, 50, cleaner)) {
        if (state === 'waiting' || state === 'open') await close(id, cleaner);
        if (state === 'open' || state === 'to_review') await reviewed(id, cleaner);
      }
      h.provider('plain').reset();
    });

    const publish = (source: string) =>
      publishManifest(h.store, h.clock, h.shapes, {
        source,
        author: 'tester',
        reason: 'test',
        agent: null,
        expectedVersion: null,
        requestId: null,
      });
    const tick = () => reconcileOnce({ ...h.reconciling, jobs: [endBreakGlasses({ ...deps, metrics }), ...jobs] });
    const wanted: BreakGlassRequest = {
      agent,
      session: undefined,
      capabilities: ['frozen', 'asked', 'watched', 'spent', 'resting'],
      reason: 'production burns',
      incident: 'INC-7',
      seconds: undefined,
    };
    const login = (identity: Identity) => ({ identity, loginId: 'login' });
    const asked = async (more: Partial<BreakGlassRequest> = {}, who = first) => {
      const request = { ...wanted, ...more };
      const { terms, digest } = await termsOf(deps, request, who);
      const signed = await signing.sign({ ...login(who), ...toAskFor(terms), digest });
      return askToBreakGlass(deps, request, login(who), signed, null);
    };
    const agreed = async (id: string, who = second) => {
      const { digest } = await toAgreeTo(deps, id, who);
      await agreeToBreakGlass(deps, id, login(who), await signing.sign({ ...login(who), about: id, digest }), null);
    };
    const opened = async (more: Partial<BreakGlassRequest> = {}) => {
      const id = await asked(more);
      await agreed(id);
      return id;
    };
    const close = (id: string, who = third, with_: Partial<BreakGlassDeps> = {}) =>
      closeBreakGlass({ ...deps, ...with_ }, { id, person: who, words: 'the fire is out', requestId: null });
    const reviewed = (id: string, who = third) =>
      reviewBreakGlass(deps, { id, person: who, words: 'it was right', requestId: null });
    const view = (id: string) => readBreakGlass(deps, id, third);
    const open = (responsible?: string) =>
      h.open({ agent, ...(responsible === undefined ? {} : { responsible }) }) as Promise<Caller>;
    const ask = async (caller: Caller, capability: string, ttl?: number, params?: { scope: string }) => {
      const session = await readSession(h.store, caller, h.clock.now(), grantReads(h.grants, capability, null));
      const request = { capability, params, ttlSeconds: ttl, justification: null, credentialJwk: null };
      const answer = await requestGrant(h.grants, session, request, null, null);
      assert.equal(answer.outcome, 'issued', answer.outcome);
      return answer as Extract<typeof answer, { outcome: 'issued' }>;
    };
    /** Neither given nor asked of a person. */
    const isRefused = async (caller: Caller, capability: string) => {
      const alive = h.provider('plain').alive().length;
      await assert.rejects(
        ask(caller, capability),
        (error) => denied('rule')(error) || String(error).includes('pending'),
      );
      assert.equal(h.provider('plain').alive().length, alive);
    };
    const events = async (type: string) =>
      h.store.prisma.auditEvent.findMany({ where: { type }, orderBy: { at: 'asc' } });
    /** A process that is killed before this statement. */
    const dyingAt = (name: string): Store => ({
      ...h.store,
      run: ((what, values) => {
        if (what.name === name) throw new Error('killed');
        return h.store.run(what, values);
      }) as Store['run'],
    });

    test('two people give what a rule denies, and what a person would have to approve; the record says it', async () => {
      const session = await open();
      await assert.rejects(ask(session, 'frozen'), denied('rule'));
      const id = await asked();
      await isRefused(session, 'frozen');
      await agreed(id);
      const { grant, decision } = await ask(session, 'frozen');
      assert.deepEqual(grant.reasons, [{ code: 'break_glass', policy_id: `break_glass.${id}` }]);
      const signed = JSON.parse(Buffer.from(decision.split('.')[1]!, 'base64url').toString());
      assert.deepEqual([signed.break_glass, signed.approved_by], [id, ['user:first', 'user:second']]);
      assert.equal(signed.plan_digest, grant.plan.digest);
      await ask(session, 'asked');
      const uses = await events('break_glass.used');
      assert.deepEqual(
        uses.map(({ chain, payload }) => {
          const { instead_of, capability } = payload as { instead_of: { code: string }[]; capability: string };
          return [chain, capability, instead_of.map((one) => one.code)];
        }),
        [
          [session.sessionId, 'frozen', ['rule']],
          [session.sessionId, 'asked', ['needs_approval']],
        ],
      );
      const seen = await view(id);
      assert.deepEqual(
        [seen.state, seen.asked_by, seen.agreed_by, seen.uses.length],
        ['open', 'user:first', 'user:second', 2],
      );
      await close(id);
      await isRefused(session, 'frozen');
    });

    test('it is no blank cheque: parameters, lifetime, number, task type, marks and restraining rules stand', async () => {
      await opened();
      const session = await open();
      for (const [capability, ttl, params] of [
        ['frozen', undefined, { scope: 'all' }],
        ['whole', undefined, undefined],
        ['resting', undefined, undefined],
      ] as const)
        await assert.rejects(ask(session, capability, ttl, params), capability);
      const { grant } = await ask(session, 'frozen', 86_400, { scope: 'two' });
      assert.equal(grant.ttl_seconds, 900);
      await ask(session, 'spent');
      await assert.rejects(ask(session, 'spent'), denied('capability_spent'));
      assert.equal(h.provider('plain').alive().length, 2);
      // What says that something is wrong with the agent ends it as ever.
      await assert.rejects(ask(session, 'watched'), denied('rule'));
      assert.equal((await h.session(session.sessionId)).endReason, 'ended_by_rule');
      await tick();
      assert.deepEqual(h.provider('plain').alive(), []);
    });

    test('a provider’s own allow-list refuses all the same', async () => {
      await opened();
      const session = await open();
      const { plan } = h.provider('plain');
      h.provider('plain').plan = () => {
        throw new ProviderError('bad_params', 'is not on the list', { mayHaveMinted: false });
      };
      try {
        await assert.rejects(ask(session, 'asked'), code('bad_request'));
      } finally {
        h.provider('plain').plan = plan;
      }
      assert.deepEqual(h.provider('plain').alive(), []);
    });

    test('a credential lives no longer than the glass is broken, and is revoked when it is closed', async () => {
      const id = await opened({ seconds: 600 });
      h.clock.advance(400_000);
      const session = await open();
      const { grant } = await ask(session, 'asked');
      assert.equal(grant.ttl_seconds, 200);
      await close(id, owner);
      const lease = await h.row(grant.lease!.id);
      assert.deepEqual([lease.status, lease.revokeReason], ['revoking', 'break_glass_ended']);
      await tick();
      assert.equal((await h.row(grant.lease!.id)).status, 'revoked');
      assert.deepEqual(h.provider('plain').alive(), []);
      assert.deepEqual(
        [(await view(id)).state, (await view(id)).ended_by, (await view(id)).uses[0]?.lease_status],
        ['to_review', 'user:owner', 'revoked'],
      );
      await isRefused(session, 'frozen');
      await reviewed(id);
    });

    test('it is over by itself, in the moment it was to be, whether or not a worker has come', async () => {
      const id = await opened({ seconds: 60 });
      const session = await open();
      const { grant } = await ask(session, 'asked');
      h.clock.advance(60_000);
      await isRefused(session, 'frozen');
      await tick();
      await tick();
      assert.ok(['revoked', 'expired'].includes((await h.row(grant.lease!.id)).status));
      const seen = await view(id);
      assert.deepEqual([seen.state, seen.ended_how, seen.ended_by], ['to_review', 'expired', 'system']);
      await reviewed(id);
    });

    test('nobody is both: not with two passkeys, not with two accounts, not where nobody can tell', async () => {
      const named = person('a-name', { email: 'a@example.com', emailVerified: true });
      const id = await asked({}, named);
      for (const who of [
        named,
        person('another-account', { email: 'a@example.com', emailVerified: false }),
        person('elsewhere', { issuer: 'https://other.example' }),
        stranger,
        owner,
      ])
        await assert.rejects(agreed(id, who), code('forbidden'));
      const session = await open();
      await isRefused(session, 'frozen');
      await assert.rejects(asked({}, stranger), code('forbidden'));
      await assert.rejects(asked({}, owner), code('forbidden'), 'who answers for the agent is bound by its rules');
      await agreed(id);
      await assert.rejects(agreed(id, third), code('conflict'));
    });

    test('nothing happens without the passkey: another’s word, or a word for something else', async () => {
      const { digest } = await termsOf(deps, wanted, first);
      const shorter = await termsOf(deps, { ...wanted, seconds: 60 }, first);
      const toSign = { ...login(first), about: agent, digest };
      const asks = (assertion: unknown, who = first) => askToBreakGlass(deps, wanted, login(who), assertion, null);
      for (const assertion of [
        undefined,
        '{}',
        await signing.sign(toSign, second),
        await signing.sign({ ...toSign, digest: shorter.digest }),
        await signing.sign({ ...toSign, about: 'another-agent' }),
        await signing.sign({ ...toSign, loginId: 'another login' }),
      ])
        await assert.rejects(asks(assertion), code('forbidden'));
      await assert.rejects(asks(await signing.sign(toSign), second), code('forbidden'));
      const signed = await signing.sign(toSign);
      const one = await asks(signed);
      await assert.rejects(asks(signed), code('forbidden'), 'it was taken already');
      const other = await asked({ reason: 'another' });
      const forOther = await toAgreeTo(deps, other, second);
      const agreement = await signing.sign({ ...login(second), about: other, digest: forOther.digest });
      await assert.rejects(agreeToBreakGlass(deps, one, login(second), agreement, null), code('forbidden'));
      await assert.rejects(agreeToBreakGlass(deps, one, login(second), undefined, null), code('forbidden'));
      const session = await open();
      await isRefused(session, 'frozen');
      for (const id of [one, other]) await close(id);
    });

    test('whoever the session is for breaks no glass for it', async () => {
      const session = await open('user:subject:first');
      const id = await opened();
      await isRefused(session, 'frozen');
      await assert.rejects(asked({ agent: undefined, session: session.sessionId }), code('forbidden'));
      const other = await asked({ agent: undefined, session: session.sessionId }, third);
      await assert.rejects(agreed(other, first), code('forbidden'));
      await agreed(other, second);
      await ask(session, 'frozen');
      // It was for that session alone.
      await close(id);
      const another = await open();
      await isRefused(another, 'frozen');
      await close(other);
      await reviewed(id);
      await assert.rejects(reviewed(other), code('forbidden'));
      await reviewed(other, owner);
    });

    test('what is asked for must be there, and marked', async () => {
      for (const [more, path] of [
        [{ capabilities: ['whole'] }, 'capabilities'],
        [{ capabilities: ['none'] }, 'capabilities'],
        [{ capabilities: [] }, 'capabilities'],
        [{ agent: 'nobody' }, 'agent'],
        [{ agent: undefined }, 'agent'],
        [{ session: 'ses_00000000000000000000', agent: undefined }, 'session'],
        [{ seconds: 1801 }, 'seconds'],
      ] as const)
        await assert.rejects(
          asked(more as Partial<BreakGlassRequest>),
          (error) => error instanceof WritError && error.code === 'bad_request' && error.errors?.[0]?.path === path,
        );
    });

    test('nobody agrees in time, or somebody refuses: it never began, and needs no review', async () => {
      const [late, refused] = [await asked(), await asked()];
      await close(refused, owner);
      h.clock.advance(1800_000);
      await assert.rejects(agreed(late), code('conflict'));
      await assert.rejects(agreed(refused), code('conflict'));
      await tick();
      assert.deepEqual(
        [(await view(late)).ended_how, (await view(refused)).ended_how, (await view(late)).state],
        ['lapsed', 'refused', 'lapsed'],
      );
      await assert.rejects(reviewed(late), code('conflict'));
    });

    test('whoever of the two the identity provider signs off ends it, and who was told that it opened is told so, once', async () => {
      const [open_, waits] = [await opened(), await asked({}, second)];
      const other = await asked({}, third);
      const session = await open();
      const { grant } = await ask(session, 'asked');
      await h.store.run(
        statement(
          `INSERT INTO signal (set_key, event_type, jti, names, effect, received_at, due_at) VALUES ('k', 'e', 'j', $1, 'sign_off', $2, $2)`,
        ),
        [JSON.stringify([{ kind: 'subject', value: 'second', issuer: 'https://id.example' }]), h.clock.now()],
      );
      const breakGlass = { noticeChannels: ['slack', 'mail'], alerts: ['team:security'], reviewSeconds: 3600 };
      const carrying = { ...h.reconciling, breakGlass };
      // Whoever dies in between leaves what the next one goes on with.
      for (const step of ['break_glass_end', 'break_glass_end_leases', 'signal_done']) {
        await carryOutSignals({ ...carrying, store: dyingAt(step) }, h.clock.now(), 10).catch(() => {});
        h.clock.advance(5_000);
      }
      for (let times = 0; times < 2; times += 1) await carryOutSignals(carrying, h.clock.now(), 10);
      const told = await h.store.prisma.approvalNotice.findMany({
        where: { incident: { path: ['break_glass'], equals: open_ } },
        orderBy: { channel: 'asc' },
      });
      const said = told.map(({ channel, incident }) => ({ channel, ...(incident as never as IncidentRecord) }));
      const ofThem = (what: string) => said.filter(({ happening }) => happening.what === what);
      assert.deepEqual(
        ofThem('break_glass_ended').map(({ channel, owner: to, alerts }) => [channel, to, alerts]),
        ofThem('break_glass_opened').map(({ channel, owner: to, alerts }) => [channel, to, alerts]),
      );
      assert.equal(ofThem('break_glass_ended').length, 2);
      for (const { happening } of ofThem('break_glass_ended'))
        assert.deepEqual((happening as BreakGlassHappening).ended, { how: 'signed_off', by: 'system', words: null });
      // One that never began ends without a word.
      const ofWaiting = await h.store.prisma.approvalNotice.count({
        where: {
          AND: [
            { incident: { path: ['break_glass'], equals: waits } },
            { incident: { path: ['happening', 'what'], equals: 'break_glass_ended' } },
          ],
        },
      });
      assert.equal(ofWaiting, 0);
      assert.equal((await view(open_)).review_due_at !== null, true);
      assert.equal((await h.row(grant.lease!.id)).revokeReason, 'break_glass_ended');
      const states = await Promise.all([open_, waits, other].map(async (id) => (await view(id)).state));
      assert.deepEqual(states, ['to_review', 'lapsed', 'waiting']);
      await isRefused(session, 'frozen');
    });

    test('replay says that a break-glass gave it, and calls it no difference; who-can names it while it is open', async () => {
      const replaying = { ...h.grants, shapes: h.shapes, digest: h.grants.digest };
      const session = await open();
      const id = await opened();
      h.clock.advance(1000);
      const since = h.clock.now();
      const { grant } = await ask(session, 'frozen');
      const again = async (source: string) =>
        runReplay(replaying, await readCandidate(replaying, agent, source), since);
      const same = await again(manifest());
      assert.deepEqual(
        same.by_break_glass.map((one) => [one.id, one.because]),
        [[grant.id, [`given by the break-glass ${id}, past the rules`]]],
      );
      assert.deepEqual([same.decided, same.unchanged, ...Object.values(same.groups).flat()], [1, 0]);
      for (const [source, says] of [
        [manifest().replace('max_ttl: 15m, break_glass: true, choose', 'max_ttl: 15m, choose'), /lets none be given/],
        [
          manifest().replace('max_ttl: 15m, break_glass: true, choose', 'max_ttl: 9m, break_glass: true, choose'),
          /agree anew/,
        ],
      ] as const) {
        const other = await again(source);
        assert.match(other.by_break_glass[0]!.because[0]!, says);
        assert.deepEqual(Object.values(other.groups).flat(), []);
      }
      const plain = { ...h.provider('plain'), reach: () => [{ actions: ['do'], resources: ['it'] }] };
      const asking = { ...replaying, providers: new Map([['plain', plain]]) as never };
      const named = async () => {
        const found = await runWhoCan(asking, { provider: 'plain', action: 'do', resource: 'it' });
        return found.find(({ name }) => name === 'frozen')?.break_glass;
      };
      const { expires_at } = await view(id);
      assert.deepEqual(await named(), { needed: true, open: [{ id, session: null, expires_at }] });
      await close(id);
      assert.deepEqual(await named(), { needed: true, open: [] });
    });

    test('a lock goes before it', async () => {
      await opened();
      const admin = (subject: string) => ({ name: `user:${subject}`, identity: person(subject) });
      const session = await open();
      const { grant } = await ask(session, 'asked');
      const lock = await setLock(
        { ...h.ending, clock: h.clock, providers: h.providers },
        { level: 'capability', subject: `${agent}/asked` },
        { reason: 'no', admin: admin('first'), requestId: null },
      );
      assert.equal((await h.row(grant.lease!.id)).revokeReason, 'locked');
      await assert.rejects(ask(session, 'asked'), denied('locked'));
      await ask(session, 'frozen');
      await liftLock(h, { id: lock, reason: 'yes', admin: admin('second'), requestId: null });
      await ask(session, 'asked');
    });

    test('a manifest that says something else of it ends it: nothing is given, and what was given ends', async () => {
      await opened();
      const session = await open();
      const { grant } = await ask(session, 'asked');
      // A newer version that says the same of it changes nothing.
      await publish(manifest('  - { id: more, on: { capability: whole }, effect: deny }'));
      await recheckHeld(h.reconciling as never, agent);
      assert.equal((await h.row(grant.lease!.id)).status, 'active');
      await ask(session, 'asked');
      const waiting = await asked();
      const without = manifest().replace(/(asked: .*), break_glass: true/, '$1');
      await publish(without.replace('frozen: { description: Ask.', 'frozen: { description: Ask for more.'));
      await recheckHeld(h.reconciling as never, agent);
      const lease = await h.row(grant.lease!.id);
      assert.deepEqual([lease.status, lease.revokeReason], ['revoking', 'manifest_narrowed']);
      for (const capability of ['asked', 'frozen']) await isRefused(session, capability);
      await assert.rejects(agreed(waiting), code('conflict'));
      await close(waiting);
      await publish(manifest());
    });

    test('a grant decided before the end and written after it is decided again, and refused', async () => {
      const id = await opened();
      const session = await open();
      let closing: Promise<void> | undefined;
      const store: Store = {
        ...h.store,
        run: (async (what, values) => {
          if (what.name.startsWith('grant_intent') && closing === undefined) {
            closing = close(id);
            await closing;
          }
          return h.store.run(what, values);
        }) as Store['run'],
      };
      const facts = await readSession(h.store, session, h.clock.now(), grantReads(h.grants, 'frozen', null));
      const request = { capability: 'frozen', params: undefined, ttlSeconds: undefined, justification: null };
      await assert.rejects(
        requestGrant({ ...h.grants, store }, facts, { ...request, credentialJwk: null }, null, null),
        denied('rule'),
      );
      assert.deepEqual(h.provider('plain').alive(), []);
      await reviewed(id);
    });

    test('a process that dies over the end leaves what the worker ends', async () => {
      const id = await opened();
      const session = await open();
      const { grant } = await ask(session, 'asked');
      await assert.rejects(close(id, third, { store: dyingAt('break_glass_end') }), /killed/);
      await ask(session, 'frozen');
      await assert.rejects(close(id, third, { store: dyingAt('break_glass_end_leases') }), /killed/);
      await isRefused(session, 'frozen');
      assert.equal((await h.row(grant.lease!.id)).status, 'active');
      await tick();
      assert.equal((await h.row(grant.lease!.id)).status, 'revoked');
      assert.deepEqual(h.provider('plain').alive(), []);
      await reviewed(id);
    });

    test('of ten who agree, or close, one does; of a refusal and an agreement one holds', async () => {
      const outcomes = async (all: Promise<unknown>[]) =>
        (await Promise.allSettled(all)).filter(({ status }) => status === 'fulfilled').length;
      const id = await asked();
      const people = Array.from({ length: 10 }, (_, n) => person(`p${n}`));
      assert.equal(await outcomes(people.map((who) => agreed(id, who))), 1);
      assert.equal(await outcomes(people.map((who) => close(id, who))), 1);
      const both = await asked();
      const held = await outcomes([agreed(both), close(both)]);
      assert.ok(held === 1 || (held === 2 && (await view(both)).state === 'to_review'), String(held));
      await reviewed(id, owner);
      if ((await view(both)).state === 'open') await close(both);
      if ((await view(both)).state === 'to_review') await reviewed(both);
    });

    test('neither of the two reviews it; a third does, once, with words, and only when it is over', async () => {
      const id = await opened();
      await assert.rejects(reviewed(id), code('conflict'));
      await close(id);
      for (const who of [first, second, person('elsewhere', { issuer: 'https://other.example' })])
        await assert.rejects(reviewed(id, who), code('forbidden'));
      await assert.rejects(reviewed(id, stranger), code('not_found'));
      await reviewed(id);
      await assert.rejects(reviewed(id), code('conflict'));
      const seen = await view(id);
      assert.deepEqual([seen.state, seen.reviewed_by, seen.review], ['reviewed', 'user:third', 'it was right']);
      const said = (await events('break_glass.reviewed')).at(-1)!.payload as { words: string };
      assert.equal(said.words, 'it was right');
    });

    test('a review that is overdue is loud: a gauge, and a message a day, until somebody reviews it', async () => {
      const id = await opened();
      await close(id);
      const told = () =>
        h.store.prisma.approvalNotice.count({
          where: { channel: 'mail', incident: { path: ['happening', 'what'], equals: 'break_glass_review_overdue' } },
        });
      const before_ = await told();
      await tick();
      const gauges = async () => [
        (await metrics.unreviewed.get()).values[0]?.value,
        (await metrics.overdue.get()).values[0]?.value,
      ];
      assert.deepEqual([await gauges(), await told()], [[1, 0], before_]);
      h.clock.advance(3600_000);
      for (const [hours, count] of [
        [0, 1],
        [23, 1],
        [1, 2],
        [24, 3],
      ] as const) {
        h.clock.advance(hours * 3600_000);
        await tick();
        await tick();
        assert.deepEqual([await gauges(), (await told()) - before_], [[1, 1], count]);
      }
      assert.equal((await view(id)).overdue, true);
      await reviewed(id);
      h.clock.advance(25 * 3600_000);
      await tick();
      assert.deepEqual([await gauges(), (await told()) - before_], [[0, 0], 3]);
    });

    test('everybody on the list is told once of each step, by every channel that works', async () => {
      h.clock.advance(25 * 3600_000);
      await h.store.run(statement(`UPDATE approval_outbox SET due_at = NULL`), []);
      const heard: Incident[] = [];
      const mail: Channel = {
        name: 'mail',
        deliver: async (notice) => {
          if (notice.kind === 'incident') heard.push(notice);
          return null;
        },
      };
      const slack: Channel = {
        name: 'slack',
        deliver: async () => {
          throw new DeliveryError('unavailable', 'down');
        },
      };
      const say = () => {};
      const outbox: OutboxDeps = {
        store: h.store,
        clock: h.clock,
        log: { warn: say, error: say, info: say },
        metrics: createSideChannelMetrics(new Registry()),
        random: () => 0.5,
        escalateSeconds: 0,
        reminds: false,
        channels: [],
        publicUrl: 'https://writ.example',
        describePlan: (plan) => h.provider('plain').describe(plan),
        approversOf: async () => [],
        aboutGrant: async () => ({ owner: 'team:billing' }),
      };
      const deliver = async () => {
        for (const channel of deliveringChannels([slack, mail]))
          await deliverDue(outbox, channel, 20, new AbortController().signal);
      };
      const id = await asked();
      await deliver();
      await deliver();
      await agreed(id);
      await ask(await open(), 'frozen');
      await deliver();
      await close(id);
      await deliver();
      await tick();
      await deliver();
      assert.deepEqual(
        heard.map(({ what }) => what.replace(/ (until|by) .*/, '')),
        [
          'user:first asks to break the glass, and another may agree',
          'user:first and user:second broke the glass',
          'The break-glass of user:first and user:second is over, because user:third closed it (“the fire is out”): asked, frozen, resting, spent, watched, for the incident INC-7: “production burns”',
        ],
      );
      for (const one of heard)
        assert.deepEqual(
          [one.agent, one.url, one.sessionId, one.recipients],
          [agent, `https://writ.example/break-glass/${id}`, null, ['team:billing', 'team:security']],
        );
      await reviewed(id);
    });

    test('whoever writes the database opens nothing, prolongs nothing, and hides nothing', async () => {
      const session = await open();
      const write = (sql: string, values: unknown[] = []) => h.store.run(statement(sql), values as never);
      const isWhole = async () => isRefused(session, 'frozen');
      const waits = await asked();
      // Their own word in place of the second person's.
      await write(
        `UPDATE break_glass SET status = 'active', approved_by = 'user:second', approver = $2::jsonb, approver_passkey = 'k', approver_evidence = '{}',
           approved_at = requested_at, expires_at = requested_at + interval '1 hour', approval_proof = $3 WHERE id = $1`,
        [waits, JSON.stringify(second), `v1.${'x'.repeat(43)}`],
      );
      await isWhole();
      assert.equal((await view(waits)).proven, false);
      const id = await opened({ seconds: 600 });
      // A row of their own, with the proofs of another.
      await write(
        `INSERT INTO break_glass SELECT (jsonb_populate_record(b, '{"id":"bgl_00000000000000000000","agent":"${agent}"}')).* FROM break_glass b WHERE b.id = $1`,
        [id],
      );
      await close(id);
      await isWhole();
      // Set back to what it was.
      const back = `UPDATE break_glass SET status = 'active', ended_at = NULL, ended_how = NULL WHERE id = $1`;
      await write(back, [id]);
      await isWhole();
      await write(`UPDATE break_glass SET expires_at = expires_at + interval '1 day' WHERE id = $1`, [id]);
      await isWhole();
      // Hidden: as reviewed, and as never begun.
      for (const hiding of [
        `status = 'reviewed', ended_at = approved_at, ended_how = 'closed', reviewed_at = approved_at, reviewed_by = 'user:third', reviewer = '{}', review = 'fine'`,
        `status = 'lapsed', approved_at = NULL, reviewed_at = NULL, ended_at = requested_at, ended_how = 'lapsed', review_due_at = NULL, expires_at = NULL`,
      ]) {
        await write(`UPDATE break_glass SET ${hiding} WHERE id = $1`, [id]);
        await tick();
        const { state, review, proven } = await view(id);
        assert.deepEqual([state, review], ['to_review', null], String(proven));
        assert.ok(((await metrics.unreviewed.get()).values[0]?.value ?? 0) > 0);
      }
      assert.ok((await readBreakGlasses(deps, 20, third)).some((one) => one.id === id && one.state === 'to_review'));
      assert.deepEqual(await readBreakGlasses(deps, 20, stranger), []);
    });
  });
}
