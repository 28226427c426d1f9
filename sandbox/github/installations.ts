/** Where the App is installed, and the endpoints that an App's JWT opens. */
import { type Answer, notFound } from './answers.ts';
import type { Emulated } from './emulated.ts';
import { type Installation, type SeedAccount, showInstallation } from './seed.ts';

const lookupPath = /^\/(?:orgs\/[^/]+|users\/[^/]+|repos\/[^/]+\/[^/]+)\/installation$/;

/** True for the endpoints that take the App's JWT; all others take a token. */
export const isAppPath = (path: string) => path === '/app' || path.startsWith('/app/') || lookupPath.test(path);

export function installationsOf(accounts: SeedAccount[], emulated: Emulated): Installation[] {
  return accounts.flatMap(({ login, type, repositories, installation }) => {
    if (installation === undefined) return [];
    const chosen = installation.repositories ?? repositories.map(({ name }) => name);
    const found = chosen.map((name) => {
      const repository = emulated.repositories.get(`${login}/${name}`.toLowerCase());
      if (repository === undefined) throw new Error(`The sandbox has no repository ${login}/${name}`);
      return repository;
    });
    const account = { login, type: type ?? ('Organization' as const) };
    const selection = installation.repositories === undefined ? ('all' as const) : ('selected' as const);
    const { id, permissions } = installation;
    return [{ id, account, permissions, selection, repositories: found, suspended: false }];
  });
}

/** The installation that `/app/installations/{id}…` or a lookup path means. */
export function findInstallation(path: string, installations: Installation[]): Installation | undefined {
  const [, first, second, third] = path.split('/').map(decodeURIComponent);
  if (first === 'app') return installations.find(({ id }) => String(id) === third);
  return installations.find(({ account, repositories }) => {
    if (account.login.toLowerCase() !== second?.toLowerCase()) return false;
    if (first === 'orgs') return account.type === 'Organization';
    return first === 'users' || repositories.some(({ name }) => name.toLowerCase() === third?.toLowerCase());
  });
}

/** All App endpoints but minting. */
export function answerApp(method: string, path: string, installations: Installation[], appId: number): Answer {
  if (method !== 'GET') return notFound();
  if (path === '/app')
    return { status: 200, body: { id: appId, slug: 'writ-sandbox', installations_count: installations.length } };
  if (path === '/app/installations')
    return { status: 200, body: installations.map((one) => showInstallation(one, appId)) };
  const found = findInstallation(path, installations);
  return found === undefined ? notFound() : { status: 200, body: showInstallation(found, appId) };
}
