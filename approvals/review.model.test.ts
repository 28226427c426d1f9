/**
 * Random lives of requests, by the real functions on the embedded database: people review at once, sessions
 * end, locks are set, manifests are replaced, time passes, and processes die between any two statements.
 * After each statement what it did is held against the reference of `review-model.test-support.ts`.
 *
 * `TEST_RUNS` says how many (in depth, as in continuous integration: 10,000), `TEST_SEED` makes another walk
 * of it; a failure names both.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WritError } from '../broker/core/errors.ts';
import { aboutBatch } from '../broker/core/questions.ts';
import type { ApprovalTerm, Plan } from '../broker/core/vocabulary.ts';
import { planDigest } from '../broker/decide/plan-digest.ts';
import { batchPlan } from '../broker/grants/question.ts';
import { recheckHeld } from '../broker/grants/recheck.ts';
import { redeemGrant, redemptionReads } from '../broker/grants/redeem-grant.ts';
import { type Harness, openHarness } from '../broker/harness.test-support.ts';
import { carryOutLocks } from '../broker/locks/carry-out.ts';
import { setLock } from '../broker/locks/set-lock.ts';
import { publishManifest } from '../broker/manifests/publish.ts';
import type { Identity } from '../broker/people/identity.ts';
import { readSession } from '../broker/sessions/authenticate.ts';
import { endSession, releaseEndedSessions } from '../broker/sessions/end-session.ts';
import type { SqlValue, Store } from '../broker/store/open.ts';
import type { ApproversOf } from './contract.ts';
import { Process, preparing, seeded } from './interleaving.test-support.ts';
import { expireUndecided, review, withdraw } from './review.ts';
import {
  judge,
  type ModelAgent,
  type ModelGrant,
  type ModelPerson,
  type ModelSession,
  mayLapse,
  mayTakeBack,
  type Review,
  type SeenByRedemption,
  settle,
  takeBack,
  takenOut,
  whyNoCredential,
} from './review-model.test-support.ts';
import { grantData, person, sessionData, vouched } from './rows.test-support.ts';

const runs = Number(process.env.TEST_RUNS ?? (process.env.TEST_DEPTH === 'all' ? 10_000 : 300));
const seed = Number(process.env.TEST_SEED ?? 20_261_126);

const member = (self: string, groups: string[], more: Partial<Identity> = {}) => ({
  self,
  groups,
  identity: person(`${self}@example.com`, { groups, ...more }),
});
/** Two of them are one person at two accounts of one e-mail address. */
const people = [
  member('bill', ['billing']),
  member('bert', ['billing']),
  member('bert', ['billing'], { subject: 'sub-other-account' }),
  member('both', ['billing', 'security']),
  member('seth', ['security']),
  member('sue', ['security']),
  member('starter', ['billing', 'security']),
  member('stranger', ['sales']),
];
type Member = ModelPerson & { identity: Identity };

const terms: { [capability: string]: ApprovalTerm[] | null } = {
  one: null,
  two: [{ quorum: 2, from: ['team:billing'] }],
  groups: [
    { quorum: 1, from: ['team:billing'] },
    { quorum: 1, from: ['team:security'] },
  ],
};
const capabilities = Object.keys(terms);
const ttls = [900, 600, 300, 60];
const planOf = (ttl: number): Plan => ({ provider: 'plain', permission: { scope: 'all' }, ttl_seconds: ttl });
const digests = new Map([...ttls, 901].map((ttl) => [ttl, planDigest(planOf(ttl))]));
const digestOf = (ttl: number) => digests.get(ttl)!;
/** Of a list of several its plan, by what is taken out of it. */
const listOf = ({ members }: ModelGrant, ttl = 900): Plan => {
  const listed = members.map(({ id, capability }) => ({
    grant: id,
    capability,
    plan: planOf(900),
    summary: ['Use it'],
    revocability: 'At once.',
  }));
  const whole = batchPlan(listed);
  const withhold = members.slice(0, takenOut(ttl)).map(({ id }) => id);
  return withhold.length === 0 ? whole : { ...whole, permission: { ...whole.permission, withhold } };
};
const standing = (grant: ModelGrant, ttl: number): string =>
  grant.members.length === 0 || ttl === 901 ? digestOf(ttl) : planDigest(listOf(grant, ttl));

