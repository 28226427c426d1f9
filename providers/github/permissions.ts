/**
 * The permissions an installation token can carry, with their levels and what each opens, in plain words.
 *
 * Source: `app-permissions` of GitHub's OpenAPI description (@octokit/openapi-types; a test compares).
 * Permissions over a person's own account (profile, keys, followers …) and over enterprises are left out: an
 * installation token for repositories cannot use them.
 *
 * GitHub has more than it describes, and gets new ones, levels too: what is not here may be asked for all the
 * same, and GitHub's answer says whether it exists. Nobody here can tell how far such a one reaches.
 */

export type PermissionLevel = 'read' | 'write' | 'admin';
/** All words that GitHub has for levels, the lowest first. */
export const levelWords: readonly PermissionLevel[] = ['read', 'write', 'admin'];

/** How GitHub spells names of permissions. */
export const permissionName = /^[a-z][a-z0-9]*(?:_[a-z0-9]+)*$/;

export interface Permission {
  levels: readonly PermissionLevel[];
  /** What it is about, to stand after "Read" or "Read and write". */
  about: string;
  /** True: it reaches the whole organization, however few repositories the token names. */
  organizationWide?: true;
}

const readWrite = ['read', 'write'] as const;
const readWriteAdmin = ['read', 'write', 'admin'] as const;
const repository = (about: string): Permission => ({ levels: readWrite, about });
const organization = (about: string, levels: readonly PermissionLevel[] = readWrite): Permission => ({
  levels,
  about,
  organizationWide: true,
});

export const permissions: Readonly<Record<string, Permission>> = Object.freeze({
  __proto__: null as never,
  actions: repository('GitHub Actions runs, logs and artifacts'),
  administration: repository('repository settings, collaborators and teams (write can delete the repository)'),
  artifact_metadata: repository('artifact metadata'),
  attestations: repository('attestations'),
  checks: repository('check runs'),
  code_quality: repository('code quality results'),
  codespaces: repository('codespaces'),
  contents: repository('files, commits, branches and releases'),
  dependabot_secrets: repository('names of Dependabot secrets (write can set them)'),
  deployments: repository('deployments'),
  discussions: repository('discussions'),
  environments: repository('deployment environments'),
  issues: repository('issues, labels and milestones'),
  merge_queues: repository('merge queues'),
  metadata: repository('names, settings and visibility'),
  packages: repository('packages'),
  pages: repository('GitHub Pages'),
  pull_requests: repository('pull requests and reviews'),
  repository_custom_properties: repository('custom properties of the repositories'),
  repository_hooks: repository('webhooks of the repositories'),
  repository_projects: { levels: readWriteAdmin, about: 'project boards of the repositories' },
  secret_scanning_alerts: repository('secret scanning alerts'),
  secrets: repository('names of Actions secrets (write can set them)'),
  security_events: repository('code scanning alerts'),
  single_file: repository('the single file that the App is configured for'),
  statuses: repository('commit statuses'),
  vulnerability_alerts: repository('Dependabot alerts'),
  workflows: { levels: ['write'], about: 'GitHub Actions workflow files' },
  custom_properties_for_organizations: organization('custom properties of the organization'),
  members: organization('members and teams'),
  organization_administration: organization('organization settings'),
  organization_announcement_banners: organization('announcement banners'),
  organization_copilot_agent_settings: organization('Copilot agent settings'),
  organization_copilot_seat_management: organization('Copilot seats'),
  organization_custom_org_roles: organization('custom organization roles'),
  organization_custom_properties: organization('definitions of custom properties', readWriteAdmin),
  organization_custom_roles: organization('custom repository roles'),
  organization_events: organization('organization events', ['read']),
  organization_hooks: organization('organization webhooks'),
  organization_packages: organization('organization packages'),
  organization_personal_access_token_requests: organization('requests for personal access tokens'),
  organization_personal_access_tokens: organization('personal access tokens with access to the organization'),
  organization_plan: organization('the plan', ['read']),
  organization_projects: organization('organization projects', readWriteAdmin),
  organization_secrets: organization('names of organization secrets (write can set them)'),
  organization_self_hosted_runners: organization('self-hosted runners'),
  organization_user_blocking: organization('blocked users'),
});

/** The levels that are known to exist: of a permission that is not known, all that there are. */
export const levelsOf = (name: string): readonly PermissionLevel[] => permissions[name]?.levels ?? levelWords;

export const isKnown = (name: string): boolean => permissions[name] !== undefined;

/** Whether it is known what this level of this permission opens. */
export const isKnownLevel = (name: string, level: string): boolean =>
  permissions[name]?.levels.some((one) => one === level) === true;

const ranks: Readonly<Record<string, number>> = Object.freeze({
  __proto__: null as never,
  read: 1,
  write: 2,
  admin: 3,
});

/**
 * True when `granted` gives no more than `planned`. A level GitHub may invent later is more than anything.
 */
export function isWithin(granted: unknown, planned: string | undefined): boolean {
  const rank = typeof granted === 'string' ? ranks[granted] : undefined;
  return rank !== undefined && rank <= (ranks[planned ?? ''] ?? 0);
}
