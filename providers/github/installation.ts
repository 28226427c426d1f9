/** Which installation of the App an owner's repositories belong to: found once, then remembered. */
import { ProviderError } from '../contract.ts';
import type { Api } from './api.ts';
import { refusalOf } from './errors.ts';
import type { GithubPermission } from './plan.ts';

export interface Installations {
  idFor(permission: GithubPermission, signal: AbortSignal): Promise<number>;
  /** After a 404: the App may have been reinstalled under another id. */
  forget(permission: GithubPermission): void;
}

/** `fallback`: GITHUB_INSTALLATION_ID. A plan's own id comes first. */
export function rememberInstallations(api: Api, appJwt: () => string, fallback: number | undefined): Installations {
  const known = new Map<string, number>();
  return {
    async idFor(permission, signal) {
      const owner = permission.owner.toLowerCase();
      const id = permission.installation_id ?? fallback ?? known.get(owner);
      if (id !== undefined) return id;
      // One call for organizations and users alike, and it fails where the App cannot reach the repository
      // anyway.
      const repository = { owner: permission.owner, repo: permission.repositories[0] as string };
      const answer = await api.installationOf(appJwt(), repository, signal);
      if (answer.status !== 200) throw refusalOf(answer, 'looking up the installation');
      const found = answer.body as { id?: unknown; account?: { login?: unknown } } | null;
      if (!Number.isSafeInteger(found?.id) || String(found?.account?.login).toLowerCase() !== owner)
        throw new ProviderError('upstream_mismatch', 'GitHub named an installation of another owner');
      known.set(owner, found?.id as number);
      return found?.id as number;
    },
    forget: (permission) => {
      known.delete(permission.owner.toLowerCase());
    },
  };
}