/** Manifests that follow one another: what changes, and whom each asks. */
const editions = {
  first: { owner: 'billing', has: capabilities, words: 'Tries things.', quorum: 2 },
  reworded: { owner: 'billing', has: capabilities, words: 'Tries other things.', quorum: 2 },
  handed_on: { owner: 'security', has: capabilities, words: 'Tries things.', quorum: 2 },
  weakened: { owner: 'billing', has: capabilities, words: 'Tries things.', quorum: 1 },
  narrowed: { owner: 'billing', has: ['groups'], words: 'Tries things.', quorum: 2 },
};
type Edition = keyof typeof editions;
const following: Edition[] = ['reworded', 'handed_on', 'weakened', 'narrowed', 'first'];

/** What happens in every thousand runs, and what in every ten thousand. */
const common = [
  'review: pending',
  'review: approved',
  'review: denied',
  'review refused: forbidden',
  'review refused: conflict',
  'claimed',
  'review of several: approved',
  'review of several: denied',
  'claimed of several',
  'no credential: not_approved',
  'no credential: conflict',
  'session ended',
  'review_expire',
  'session_release_grants',
  'died before review_decide',
  'died after review_decide',
];
const rarer = [
  'review refused: bad_request',
  'no credential: session_ended',
  'taken back',
  'locked',
  'lock carried out',
  'published: handed_on',
  'published: narrowed',
  'died before grant_claim',
  'died after grant_claim',
];

const manifestOf = (agent: string, edition: Edition) => {
  const { owner, has, words, quorum } = editions[edition];
  const approval: { [capability: string]: string } = {
    one: '',
    two: `, approval: { quorum: ${quorum}, from: [team:billing] }`,
    // A rule asks the others besides.
    groups: ', approval: { quorum: 1, from: [team:billing] }',
  };
  return `apiVersion: writ/v1
agent: ${agent}
owner: team:${owner}
description: ${words}
envelope: { wall_time: 30m, max_grants: 500 }
task_types: { work: { description: Work., inputs: {} } }
capabilities:
${has.map((name) => `  ${name}: { description: Use it., provider: plain, tasks: [work], tier: 2, max_ttl: 15m${approval[name]} }`).join('\n')}
`;
};
/** Whom an edition asks, in words that differ when they do. */
const asksOf = (edition: Edition): ModelAgent['asks'] => {
  const { owner, has, quorum } = editions[edition];
  const own = (name: string) => (has.includes(name) ? (name === 'two' ? `two of ${quorum}` : name) : 'one');
  return Object.fromEntries(capabilities.map((name) => [name, `${owner}: ${own(name)}`]));
};

/** Those who could say something of it that counts. */
const askedOf = ({ terms, owner, session }: ModelGrant): Member[] =>
  people.filter(
    ({ self, groups }) =>
      self !== session.startedBy &&
      groups.some((group) => (terms?.flatMap(({ from }) => from) ?? [owner]).includes(group)),
  );

/** A process, and what is made of it: of each statement that ran, and of its end unless it was killed. */
interface Work {
  process: Process;
  ran(name: string, values: SqlValue[], rows: Row[]): void;
  over(error: WritError | null): unknown;
}
type Row = { [column: string]: unknown };

const errorOf = ({ result }: Process): WritError | null => {
  if (result === null || 'value' in result) return null;
  // Being refused is a way to go on; anything nobody foresaw is not.
  if (result.error instanceof WritError && result.error.code !== 'internal') return result.error;
  throw result.error;
};

class World {
  h: Harness;
  random: ReturnType<typeof seeded>;
  run: Store['run'];
  grants = new Map<string, ModelGrant>();
  sessions = new Map<string, ModelSession>();
  /** Whose credential a lease is. */
  leases = new Map<string, ModelGrant>();
  minted = new Map<ModelGrant, number>();
  /** How often something happened, so that nothing is thought to be tried that is not. */
  seen = new Map<string, number>();
  /** What changed so far: whoever finds it as it was had nobody come between. */
  changes = 0;

