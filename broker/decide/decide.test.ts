import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PolicyJson, statefulIsAuthorized } from '@cedar-policy/cedar-wasm/nodejs';
import fc from 'fast-check';
import { bindParams } from '../manifests/bind.ts';
import type { CompiledManifest } from '../manifests/compile.ts';
import { compileSource, exampleSource, hostileTexts } from '../manifests/example.test-support.ts';
import type { Capability } from '../manifests/manifest.ts';
import { decide, loadPolicies, readAnswer } from './decide.ts';
import { cedarRequest, type DecisionFacts } from './facts.ts';
import { slotFor } from './policy-slots.ts';
import { factsFor, freshSession, planOf } from './request.test-support.ts';

// Every run the same; another seed looks elsewhere.
fc.configureGlobal({ seed: 20261121 });

const compiled = compileSource(exampleSource);
const files = 'read-customer-files';
const codes = (facts: DecisionFacts, manifest: CompiledManifest = compiled) =>
  decide(facts, manifest).reasons.map(({ code, path }) => (path === undefined ? code : `${code} ${path}`));

/** The example with one more policy on `read-customer-files`. */
function withPolicy(id: string, effect: 'permit' | 'forbid', body: object): CompiledManifest {
  const copy = structuredClone(compiled);
  const part = copy.capabilities[files];
  assert.ok(part);
  part.policies[id] = {
    effect,
    principal: { op: 'All' },
    action: { op: 'All' },
    resource: { op: 'All' },
    conditions: [{ kind: 'when', body: body as PolicyJson['conditions'][0]['body'] }],
  };
  return copy;
}

test('what the manifest grants is allowed, by the permit alone', () => {
  const facts = factsFor(compiled, files);
  assert.deepEqual(decide(facts, compiled), {
    effect: 'allow',
    tier: 1,
    ttl_seconds: 300,
    reasons: [],
    policy_ids: [`${files}.permit`],
    manifest_version: 7,
    plan_digest: facts.plan.digest,
  });
  assert.equal(decide(facts, JSON.parse(JSON.stringify(compiled))).effect, 'allow', 'also after being stored');
});

test('each bound is held and says what would pass', () => {
  const of = (given: unknown, change: Partial<DecisionFacts> = {}) => codes(factsFor(compiled, files, given, change));
  const session = freshSession;
  assert.deepEqual(of({ bucket: 'others' }), ['param_not_bound_value params.bucket']);
  assert.deepEqual(of({ prefix: 'customers/' }), ['param_not_bound_value params.prefix']);
  assert.deepEqual(of({ year: 2025 }), ['param_not_bound_value params.year']);
  assert.deepEqual(of({ statements: [{ actions: ['*'], resources: ['*'] }] }), [
    'param_not_bound_value params.statements',
  ]);
  assert.deepEqual(of({ access: 'write' }), ['param_outside_choice params.access']);
  assert.deepEqual(of({ label: 'UPPER' }), ['param_outside_choice params.label']);
  assert.deepEqual(of({ parts: 5 }), ['param_outside_choice params.parts']);
  assert.deepEqual(of({}, { plan: planOf({}, 901) }), ['ttl_too_long ttl_seconds']);
  assert.deepEqual(of({}, { plan: planOf({}, 0) }), ['ttl_too_long ttl_seconds']);
  assert.deepEqual(of({}, { owner: 'team:other' }), ['not_permitted capability']);
  assert.deepEqual(of({}, { plan: { ...planOf({}, 60), provider: 'aws' } }), ['not_permitted capability']);
  assert.deepEqual(of({}, { session: { ...session, capability_grants: 5 } }), ['capability_spent capability']);
  assert.deepEqual(of({}, { session: { ...session, grants: 20 } }), ['envelope_spent']);
  assert.deepEqual(of({}, { session: { ...session, grants: 2, grants_left: 0 } }), ['envelope_spent']);
  assert.deepEqual(of({}, { session: { ...session, narrowed: true, capabilities: ['close-account'] } }), [
    'outside_session capability',
  ]);
  assert.deepEqual(of({}, { session: { ...session, narrowed: true, capabilities: [files] } }), []);
  assert.deepEqual(decide(factsFor(compiled, files, { parts: 5 }), compiled).reasons, [
    {
      code: 'param_outside_choice',
      policy_id: `${files}.choose.parts`,
      path: 'params.parts',
      advice: 'parts may be 1 to 4.',
    },
  ]);
});

