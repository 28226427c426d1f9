/** One bucket, as it is: its objects' generations, and what the holder of a token may do in it. */
import { createHash } from 'node:crypto';
import type { ObservedClock } from '../answer-date.ts';
import { ProviderError } from '../contract.ts';
import { type BucketAccess, beginningOf } from './boundary.ts';
import { type Step, unreadable } from './errors.ts';
import { callGoogle } from './http.ts';

/** More of them nobody compares. A page has 1,000 at most, and may have fewer. */
const mostObjects = 10_000;
const mostPages = 40;

export interface StorageCall {
  endpoint: string;
  token: string;
  clock: ObservedClock;
  signal: AbortSignal;
}

export interface SeenListing {
  count: number;
  bytes: number;
  newest: { name: string; generation: string } | null;
  /** SHA-256 of all names, generations, metagenerations and sizes. */
  listing: string;
}

/** @throws ProviderError */
export async function listBucket(call: StorageCall, access: BucketAccess): Promise<SeenListing> {
  const { bucket, object } = access;
  const prefix = beginningOf(access);
  const step: Step = { doing: `listing the objects of ${bucket}`, mints: false };
  const hash = createHash('sha256');
  let [count, bytes] = [0, 0];
  let newest: SeenListing['newest'] = null;
  let pageToken: string | undefined;
  for (let page = 0; page < mostPages; page += 1) {
    const query = new URLSearchParams({
      maxResults: '1000',
      fields: 'items(name,generation,metageneration,size),nextPageToken',
      ...(prefix === '' ? {} : { prefix }),
      ...(pageToken === undefined ? {} : { pageToken }),
    });
    const answer = await get(call, step, `${encodeURIComponent(bucket)}/o?${query}`);
    const { items = [] } = answer;
    if (!Array.isArray(items)) throw unreadable(step);
    for (const item of items as ({ [name: string]: unknown } | null)[]) {
      const { name, generation, metageneration, size } = item ?? {};
      if (typeof name !== 'string' || ![generation, metageneration, size].every(isCount)) throw unreadable(step);
      if (object !== undefined && name !== object) continue;
      hash.update(`${JSON.stringify([name, generation, metageneration, size])}\n`);
      count += 1;
      bytes += Number(size);
      if (newest === null || BigInt(String(generation)) > BigInt(newest.generation))
        newest = { name, generation: String(generation) };
    }
    if (count > mostObjects) break;
    if (answer.nextPageToken === undefined) return { count, bytes, newest, listing: hash.digest('hex') };
    if (typeof answer.nextPageToken !== 'string') throw unreadable(step);
    pageToken = answer.nextPageToken;
  }
  throw new ProviderError('upstream_refused', `More than ${mostObjects} objects in ${bucket}: no state is read`);
}

/** Numbers come as texts: they are longer than JSON's. */
const isCount = (value: unknown) => typeof value === 'string' && /^\d{1,20}$/.test(value);

const asked = ['create', 'delete', 'get', 'list', 'setIamPolicy', 'update'].map((verb) => `storage.objects.${verb}`);

/** Needs no right of its own: Google tells everybody what they may. @throws ProviderError */
export async function permissionsAt(call: StorageCall, bucket: string): Promise<string[]> {
  const step: Step = { doing: `asking what may be done in ${bucket}`, mints: false };
  const query = new URLSearchParams(asked.map((permission) => ['permissions', permission]));
  const { permissions = [] } = await get(call, step, `${encodeURIComponent(bucket)}/iam/testPermissions?${query}`);
  if (!Array.isArray(permissions) || !permissions.every((permission) => asked.includes(permission)))
    throw unreadable(step);
  return permissions.map((permission: string) => permission.replace('storage.objects.', '')).sort();
}

const get = ({ endpoint, token, clock, signal }: StorageCall, step: Step, path: string) =>
  callGoogle({
    step,
    url: `${endpoint}/storage/v1/b/${path}`,
    method: 'GET',
    headers: { authorization: `Bearer ${token}` },
    clock,
    signal,
  });