  constructor(h: Harness, random: ReturnType<typeof seeded>) {
    this.h = h;
    this.random = random;
    this.run = preparing(h.store);
    h.provider('plain').script.issue = async ({ leaseId }, mint) => {
      const grant = this.leases.get(leaseId);
      assert.ok(grant?.state === 'claimed', `a credential for ${leaseId}, which nobody was to have`);
      this.minted.set(grant, (this.minted.get(grant) ?? 0) + 1);
      assert.equal(this.minted.get(grant), 1, `a second credential for ${grant.id}`);
      return mint();
    };
  }

  note(what: string): void {
    this.seen.set(what, (this.seen.get(what) ?? 0) + 1);
  }

  changed(what: string): void {
    this.changes += 1;
    this.note(what);
  }

  now = () => this.h.clock.now().getTime();

  work(name: string, work: (store: Store) => Promise<unknown>, more: Partial<Omit<Work, 'process'>> = {}): Work {
    return { process: new Process(name, this.h.store, work), ran: () => {}, over: () => {}, ...more };
  }

  review(grant: ModelGrant, who: Member): Work {
    const { random, h } = this;
    const approve = random.chance(0.85);
    // What is on the screen is what stands; or what stood; or what never did.
    const seen = random.chance(0.92) ? grant.ttl : random.pick([...digests.keys()]);
    const ttl = random.chance(0.75) ? seen : random.pick(ttls);
    const asked: Review = { person: who, approve, seen, ttl };
    const expected = judge(grant, asked, this.now());
    const before = this.changes;
    const approversOf: ApproversOf = async ({ agent, manifestVersion }) => [
      (await h.grants.catalog.version(agent, manifestVersion)).compiled.manifest.owner,
    ];
    const request = {
      grantId: grant.id,
      reviewer: who.identity,
      verdict: approve ? ('approve' as const) : ('deny' as const),
      planDigest: standing(grant, seen),
      ...(grant.members.length === 0
        ? { ttlSeconds: approve && ttl !== seen ? ttl : undefined }
        : { withhold: approve ? grant.members.slice(0, takenOut(ttl)).map(({ id }) => id) : undefined }),
      reason: approve ? undefined : 'no',
      channel: 'web',
      requestId: 'req',
    };
    return this.work('review', (store) => review({ store, clock: h.clock, approversOf }, request), {
      ran: (name, values, rows) => {
        if (name !== 'review_decide' || rows.length === 0) return;
        const at = (values[2] as Date).getTime();
        const verdict = judge(grant, asked, at);
        assert.deepEqual(verdict, { state: values[4] }, `${who.self} reviews ${grant.id}: ${JSON.stringify(asked)}`);
        settle(grant, asked, String(values[4]), at);
        this.changed(`review: ${values[4]}`);
        if (grant.members.length > 0) this.note(`review of several: ${values[4]}`);
      },
      over: (error) => {
        if (error === null) return;
        this.note(`review refused: ${error.code}`);
        const told = `${who.self} on ${grant.id}, undisturbed: ${error.detail}`;
        if (this.changes === before) assert.equal(error.code, 'refused' in expected ? expected.refused : 'done', told);
      },
    });
  }

  takeBack(grant: ModelGrant, who: Member): Work {
    const { h } = this;
    const input = { grantId: grant.id, reviewer: who.identity, requestId: 'req' };
    return this.work('withdraw', (store) => withdraw({ store, clock: h.clock }, input), {
      ran: (name, values, rows) => {
        if (name !== 'review_withdraw' || rows.length === 0) return;
        const at = (values[1] as Date).getTime();
        assert.ok(mayTakeBack(grant, who, at), `${who.self} took ${grant.id} back, which is ${grant.state}`);
        takeBack(grant);
        this.changed(grant.members.length === 0 ? 'taken back' : 'taken back: several');
      },
    });
  }