test('a task type that may not ask is denied, and its own envelope holds', () => {
  const task = { task_type: 'free-text-task', inputs: { customer_id: '42' } };
  const anything = factsFor(compiled, 'read-anything', {}, { task });
  assert.deepEqual(codes(anything), []);
  assert.deepEqual(codes({ ...anything, session: { ...anything.session, grants: 3 } }), ['envelope_spent']);
  assert.deepEqual(codes({ ...factsFor(compiled, 'close-account'), task }), ['not_permitted capability']);
});

test('approval is all that may be missing', () => {
  const facts = factsFor(compiled, 'close-account');
  const decision = decide(facts, compiled);
  assert.equal(decision.effect, 'approve');
  assert.equal(decision.tier, 2);
  assert.deepEqual(codes(facts), ['needs_approval capability']);
  assert.equal(decide({ ...facts, approved: true }, compiled).effect, 'allow');
  const wrong = factsFor(compiled, 'close-account', { account: '43' });
  assert.equal(decide(wrong, compiled).effect, 'deny');
  assert.equal(decide({ ...wrong, approved: true }, compiled).effect, 'deny', 'approval lifts no other rule');
  assert.equal(decide({ ...facts, owner: 'team:other' }, compiled).effect, 'deny', 'nobody is asked in vain');
});

test('the manifest says how many of whom must approve; what it leaves out is the owners’', () => {
  const asked = (source: string, capability = 'close-account') => {
    const made = compileSource(source);
    return decide(factsFor(made, capability), made).approval;
  };
  const said = (approval: string) => exampleSource.replace('tier: 2\n', `tier: 2\n    approval: ${approval}\n`);
  assert.equal(asked(exampleSource), undefined, 'one of the owners');
  assert.deepEqual(asked(said('{ quorum: 2 }')), [{ quorum: 2, from: ['team:billing'] }]);
  const ofTwo = { quorum: 2, from: ['team:sre', 'user:a@example.com'] };
  assert.deepEqual(asked(said('{ quorum: 2, from: [user:a@example.com, team:sre] }')), [ofTwo]);
  const agent = (source: string) =>
    source.replace('description: Answers', 'approval: { quorum: 3 }\ndescription: Answers');
  assert.deepEqual(asked(agent(exampleSource)), [{ quorum: 3, from: ['team:billing'] }]);
  assert.deepEqual(asked(agent(said('{ from: [team:sre] }'))), [{ quorum: 3, from: ['team:sre'] }]);
});

test('a rule that has people asked may ask others, beside those of the capability', () => {
  const rule = (approval: string) =>
    `rules:\n  - { id: careful, on: { capability: [close-account, read-customer-files] }, effect: approve${approval} }\n`;
  const asked = (capability: string, approval: string) => {
    const made = compileSource(exampleSource + rule(approval));
    return decide({ ...factsFor(made, capability), hits: ['careful'] }, made).approval;
  };
  const security = ', approval: { quorum: 2, from: [team:security] }';
  assert.deepEqual(asked('close-account', security), [
    { quorum: 1, from: ['team:billing'] },
    { quorum: 2, from: ['team:security'] },
  ]);
  assert.deepEqual(asked('close-account', ', approval: { quorum: 2 }'), [{ quorum: 2, from: ['team:billing'] }]);
  assert.equal(asked('close-account', ''), undefined);
});

test('Cedar trap 1: a forbid that cannot be evaluated is skipped by Cedar, and denied here', () => {
  const missing = { '.': { left: { Var: 'context' }, attr: 'no_such_fact' } };
  const broken = withPolicy('broken', 'forbid', { '==': { left: missing, right: { Value: 1 } } });
  const facts = factsFor(broken, files);
  const id = slotFor(broken, files);
  const raw = statefulIsAuthorized({ ...cedarRequest(facts, broken), preparsedPolicySetId: id });
  assert.ok(raw.type === 'success' && raw.response.decision === 'allow', 'the trap is there');
  assert.equal(decide(facts, broken).effect, 'deny');
  assert.deepEqual(codes(facts, broken), ['policy_failed']);
  const parked = { ...factsFor(broken, 'close-account') };
  assert.equal(decide(parked, broken).effect, 'approve', 'the neighbour is not harmed');
});

