/** `POST /app/installations/{id}/access_tokens`: what GitHub checks, with the texts it answers. */
import { type Answer, problem, suspended } from './answers.ts';
import type { Fault } from './faults.ts';
import { covers, type Installation, type Permissions, type Repository, withMetadata } from './seed.ts';
import type { Ledger, TokenFormat } from './tokens.ts';

const noSuchPermission = () => problem(422, 'The permissions requested are not granted to this installation.');
const noSuchRepository = () =>
  problem(422, 'There is at least one repository that does not exist or is not accessible to the parent installation.');

/**
 * Leaving `permissions` or `repositories` out means everything the installation has, exactly as at GitHub.
 */
export function mintToken(
  installation: Installation,
  body: unknown,
  ledger: Ledger,
  format: TokenFormat,
  fault: Fault | null,
): Answer {
  if (installation.suspended) return suspended();
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return problem(400, 'Problems parsing JSON');
  const asked = body as { permissions?: unknown; repositories?: unknown; repository_ids?: unknown };
  if (asked.repositories !== undefined && asked.repository_ids !== undefined)
    return problem(422, 'Only one of repositories or repository_ids may be specified.');

  const held = withMetadata(installation.permissions);
  let permissions: Permissions = held;
  if (asked.permissions !== undefined) {
    if (typeof asked.permissions !== 'object' || asked.permissions === null) return problem(422, 'Invalid request.');
    permissions = asked.permissions as Permissions;
    for (const [name, level] of Object.entries(permissions)) if (!covers(held[name], level)) return noSuchPermission();
  }

  let repositories: Repository[] = installation.repositories;
  const names = asked.repositories ?? asked.repository_ids;
  if (names !== undefined) {
    if (!Array.isArray(names) || names.length > 500) return problem(422, 'Invalid request.');
    repositories = [];
    for (const name of names) {
      const found = installation.repositories.find((repository) =>
        typeof name === 'number'
          ? repository.id === name
          : repository.name.toLowerCase() === String(name).toLowerCase(),
      );
      if (found === undefined) return noSuchRepository();
      if (!repositories.includes(found)) repositories.push(found);
    }
  }

  if (fault === 'wider-permissions') permissions = held;
  if (fault === 'wider-repositories') repositories = installation.repositories;
  const before = fault === 'same-token' ? ledger.allLive().at(-1) : undefined;
  const token = before ?? ledger.mint(installation, withMetadata(permissions), repositories, format);
  // As at GitHub: what was not asked by name is not named, whatever the installation's selection.
  const named = names !== undefined;
  const scope = {
    permissions: token.permissions,
    repository_selection: named && fault !== 'wider-repositories' ? 'selected' : installation.selection,
    ...(named ? { repositories: repositories.map((repository) => ({ ...repository })) } : {}),
  };
  if (fault === 'leaves-one-out') scope.permissions = withoutLast(scope.permissions);
  const said = fault === 'silent' ? {} : scope;
  return {
    status: 201,
    body: {
      token: token.value,
      expires_at: shown(token.expiresAt, fault).toISOString().replace('.000Z', 'Z'),
      ...said,
    },
  };
}

function shown(expiresAt: Date, fault: Fault | null): Date {
  if (fault === 'ends-in-the-past') return new Date(expiresAt.getTime() - 7_200_000);
  return fault === 'ends-too-late' ? new Date(expiresAt.getTime() + 7 * 86_400_000) : expiresAt;
}

/** Without the last that was asked for; metadata is in every token. */
function withoutLast(permissions: Permissions): Permissions {
  const last = Object.keys(permissions).findLast((name) => name !== 'metadata');
  return Object.fromEntries(Object.entries(permissions).filter(([name]) => name !== last));
}
