import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ProviderError } from '../contract.ts';
import { beyondPlan } from './echo.ts';
import { params } from './params.ts';
import { permissions } from './permissions.ts';
import { describePlan, permissionOf, planFor } from './plan.ts';

const given = { owner: 'example-org', repositories: ['b', 'a'], permissions: { issues: 'write', contents: 'read' } };
const planOf = (value: unknown, ttl = 900) => planFor(params.parse(value), ttl, null);

test('a plan is what is sent to GitHub, in one order, metadata included, within the hour', () => {
  assert.deepEqual(planOf(given, 9_999), {
    provider: 'github',
    permission: {
      owner: 'example-org',
      repositories: ['a', 'b'],
      permissions: { contents: 'read', issues: 'write', metadata: 'read' },
    },
    ttl_seconds: 3600,
  });
  const reordered = { ...given, repositories: ['a', 'b'], permissions: { contents: 'read', issues: 'write' } };
  assert.equal(JSON.stringify(planOf(given)), JSON.stringify(planOf(reordered)));
});

test('an owner outside the allow-list is refused whatever its case', () => {
  const owners = new Set(['example-org']);
  assert.ok(planFor(params.parse({ ...given, owner: 'Example-ORG' }), 60, owners));
  const refused = (error: unknown) =>
    error instanceof ProviderError && error.code === 'bad_params' && error.path === 'owner';
  assert.throws(() => planFor(params.parse({ ...given, owner: 'example-org2' }), 60, owners), refused);
});

test('people read what it opens, and where it reaches further than it looks', () => {
  const { summary, revocability } = describePlan(
    planOf({ ...given, permissions: { contents: 'write', members: 'read' } }, 300),
  );
  assert.equal(
    summary[0],
    'Read and write files, commits, branches and releases in example-org/a, example-org/b (GitHub: contents: write)',
  );
  assert.match(summary[1] ?? '', /^Read members and teams in the whole organization example-org, not only/);
  assert.match(summary.at(-1) ?? '', /cannot be limited to a branch/);
  assert.match(revocability.text, /300 seconds.*Writ’s timer, not by GitHub/);
  const many = { ...given, repositories: Array.from({ length: 500 }, (_, index) => `repository-${index}`) };
  assert.match(describePlan(planOf(many)).summary[0] ?? '', / and 495 more /);
});

test('every permission and level is one of GitHub’s own', () => {
  const path = fileURLToPath(import.meta.resolve('@octokit/openapi-types/types.d.ts'));
  const text = readFileSync(path, 'utf8');
  const from = text.indexOf('"app-permissions": {');
  const official = new Map<string, string>();
  for (const [, name, levels] of text
    .slice(from, text.indexOf('\n    };', from))
    .matchAll(/^ +(\w+)\?: ((?:"\w+"(?: \| )?)+);/gm))
    official.set(name ?? '', (levels ?? '').replaceAll('"', '').split(' | ').join());
  assert.ok(official.size > 40);
  for (const [name, { levels }] of Object.entries(permissions)) assert.equal(official.get(name), levels.join(), name);
  const personal = [
    'email_addresses',
    'followers',
    'git_ssh_keys',
    'gpg_keys',
    'interaction_limits',
    'profile',
    'starring',
  ];
  const missing = [...official.keys()].filter((name) => permissions[name] === undefined);
  assert.deepEqual(missing.filter((name) => !name.startsWith('enterprise_')).sort(), personal);
});

test('an answer is believed only when it stays within the plan in every field', () => {
  const planned = permissionOf(planOf(given));
  const repository = (full_name: unknown) => ({ full_name });
  const good = {
    permissions: { contents: 'read', issues: 'read', metadata: 'read' },
    repository_selection: 'selected',
    repositories: [repository('Example-Org/A')],
  };
  assert.equal(beyondPlan(good, planned), null);
  const wider: unknown[] = [
    null,
    [],
    'token',
    { ...good, permissions: undefined },
    { ...good, permissions: null },
    { ...good, permissions: ['contents'] },
    { ...good, permissions: { ...good.permissions, contents: 'write' } },
    { ...good, permissions: { ...good.permissions, metadata: 'write' } },
    { ...good, permissions: { ...good.permissions, members: 'read' } },
    { ...good, permissions: { ...good.permissions, contents: 'maintain' } },
    { ...good, permissions: { constructor: 'read' } },
    { ...good, permissions: { contents: true } },
    { ...good, repository_selection: 'all' },
    { ...good, repositories: undefined },
    { ...good, repositories: [repository('example-org/c')] },
    { ...good, repositories: [repository('elsewhere/a')] },
    { ...good, repositories: [repository('example-org/a'), repository('example-org/a/../c')] },
    { ...good, repositories: [repository(undefined)] },
    { ...good, repositories: ['example-org/a'] },
  ];
  for (const answer of wider) assert.notEqual(beyondPlan(answer, planned), null, JSON.stringify(answer));
});
