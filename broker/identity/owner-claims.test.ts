/** Which rules prove that a binding fits one owner alone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pinsOwner, wellKnownKind } from './owner-claims.ts';
import { literalEnds, patternEnds } from './pattern-ends.ts';
import type { IssuerKind } from './trust-schema.ts';

const pins = (kind: IssuerKind, path: string, pattern: string) =>
  pinsOwner(kind, path.split(' → '), patternEnds(pattern));
const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** A value of each claim, in two parts: what pins its owner, and the rest (empty: only the whole pins it). */
const values: [kind: IssuerKind, path: string, owner: string, rest: string][] = [
  ['github_actions', 'repository', 'octo/', 'x'],
  ['github_actions', 'repository_owner', 'octo', ''],
  ['github_actions', 'repository_id', '4711', ''],
  ['github_actions', 'sub', 'repo:octo/', 'x:ref:refs/heads/main'],
  ['github_actions', 'sub', 'repository_owner:octo:', 'environment:prod'],
  ['github_actions', 'sub', 'repository_id:4711:', 'environment:prod'],
  ['gitlab', 'project_path', 'group/', 'x'],
  ['gitlab', 'namespace_path', 'group/', 'sub'],
  ['gitlab', 'sub', 'project_path:group/', 'x:ref_type:branch:ref:main'],
  ['buildkite', 'organization_slug', 'acme', ''],
  ['buildkite', 'sub', 'organization:acme:', 'pipeline:deploy:ref:refs/heads/main'],
  ['terraform', 'terraform_organization_name', 'acme', ''],
  ['terraform', 'sub', 'organization:acme:', 'project:x:workspace:y:run_phase:plan'],
  ['vercel', 'sub', 'owner:acme:', 'project:site:environment:production'],
  ['entra', 'sub', '0e1d', ''],
  ['entra', 'xms_mirid', '/subscriptions/0e1d/', 'resourcegroups/x'],
  ['kubernetes', 'sub', 'system:serviceaccount:agents:', 'bot'],
  ['kubernetes', 'kubernetes.io → namespace', 'agents', ''],
  ['gcp', 'email', 'bot@agents-1.iam.gserviceaccount.com', ''],
  ['gcp', 'google → compute_engine → project_id', 'agents-1', ''],
  ['spiffe', 'sub', 'spiffe://example.org/agents/', 'bot'],
  ['spiffe', 'sub', 'spiffe://example.org/ns/agents/', 'sa/bot'],
  ['circleci', 'sub', 'org/0e1d/', 'project/77aa/user/1'],
  ['circleci', 'oidc.circleci.com/vcs-origin', 'github.com/octo/', 'x'],
  ['bitbucket', 'sub', '{0e1d}:', '{77aa}'],
  ['bitbucket', 'repositoryUuid', '{0e1d}', ''],
  ['generic', 'sub', 'project_path:octo/', 'x:ref_type:branch:ref:main'],
  ['generic', 'sub', 'system:serviceaccount:agents:', 'bot'],
  ['generic', 'sub', 'spiffe://example.org/agents/', 'bot'],
  ['generic', 'sub', 'arn:aws:iam::4711:', 'role/bot'],
  ['generic', 'sub', 'team:octo:', 'bot'],
  ['generic', 'sub', 'bot', ''],
  ['generic', 'repository', 'octo/', 'x'],
  ['generic', 'kubernetes.io → namespace', 'agents', ''],
];

test('an owner is all of a value, or a beginning as far as the delimiter after the name', () => {
  for (const [kind, path, owner, rest] of values) {
    const said = `${kind} ${path} ${owner}${rest}`;
    assert.ok(pinsOwner(kind, path.split(' → '), literalEnds([owner + rest])), said);
    assert.ok(pins(kind, path, escaped(owner + rest)), said);
    const longestTooShort = rest === '' ? owner.length : owner.length - 1;
    for (let end = 0; end <= longestTooShort; end += 1) {
      for (const open of ['.*', '.+', '[a-z]+', '.', '.{3}.*', '(x|.*)', '.*/x', '.*:x'])
        assert.ok(!pins(kind, path, escaped(owner.slice(0, end)) + open), `${said} up to ${end}, then ${open}`);
    }
    if (rest === '') continue;
    for (const open of ['.*', '.+', '[a-z]+', '.*:main'])
      assert.ok(pins(kind, path, escaped(owner) + open), `${said} after the owner ${open}`);
  }
});

