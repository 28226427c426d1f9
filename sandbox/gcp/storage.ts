/**
 * Cloud Storage JSON API: read, write, delete and list objects, within scopes, the account's roles and the
 * token's boundary.
 */
import { boundaryAllows } from './boundary.ts';
import { checksumsOf } from './checksums.ts';
import { GoogleError } from './errors.ts';
import { partial } from './fields.ts';
import { permissionsOf, type StoragePermission, scopesFor } from './roles.ts';
import { type AccessToken, type Content, hasScope, type StoredObject, stored, type World } from './world.ts';

export interface StorageAnswer {
  status: number;
  body: Buffer | object | null;
  /** Of a body that is a Buffer. */
  headers?: { [name: string]: string };
}

/** GET …/o/OBJECT: the metadata, or with `alt=media` the content. */
export function getObject(
  world: World,
  token: AccessToken,
  bucket: string,
  name: string,
  media: boolean,
): StorageAnswer {
  authorise(world, token, 'storage.objects.get', bucket, name);
  const object = objectsOf(world, bucket).get(name);
  if (object === undefined) throw new GoogleError('NOT_FOUND', `No such object: ${bucket}/${name}`);
  if (media) return { status: 200, body: object.bytes, headers: mediaHeaders(object) };
  return { status: 200, body: metadata(bucket, name, object) };
}

/**
 * POST /upload/…/o?uploadType=media or multipart: replacing an object needs the permission to delete it, as
 * at Google.
 */
export function insertObject(
  world: World,
  token: AccessToken,
  bucket: string,
  name: string,
  content: Content,
): StorageAnswer {
  authorise(world, token, 'storage.objects.create', bucket, name);
  const objects = objectsOf(world, bucket);
  if (objects.has(name)) authorise(world, token, 'storage.objects.delete', bucket, name);
  const object = stored(world, content);
  objects.set(name, object);
  return { status: 200, body: metadata(bucket, name, object) };
}

/** GET …/managedFolders/FOLDER: a resource of its own, beside the objects whose names begin with its name. */
export function getManagedFolder(world: World, token: AccessToken, bucket: string, folder: string): StorageAnswer {
  authorise(world, token, 'storage.managedFolders.get', bucket, { folder });
  if (world.managedFolders.get(bucket)?.has(folder) !== true)
    throw new GoogleError('NOT_FOUND', 'The specified managed folder does not exist.');
  return { status: 200, body: { kind: 'storage#managedFolder', name: folder, bucket } };
}

export function deleteObject(world: World, token: AccessToken, bucket: string, name: string): StorageAnswer {
  authorise(world, token, 'storage.objects.delete', bucket, name);
  if (!objectsOf(world, bucket).delete(name)) throw new GoogleError('NOT_FOUND', `No such object: ${bucket}/${name}`);
  return { status: 204, body: null };
}

/**
 * GET …/o?prefix=…: a boundary may limit listing through the attribute
 * storage.googleapis.com/objectListPrefix.
 */
export function listObjects(
  world: World,
  token: AccessToken,
  bucket: string,
  { prefix, maxResults, pageToken, fields }: Listing,
): StorageAnswer {
  authorise(world, token, 'storage.objects.list', bucket, null, prefix);
  const after = pageToken === null ? null : Buffer.from(pageToken, 'base64url').toString();
  const found = [...objectsOf(world, bucket)].filter(([name]) => name.startsWith(prefix) && name > (after ?? ''));
  found.sort(([a], [b]) => (a < b ? -1 : 1));
  const page = found.slice(0, maxResults);
  const items = page.map(([name, object]) => metadata(bucket, name, object));
  const next = page.length < found.length ? Buffer.from(page.at(-1)?.[0] ?? '').toString('base64url') : undefined;
  const body = {
    kind: 'storage#objects',
    ...(items.length > 0 ? { items } : {}),
    ...(next === undefined ? {} : { nextPageToken: next }),
  };
  return { status: 200, body: fields === null ? body : partial(body, fields) };
}

