import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import type { FieldFault } from '../core/errors.ts';
import { parseTrust, type Trust } from './trust.ts';
import { trustFileSchema } from './trust-schema.ts';

const issuer = `
issuers:
  - { name: ci, issuer: https://ci.example.com }
`;

function trustOf(text: string): Trust {
  const parsed = parseTrust(text);
  assert.ok(parsed.ok, JSON.stringify(parsed));
  return parsed.trust;
}

function faultsOf(text: string, options = {}): FieldFault[] {
  const parsed = parseTrust(text, options);
  assert.equal(parsed.ok, false);
  return parsed.ok ? [] : parsed.faults;
}

describe('the trust file', () => {
  it('fills in careful defaults', () => {
    const found = trustOf(issuer).issuers.get('https://ci.example.com');
    assert.deepEqual(found?.algorithms, ['RS256', 'ES256']);
    assert.equal(found?.maxTokenAgeSeconds, 3600);
    assert.equal(found?.kind, 'generic');
    assert.deepEqual(found?.location, { kind: 'discovery', issuer: 'https://ci.example.com' });
  });

  it('trusts nobody when empty', () => {
    assert.equal(trustOf('').issuers.size, 0);
  });

  it('reports every fault with path, line and column', () => {
    const faults = faultsOf(`issuers:
  - name: ci
    issuer: https://ci.example.com
    algorithms: [HS256]
  - name: Bad Name
    issuer: https://other.example.com
    jwks_url: https://other.example.com/keys
`);
    assert.deepEqual(
      faults.map(({ path, line, column }) => ({ path, line, column })),
      [
        { path: 'issuers[0].algorithms[0]', line: 4, column: 18 },
        { path: 'issuers[1].name', line: 5, column: 5 },
        { path: 'issuers[1].jwks_url', line: 7, column: 5 },
      ],
    );
  });

  it('tells each fault once, in our words, with the name that was meant', () => {
    const cases: [text: string, told: string[]][] = [
      [
        'issuers: [{ name: ci, isuer: "https://ci.example.com" }]',
        ['issuers[0].isuer: is not a known field; did you mean issuer?'],
      ],
      ['bindngs: []', ['bindngs: is not a known field; did you mean bindings?']],
      ['issuers: { name: ci }', ['issuers: must be a list, not an object']],
      ['issuers: [{ name: ci }]', ['issuers[0].issuer: is required']],
      ['[]', [': must be an object (names with values), not a list']],
      [
        `${issuer}bindings: [{ issuer: cii, claims: { sub: a }, agent: bot }]`,
        ['bindings[0].issuer: No issuer has this name; did you mean ci?'],
      ],
    ];
    for (const [text, told] of cases)
      assert.deepEqual(
        faultsOf(text).map(({ path, message }) => `${path}: ${message}`),
        told,
      );
    const kind = faultsOf('issuers: [{ name: ci, issuer: "https://ci.example.com", kind: git_lab }]');
    assert.match(kind[0]?.message ?? '', /^must be one of .*; did you mean gitlab\?$/);
  });

  it('gives line and column of broken YAML, and reads no aliases', () => {
    assert.equal(faultsOf('issuers:\n  - { name: ci')[0]?.line, 2);
    assert.match(faultsOf('a: &a [1]\nissuers: *a\n')[0]?.message ?? '', /Aliases/);
    assert.ok(faultsOf('issuers: []\nissuers: []\n').length > 0);
  });

  it('never lists a shared secret or no algorithm at all', () => {
    for (const algorithm of ['none', 'HS256', 'HS512']) {
      const text = `issuers: [{ name: ci, issuer: "https://ci.example.com", algorithms: [${algorithm}] }]`;
      assert.equal(faultsOf(text)[0]?.path, 'issuers[0].algorithms[0]');
    }
  });

  it('accepts http only on loopback and only when asked to', () => {
    const at = (address: string) => `issuers: [{ name: ci, issuer: "${address}" }]`;
    assert.equal(faultsOf(at('http://127.0.0.1:9'))[0]?.path, 'issuers[0].issuer');
    assert.equal(parseTrust(at('http://127.0.0.1:9'), { allowInsecureLoopback: true }).ok, true);
    for (const address of [
      'http://example.com',
      'http://127.0.0.1.example.com',
      'http://127.0.0.1@example.com',
      'ftp://127.0.0.1',
      'ci',
    ]) {
      assert.equal(faultsOf(at(address), { allowInsecureLoopback: true })[0]?.path, 'issuers[0].issuer', address);
    }
  });

  it('refuses two issuers of one name or one address, and bindings of an unlisted issuer', () => {
    const faults = faultsOf(`
issuers:
  - { name: ci, issuer: https://a.example.com }
  - { name: ci, issuer: https://b.example.com }
  - { name: cj, issuer: https://a.example.com }
bindings:
  - { issuer: nobody, claims: { sub: a }, agent: bot }
`);
    assert.deepEqual(
      faults.map((fault) => fault.path),
      ['issuers[1].name', 'issuers[2].issuer', 'bindings[0].issuer'],
    );
  });

  it('refuses an audience that others accept too', () => {
    const faults = faultsOf('issuers: [{ name: ci, issuer: "https://ci.example.com", audience: sts.amazonaws.com }]');
    assert.equal(faults[0]?.path, 'issuers[0].audience');
  });

  it('refuses secret keys where public ones belong', () => {
    const keys = (jwk: string) => `clients: [{ agent: bot, client_id: bot, jwks: { keys: [${jwk}] } }]`;
    for (const jwk of ['{ kty: EC, crv: P-256, x: a, y: b, d: c }', '{ kty: oct, k: abc }']) {
      assert.equal(faultsOf(keys(jwk))[0]?.path, 'clients[0].jwks.keys[0]');
    }
    assert.equal(faultsOf('clients: [{ agent: bot, client_id: bot }]')[0]?.path, 'clients[0]');
  });

  it('is publishable as JSON Schema', () => {
    const schema = z.toJSONSchema(trustFileSchema, { io: 'input' });
    assert.ok(schema.properties && 'bindings' in schema.properties);
  });
});

