/** The `cedar` section: the team's own policies, which forbid and never widen. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import type { JsonObject } from '../core/vocabulary.ts';
import { cedarSchemaOf, readManifest } from '../manifests/read.ts';
import { Folded, start } from './histories.test-support.ts';

const head = `apiVersion: writ/v1
agent: some-bot
owner: team:billing
description: Tries things.
envelope: { wall_time: 30m }
task_types: { work: { description: Work., inputs: { customer: { type: integer } } } }
capabilities:
  open: { description: Open it., provider: plain, tasks: [work], tier: 1, max_ttl: 15m, params: { bucket: orders } }
tools:
  pay: { args: { amount: { min: 1 }, to: { pattern: '.*' }, note: { pattern: '.*', optional: true } }, destination: [to] }
  read: { entity: 'order:\${args.id}', labels: [pii] }
`;
const shapes = { plain: { params: z.looseObject({}) } };
const read = (cedar: string) => readManifest(`${head}cedar: |\n${cedar.replaceAll(/^/gm, '  ')}\n`, shapes);

function agent(cedar: string) {
  const found = read(cedar);
  assert.ok(found.ok, JSON.stringify(found));
  const folded = new Folded({ 'some-bot': found.compiled });
  return (tool: string, args: JsonObject, address: string | null = null) => {
    const who = {
      ...{ rootId: 'root', agent: 'some-bot', principal: 'some-bot', openedAt: start },
      ...{ task: { task_type: 'work', inputs: { customer: 7 } }, onBehalfOf: null, declaredOnBehalfOf: null },
    };
    const { decision } = folded.ask(who, { tool, args, costMicroUsd: null, address }, start).evaluation;
    return [decision.effect, ...decision.reasons.map(({ code, policy_id, path }) => policy_id ?? path ?? code)].join(
      ' ',
    );
  };
}

test('facts of the call: arguments by their types, labels, destinations, inputs, address, time', () => {
  const call = agent(`
@id("limit")
@advice("Ask for less.")
forbid (principal, action == Writ::Action::"call:pay", resource)
when { context.args has amount && context.args.amount > 1000 };

@id("after-reading")
@effect("terminate")
forbid (principal, action == Writ::Action::"call:pay", resource)
when { context.labels.contains("pii") && context.args has to && !(context.args.to like "*@example.com") };

@id("outside")
forbid (principal, action in Writ::Action::"calls", resource)
when { context has address && context.address.isInRange(ip("198.51.100.0/24")) };

@id("customer")
forbid (principal, action in [Writ::Action::"call:read"], resource == Writ::Resource::"order:13")
when { context.inputs has customer && context.inputs.customer == 7 };

@id("long-ago")
forbid (principal == Writ::Agent::"some-bot", action == Writ::Action::"call:read", resource)
when { context.now < datetime("2020-01-01") };
`);
  assert.equal(call('pay', { amount: 1000, to: 'a@evil.test' }), 'allow');
  assert.equal(call('pay', { amount: 1001, to: 'a@evil.test' }), 'deny pay.cedar.limit');
  assert.equal(call('read', { id: 13 }), 'deny read.cedar.customer');
  assert.equal(call('read', { id: 1 }, '198.51.100.7'), 'deny read.cedar.outside');
  assert.equal(call('read', { id: 1 }, '::ffff:198.51.100.7'), 'deny read.cedar.outside');
  assert.match(call('read', { id: 1 }, 'nonsense'), /^deny read.rule.cedar/, 'nobody can tell whether it is');
  assert.equal(call('read', { id: 1 }, '192.0.2.1'), 'allow');
  assert.equal(call('pay', { amount: 1, to: 'a@example.com' }), 'allow');
  assert.equal(call('pay', { amount: 1, to: 'a@evil.test' }), 'terminate pay.cedar.after-reading');
});

test('effects: a person’s yes lifts what asks for one, as long as nothing else stands against it', () => {
  const call = agent(`
@id("look")
@effect("approve")
forbid (principal, action == Writ::Action::"call:pay", resource) when { context.args has amount && context.args.amount > 10 };

@id("never")
forbid (principal, action == Writ::Action::"call:pay", resource) when { context.args has amount && context.args.amount > 20 };

@id("freeze")
@effect("suspend")
forbid (principal, action == Writ::Action::"call:pay", resource) when { context.args has amount && context.args.amount > 30 };

@id("narrow")
@effect("downgrade")
@withhold("tool:pay, capability:open")
forbid (principal, action == Writ::Action::"call:read", resource);
`);
  assert.equal(call('pay', { amount: 10, to: 'a' }), 'allow');
  assert.equal(call('pay', { amount: 11, to: 'a' }), 'approve pay.cedar.look');
  assert.equal(call('pay', { amount: 21, to: 'a' }), 'deny pay.cedar.look pay.cedar.never');
  assert.equal(call('pay', { amount: 31, to: 'a' }), 'suspend pay.cedar.freeze pay.cedar.look pay.cedar.never');
  assert.equal(call('read', { id: 1 }), 'downgrade read.cedar.narrow');
});

test('an argument that is not one value of its type is denied, not overlooked', () => {
  const call = agent('forbid (principal, action, resource) when { context.hits.contains("none") };');
  assert.equal(call('pay', { amount: 1, to: ['a', 'b'] }), 'deny pay.rule.cedar');
  assert.equal(call('pay', { amount: 1.5, to: 'a' }), 'deny pay.rule.cedar');
});

test('a policy that cannot be evaluated denies', () => {
  const call = agent(
    'forbid (principal, action == Writ::Action::"call:pay", resource) when { context.args has amount && context.args.amount * 9007199254740991 > 0 };',
  );
  assert.equal(call('pay', { amount: 5000, to: 'a' }), 'deny policy_failed');
});

test('what is wrong is told by its line', () => {
  const faults = (cedar: string) => {
    const found = read(cedar);
    return found.ok ? [] : found.faults.map(({ path, line, message }) => `${path}:${(line ?? 0) - 12} ${message}`);
  };
  const cases: [string, RegExp][] = [
    ['\npermit (principal, action, resource);', /^cedar:2 must forbid/],
    ['forbid (principal, action, resource)\nwhen { context. };', /^cedar:2 unexpected token/],
    [
      'forbid (principal, action == Writ::Action::"call:rm", resource);',
      /^cedar:1 names the action Writ::Action::"call:rm"/,
    ],
    ['forbid (principal == Writ::Agent::"other", action, resource);', /^cedar:1 names a principal/],
    ['forbid (principal == ?principal, action, resource);', /^cedar:1 must be a policy/],
    [
      '@effect("allow")\nforbid (principal, action, resource);',
      /^cedar:1 has an @effect that is none of deny, approve/,
    ],
    ['\n@effect("flag")\nforbid (principal, action, resource);', /^cedar:2 has an @effect/],
    ['@effect("Suspend")\nforbid (principal, action, resource);', /^cedar:1 has an @effect/],
    ['@effect("downgrade")\nforbid (principal, action, resource);', /^cedar:1 has @withhold without/],
    ['@withhold("tool:pay")\nforbid (principal, action, resource);', /^cedar:1 has @withhold without/],
    [
      '@effect("downgrade") @withhold("tool:rm")\nforbid (principal, action, resource);',
      /^cedar:1 has @withhold of "tool:rm"/,
    ],
    [
      '@id("a")\nforbid (principal, action, resource);\n@id("a")\nforbid (principal, action, resource);',
      /^cedar:3 has an id that is there twice/,
    ],
    ['forbid (principal, action, resource) when { 9223372036854775807 > 1 };', /^cedar:1 has a number beyond/],
    ['@x("a")\nforbid (principal, action, resource);', /^cedar:1 has the annotation @x/],
    [
      '\n\nforbid (principal, action in Writ::Action::"calls", resource) when { context.secret == 1 };',
      /^cedar:3 Cedar on .*secret/,
    ],
    [
      'forbid (principal, action == Writ::Action::"call:pay", resource) when { context.args.note == "x" };',
      /^cedar:1 .*note/,
    ],
    [
      'forbid (principal, action == Writ::Action::"call:pay", resource) when { context.args has amount && context.args.amount == "x" };',
      /^cedar:1 /,
    ],
    ['forbid (principal, action, resource) when { context.args has id };', /^cedar:1 .*args/],
  ];
  for (const [cedar, fault] of cases) {
    const found = faults(cedar);
    assert.equal(found.length, 1, `${cedar}: ${found.join(' | ')}`);
    assert.match(found[0]!, fault);
  }
});

test('grants are actions too', () => {
  const found = read(
    '@id("no")\nforbid (principal, action in Writ::Action::"grants", resource) when { context.tier < 3 };',
  );
  assert.ok(found.ok, JSON.stringify(found));
  assert.equal(found.compiled.annotations['open.cedar.no']?.reason, 'team_policy');
});

test('the schema names every action and fact, whatever the policies are like', () => {
  const written = cedarSchemaOf(`${head}cedar: "not yet right"\n`, shapes);
  assert.ok(written.ok);
  for (const part of [
    'action "call:pay" in [Action::"calls"]',
    'action "grant:open"',
    'amount?: __cedar::Long',
    'to?: __cedar::String',
  ])
    assert.ok(written.schema.includes(part), `${part} in ${written.schema}`);
});
