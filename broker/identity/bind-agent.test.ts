import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Json, JsonObject } from '../core/vocabulary.ts';
import { bindAgent } from './bind-agent.ts';
import type { VerifiedSubject } from './platform-token.ts';
import { refusalReason } from './refusal.ts';
import { parseTrust, type Trust } from './trust.ts';

function trustOf(bindings: string): Trust {
  const parsed = parseTrust(`
issuers:
  - { name: ci, issuer: https://ci.example.com }
  - { name: other, issuer: https://other.example.com }
bindings:
${bindings}`);
  assert.ok(parsed.ok, JSON.stringify(parsed));
  return parsed.trust;
}

function subject(claims: JsonObject, issuerName = 'ci'): VerifiedSubject {
  const at = new Date('2026-01-01T00:00:00Z');
  return {
    issuerName,
    issuer: 'https://ci.example.com',
    subject: 'x',
    claims,
    expiresAt: at,
    replayKey: 'jti:x',
    singleUse: false,
    replayExpiresAt: at,
  };
}

const refusedAs = (reason: string) => (error: unknown) => refusalReason(error) === reason;

describe('binding a subject to an agent', () => {
  it('needs every claim to hold', () => {
    const trust = trustOf(
      '  - { issuer: ci, claims: { repository_id: 4711, protected: true, ref: main }, agent: bot }',
    );
    assert.equal(bindAgent(subject({ repository_id: '4711', protected: true, ref: 'main' }), trust).agent, 'bot');
    for (const claims of [
      {},
      { repository_id: '4711', protected: true },
      { repository_id: '4712', protected: true, ref: 'main' },
    ]) {
      assert.throws(() => bindAgent(subject(claims), trust), refusedAs('no_binding'));
    }
  });

  it('matches patterns whole: `a|b` is not `^a|b$`', () => {
    const trust = trustOf('  - { issuer: ci, claims: { env: { pattern: "prod|staging" } }, agent: bot }');
    assert.equal(bindAgent(subject({ env: 'prod' }), trust).agent, 'bot');
    assert.equal(bindAgent(subject({ env: 'staging' }), trust).agent, 'bot');
    for (const env of ['production', 'not-staging', 'xprod', 'prod\n', '\nprod', 'prod\nstaging', 'Prod', '']) {
      assert.throws(() => bindAgent(subject({ env }), trust), refusedAs('no_binding'), JSON.stringify(env));
    }
  });

  it('takes a text literally: dots and stars are themselves', () => {
    const trust = trustOf('  - { issuer: ci, claims: { sub: "repo:acme/a.b:*" }, agent: bot }');
    assert.throws(() => bindAgent(subject({ sub: 'repo:acme/axb:main' }), trust), refusedAs('no_binding'));
    assert.equal(bindAgent(subject({ sub: 'repo:acme/a.b:*' }), trust).agent, 'bot');
  });

  it('answers hostile input to an evil pattern in linear time', () => {
    const trust = trustOf('  - { issuer: ci, claims: { sub: { pattern: "octo/repo(a+)+x" } }, agent: bot }');
    assert.throws(() => bindAgent(subject({ sub: `octo/repo${'a'.repeat(5_000)}` }), trust), refusedAs('no_binding'));
  });

  it('descends into nested claims, through own members only', () => {
    const trust = trustOf(
      '  - { issuer: ci, claims: { "kubernetes.io": { namespace: agents, serviceaccount: { name: bot } } }, agent: bot }',
    );
    const claims = { 'kubernetes.io': { namespace: 'agents', serviceaccount: { name: 'bot' } } };
    assert.equal(bindAgent(subject(claims), trust).agent, 'bot');
    assert.throws(() => bindAgent(subject({ 'kubernetes.io': 'agents' }), trust), refusedAs('no_binding'));
    const inherited = trustOf('  - { issuer: ci, claims: { constructor: { name: Object } }, agent: bot }');
    assert.throws(() => bindAgent(subject({}), inherited), refusedAs('no_binding'));
  });

  it('looks into lists, never into nested ones or objects', () => {
    const trust = trustOf('  - { issuer: ci, claims: { groups: agents }, agent: bot }');
    assert.equal(bindAgent(subject({ groups: ['x', 'agents'] }), trust).agent, 'bot');
    for (const groups of [['x'], [['agents']], { agents: true }, null]) {
      assert.throws(() => bindAgent(subject({ groups }), trust), refusedAs('no_binding'));
    }
  });

  it('keeps issuers apart: the same claims from another issuer bind nobody', () => {
    const trust = trustOf('  - { issuer: ci, claims: { sub: job }, agent: bot }');
    assert.throws(() => bindAgent(subject({ sub: 'job' }, 'other'), trust), refusedAs('no_binding'));
  });

  it('refuses a token that stands for two agents, and takes two ways to the same one', () => {
    const two = trustOf(
      '  - { issuer: ci, claims: { sub: job }, agent: bot }\n  - { issuer: ci, claims: { env: prod }, agent: other-bot }',
    );
    assert.throws(() => bindAgent(subject({ sub: 'job', env: 'prod' }), two), refusedAs('ambiguous_binding'));
    assert.equal(bindAgent(subject({ sub: 'job', env: 'dev' }), two).agent, 'bot');
    const same = trustOf(
      '  - { issuer: ci, claims: { sub: job }, agent: bot }\n  - { issuer: ci, claims: { env: prod }, agent: bot }',
    );
    assert.equal(bindAgent(subject({ sub: 'job', env: 'prod' }), same).agent, 'bot');
  });

  it('refuses when two bindings tell different people as the starter', () => {
    const trust = trustOf(
      '  - { issuer: ci, claims: { sub: job }, agent: bot, started_by_claim: actor }\n  - { issuer: ci, claims: { sub: job }, agent: bot }',
    );
    assert.throws(
      () => bindAgent(subject({ sub: 'job', actor: 'a@example.com' }), trust),
      refusedAs('ambiguous_binding'),
    );
  });

  it('reads the people from the claims, each of its kind, and refuses when they are missing or odd', () => {
    const trust = trustOf(
      '  - { issuer: ci, claims: { sub: job }, agent: bot, started_by_claim: user.login, on_behalf_of_claim: email, responsible: "team:/ops/on call" }',
    );
    const at = (login: Json, email: Json) => subject({ sub: 'job', user: { login }, email });
    assert.deepEqual(bindAgent(at('Owner', 'user:B@Example.com'), trust), {
      agent: 'bot',
      startedBy: { kind: 'username', value: 'Owner', by: 'platform_token' },
      onBehalfOf: { kind: 'email', value: 'b@example.com', by: 'platform_token' },
      responsible: 'team:/ops/on call',
    });
    assert.deepEqual(bindAgent(at(4711, "o'brien@example.com"), trust).startedBy?.value, '4711');
    assert.deepEqual(bindAgent(at('Jane Doe', 'b@example.com'), trust).startedBy?.value, 'Jane Doe');
    assert.throws(() => bindAgent(subject({ sub: 'job', email: 'b@c.example' }), trust), refusedAs('missing_claim'));
    for (const login of ['', ' a', 'a\u200bb', ['a'], { a: 1 }, true, 7.5, 'x'.repeat(300)])
      assert.throws(() => bindAgent(at(login, 'b@c.example'), trust), refusedAs('bad_claim'), JSON.stringify(login));
    for (const email of ['b', 'a b@c.example', '@c.example', 'a@', 'a@c..example'])
      assert.throws(() => bindAgent(at('a', email), trust), refusedAs('bad_claim'), email);
  });

  it('takes no e-mail that the platform says nobody verified', () => {
    const trust = trustOf('  - { issuer: ci, claims: { sub: job }, agent: bot, started_by_claim: email }');
    const token = (email_verified: Json) => subject({ sub: 'job', email: 'a@b.example', email_verified });
    assert.equal(bindAgent(token(true), trust).startedBy?.value, 'a@b.example');
    for (const told of [1, 'true']) assert.equal(bindAgent(token(told), trust).startedBy?.value, 'a@b.example');
    for (const told of [false, 'false', 'False', 0, '0', 'no', null, {}])
      assert.throws(() => bindAgent(token(told), trust), refusedAs('bad_claim'));
  });

  it('keeps a subject with its issuer', () => {
    const trust = trustOf('  - { issuer: ci, claims: { sub: job }, agent: bot, started_by_claim: sub }');
    assert.deepEqual(bindAgent(subject({ sub: 'job' }), trust).startedBy, {
      kind: 'subject',
      value: 'job',
      issuer: 'https://ci.example.com',
      by: 'platform_token',
    });
  });
});