describe('bindings that would let strangers in', () => {
  const binding = (claims: string, kind = 'generic') => `
issuers: [{ name: ci, issuer: https://ci.example.com, kind: ${kind} }]
bindings: [{ issuer: ci, claims: ${claims}, agent: bot }]
`;

  it('are refused: no claim, only the envelope’s, or patterns that fit anything', () => {
    for (const claims of [
      '{}',
      '{ aud: writ }',
      '{ iss: https://ci.example.com }',
      '{ sub: { pattern: ".*" } }',
      '{ team: { pattern: "[a-z0-9]+" } }',
    ]) {
      assert.equal(faultsOf(binding(claims))[0]?.path, 'bindings[0].claims', claims);
    }
  });

  it('are refused per platform: what everybody there may have identifies nobody', () => {
    const cases: [string, string][] = [
      ['github_actions', '{ ref: refs/heads/main }'],
      ['github_actions', '{ job_workflow_ref: octo/tools/.github/workflows/run.yml@refs/heads/main }'],
      ['github_actions', '{ sub: { pattern: "repo:.*" }, ref: refs/heads/main }'],
      ['github_actions', '{ repository_id: { pattern: "[0-9]+" } }'],
      ['github_actions', '{ repository_id: { pattern: "47[0-9]*" } }'],
      ['github_actions', '{ repository: { pattern: ".*/x" } }'],
      ['github_actions', '{ repository: { pattern: "octo.*" } }'],
      ['github_actions', '{ repository: { pattern: "octo/x|.*" } }'],
      ['github_actions', '{ repository: { pattern: "(octo)?/x" } }'],
      ['github_actions', '{ repository_owner: { pattern: "octo.*" } }'],
      ['github_actions', '{ repository_owner: { pattern: "(?i)octo" } }'],
      ['github_actions', '{ sub: { pattern: "repo:(.*)/x:.*" } }'],
      ['github_actions', '{ sub: { pattern: "repo:octo.*" } }'],
      ['github_actions', '{ sub: "job_workflow_ref:octo/tools/.github/workflows/run.yml@refs/heads/main" }'],
      ['github_actions', '{ sub: ["repo:octo/x:ref:refs/heads/main", "environment:prod"] }'],
      ['gitlab', '{ ref: main }'],
      ['gitlab', '{ ref: main, ref_protected: true, pipeline_source: push }'],
      ['gitlab', '{ project_path: { pattern: "group.*" } }'],
      ['gitlab', '{ sub: { pattern: "project_path:.*:ref_type:branch:ref:main" } }'],
      ['buildkite', '{ pipeline_slug: deploy }'],
      ['buildkite', '{ sub: { pattern: "organization:.*:pipeline:deploy:.*" } }'],
      ['terraform', '{ terraform_workspace_name: production }'],
      ['vercel', '{ environment: production, project: site }'],
      ['entra', '{ tid: 0e1d }'],
      ['gcp', '{ email: { pattern: ".*@gmail[.]com" } }'],
      ['gcp', '{ email: { pattern: "bot@.*" } }'],
      ['generic', '{ ref: main }'],
      ['generic', '{ protected: true }'],
      ['generic', '{ sub: { pattern: ".+" } }'],
      ['kubernetes', '{ "kubernetes.io": { pod: { name: bot } } }'],
      ['gcp', '{ email_verified: true }'],
      ['spiffe', '{ sub: { pattern: "spiffe://.*" } }'],
      ['spiffe', '{ sub: { pattern: "spiffe://example.org/.+" } }'],
      ['spiffe', '{ sub: { pattern: "spiffe://example.org/agents.*" } }'],
      ['kubernetes', '{ "kubernetes.io": { namespace: { pattern: "a.*" } } }'],
      ['kubernetes', '{ sub: { pattern: "system:serviceaccount:a.*" } }'],
      ['circleci', '{ sub: { pattern: "org/.*" } }'],
      ['bitbucket', '{ branchName: main }'],
      ['generic', '{ repository: { pattern: ".*/x" } }'],
      ['generic', '{ repository_visibility: private }'],
      ['generic', '{ sub: { pattern: ".*:ref:refs/heads/main" } }'],
    ];
    for (const [kind, claims] of cases)
      assert.equal(faultsOf(binding(claims, kind))[0]?.path, 'bindings[0].claims', claims);
  });

  it('are accepted once they name a workload', () => {
    trustOf(binding('{ repository_id: "4711", ref: refs/heads/main }', 'github_actions'));
    trustOf(binding('{ "kubernetes.io": { namespace: agents, serviceaccount: { name: bot } } }', 'kubernetes'));
    trustOf(binding('{ sub: { pattern: "spiffe://example.org/agents/[a-z]+" } }', 'spiffe'));
    const cases: [string, string][] = [
      ['github_actions', '{ repository_id: ["4711", "4712"], ref: refs/heads/main }'],
      ['github_actions', '{ repository: { pattern: "octo/.*" } }'],
      ['github_actions', '{ repository: { pattern: "(octo|acme)/(x|y)" } }'],
      ['github_actions', '{ sub: { pattern: "repo:octo/.*:environment:prod" } }'],
      ['github_actions', '{ sub: { pattern: "repo:octo@123/x@456:.*" } }'],
      ['gitlab', '{ project_path: { pattern: "group/.*" }, ref: main }'],
      ['gitlab', '{ namespace_path: group }'],
      ['buildkite', '{ organization_slug: acme, pipeline_slug: deploy }'],
      ['terraform', '{ sub: { pattern: "organization:acme:project:.*" } }'],
      ['vercel', '{ owner_id: team_1 }'],
      ['entra', '{ oid: 0e1d }'],
      ['gcp', '{ email: { pattern: ".*@agents-1[.]iam[.]gserviceaccount[.]com" } }'],
      ['gcp', '{ google: { compute_engine: { project_id: agents-1 } } }'],
    ];
    for (const [kind, claims] of cases) trustOf(binding(claims, kind));
  });

  it('are held to what everybody knows of an issuer, whatever the file calls it', () => {
    const at = (address: string, rest = '') => `
issuers: [{ name: ci, issuer: "${address}"${rest} }]
bindings: [{ issuer: ci, claims: { team: a, ref: main }, agent: bot }]
`;
    for (const address of [
      'https://token.actions.githubusercontent.com',
      'https://token.actions.githubusercontent.com/octo',
      'https://gitlab.com',
      'https://agent.buildkite.com',
      'https://app.terraform.io',
      'https://app.eu.terraform.io',
      'https://token.actions.octo.ghe.com',
      'https://git.example.com/_services/token',
      'https://oidc.eks.eu-west-1.amazonaws.com/id/0E1D',
      'https://oidc.circleci.com/org/0e1d',
      'https://oidc.vercel.com',
      'https://login.microsoftonline.com/0e1d/v2.0',
      'https://accounts.google.com',
    ]) {
      assert.equal(faultsOf(at(address))[0]?.path, 'bindings[0].claims', address);
      assert.equal(faultsOf(at(address, ', kind: generic'))[0]?.path, 'issuers[0].kind', address);
    }
    trustOf(at('https://gitlab.example.com'));
  });

  it('are refused with patterns that are not RE2 or not alone', () => {
    assert.equal(faultsOf(binding('{ sub: { pattern: "(a" } }'))[0]?.path, 'bindings[0].claims.sub.pattern');
    assert.equal(faultsOf(binding('{ sub: { pattern: "(?=a)a" } }'))[0]?.path, 'bindings[0].claims.sub.pattern');
    assert.equal(faultsOf(binding('{ sub: { pattern: a, also: b } }'))[0]?.path, 'bindings[0].claims.sub');
  });
});