test('Cedar trap 2: an unknown policy set and facts of a wrong type are denials', () => {
  const facts = factsFor(compiled, files);
  const raw = statefulIsAuthorized({ ...cedarRequest(facts, compiled), preparsedPolicySetId: 'nobody' });
  assert.equal(raw.type, 'failure');
  assert.equal(readAnswer(raw, compiled).effect, 'deny');
  const mistyped: [string, Partial<DecisionFacts>][] = [
    ['param of another type', { params: { ...facts.params, year: '2026' } }],
    [
      'param that is an entity',
      { params: { ...facts.params, bucket: { __entity: { type: 'Writ::Agent', id: 'x' } } } },
    ],
    ['param that is an extension', { params: { ...facts.params, bucket: { __extn: { fn: 'decimal', arg: '1.0' } } } }],
    ['param with a lone surrogate', { params: { ...facts.params, bucket: 'orders\ud800' } }],
    ['choice that no policy looks at', { params: { ...facts.params, verbose: 'yes' } }],
    ['the same as an entity', { params: { ...facts.params, verbose: { __entity: { type: 'Writ::Agent', id: 'x' } } } }],
    ['param nobody knows', { params: { ...facts.params, extra: 1 } }],
    ['param missing', { params: { service: 'files' } }],
    ['fraction of a second', { plan: { ...facts.plan, ttl_seconds: 1.5 } }],
    ['no number', { plan: { ...facts.plan, ttl_seconds: Number.NaN } }],
    ['invalid time', { now: new Date(Number.NaN) }],
    ['count beyond 53 bits', { session: { ...facts.session, grants: 2 ** 60 } }],
    ['undefined session', { session: undefined as unknown as DecisionFacts['session'] }],
  ];
  for (const [what, change] of mistyped) assert.equal(decide({ ...facts, ...change }, compiled).effect, 'deny', what);
});

test('half a surrogate pair does not pass for the character that replaces it', () => {
  const odd = compileSource(exampleSource.replaceAll('"customers/', '"\ufffd/'));
  const facts = factsFor(odd, 'read-anything');
  assert.equal(decide(facts, odd).effect, 'allow');
  assert.equal(decide({ ...facts, params: { ...facts.params, prefix: '\ud800/42/' } }, odd).effect, 'deny');
});

test('unknown agents and capabilities are denied, inherited names too', () => {
  const facts = factsFor(compiled, files);
  assert.deepEqual(codes({ ...facts, agent: 'other-bot' }), ['agent_unknown']);
  for (const capability of ['no-such', 'constructor', '__proto__', 'toString', '']) {
    assert.deepEqual(codes({ ...facts, capability }), ['capability_unknown capability']);
  }
  assert.throws(() => loadPolicies('other-bot', compiled));
});

test('inputs that an older manifest let through are judged by the one in force', () => {
  const facts = factsFor(compiled, files);
  const task = { ...facts.task, inputs: { ...facts.task.inputs, customer_id: '*' } };
  assert.deepEqual(codes({ ...facts, task }), ['task_not_valid inputs.customer_id']);
  assert.deepEqual(codes({ ...facts, task: { task_type: 'gone', inputs: {} } }), ['task_not_valid task_type']);
});

test('two versions of one manifest never answer for each other', () => {
  const narrower = compileSource(exampleSource.replace('max_ttl: 15m', 'max_ttl: 4m'));
  const facts = factsFor(compiled, files);
  for (let round = 0; round < 3; round += 1) {
    assert.equal(decide(facts, compiled).effect, 'allow');
    assert.equal(decide(facts, narrower).effect, 'deny');
  }
});

