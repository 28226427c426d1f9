/**
 * Variables of GitHub Actions, of a repository and of an organization: what emulate has not, and what
 * permissions open that are missing from GitHub's own description of permissions.
 */
import { type Answer, notAccessible, notFound } from './answers.ts';
import { covers, type SeedAccount } from './seed.ts';
import type { Token } from './tokens.ts';

/** Null for any other path. `path` is without the API's base path. */
export function answerVariables(method: string, path: string, token: Token, accounts: SeedAccount[]): Answer | null {
  const [, root, owner = '', ...rest] = path.split('/').map(decodeURIComponent);
  const name = root === 'repos' ? rest.shift() : undefined;
  if ((root !== 'repos' && root !== 'orgs') || rest.join('/') !== 'actions/variables') return null;
  const account = accounts.find(({ login }) => login.toLowerCase() === owner.toLowerCase());
  if (account === undefined || token.installation.account.login !== account.login) return notFound();
  const reached = ({ full_name }: Token['repositories'][number]) =>
    full_name.toLowerCase() === `${owner}/${name}`.toLowerCase();
  if (root === 'repos' && !token.repositories.some(reached)) return notFound();
  const permission = root === 'repos' ? 'actions_variables' : 'organization_actions_variables';
  if (method !== 'GET' || !covers(token.permissions[permission], 'read')) return notAccessible();
  const held =
    root === 'orgs'
      ? account.variables
      : account.repositories.find((one) => one.name.toLowerCase() === name?.toLowerCase())?.variables;
  const variables = Object.entries(held ?? {}).map(([variable, value]) => ({ name: variable, value }));
  return { status: 200, body: { total_count: variables.length, variables } };
}