describe('who started a run', () => {
  const gives = (more: string[] = [], scope = ['email']) => ({
    signIn: { issuer: 'https://login.example.com', kinds: [...scope, 'username', 'oid', ...more], added: more },
  });
  const binding = (rest: string, issuer = 'https://ci.example.com') => `
issuers: [{ name: ci, issuer: "${issuer}" }]
bindings: [{ issuer: ci, claims: { sub: job }, agent: bot, ${rest} }]
`;
  const kindOf = (rest: string, options: object, issuer?: string) => {
    const parsed = parseTrust(binding(rest, issuer), options);
    assert.ok(parsed.ok, JSON.stringify(parsed));
    return parsed.trust.bindings[0]?.startedBy?.kind;
  };

  it('is refused where the name can be compared with nothing that sign-in gives', () => {
    const cases: [string, object, RegExp][] = [
      ['started_by_claim: actor', gives(), /started_by_kind/],
      ['started_by_claim: actor', gives(['github_login', 'gitlab_login']), /started_by_kind/],
      ['started_by_claim: actor, started_by_kind: github_login', gives(), /github_login=<claim>/],
      ['started_by_claim: preferred_username', gives(), /started_by_kind/],
      ['started_by_claim: sub', gives(), /not those of WRIT_OIDC_ISSUER/],
      ['started_by_claim: email', gives([], []), /WRIT_OIDC_SCOPE/],
      ['on_behalf_of_claim: user.email', gives([], []), /WRIT_OIDC_SCOPE/],
      ['responsible: "user:a@example.com"', gives([], []), /WRIT_OIDC_SCOPE/],
      ['responsible: "user:github_login:octo"', gives(), /github_login=<claim>/],
      ['started_by_kind: email', gives(), /which is not there/],
      ['started_by_claim: actor, started_by_kind: team', gives(), /A kind is/],
    ];
    for (const [rest, options, told] of cases)
      assert.match(faultsOf(binding(rest), options)[0]?.message ?? '', told, rest);
  });

  it('is of the kind that the claim or the file says', () => {
    assert.equal(kindOf('started_by_claim: email', gives()), 'email');
    assert.equal(kindOf('started_by_claim: user.email', gives()), 'email');
    assert.equal(kindOf('started_by_claim: oid', gives()), 'oid');
    assert.equal(kindOf('started_by_claim: sub', gives(), 'https://login.example.com'), 'subject');
    assert.equal(kindOf('started_by_claim: actor', gives(['github_login'])), 'github_login');
    assert.equal(kindOf('started_by_claim: actor, started_by_kind: email', gives()), 'email');
    assert.equal(kindOf('started_by_claim: actor', {}), 'username');
  });

  it('may be answered for by a person or a team, as the identity provider spells it', () => {
    for (const who of ['team:/team/sub', 'team:Ops & Billing', 'team:équipe', "user:o'brien@example.com", 'user:oid:1'])
      assert.equal(trustOf(binding(`responsible: "${who}"`)).bindings[0]?.responsible, who);
    for (const who of ['billing', 'user:someone', 'team:', 'team: x', 'user:a@', 'group:x'])
      assert.equal(faultsOf(binding(`responsible: "${who}"`))[0]?.path, 'bindings[0].responsible', who);
  });
});