  redeem(grant: ModelGrant, sessionId: string, agent: string): Work {
    const { h } = this;
    let seen: SeenByRedemption | null = null;
    const before = this.changes;
    const expected = whyNoCredential(grant, { agent: grant.session.agent, at: this.now() });
    const redeem = async (store: Store) => {
      const deps = { ...h.grants, store };
      const caller = { sessionId, agent, jkt: null, replay: null };
      const session = await readSession(store, caller, h.clock.now(), await redemptionReads(deps, sessionId, grant.id));
      return redeemGrant(deps, session, grant.id, null, null, null);
    };
    return this.work('redeem', redeem, {
      ran: (name, values, rows) => {
        if (name === 'session_facts') seen = { agent: { ...grant.session.agent }, at: this.now() };
        // A process that slept longer than its decision holds asks nobody for anything.
        if (name === 'lease_failure' && rows[0]?.status === 'approved') {
          grant.state = 'approved';
          this.changed('approval kept');
        }
        if (name !== 'grant_claim' || rows[0]?.ok !== true) return;
        const at = (values[1] as Date).getTime();
        const why = whyNoCredential(grant, { ...seen!, at });
        assert.equal(why, null, `a credential for ${grant.id}, although ${why}`);
        grant.state = 'claimed';
        this.leases.set(String(values[4]), grant);
        this.changed('claimed');
        if (grant.batch !== null) this.note('claimed of several');
      },
      over: (error) => {
        if (error !== null) this.note(`no credential: ${error.code}`);
        if (error !== null && this.changes === before)
          assert.notEqual(expected, null, `${grant.id} was not given, undisturbed: ${error.code} ${error.detail}`);
      },
    });
  }

  end(sessionId: string): Work {
    return this.work('end', (store) => endSession({ ...this.h.ending, store }, this.h.end(sessionId)));
  }

  lock(agent: ModelAgent, name: string, capability: string | null): Work {
    const { h } = this;
    const target =
      capability === null
        ? { level: 'agent' as const, subject: name }
        : { level: 'capability' as const, subject: `${name}/${capability}` };
    const deps = (store: Store) => ({ ...h.ending, store, clock: h.clock, providers: h.providers });
    const order = { reason: 'stop', admin: { name: 'bootstrap', identity: null }, requestId: null };
    return this.work('lock', (store) => setLock(deps(store), target, order), {
      ran: (statement, _values, rows) => {
        if (statement !== 'lock_set' || rows.length === 0) return;
        if (capability === null) agent.locked = true;
        else agent.lockedCapabilities = [...agent.lockedCapabilities, capability];
        this.changed('locked');
      },
      over: async (error) => {
        assert.equal(error, null, 'nobody else sets this lock');
        // What an ended session still holds on record can do nothing, and is ended by whoever ends it.
        const under = [...this.grants.values()].filter(
          ({ session, capability: one, members }) =>
            // Of a list, what it lists is locked.
            members.length === 0 &&
            session.agent === agent &&
            !session.ended &&
            (capability === null || one === capability),
        );
        for (const { id, state } of under)
          assert.ok(state === 'denied' || state === 'claimed', `${id} is ${state} under a lock that has been set`);
        const where = { grantId: { in: under.map(({ id }) => id) }, status: { in: ['issuing', 'active'] } };
        assert.equal(await h.store.prisma.lease.count({ where }), 0, 'a lease lives under a lock that has been set');
        this.note('lock carried out');
      },
    });
  }

  publish(agent: ModelAgent, name: string, edition: Edition): Work {
    const { h } = this;
    const input = { author: 'tester', reason: 'test', agent: null, expectedVersion: null, requestId: null };
    const source = manifestOf(name, edition);
    return this.work('publish', (store) => publishManifest(store, h.clock, h.shapes, { ...input, source }), {
      ran: (statement, _values, rows) => {
        if (statement !== 'manifest_publish' || rows.length === 0) return;
        agent.asks = asksOf(edition);
        agent.has = editions[edition].has;
        agent.hadNot = [...agent.hadNot, ...capabilities.filter((one) => !agent.has.includes(one))];
        this.changed(`published: ${edition}`);
      },
    });
  }

  /** What a worker does about requests, in its order. */
  worker(): Work {
    const { h } = this;
    return this.work('worker', async (store) => {
      const ending = { ...h.ending, store };
      await carryOutLocks(ending, h.clock.now());
      await releaseEndedSessions(ending, h.clock.now(), 50);
      while ((await expireUndecided(store, h.clock.now(), 50)).length >= 50);
      await recheckHeld({ ...h.reconciling, store }, null);
    });
  }