export interface Listing {
  prefix: string;
  maxResults: number;
  pageToken: string | null;
  /** Which members are wanted; null = all. */
  fields: string | null;
}

/** GET …/iam/testPermissions: everybody may ask what they may. A boundary counts as well. */
export function testPermissions(
  world: World,
  token: AccessToken,
  bucket: string,
  permissions: string[],
): StorageAnswer {
  if (!hasScope(token, ...scopesFor('storage.objects.get')))
    throw new GoogleError('PERMISSION_DENIED', 'Insufficient Permission');
  objectsOf(world, bucket);
  const held = permissions.filter((permission) => {
    try {
      authorise(world, token, permission as StoragePermission, bucket, null);
      return true;
    } catch {
      return false;
    }
  });
  const body = { kind: 'storage#testIamPermissionsResponse', ...(held.length > 0 ? { permissions: held } : {}) };
  return { status: 200, body };
}

/** Scope, then the account's own role, then the boundary: all three must allow it. */
function authorise(
  world: World,
  token: AccessToken,
  permission: StoragePermission,
  bucket: string,
  about: string | { folder: string } | null,
  listPrefix = '',
): void {
  if (!hasScope(token, ...scopesFor(permission)))
    throw new GoogleError(
      'PERMISSION_DENIED',
      'Insufficient Permission: Request had insufficient authentication scopes.',
    );
  const roles = token.account?.storage.filter((binding) => binding.bucket === bucket) ?? [];
  const byRole = roles.some((binding) => permissionsOf(binding.role)?.includes(permission));
  const facts = {
    resourceName: `projects/_/buckets/${bucket}${below(about)}`,
    attributes: about === null ? { 'storage.googleapis.com/objectListPrefix': listPrefix } : {},
  };
  const byBoundary = token.boundary === null || boundaryAllows(token.boundary, bucket, permission, facts);
  if (!byRole || !byBoundary)
    throw new GoogleError(
      'PERMISSION_DENIED',
      `${token.account?.email ?? 'The caller'} does not have ${permission} access to the Google Cloud Storage ${about === null ? 'bucket' : typeof about === 'string' ? 'object' : 'managed folder'}. Permission '${permission}' denied on resource (or it may not exist).`,
    );
  if (!world.buckets.has(bucket)) throw new GoogleError('NOT_FOUND', 'The specified bucket does not exist.');
}

function below(about: string | { folder: string } | null): string {
  if (about === null) return '';
  return typeof about === 'string' ? `/objects/${about}` : `/managedFolders/${about.folder}`;
}

function objectsOf(world: World, bucket: string): Map<string, StoredObject> {
  const objects = world.buckets.get(bucket);
  if (objects === undefined) throw new GoogleError('NOT_FOUND', 'The specified bucket does not exist.');
  return objects;
}

/**
 * Google's client checks what it downloads against `x-goog-hash`, but only when it is told that the content
 * is not stored compressed.
 */
function mediaHeaders(object: StoredObject): { [name: string]: string } {
  const { crc32c, md5 } = checksumsOf(object.bytes);
  return {
    'content-type': object.contentType,
    'x-goog-hash': `crc32c=${crc32c},md5=${md5}`,
    'x-goog-stored-content-encoding': 'identity',
    'x-goog-stored-content-length': String(object.bytes.length),
  };
}

function metadata(bucket: string, name: string, object: StoredObject): object {
  const { crc32c, md5 } = checksumsOf(object.bytes);
  return {
    kind: 'storage#object',
    id: `${bucket}/${name}`,
    name,
    bucket,
    generation: String(object.generation),
    metageneration: '1',
    contentType: object.contentType,
    timeCreated: new Date(object.updated).toISOString(),
    updated: new Date(object.updated).toISOString(),
    size: String(object.bytes.length),
    crc32c,
    md5Hash: md5,
  };
}
