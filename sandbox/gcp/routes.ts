/** From an HTTP request line to what is asked of Google. Pure: no state, no I/O. */
import type { AdminVerb } from './iam-admin.ts';
import type { Listing } from './storage.ts';

export type Route =
  | { endpoint: 'exchange' }
  | { endpoint: 'mint'; name: string }
  | { endpoint: 'admin'; verb: AdminVerb; project: string; email: string }
  | { endpoint: 'storage'; action: 'get' | 'download' | 'delete'; bucket: string; object: string }
  | { endpoint: 'storage'; action: 'list'; bucket: string; listing: Listing }
  | { endpoint: 'storage'; action: 'folder'; bucket: string; folder: string }
  | { endpoint: 'storage'; action: 'test'; bucket: string; permissions: string[] }
  | { endpoint: 'storage'; action: 'insert'; bucket: string; object: string | null; uploadType: 'media' | 'multipart' };

/**
 * Null for what is not served. Path segments are decoded one by one, so an encoded slash stays inside its
 * segment, and `sa%40p…:verb` as Google's clients send it is understood.
 */
export function route(method: string, url: URL): Route | null {
  const segments = decodeSegments(url.pathname);
  if (segments === null) return null;
  const path = segments.join('\n');
  if (method === 'POST' && path === 'v1\ntoken') return { endpoint: 'exchange' };
  if (segments[0] === 'v1' && segments[1] === 'projects' && segments[3] === 'serviceAccounts' && segments.length === 5)
    return serviceAccountRoute(method, segments[2] ?? '', segments[4] ?? '');
  return storageRoute(method, segments, url.searchParams);
}

function serviceAccountRoute(method: string, project: string, last: string): Route | null {
  const [, email = '', verb] = /^([^:]*)(?::(\w+))?$/.exec(last) ?? [];
  if (method === 'GET' && verb === undefined) return { endpoint: 'admin', verb: 'get', project, email };
  if (method !== 'POST') return null;
  if (verb === 'disable' || verb === 'enable' || verb === 'testIamPermissions')
    return { endpoint: 'admin', verb, project, email };
  if (verb === 'generateAccessToken') return { endpoint: 'mint', name: `projects/${project}/serviceAccounts/${email}` };
  return null;
}

function storageRoute(method: string, segments: string[], query: URLSearchParams): Route | null {
  const at = segments.indexOf('storage');
  const head = segments.slice(0, at).join('/');
  const [, version, b, bucket, o, object, ...rest] = segments.slice(at);
  if (at < 0 || version !== 'v1' || b !== 'b' || bucket === undefined || rest.length > 0) return null;
  if (o === 'iam' && object === 'testPermissions' && method === 'GET' && head === '')
    return { endpoint: 'storage', action: 'test', bucket, permissions: query.getAll('permissions') };
  if (o === 'managedFolders' && object !== undefined && method === 'GET' && head === '')
    return { endpoint: 'storage', action: 'folder', bucket, folder: object };
  if (o !== 'o') return null;
  if (head === 'upload') {
    const uploadType = query.get('uploadType');
    if (method !== 'POST' || object !== undefined || (uploadType !== 'media' && uploadType !== 'multipart'))
      return null;
    return { endpoint: 'storage', action: 'insert', bucket, object: query.get('name'), uploadType };
  }
  if (object === undefined) {
    if (method !== 'GET' || head !== '') return null;
    const maxResults = Math.min(1000, Number(query.get('maxResults') ?? '1000'));
    const listing = { prefix: query.get('prefix') ?? '', maxResults, pageToken: query.get('pageToken') };
    return { endpoint: 'storage', action: 'list', bucket, listing: { ...listing, fields: query.get('fields') } };
  }
  if (head === '' && method === 'DELETE') return { endpoint: 'storage', action: 'delete', bucket, object };
  if (method !== 'GET' || (head !== '' && head !== 'download')) return null;
  const media = head === 'download' || query.get('alt') === 'media';
  return { endpoint: 'storage', action: media ? 'download' : 'get', bucket, object };
}

function decodeSegments(pathname: string): string[] | null {
  try {
    return pathname.slice(1).split('/').map(decodeURIComponent);
  } catch {
    return null;
  }
}