  /** Ends of requests that any process may write. */
  observe(name: string, values: SqlValue[], rows: Row[]): void {
    if (name === 'session_end')
      for (const { id } of rows) {
        this.sessions.get(String(id))!.ended = true;
        this.changed('session ended');
      }
    const ends: { [statement: string]: (grant: ModelGrant) => boolean } = {
      session_release_grants: ({ session }) => session.ended,
      lock_end_grants: ({ session: { agent }, capability }) => agent.lockedCapabilities.includes(capability),
      review_expire: (grant) => mayLapse(grant, (values[0] as Date).getTime()),
      grants_disallow: ({ session: { agent }, capability }) => agent.hadNot.includes(capability),
    };
    const may = ends[name];
    if (may === undefined) return;
    for (const row of rows) {
      const grant = this.grants.get(String(row.id ?? row.grantId))!;
      assert.ok(may(grant), `${name} ended ${grant.id}, which is ${grant.state}, without a reason`);
      // What has its credential ends with it, and a list with its approval.
      const over = grant.members.length > 0 && grant.state === 'approved';
      if (grant.state !== 'claimed' && !over) grant.state = 'denied';
      this.changed(name);
    }
  }

  /** Lets the statement of one process run, and kills the process before it, after it, or not. */
  async let(works: Work[], work: Work): Promise<void> {
    const { process } = work;
    const { statement, values } = process.waiting!;
    if (this.random.chance(deathRate)) return this.die(works, work, `before ${statement.name}`);
    // Those who are about to read the same read it in one go: nobody can come between them.
    const together =
      statement.name === 'review_load'
        ? works.filter((one) => one.process.waiting?.statement === statement && one !== work)
        : [];
    if (together.length > 0) {
      const all = [work, ...together];
      const ids = all.map((one) => (one.process.waiting!.values[0] as string[])[0]!);
      const rows = await this.run<Row>(statement, [[...new Set(ids)]]);
      for (const [index, one] of all.entries()) {
        await one.process.goOn(structuredClone(rows.filter(({ id }) => id === ids[index])));
        await this.finish(works, one);
      }
      return;
    }
    const rows = await this.run<Row>(statement, values).catch((error: unknown) => ({ error }));
    if ('error' in rows) await process.goOnWith(rows.error);
    else {
      this.observe(statement.name, values, rows);
      work.ran(statement.name, values, rows);
      if (this.random.chance(deathRate)) return this.die(works, work, `after ${statement.name}`);
      await process.goOn(rows);
    }
    await this.finish(works, work);
  }

  die(works: Work[], work: Work, where: string): void {
    works.splice(works.indexOf(work), 1);
    this.note(`died ${where}`);
  }

  async finish(works: Work[], work: Work): Promise<void> {
    if (work.process.result === null) return;
    works.splice(works.indexOf(work), 1);
    await work.over(errorOf(work.process));
  }

  /** Requests of one agent, and all that happens to them and to it. */
  async live(batch: number, count: number): Promise<void> {
    const { h, random } = this;
    const name = `agent-${batch}`;
    const agent: ModelAgent = { asks: {}, has: [], hadNot: [], locked: false, lockedCapabilities: [] };
    const works: Work[] = [];
    const start = async (work: Work) => {
      await work.process.turned();
      works.push(work);
      await this.finish(works, work);
    };
    const alone = async (work: Work) => {
      await start(work);
      while (work.process.result === null) await this.let(works, work);
    };
    deathRate = 0;
    await alone(this.publish(agent, name, 'first'));
    const requests = await this.ask(agent, name, batch, count);
    deathRate = 0.015;
    const window = requests.splice(0, 8).map((request) => ({ ...request, left: 2 + random.below(3) }));
    while (window.length > 0 || works.length > 0) {
      if (works.length > 0 && (window.length === 0 || works.length > 7 || random.chance(0.5))) {
        await this.let(works, random.pick(works));
        continue;
      }
      if (random.chance(0.04)) {
        h.clock.advance((1 + random.below(30)) * 1000);
        this.changes += 1;
      }
      const one = random.pick(window);
      one.left -= 1;
      const { grant, sessionId } = one;
      if (one.left <= 0 || ((grant.state === 'denied' || grant.state === 'claimed') && random.chance(0.9))) {
        window.splice(window.indexOf(one), 1);
        const next = requests.shift();
        if (next !== undefined) window.push({ ...next, left: 2 + random.below(3) });
      }
      if (random.chance(0.012)) await start(this.worker());
      else if (random.chance(0.01)) await start(this.end(sessionId));
      else if (random.chance(0.008)) await start(this.publish(agent, name, random.pick(following)));
      else if (random.chance(0.002)) await start(this.lock(agent, name, random.pick(capabilities)));
      else if (random.chance(0.001)) await start(this.lock(agent, name, null));
      else if (random.chance(grant.state === 'approved' ? 0.5 : 0.03))
        await start(this.redeem(grant.members.length === 0 ? grant : random.pick(grant.members), sessionId, name));
      else if (random.chance(0.04)) await start(this.takeBack(grant, random.pick(people)));
      else await start(this.review(grant, random.pick(random.chance(0.75) ? askedOf(grant) : people)));
    }
    // However it went: what is due is done in the end, and rows and record say what the model says.
    deathRate = 0;
    h.clock.advance(3600_000);
    await alone(this.worker());
    await this.compare(name);
    this.grants.clear();
    this.sessions.clear();
    this.leases.clear();
    this.minted.clear();
  }

