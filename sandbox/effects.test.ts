/**
 * What a rule does besides denying, the whole way: a call that a person is asked about, a session that is
 * frozen or narrowed, credentials that are dead at their target, and what people give back on the pages.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { testBackends } from '../broker/store/store.test-support.ts';
import { until } from '../broker/until.test-support.ts';
import { type Deployment, startDeployment } from './deployment.test-support.ts';
import { type Host, hostOf } from './tool-calls.test-support.ts';

const rules = `
tools:
  read_file: { description: Reads a file., sensitivity: 2, labels: [files] }
  read_news: {}
  send_mail: { description: Sends a mail., destination: [to] }
  http_post: { destination: [url] }
  shell: {}
  refund: { description: Pays money back., entity: 'invoice:\${args.invoice}', cost_usd: 0.01 }
  wire: { description: Wires money., args: { amount: { min: 1 } } }
  purge: {}
  probe: {}
classes:
  egress: { tools: [http_post, send_mail] }
  production: { capabilities: [correct-customer-invoice, read-customer-files], tools: [shell] }
egress: { known: ['*@example.com'] }
rules:
  - id: exfil
    message: Nothing goes to an unknown host after something sensitive was read.
    on: { tool: http_post }
    when: { formerly: { tool: read_file, within: 30m }, destination: unknown }
    effect: suspend
  - id: mail-to-strangers
    message: Mail to somebody whom nobody named is looked at by a person.
    on: { tool: send_mail }
    when: { destination: unknown }
    effect: approve
  - { id: colleagues, on: { tool: send_mail, match: { to: '[a-z]+@partner[.]test' } }, effect: allow }
  - { id: big-refund, on: { tool: refund, match: { amount: '[0-9]{4,}' } }, effect: approve }
  - { id: one-refund, on: { tool: refund }, when: { count: { more_than: 2, within: session } }, effect: deny }
  - id: no-production
    message: A summariser needs no shell.
    on: { tool: shell }
    effect: downgrade
    withhold: { classes: [production] }
  - { id: asked-first, on: { capability: read-statements }, effect: approve }
  - { id: never-here, on: { capability: read-policy-repository }, when: { formerly: { tool: read_file, within: session } }, effect: suspend }
cedar: |
  @id("big-wire")
  @advice("More than 1000 is looked at by a person.")
  @effect("approve")
  forbid (principal, action == Writ::Action::"call:wire", resource) when { context.args has amount && context.args.amount > 1000 };
  @id("too-big")
  forbid (principal, action == Writ::Action::"call:wire", resource) when { context.args has amount && context.args.amount > 9000 };
  @id("purge")
  @effect("suspend")
  @advice("Nothing is purged without somebody who knows why.")
  forbid (principal, action == Writ::Action::"call:purge", resource);
  @id("probe")
  @effect("downgrade")
  @withhold("tool:shell capability:read-customer-files")
  forbid (principal, action == Writ::Action::"call:probe", resource);
  @id("odd-minute")
  @effect("approve")
  forbid (principal, action == Writ::Action::"grant:read-customer-files", resource) when { context.plan.ttl_seconds == 61 };
`;

for (const backend of (await testBackends()) as ('pglite' | 'postgres')[])
  describe(`what a rule does (${backend})`, () => {
    let deployment: Deployment;
    before(async () => {
      deployment = await startDeployment({ backend });
      const example = await readFile(join(import.meta.dirname, 'example/manifests/invoice-bot.yaml'), 'utf8');
      const published = await deployment.publish('invoice-bot', example + rules);
      assert.equal(published.status, 200, published.text);
    });
    after(() => deployment.close());

    const call: Host['call'] = (...asked) => hostOf(deployment).call(...asked);
    const keyOf: Host['keyOf'] = (agent) => hostOf(deployment).keyOf(agent);
    const works: Host['works'] = (key) => hostOf(deployment).works(key);
    const statusOf: Host['statusOf'] = (agent) => hostOf(deployment).statusOf(agent);
    const settled: Host['settled'] = (agent) => hostOf(deployment).settled(agent);
    const pass: Host['pass'] = (agent, seconds) => hostOf(deployment).pass(agent, seconds);

    test('a call waits for a person, who sees its arguments; yes lets exactly it through, once', async () => {
      const agent = await deployment.openAgent();
      const args = { to: 'stranger@elsewhere.test', text: 'Your <b>invoice</b>' };
      const asked = await call(agent, 'send_mail', args, { call_id: 'call-1' });
      assert.deepEqual(
        [asked.decision, asked.context.effect, asked.context.approval.status],
        [false, 'approve', 'pending'],
      );
      const again = await call(agent, 'send_mail', args, { call_id: 'call-1' });
      assert.deepEqual([again.context.id, again.context.effect], [asked.context.id, 'approve'], 'asked once');

      const person = await deployment.approver();
      const { id } = asked.context.approval;
      const list = await person.page('/approvals');
      assert.match(list.html, /invoice-bot.*wants to call.*send_mail/s);
      const page = await person.page(`/approvals/${id}`);
      assert.match(page.html, /stranger@elsewhere\.test/);
      assert.match(page.html, /Your &lt;b>invoice&lt;\/b>/);
      const { store } = deployment.broker;
      const [opened, ...more] = await store.prisma.auditEvent.findMany({
        where: { type: 'arguments.opened', grantId: id },
      });
      assert.deepEqual([opened?.payload, more.length], [{ tool: 'send_mail' }, 0]);
      assert.match(opened?.actor ?? '', /^user:/, 'who read them is on record');
      assert.match(page.html, /from nobody but the agent/);
      assert.match(page.html, /Mail to somebody whom nobody named is looked at by a person/);
      const decided = await person.decide(id, { verdict: 'approve' });
      assert.match(decided.html, /The agent may make this call now, once/);
      assert.equal((await agent.call('GET', `/v1/grants/${id}`)).body.status, 'approved');
      assert.equal((await agent.call('POST', `/v1/grants/${id}/redeem`)).status, 404, 'no credential comes of it');

      const other = await agent.call('POST', '/access/v1/evaluation', {
        subject: { type: 'agent', id: 'invoice-bot' },
        action: { name: 'send_mail' },
        resource: { type: 'tool', id: 'send_mail' },
        context: { arguments: { ...args, to: 'thief@elsewhere.test' }, call_id: 'call-1' },
      });
      assert.equal(other.body.code, 'idempotency_mismatch', 'a yes is to these arguments');
      const allowed = await call(agent, 'send_mail', args, { call_id: 'call-1' });
      assert.deepEqual([allowed.decision, allowed.context.effect], [true, 'allow']);
      assert.notEqual(allowed.context.id, asked.context.id);
      const repeated = await call(agent, 'send_mail', args, { call_id: 'call-1' });
      assert.equal(repeated.context.id, allowed.context.id, 'the same call');
      const second = await call(agent, 'send_mail', args, { call_id: 'call-2' });
      assert.equal(second.context.effect, 'approve', 'another call is asked about again');
      const row = await deployment.broker.store.prisma.grant.findUniqueOrThrow({ where: { id } });
      assert.deepEqual([row.status, row.sealedArguments], ['ended', null]);
      const finished = await agent.call('POST', `/v1/actions/${allowed.context.id}/finish`, { outcome: 'response' });
      assert.equal(finished.status, 200, finished.text);
    });

    test('a host without ids of its own names the action that was asked about', async () => {
      const agent = await deployment.openAgent();
      const args = { to: 'stranger@elsewhere.test' };
      const { context } = await call(agent, 'send_mail', args);
      await (await deployment.approver()).decide(context.approval.id, { verdict: 'approve' });
      const allowed = await call(agent, 'send_mail', args, { action_id: context.id });
      assert.deepEqual([allowed.decision, allowed.context.effect], [true, 'allow']);
    });

    test('no, silence and a session that has ended let nothing through', async () => {
      const agent = await deployment.openAgent();
      const args = { to: 'stranger@elsewhere.test' };
      const asked = await call(agent, 'send_mail', args, { call_id: 'a' });
      await (await deployment.approver()).decide(asked.context.approval.id, { verdict: 'deny', reason: 'Not him.' });
      const denied = await call(agent, 'send_mail', args, { call_id: 'a' });
      assert.deepEqual(
        [denied.decision, denied.context.effect, denied.context.reasons],
        [false, 'deny', [{ code: 'denied_by_approver', advice: 'Not him.' }]],
      );
      const silent = await call(agent, 'send_mail', args, { call_id: 'b' });
      await pass(agent, 301);
      const late = await call(agent, 'send_mail', args, { call_id: 'b' });
      assert.deepEqual([late.context.effect, late.context.reasons.map(({ code }) => code)], ['deny', ['timeout']]);
      const page = await (await deployment.approver()).page(`/approvals/${silent.context.approval.id}`);
      assert.doesNotMatch(page.html, /Let it make this call/);
    });

    test('an agent cannot fill people’s lists', async () => {
      const agent = await deployment.openAgent();
      const effects = new Set<string>();
      for (let n = 0; n < 21; n += 1)
        effects.add((await call(agent, 'send_mail', { to: `stranger${n}@elsewhere.test` })).context.effect);
      assert.deepEqual([...effects], ['approve', 'deny']);
      const last = await call(agent, 'send_mail', { to: 'one-more@elsewhere.test' });
      assert.equal(last.context.reasons[0]?.code, 'too_many_waiting');
    });

    test('a rule that allows spares people, and lets nothing else through', async () => {
      const agent = await deployment.openAgent();
      assert.equal((await call(agent, 'send_mail', { to: 'colleague@partner.test' })).decision, true);
      const both = await call(agent, 'send_mail', { to: ['colleague@partner.test', 'stranger@elsewhere.test'] });
      assert.equal(both.context.effect, 'approve', 'all of them must match');
    });

    test('what a person agreed to is decided anew: rules that stand against it by then hold', async () => {
      const agent = await deployment.openAgent();
      const args = { invoice: 7, amount: 5000 };
      const asked = await call(agent, 'refund', args, { call_id: 'big' });
      assert.equal(asked.context.effect, 'approve');
      assert.equal((await call(agent, 'refund', { invoice: 8, amount: 1 })).decision, true);
      assert.equal((await call(agent, 'refund', { invoice: 9, amount: 1 })).decision, true);
      await (await deployment.approver()).decide(asked.context.approval.id, { verdict: 'approve' });
      const late = await call(agent, 'refund', args, { call_id: 'big' });
      assert.deepEqual([late.context.effect, late.context.reasons.map(({ code }) => code)], ['deny', ['rule']]);
    });

    test('a credential may need a person by a rule, too', async () => {
      const agent = await deployment.openAgent();
      const asked = await agent.grant({ capability: 'read-statements' });
      assert.equal(asked.status, 202, asked.text);
      await (await deployment.approver()).decide(asked.body.id, { verdict: 'approve' });
      const redeemed = await agent.call('POST', `/v1/grants/${asked.body.id}/redeem`);
      assert.equal(redeemed.status, 201, redeemed.text);
    });

    test('a policy of the team’s own has a person asked, whose yes lifts it and no other', async () => {
      const agent = await deployment.openAgent();
      assert.equal((await call(agent, 'wire', { amount: 1000 })).decision, true);
      const asked = await call(agent, 'wire', { amount: 1001 }, { call_id: 'wire-1' });
      const [reason] = asked.context.reasons;
      assert.deepEqual(
        [asked.context.effect, reason?.code, reason?.policy_id],
        ['approve', 'team_policy', 'wire.cedar.big-wire'],
      );
      const person = await deployment.approver();
      const { id } = asked.context.approval;
      assert.match((await person.page(`/approvals/${id}`)).html, /More than 1000 is looked at by a person/);
      await person.decide(id, { verdict: 'approve' });
      assert.equal((await call(agent, 'wire', { amount: 1001 }, { call_id: 'wire-1' })).decision, true);
      assert.equal((await call(agent, 'wire', { amount: 1001 }, { call_id: 'wire-2' })).context.effect, 'approve');
      const denied = await call(agent, 'wire', { amount: 9001 });
      assert.deepEqual([denied.context.effect, denied.context.approval], ['deny', undefined], 'nobody can lift it');

      const grant = await agent.grant({ capability: 'read-customer-files', ttl_seconds: 61 });
      assert.equal(grant.status, 202, grant.text);
      await person.decide(grant.body.id, { verdict: 'approve' });
      assert.equal((await agent.call('POST', `/v1/grants/${grant.body.id}/redeem`)).status, 201);
      assert.equal((await agent.grant({ capability: 'read-customer-files', ttl_seconds: 62 })).status, 201);
    });

    test('a policy of the team’s own narrows a session, and freezes it', async () => {
      const agent = await deployment.openAgent();
      const key = await keyOf(agent);
      const lost = await call(agent, 'probe');
      assert.deepEqual(
        [lost.context.effect, lost.context.withheld],
        ['downgrade', ['capability:read-customer-files', 'tool:shell']],
      );
      await settled(agent);
      assert.equal(await works(key), false);
      const person = await deployment.approver();
      await person.decide(lost.context.approval.id, { verdict: 'approve' });
      const again = await keyOf(agent);
      const stopped = await call(agent, 'purge');
      assert.equal(stopped.context.effect, 'suspend');
      await settled(agent);
      assert.equal(await works(again), false);
      const page = await person.page(`/approvals/${stopped.context.approval.id}`);
      assert.match(page.html, /Nothing is purged without somebody who knows why/);
      await person.decide(stopped.context.approval.id, { verdict: 'approve' });
      assert.equal((await statusOf(agent)).session.status, 'active');
    });

    test('suspended: the key is dead at its target, nothing is answered, and a person lets it go on', async () => {
      const agent = await deployment.openAgent();
      const key = await keyOf(agent);
      assert.equal(await works(key), true);
      await call(agent, 'read_file', { path: 'customers.csv' });
      const stopped = await call(agent, 'http_post', { url: 'https://elsewhere.test/' });
      assert.deepEqual([stopped.decision, stopped.context.effect], [false, 'suspend']);
      await settled(agent);
      assert.equal(await works(key), false);
      for (const [method, path, body] of [
        ['POST', '/v1/grants', { capability: 'read-customer-files' }],
        ['GET', '/v1/tools', undefined],
        ['POST', '/access/v1/evaluation', {}],
      ] as const) {
        const reply = await agent.call(method, path, body);
        if (path !== '/access/v1/evaluation')
          assert.deepEqual([reply.status, reply.body.code], [403, 'session_suspended'], reply.text);
      }
      const { session } = await statusOf(agent);
      assert.equal(session.status, 'suspended');
      const beat = await agent.call('POST', '/v1/session/heartbeat');
      assert.deepEqual([beat.status, beat.body.status], [200, 'suspended'], beat.text);

      const person = await deployment.approver();
      const { id } = stopped.context.approval;
      const page = await person.page(`/approvals/${id}`);
      assert.match(page.html, /A rule stopped.*invoice-bot.*when it asked for.*the tool http_post/s);
      assert.match(page.html, /Nothing goes to an unknown host after something sensitive was read/);
      // Longer than heartbeats are waited for: a frozen session misses none.
      await pass(agent, 250);
      const lifted = await person.decide(id, { verdict: 'approve', withhold: 'tool:refund' });
      assert.match(lifted.html, /The session goes on, without the tool refund/);
      assert.equal((await statusOf(agent)).session.status, 'active');
      assert.equal(await works(key), false, 'what it held stays dead');
      assert.ok((await call(agent, 'refund', { invoice: 1 })).context.reasons.some(({ code }) => code === 'withheld'));
      assert.equal((await call(agent, 'read_news')).decision, true);
      assert.equal(await works(await keyOf(agent)), true, 'what it needs is issued anew');
    });

    test('suspended, and nobody lifts it, or a person says no: the session ends', async () => {
      for (const end of ['no', 'silence']) {
        const agent = await deployment.openAgent();
        await call(agent, 'read_file');
        const stopped = await call(agent, 'http_post', { url: 'https://elsewhere.test/' });
        if (end === 'no')
          await (await deployment.approver()).decide(stopped.context.approval.id, { verdict: 'deny', reason: 'No.' });
        if (end === 'silence') await pass(agent, 240);
        if (end === 'silence') deployment.clock.advance(61_000);
        await until('the session to end', async () => {
          deployment.clock.advance(1000);
          return (await statusOf(agent)).session.status === 'ended';
        });
        assert.equal((await statusOf(agent)).session.end_reason, 'not_lifted');
      }
    });

    test('narrowed: the wider keys are dead, the rest goes on, and a person gives it back', async () => {
      const agent = await deployment.openAgent();
      const key = await keyOf(agent);
      assert.equal(await works(key), true);
      const asked = await call(agent, 'send_mail', { to: 'stranger@elsewhere.test' }, { call_id: 'waits' });
      const lost = await call(agent, 'shell', { command: 'cat .env' });
      assert.deepEqual([lost.decision, lost.context.effect], [false, 'downgrade']);
      assert.deepEqual(lost.context.withheld, [
        'capability:correct-customer-invoice',
        'capability:read-customer-files',
        'tool:shell',
      ]);
      await settled(agent);
      assert.equal(await works(key), false);
      const refused = await agent.grant({ capability: 'read-customer-files' });
      assert.deepEqual([refused.status, refused.body.reasons?.[0]?.code], [403, 'withheld'], refused.text);
      assert.equal((await call(agent, 'read_news')).decision, true, 'the session goes on');
      assert.equal((await agent.call('GET', `/v1/grants/${asked.context.approval.id}`)).body.status, 'pending');
      const again = await call(agent, 'shell', { command: 'ls' });
      assert.deepEqual(
        [again.context.effect, again.context.approval],
        ['downgrade', undefined],
        'nothing is left to take',
      );
      const given = await (await deployment.approver()).decide(lost.context.approval.id, {
        verdict: 'approve',
        withhold: 'capability:correct-customer-invoice',
      });
      assert.match(given.html, /without the capability correct-customer-invoice/);
      assert.equal(await works(await keyOf(agent)), true);
      const write = await agent.grant({ capability: 'correct-customer-invoice' });
      assert.ok(
        write.body.reasons?.some(({ code }) => code === 'withheld'),
        write.text,
      );
    });

    test('asking for a credential may suspend as well', async () => {
      const agent = await deployment.openAgent();
      const key = await keyOf(agent);
      await call(agent, 'read_file');
      const refused = await agent.grant({ capability: 'read-policy-repository' });
      assert.deepEqual([refused.status, refused.body.reasons?.[0]?.code], [403, 'rule'], refused.text);
      await settled(agent);
      assert.deepEqual([(await statusOf(agent)).session.status, await works(key)], ['suspended', false]);
    });

    test('a sub-agent freezes the whole tree', async () => {
      const parent = await deployment.openAgent();
      const key = await keyOf(parent);
      const opened = await deployment.tokenRequest({
        subjectToken: parent.token,
        form: { subject_token_type: 'urn:ietf:params:oauth:token-type:access_token' },
        task: { capabilities: ['read-customer-files'] },
      });
      assert.equal(opened.status, 200, opened.text);
      const child = deployment.agentOf(opened.body);
      await call(child, 'read_file');
      assert.equal((await call(child, 'http_post', { url: 'https://elsewhere.test/' })).context.effect, 'suspend');
      await settled(parent);
      assert.equal(await works(key), false);
      assert.equal((await parent.grant({ capability: 'read-customer-files' })).body.code, 'session_suspended');
    });

    test('a process that dies right after the call leaves nothing alive', async () => {
      const agent = await deployment.openAgent();
      const key = await keyOf(agent);
      await call(agent, 'read_file');
      // What the statement of the call commits, and nothing after it.
      await deployment.broker.store.prisma.$executeRawUnsafe(
        `UPDATE session SET status = 'suspended', heartbeat_deadline = expires_at WHERE id = '${agent.sessionId}'`,
      );
      await until('the key to die', async () => {
        deployment.clock.advance(1000);
        return !(await works(key));
      });
    });

    test('a row set back by whoever writes the database lets no call through twice', async () => {
      const agent = await deployment.openAgent();
      const args = { to: 'stranger@elsewhere.test' };
      const asked = await call(agent, 'send_mail', args, { call_id: 'x' });
      const { id } = asked.context.approval;
      await deployment.broker.store.prisma.grant.update({ where: { id }, data: { status: 'approved' } });
      assert.equal(
        (await call(agent, 'send_mail', args, { call_id: 'x' })).context.effect,
        'deny',
        'nobody approved it',
      );
    });
  });
