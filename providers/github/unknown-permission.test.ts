/** Permissions that GitHub has and Writ does not know: GitHub's own answer is the authority. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { ProviderError } from '../contract.ts';
import { beyondPlan } from './echo.ts';
import { type GithubHarness, issueWith, octokitWith, startHarness } from './harness.test-support.ts';
import { levels as levelsToLower } from './levels.ts';
import { narrower } from './narrower.ts';
import { advise, params } from './params.ts';
import { describePlan, type GithubPermission, planFor } from './plan.ts';
import { reach } from './reach.ts';

const account = {
  login: 'example-org',
  repositories: [{ name: 'orders', variables: { STAGE: 'test' } }, { name: 'billing' }],
  variables: { REGION: 'north' },
  installation: {
    id: 77,
    permissions: { contents: 'read', actions_variables: 'write', organization_actions_variables: 'read' } as const,
  },
};
const wanted = (permissions: Record<string, string>) => ({
  owner: 'example-org',
  repositories: ['orders'],
  permissions,
});
const variables = { actions_variables: 'read' };

let harness: GithubHarness;
beforeEach(async () => {
  harness = await startHarness({ accounts: [account] });
});
afterEach(() => harness.sandbox.close());

const planOf = (permissions: Record<string, string>) => planFor(params.parse(wanted(permissions)), 900, null);

test('a token with them does what they open, and nothing beside', async () => {
  const { credential } = await issueWith(harness, wanted({ ...variables, organization_actions_variables: 'read' }));
  const { actions, repos } = octokitWith(credential).rest;
  const orders = { owner: 'example-org', repo: 'orders' };
  assert.equal((await actions.listRepoVariables(orders)).data.variables[0]?.name, 'STAGE');
  assert.equal((await actions.listOrgVariables({ org: 'example-org' })).data.variables[0]?.name, 'REGION');
  await assert.rejects(actions.listRepoVariables({ ...orders, repo: 'billing' }), { status: 404 });
  await assert.rejects(repos.getContent({ ...orders, path: 'README.md' }), { status: 403 });
  const without = await issueWith(harness, wanted({ contents: 'read' }));
  await assert.rejects(octokitWith(without.credential).rest.actions.listRepoVariables(orders), { status: 403 });
});

test('one that the App was not given, or that GitHub does not know, is GitHub’s refusal', async () => {
  for (const permissions of [{ codespaces_secrets: 'read' }, { actions_variables: 'admin' }, { contens: 'read' }]) {
    const refused = await issueWith(harness, wanted(permissions)).catch((error: ProviderError) => error);
    const { code, providerCode } = refused as ProviderError;
    assert.deepEqual([code, providerCode], ['upstream_refused', '422'], JSON.stringify(permissions));
  }
  assert.equal(harness.sandbox.liveTokens(), 0);
});

test('an answer that does not carry it is not the plan: what came is dead', async () => {
  harness.sandbox.fail('leaves-one-out');
  const refused = await issueWith(harness, wanted(variables)).catch((error: ProviderError) => error);
  assert.equal((refused as ProviderError).code, 'upstream_mismatch');
  assert.match((refused as ProviderError).message, /does not give the token actions_variables: read/);
  assert.equal(harness.sandbox.liveTokens(), 0);
});

test('the plan reads as wide as it may be, and who-can is told that nobody can tell', () => {
  const plan = planOf(variables);
  const { summary } = describePlan(plan);
  assert.match(
    summary[0] ?? '',
    /^Read whatever GitHub opens with actions_variables, a permission Writ does not know: it may reach the whole organization example-org.*\(GitHub: actions_variables: read\)$/,
  );
  const [first] = reach(plan);
  assert.deepEqual(first?.resources, ['example-org', 'example-org/*']);
  assert.match(first?.uncertain ?? '', /does not know/);
  assert.equal(narrower(planOf({ actions_variables: 'read' }), planOf({ actions_variables: 'write' })), true);
  assert.equal(narrower(planOf({ actions_variables: 'write' }), planOf({ actions_variables: 'read' })), false);
  assert.equal(narrower(planOf({ codespaces_secrets: 'read' }), planOf({ actions_variables: 'write' })), false);
});

test('so is a level that Writ does not know of a permission it knows', async () => {
  const levels = { contents: 'admin', organization_events: 'write', workflows: 'read' };
  assert.equal(params.safeParse(wanted(levels)).success, true);
  assert.deepEqual(
    advise(wanted({ ...levels, issues: 'write', contens: 'read' })).map(({ path }) => path[1]),
    ['contents', 'organization_events', 'workflows', 'contens'],
  );
  assert.match(advise(wanted(levels))[2]?.message ?? '', /^is read, and Writ knows of workflows only write: GitHub/);
  // biome-ignore lint/suspicious/noTemplateCurlyInString: an input of a manifest, not JavaScript's
  assert.deepEqual(advise(wanted({ contents: '${inputs.level}' })), []);
  const plan = planOf({ contents: 'admin' });
  const { summary } = describePlan(plan);
  assert.match(
    summary[0] ?? '',
    /^Whatever GitHub opens with contents: admin, a level Writ does not know of it: it may reach the whole organization example-org.*\(GitHub: contents: admin\)$/,
  );
  assert.match(summary.join('\n'), /Every branch can be written/);
  assert.deepEqual(reach(plan)[0]?.resources, ['example-org', 'example-org/*']);
  assert.match(reach(plan)[0]?.uncertain ?? '', /level Writ does not know/);
  for (const [name, one, other, within] of [
    ['contents', 'read', 'admin', false],
    ['contents', 'admin', 'write', false],
    ['contents', 'admin', 'admin', true],
    ['workflows', 'read', 'write', false],
    ['contents', 'read', 'write', true],
  ] as const)
    assert.equal(narrower(planOf({ [name]: one }), planOf({ [name]: other })), within, `${name}: ${one} of ${other}`);
  const lowered = (permissions: Record<string, string>) =>
    levelsToLower(params.parse(wanted(permissions))).map(({ name, steps }) => [name, steps?.map(({ key }) => key)]);
  assert.deepEqual(lowered({ contents: 'admin', issues: 'write' }), [
    ['contents', ['none']],
    ['issues', ['read', 'none']],
  ]);
  const refused = await issueWith(harness, wanted({ contents: 'admin' })).catch((error: ProviderError) => error);
  assert.equal((refused as ProviderError).code, 'upstream_refused');
  const permission = plan.permission as unknown as GithubPermission;
  const answer = (level: string) => ({
    permissions: { contents: level, metadata: 'read' },
    repository_selection: 'selected',
    repositories: [{ full_name: 'example-org/orders' }],
  });
  assert.equal(beyondPlan(answer('admin'), permission), null);
  assert.match(beyondPlan(answer('write'), permission) ?? '', /does not give the token contents: admin/);
});

test('it is warned about with the near name; how it is spelt and the words for levels are still closed', () => {
  assert.deepEqual(
    advise(wanted({ contens: 'read', issues: 'read' })).map(({ path, near }) => [path, near?.written]),
    [[['permissions', 'contens'], 'contens']],
  );
  assert.deepEqual(advise(null), []);
  for (const name of ['Contents', 'contents:read', 'constructor ', '__proto__', '', 'a-b', '*', 'x'.repeat(101)])
    assert.equal(params.safeParse(wanted(Object.fromEntries([[name, 'read']]))).success, false, name);
  for (const level of ['maintain', 'none', 'Read', ''])
    assert.equal(params.safeParse(wanted({ actions_variables: level })).success, false, level);
});