  /** Requests that wait, as their agent made them, in sessions of its. */
  async ask(agent: ModelAgent, name: string, batch: number, count: number) {
    const { h, random } = this;
    const { store } = h;
    const now = this.now();
    const sessionRows: ReturnType<typeof sessionData>[] = [];
    const requests: { grant: ModelGrant; sessionId: string }[] = [];
    const grantRows: ReturnType<typeof grantData>[] = [];
    for (let n = 0; n < count; n += 1) {
      const sessionId = `ses_${batch}_${Math.floor(n / 5)}`;
      if (n % 5 === 0) {
        const startedBy = random.chance(0.8) ? 'starter' : null;
        const until = now + (120 + random.below(1500)) * 1000;
        this.sessions.set(sessionId, { agent, startedBy, ended: false, until });
        sessionRows.push(
          sessionData(store, {
            id: sessionId,
            agent: name,
            taskType: 'work',
            inputs: {},
            startedBy: startedBy === null ? null : vouched(`${startedBy}@example.com`),
            openedAt: new Date(now),
            expiresAt: new Date(until),
            heartbeatDeadline: new Date(until),
          }),
        );
      }
      const capability = random.pick(capabilities);
      const grant: ModelGrant = {
        id: `gnt_${batch}_${n}`,
        session: this.sessions.get(sessionId)!,
        capability,
        owner: 'billing',
        asked: agent.asks[capability]!,
        terms:
          terms[capability]?.map(({ quorum, from }) => ({ quorum, from: from.map((team) => team.slice(5)) })) ?? null,
        state: 'pending',
        ttl: 900,
        until: now + (30 + random.below(600)) * 1000,
        approvals: [],
        batch: null,
        members: [],
      };
      this.grants.set(grant.id, grant);
      requests.push({ grant, sessionId });
      const approval = terms[capability];
      grantRows.push(
        grantData(store, {
          id: grant.id,
          sessionId,
          agent: name,
          capability,
          plan: planOf(900),
          requestedAt: new Date(now),
          decideBy: new Date(grant.until),
          ...(approval == null ? {} : { approval }),
        }),
      );
    }
    const batchRows = this.askTogether(requests, now);
    await store.prisma.session.createMany({ data: sessionRows });
    await store.prisma.grant.createMany({ data: grantRows as never });
    await store.prisma.grant.createMany({ data: batchRows as never });
    for (const { id, batch, until } of this.grants.values())
      if (batch !== null)
        await store.prisma.grant.update({ where: { id }, data: { batchId: batch.id, decideBy: new Date(until) } });
    return requests;
  }

