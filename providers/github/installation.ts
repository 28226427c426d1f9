/**
 * Which installation of the App an owner's repositories belong to: found once, then remembered; except for
 * all repositories.
 */

import { answerText } from '../answer-text.ts';
import { ProviderError } from '../contract.ts';
import type { Api, ApiAnswer } from './api.ts';
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
  /**
   * A token for all repositories comes back without their names, so nothing in the answer ties it to the
   * owner: the installation does, and it is asked for every time.
   */
  const ofOwner = async (owner: string, given: number | undefined, signal: AbortSignal): Promise<number> => {
    const ofOrganization = await asApp((jwt) => api.organizationInstallation(jwt, owner, signal));
    const answer =
      ofOrganization.status === 404 ? await asApp((jwt) => api.userInstallation(jwt, owner, signal)) : ofOrganization;
    const id = idIn(answer, owner.toLowerCase());
    if (given !== undefined && given !== id)
      throw new ProviderError('upstream_mismatch', `Installation ${given} is not the one of ${owner}`);
    return id;
  };
  return {
    async find(permission, signal) {
      const owner = permission.owner.toLowerCase();
      const given = permission.installation_id ?? fallback;
      if (permission.repositories === 'all')
        return { id: await ofOwner(permission.owner, given, signal), remembered: false };
      if (given !== undefined) return { id: given, remembered: false };
      const before = known.get(owner);
      if (before !== undefined) return { id: before, remembered: true };
      // One call for organizations and users alike, and it fails where the App cannot reach the repository
      // anyway.
      const repository = { owner: permission.owner, repo: permission.repositories[0] as string };
      const id = idIn(await asApp((jwt) => api.installationOf(jwt, repository, signal)), owner);
      known.set(owner, id);
      return { id, remembered: false };
    },
    forget: (permission) => {
      known.delete(permission.owner.toLowerCase());
    },
  };
}

function idIn(answer: ApiAnswer, owner: string): number {
  if (answer.status !== 200) throw refusalOf(answer, 'looking up the installation');
  // Some gateway's page, say: nothing of GitHub's, and nothing was minted.
  if (typeof answer.body !== 'object' || answer.body === null)
    throw new ProviderError('upstream_mismatch', 'GitHub’s answer was not understood', { retryable: true });
  const found = answer.body as { id?: unknown; account?: { login?: unknown } };
  if (!Number.isSafeInteger(found.id) || String(found.account?.login).toLowerCase() !== owner)
    throw new ProviderError('upstream_mismatch', 'GitHub named an installation of another owner', {
      providerText: answerText(found.account?.login),
    });
  return found.id as number;
}
