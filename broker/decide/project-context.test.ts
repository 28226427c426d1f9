import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Expr, type PolicyJson, statefulIsAuthorized } from '@cedar-policy/cedar-wasm/nodejs';
import { both, equal, fact, hasFact, literal, not } from '../manifests/cedar-expressions.ts';
import { compileSource, exampleSource } from '../manifests/example.test-support.ts';
import { readAnswer } from './decide.ts';
import { cedarRequest, type DecisionFacts } from './facts.ts';
import { slotFor } from './policy-slots.ts';
import { projectContext } from './project-context.ts';
import { factsFor, freshSession, planOf } from './request.test-support.ts';

const facts = {
  owner: 'team:a',
  plan: { provider: 'aws', digest: 'd' },
  session: { grants: 1, max_grants: 2 },
  tier: 1,
};
const policies = (...bodies: Expr[]): { [id: string]: PolicyJson } =>
  Object.fromEntries(
    bodies.map((body, i) => [
      `p${i}`,
      {
        effect: 'permit',
        principal: { op: 'All' },
        action: { op: 'All' },
        resource: { op: 'All' },
        conditions: [{ kind: 'when', body }],
      },
    ]),
  );

test('only what some policy names is sent, whether it reads it or asks whether it is there', () => {
  assert.deepEqual(projectContext(facts, policies(equal(fact('owner'), literal('x')))), { owner: 'team:a' });
  assert.deepEqual(projectContext(facts, policies(not(equal(fact('plan', 'digest'), fact('tier'))))), {
    plan: { digest: 'd' },
    tier: 1,
  });
  assert.deepEqual(projectContext(facts, policies(hasFact('session', 'max_grants'), hasFact('on_behalf_of'))), {
    session: { max_grants: 2 },
  });
  assert.deepEqual(projectContext(facts, policies(literal(true))), {});
});

test('a policy that takes a whole record gets a whole record, whatever others name in it', () => {
  const part = equal(fact('plan', 'digest'), literal('d'));
  const whole = equal(fact('plan'), fact('session'));
  for (const order of [policies(part, whole), policies(whole, part), policies(both(part, whole))]) {
    assert.deepEqual(projectContext(facts, order), { plan: facts.plan, session: facts.session });
  }
  assert.deepEqual(projectContext(facts, policies(part, { Var: 'context' })), facts);
});

test('expressions of every kind are looked into', () => {
  const branch = {
    if: literal(true),
    ['then' as string]: { Set: [fact('owner')] },
    else: { Record: { a: fact('tier') } },
  };
  const deep = { 'if-then-else': branch } as unknown as Expr;
  const call = { lessThan: [fact('plan', 'digest'), { decimal: [literal('1.0')] }] } as Expr;
  const like = { like: { left: fact('session', 'grants'), pattern: ['Wildcard'] } } as Expr;
  assert.deepEqual(projectContext(facts, policies(deep, call, like)), {
    owner: 'team:a',
    tier: 1,
    plan: { digest: 'd' },
    session: { grants: 1 },
  });
});

test('Cedar answers the same with what is left as with everything', () => {
  const compiled = compileSource(exampleSource);
  const session = freshSession;
  const changes: Partial<DecisionFacts>[] = [
    {},
    { approved: true },
    { owner: 'team:other' },
    { plan: planOf({}, 1_000_000) },
    { plan: { ...planOf({}, 60), provider: 'other' } },
    { session: { ...session, grants: 1000, capability_grants: 1000 } },
    { session: { ...session, narrowed: true } },
    { session: { ...session, grants: 2, grants_left: 0 } },
  ];
  const answers = new Set<string>();
  for (const [capability, { policies }] of Object.entries(compiled.capabilities)) {
    for (const change of changes) {
      const request = cedarRequest(factsFor(compiled, capability, {}, change), compiled);
      const preparsedPolicySetId = slotFor(compiled, capability);
      const ask = (context: typeof request.context) =>
        readAnswer(statefulIsAuthorized({ ...request, context, preparsedPolicySetId }), compiled);
      const answer = ask(request.context);
      assert.deepEqual(answer.failed, []);
      assert.deepEqual(ask(projectContext(request.context, policies)), answer);
      answers.add(JSON.stringify(answer));
    }
  }
  assert.ok(answers.size > 10, 'the requests were answered in different ways');
});
