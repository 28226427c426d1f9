/** Which Cloud Storage permissions a predefined role holds (https://cloud.google.com/storage/docs/access-control/iam-roles), as far as served here. */

export type StoragePermission =
  | 'storage.objects.get'
  | 'storage.objects.list'
  | 'storage.objects.create'
  | 'storage.objects.delete';

const READ: StoragePermission[] = ['storage.objects.get', 'storage.objects.list'];
const ALL: StoragePermission[] = [...READ, 'storage.objects.create', 'storage.objects.delete'];

const ROLES: { [role: string]: StoragePermission[] } = {
  'roles/storage.objectViewer': READ,
  'roles/storage.objectCreator': ['storage.objects.create'],
  'roles/storage.objectUser': ALL,
  'roles/storage.objectAdmin': ALL,
  'roles/storage.admin': ALL,
  'roles/storage.legacyObjectReader': ['storage.objects.get'],
  'roles/storage.legacyBucketReader': ['storage.objects.list'],
  'roles/storage.legacyBucketWriter': ['storage.objects.list', 'storage.objects.create', 'storage.objects.delete'],
};

/** The permissions of a role; null for one that this counterpart does not know. */
export function permissionsOf(role: string): readonly StoragePermission[] | null {
  return ROLES[role] ?? null;
}

const SCOPE = 'https://www.googleapis.com/auth/';

/** OAuth scopes that suffice for a permission. */
export function scopesFor(permission: StoragePermission): string[] {
  const writing = [`${SCOPE}devstorage.read_write`, `${SCOPE}devstorage.full_control`];
  if (permission === 'storage.objects.create' || permission === 'storage.objects.delete') return writing;
  return [...writing, `${SCOPE}devstorage.read_only`, `${SCOPE}cloud-platform.read-only`];
}