  /** Of some sessions, what needs the same people is put to them at once. @returns the rows of the lists */
  askTogether(requests: { grant: ModelGrant; sessionId: string }[], now: number) {
    const rows: ReturnType<typeof grantData>[] = [];
    const alike = Map.groupBy([...requests], ({ grant, sessionId }) => `${sessionId} ${grant.capability}`);
    for (const together of alike.values()) {
      const [first] = together;
      if (first === undefined || together.length < 2 || this.random.chance(0.4)) continue;
      const members = together.map(({ grant }) => grant);
      const id = `gnt_b${rows.length}_${first.grant.id.slice(4)}`;
      const list: ModelGrant = { ...first.grant, id, approvals: [], members };
      for (const member of members) Object.assign(member, { batch: list, until: list.until });
      this.grants.set(id, list);
      requests.push({ grant: list, sessionId: first.sessionId });
      const approval = terms[list.capability];
      rows.push(
        grantData(this.h.store, {
          id,
          sessionId: first.sessionId,
          agent: first.sessionId.replace(/^ses_(\d+)_.*$/, 'agent-$1'),
          capability: aboutBatch(list.capability),
          plan: listOf(list),
          requestedAt: new Date(now),
          decideBy: new Date(list.until),
          ...(approval == null ? {} : { approval }),
        }),
      );
    }
    return rows;
  }

  async compare(agent: string): Promise<void> {
    const { prisma } = this.h.store;
    const rows = await prisma.grant.findMany({ where: { agent }, include: { reviews: true } });
    assert.equal(rows.length, this.grants.size);
    const events = await prisma.auditEvent.findMany({
      where: {
        grantId: { in: rows.map(({ id }) => id) },
        type: { in: ['grant.approved', 'grant.denied', 'grant.redeemed'] },
      },
      orderBy: { seq: 'asc' },
    });
    const outcomes = Map.groupBy(events, ({ grantId }) => grantId);
    const live = await prisma.lease.groupBy({ by: ['grantId'], where: { agent }, _count: true });
    for (const { grantId, _count } of live) assert.equal(_count, 1, `${grantId} has two leases`);
    for (const { id, status, planDigest: digest, reviews } of rows) {
      const grant = this.grants.get(id)!;
      const isList = grant.members.length > 0;
      const given = isList ? 'approved' : 'claimed';
      assert.ok(grant.state === 'denied' || grant.state === given, `${id} is left ${grant.state}`);
      assert.equal(['issuing', 'issued', 'ended', 'failed'].includes(status) ? given : status, grant.state, id);
      if (grant.state === 'denied') assert.equal(digest, standing(grant, grant.ttl), id);
      const approvals = reviews.filter(({ verdict }) => verdict === 'approve');
      assert.equal(approvals.length, grant.approvals.length, `approvals of ${id}`);
      const told = (outcomes.get(id) ?? []).map(({ type }) => type).join(', ');
      const may =
        grant.state === given
          ? [isList ? 'grant.approved' : 'grant.approved, grant.redeemed']
          : ['grant.denied', 'grant.approved, grant.denied'];
      assert.ok(may.includes(told), `the record of ${id} says ${told}`);
    }
  }
}

let deathRate = 0;

/** So many lives are a test of their own: what goes on for minutes is heard of meanwhile. */
const heardOf = 500;

test('whatever happens to requests in whatever order: one outcome each, and no credential without its people', async (t) => {
  const h = await openHarness('pglite', { providers: [{ name: 'plain' }] });
  const world = new World(h, seeded(seed));
  const size = 100;
  let broken = false;
  const live = async (from: number, until: number) => {
    try {
      for (let first = from; first < until; first += size)
        await world.live(first / size, Math.min(size, until - first));
    } catch (error) {
      broken = true;
      throw new Error(`TEST_SEED=${seed} TEST_RUNS=${runs}: ${(error as Error).message}`, { cause: error });
    }
  };
  try {
    for (let from = 0; from < runs && !broken; from += heardOf) {
      const until = Math.min(runs, from + heardOf);
      await t.test(`lives up to ${until}`, () => live(from, until));
    }
    if (process.env.TEST_TELL) console.log(Object.fromEntries([...world.seen].sort()), process.cpuUsage());
    // What never happened was not tried.
    const expected = [...(runs >= 1_000 ? common : []), ...(runs >= 10_000 ? rarer : [])];
    for (const what of broken ? [] : expected)
      assert.ok(world.seen.has(what), `TEST_SEED=${seed} TEST_RUNS=${runs}: never: ${what}`);
  } finally {
    await h.close();
  }
});
