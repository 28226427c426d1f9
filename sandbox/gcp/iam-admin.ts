/** IAM: serviceAccounts get, disable, enable, for members that hold roles/iam.serviceAccountAdmin. */
import { GoogleError } from './errors.ts';
import { type AccessToken, findAccount, hasScope, isMarkedDisabled, type ServiceAccount, type World } from './world.ts';

export type AdminVerb = 'get' | 'disable' | 'enable' | 'testIamPermissions';

/**
 * `project` is the path's project or `-`. Disabling what is disabled succeeds, as does enabling what is
 * enabled.
 */
export function administerAccount(
  world: World,
  caller: AccessToken,
  verb: Exclude<AdminVerb, 'testIamPermissions'>,
  project: string,
  email: string,
): object {
  if (!hasScope(caller, 'https://www.googleapis.com/auth/iam'))
    throw new GoogleError('PERMISSION_DENIED', 'Request had insufficient authentication scopes.');
  const account = findAccount(world, email);
  if (!world.admins.has(caller.member))
    throw new GoogleError(
      'PERMISSION_DENIED',
      `Permission 'iam.serviceAccounts.${verb}' denied on resource (or it may not exist).`,
    );
  if (account === null || (project !== '-' && project !== projectOf(account)))
    throw new GoogleError('NOT_FOUND', `Unknown service account`);
  if (verb === 'get') return resource(account);
  account.changes.push({ at: world.clock.now().getTime(), disabled: verb === 'disable' });
  return {};
}

/** Which of these the caller has on the account; needs no permission itself. */
export function testAccountPermissions(
  world: World,
  caller: AccessToken,
  project: string,
  email: string,
  wanted: unknown,
): object {
  const account = findAccount(world, email);
  if (account === null || (project !== '-' && project !== projectOf(account)))
    throw new GoogleError('NOT_FOUND', `Unknown service account`);
  const has = (permission: string) =>
    permission === 'iam.serviceAccounts.getAccessToken'
      ? account.tokenCreators.has(caller.member)
      : /^iam\.serviceAccounts\.(get|disable|enable)$/.test(permission) && world.admins.has(caller.member);
  const permissions = (Array.isArray(wanted) ? wanted.map(String) : []).filter(has);
  // proto3 JSON leaves an empty list out.
  return permissions.length === 0 ? {} : { permissions };
}

function resource(account: ServiceAccount): object {
  const project = projectOf(account);
  return {
    name: `projects/${project}/serviceAccounts/${account.email}`,
    projectId: project,
    uniqueId: account.uniqueId,
    email: account.email,
    // proto3 JSON leaves a false field out, and so does the real API.
    ...(isMarkedDisabled(account) ? { disabled: true } : {}),
  };
}

/** Of a project that belongs to a domain, the e-mail has it the other way round. */
function projectOf(account: ServiceAccount): string {
  const [, name = '', domain] = /@([^.]+)(?:\.(.+))?\.iam\.gserviceaccount\.com$/.exec(account.email) ?? [];
  return domain === undefined ? name : `${domain}:${name}`;
}
