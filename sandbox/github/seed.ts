/** What the sandbox's GitHub contains at its start. */
import type { JsonObject } from '../../broker/core/vocabulary.ts';

export type Level = 'read' | 'write' | 'admin';
export type Permissions = Record<string, Level>;

export interface SeedRepository {
  name: string;
  /** Default true: a public repository is readable by anybody, which hides what a token may do. */
  private?: boolean;
  /** Path → text. A README.md is always there. */
  files?: Record<string, string>;
  /** Variables of GitHub Actions. */
  variables?: Record<string, string>;
}

export interface SeedAccount {
  login: string;
  /** Default Organization. */
  type?: 'Organization' | 'User';
  repositories: SeedRepository[];
  /** Variables of the organization. */
  variables?: Record<string, string>;
  /** Where the App is installed; absent = not on this account. */
  installation?: {
    id: number;
    permissions: Permissions;
    /** Names of the repositories the owner selected; absent = all. */
    repositories?: string[];
  };
}

/** A repository as GitHub shows it in a token's answer. */
export interface Repository {
  id: number;
  node_id: string;
  name: string;
  full_name: string;
  private: boolean;
}

export interface Installation {
  id: number;
  account: { login: string; type: 'Organization' | 'User' };
  permissions: Permissions;
  selection: 'all' | 'selected';
  repositories: Repository[];
  suspended: boolean;
}

const ranks: Record<string, number> = { read: 1, write: 2, admin: 3 };

/** True when `held` is enough for `wanted`. Unknown levels are never enough. */
export function covers(held: string | undefined, wanted: string | undefined): boolean {
  const wantedRank = ranks[wanted ?? ''];
  return wantedRank !== undefined && (ranks[held ?? ''] ?? 0) >= wantedRank;
}

/** Every App with access to repositories has it, whether it was selected or not. */
export function withMetadata(permissions: Permissions): Permissions {
  return { ...permissions, metadata: permissions.metadata ?? 'read' };
}

/** The installation as `GET /app/installations/{id}` and its neighbours show it. */
export function showInstallation(installation: Installation, appId: number): JsonObject {
  return {
    id: installation.id,
    app_id: appId,
    account: installation.account,
    target_type: installation.account.type,
    repository_selection: installation.selection,
    permissions: installation.permissions,
    suspended_at: installation.suspended ? '2000-01-01T00:00:00Z' : null,
  };
}