test('the end of a text proves nothing of an issuer that is not known', () => {
  for (const [path, pattern] of [
    ['repository', '.*/x'],
    ['sub', '.*:ref:refs/heads/main'],
    ['sub', '.*:bot'],
    ['email', '.*@example[.]com'],
    ['team', '[a-z]+'],
  ] as const)
    assert.ok(!pins('generic', path, pattern), `${path} ${pattern}`);
});

test('what says how or by whom something runs says nothing of whose it is, by itself and in a subject', () => {
  for (const [path, value] of [
    ['repository_visibility', 'private'],
    ['visibility', 'internal'],
    ['actor', 'octo'],
    ['run_attempt', '1'],
    ['job → ref', 'main'],
    ['protected', 'true'],
    ['sub', 'environment:prod'],
    ['sub', 'job_workflow_ref:octo/tools/.github/workflows/run.yml@refs/heads/main'],
    ['kubernetes.io → pod → name', 'bot'],
    ['kubernetes.io/serviceaccount/service-account.name', 'bot'],
    ['google → compute_engine → instance_name', 'bot'],
  ] as const)
    assert.ok(!pinsOwner('generic', path.split(' → '), literalEnds([value])), `${path} ${value}`);
  assert.ok(!pins('generic', 'sub', 'ref_type:branch:.*'));
  assert.ok(!pins('generic', 'sub', 'repo:environment:prod:.*'));
});

test('the address tells the kind, in every region, cloud and edition', () => {
  const known: [IssuerKind, string[]][] = [
    [
      'github_actions',
      [
        'https://token.actions.githubusercontent.com',
        'https://token.actions.githubusercontent.com/octo',
        'https://token.actions.octo.ghe.com',
        'https://git.example.com/_services/token',
        'https://git.example.com/_services/token/octo',
      ],
    ],
    ['gitlab', ['https://gitlab.com']],
    ['buildkite', ['https://agent.buildkite.com']],
    ['terraform', ['https://app.terraform.io', 'https://app.eu.terraform.io']],
    ['vercel', ['https://oidc.vercel.com', 'https://oidc.vercel.com/acme']],
    [
      'entra',
      [
        'https://login.microsoftonline.com/0e1d/v2.0',
        'https://login.microsoftonline.us/0e1d/v2.0',
        'https://login.partner.microsoftonline.cn/0e1d/v2.0',
        'https://sts.chinacloudapi.cn/0e1d/',
        'https://sts.windows.net/0e1d/',
      ],
    ],
    [
      'kubernetes',
      [
        'https://oidc.eks.eu-west-1.amazonaws.com/id/0E1D',
        'https://oidc.eks.cn-north-1.amazonaws.com.cn/id/0E1D',
        'https://oidc-eks.eu-west-1.api.aws/id/0E1D',
        'https://container.googleapis.com/v1/projects/agents-1/locations/europe-west1/clusters/c',
        'https://westeurope.oic.prod-aks.azure.com/0e1d/77aa/',
        'https://kubernetes.default.svc',
        'https://kubernetes.default.svc.cluster.local',
      ],
    ],
    ['gcp', ['https://accounts.google.com']],
    ['circleci', ['https://oidc.circleci.com/org/0e1d']],
    ['bitbucket', ['https://api.bitbucket.org/2.0/workspaces/octo/pipelines-config/identity/oidc']],
    ['spiffe', ['spiffe://example.org']],
  ];
  for (const [kind, addresses] of known)
    for (const address of addresses) assert.equal(wellKnownKind(address), kind, address);
  for (const address of ['https://gitlab.example.com', 'https://ci.example.com', 'https://terraform.io.example.com'])
    assert.equal(wellKnownKind(address), undefined, address);
});
