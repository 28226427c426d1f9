/**
 * Which Cloud Storage permissions a predefined role holds
 * (https://cloud.google.com/storage/docs/access-control/iam-roles), as far as served here.
 */

export type StoragePermission =
  | 'storage.objects.get'
  | 'storage.objects.list'
  | 'storage.objects.create'
  | 'storage.objects.delete'
  | 'storage.managedFolders.get';

const readPermissions: StoragePermission[] = [
  'storage.objects.get',
  'storage.objects.list',
  'storage.managedFolders.get',
];
const allPermissions: StoragePermission[] = [...readPermissions, 'storage.objects.create', 'storage.objects.delete'];

const rolePermissions: { [role: string]: StoragePermission[] } = {
  'roles/storage.objectViewer': readPermissions,
  'roles/storage.objectCreator': ['storage.objects.create'],
  'roles/storage.objectUser': allPermissions,
  'roles/storage.objectAdmin': allPermissions,
  'roles/storage.admin': allPermissions,
  'roles/storage.legacyObjectReader': ['storage.objects.get'],
  'roles/storage.legacyBucketReader': ['storage.objects.list'],
  'roles/storage.legacyBucketWriter': ['storage.objects.list', 'storage.objects.create', 'storage.objects.delete'],
};

/** The permissions of a role; null for one that this counterpart does not know. */
export function permissionsOf(role: string): readonly StoragePermission[] | null {
  return rolePermissions[role] ?? null;
}

const scopePrefix = 'https://www.googleapis.com/auth/';

/** OAuth scopes that suffice for a permission. */
export function scopesFor(permission: StoragePermission): string[] {
  const writing = [`${scopePrefix}devstorage.read_write`, `${scopePrefix}devstorage.full_control`];
  if (permission === 'storage.objects.create' || permission === 'storage.objects.delete') return writing;
  return [...writing, `${scopePrefix}devstorage.read_only`, `${scopePrefix}cloud-platform.read-only`];
}
