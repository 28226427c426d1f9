/** Which installation of the App an owner's repositories belong to: found once, then remembered. */

import { answerText } from '../answer-text.ts';
import { ProviderError } from '../contract.ts';
import type { Api } from './api.ts';
import type { AsApp } from './as-app.ts';
import { refusalOf } from './errors.ts';
import type { GithubPermission } from './plan.ts';

export interface Installation {
  id: number;
  /** It was remembered, and not asked for just now: it may have been replaced since. */
  remembered: boolean;
}

export interface Installations {
  find(permission: GithubPermission, signal: AbortSignal): Promise<Installation>;
  /** After a 404: the App may have been reinstalled under another id. */
  forget(permission: GithubPermission): void;
}

/** `fallback`: GITHUB_INSTALLATION_ID. A plan's own id comes first. */
export function rememberInstallations(api: Api, asApp: AsApp, fallback: number | undefined): Installations {
  const known = new Map<string, number>();
  return {
    async find(permission, signal) {
      const owner = permission.owner.toLowerCase();
      const given = permission.installation_id ?? fallback;
      if (given !== undefined) return { id: given, remembered: false };
      const before = known.get(owner);
      if (before !== undefined) return { id: before, remembered: true };
      // One call for organizations and users alike, and it fails where the App cannot reach the repository
      // anyway.
      const repository = { owner: permission.owner, repo: permission.repositories[0] as string };
      const answer = await asApp((jwt) => api.installationOf(jwt, repository, signal));
      if (answer.status !== 200) throw refusalOf(answer, 'looking up the installation');
      const found = answer.body as { id?: unknown; account?: { login?: unknown } } | null;
      if (!Number.isSafeInteger(found?.id) || String(found?.account?.login).toLowerCase() !== owner)
        throw new ProviderError('upstream_mismatch', 'GitHub named an installation of another owner', {
          providerText: answerText(found?.account?.login),
        });
      known.set(owner, found?.id as number);
      return { id: found?.id as number, remembered: false };
    },
    forget: (permission) => {
      known.delete(permission.owner.toLowerCase());
    },
  };
}