test('what the agent says about itself has no way into the facts', () => {
  const facts = factsFor(compiled, files);
  const claims = {
    justification: 'approved: true',
    approved_by: 'user:boss@example.com',
    tier: 1,
    bound: { bucket: 'others' },
  };
  const request = cedarRequest({ ...facts, ...claims } as DecisionFacts, compiled);
  assert.deepEqual(request, cedarRequest(facts, compiled));
  assert.deepEqual(Object.keys(request.context).sort(), [
    'approved',
    'bound',
    'hits',
    'inputs',
    'matches',
    'now',
    'on_behalf_of',
    'owner',
    'params',
    'plan',
    'session',
    'task_type',
    'tier',
  ]);
  const parked = factsFor(compiled, 'close-account');
  assert.equal(
    decide({ ...parked, ...claims, approved: 'yes' } as unknown as DecisionFacts, compiled).effect,
    'approve',
  );
});

const hostile = fc.oneof(
  fc.constantFrom(
    ...hostileTexts,
    'orders',
    'read',
    'list',
    'write',
    'customers/42/',
    'customers/',
    'customers/42/../43/',
    'none',
  ),
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.integer(),
  fc.boolean(),
  fc.jsonValue({ maxDepth: 2 }),
);
const param = fc.constantFrom(
  'service',
  'bucket',
  'prefix',
  'year',
  'urgent',
  'limit',
  'statements',
  'access',
  'label',
  'parts',
  'verbose',
  'extra',
  '__proto__',
);

test('whatever the agent sends, an allow means bound values and permitted choices', () => {
  const shape = compiled.manifest.capabilities[files] as Capability;
  const { task } = factsFor(compiled, files);
  let allowed = 0;
  const plausible = fc.record(
    {
      bucket: fc.constantFrom('orders', 'orders*'),
      access: fc.constantFrom('read', 'list', 'write'),
      parts: fc.integer({ min: 0, max: 5 }),
      label: fc.stringMatching(/^[a-z]{1,9}$/),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(
      fc.oneof(fc.dictionary(param, hostile), plausible),
      fc.integer({ min: -1, max: 1000 }),
      (given, ttl) => {
        const bound = bindParams(shape, task, given);
        if (!bound.ok) return;
        const decision = decide(factsFor(compiled, files, given, { plan: planOf(bound.params, ttl) }), compiled);
        assert.notEqual(decision.effect, 'approve');
        if (decision.effect !== 'allow') return;
        allowed += 1;
        assert.deepEqual(Object.keys(bound.params).sort(), Object.keys({ ...shape.params, ...shape.choose }).sort());
        for (const [name, value] of Object.entries(bound.bound)) assert.deepEqual(bound.params[name], value);
        assert.ok(['read', 'list'].includes(bound.params.access as string));
        assert.match(bound.params.label as string, /^[a-z]{1,8}$/);
        assert.ok([1, 2, 3, 4].includes(bound.params.parts as number));
        assert.ok(ttl >= 1 && ttl <= 900);
      },
    ),
    { numRuns: 600 },
  );
  assert.ok(allowed > 10, `only ${allowed} requests were allowed: the property says little`);
});

test('mangled facts are denied, never thrown, and never allowed', () => {
  const facts = factsFor(compiled, files);
  fc.assert(
    fc.property(fc.constantFrom(...Object.keys(facts)), fc.anything(), (key, value) => {
      if (key === 'plan') return;
      const decision = decide({ ...facts, [key]: value } as DecisionFacts, compiled);
      if (decision.effect === 'allow')
        assert.ok(['on_behalf_of', 'manifest_version', 'approved', 'session', 'now'].includes(key), key);
    }),
    { numRuns: 500, examples: [['capability', { toString: '' }]] },
  );
});

test('what an allow costs (printed only)', (t) => {
  loadPolicies('invoice-bot', compiled);
  const facts = factsFor(compiled, files);
  const times: number[] = [];
  for (let run = 0; run < 500; run += 1) {
    const start = performance.now();
    decide(facts, compiled);
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  const count = Object.keys(compiled.capabilities[files]?.policies ?? {}).length;
  t.diagnostic(`${count} policies, 11 parameters: p50 ${times[250]?.toFixed(3)} ms, p99 ${times[495]?.toFixed(3)} ms`);
});
