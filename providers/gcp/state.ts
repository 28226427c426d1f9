/**
 * What a Google Cloud plan is about, as it is now: the objects that it reaches in each bucket, and what the
 * service account itself may do there. Read with a token of the plan's own account that ends by itself after
 * a minute and stays in this process; objects are listed with one that a boundary cuts down to reading them.
 */
import { type JsonObject, type Plan, ProviderError } from '../contract.ts';
import { type BucketAccess, beginningOf, boundaryFor } from './boundary.ts';
import { listBucket, permissionsAt, type SeenListing } from './bucket-state.ts';
import { asCaller } from './caller.ts';
import type { GeneratedToken } from './iam-credentials.ts';
import { clockToleranceMs, lifetimeFault, type Minting } from './issue.ts';
import { cloudPlatform } from './params.ts';
import { readPermission } from './permission.ts';
import { downscope } from './sts.ts';

/** Longer than any reading takes; nothing ends the token but this. */
const readingSeconds = 60;

export interface Reading extends Minting {
  storageEndpoint: string;
  /** Accounts of which the plan may have any; they are alike. */
  accountsFor(plan: Plan): readonly string[];
}

export interface SeenBucket extends SeenListing {
  bucket: string;
  /** What the service account may do in it, of what concerns objects. */
  may: string[];
}

/** @throws ProviderError */
export async function readState(reading: Reading, plan: Plan, signal: AbortSignal): Promise<JsonObject> {
  const { buckets } = readPermission(plan);
  if (buckets.length === 0)
    throw new ProviderError('upstream_refused', 'Nothing can be read: the plan names no bucket');
  const source = await mintForReading(reading, plan, signal);
  // Whether an object is there tells only who may list its name.
  const viewed = buckets.map((access) => ({
    bucket: access.bucket,
    prefix: beginningOf(access) || null,
    role: 'roles/storage.objectViewer',
  }));
  const { clock, stsEndpoint, storageEndpoint } = reading;
  const bounded = await downscope(stsEndpoint, source.token, boundaryFor(viewed), source.expiresAt, clock, signal);
  const at = { endpoint: storageEndpoint, clock, signal };
  const seen: SeenBucket[] = [];
  for (const access of buckets) {
    const { bucket } = access;
    const listing = await listBucket({ ...at, token: bounded.token }, access);
    seen.push({ bucket, may: await permissionsAt({ ...at, token: source.token }, bucket), ...listing });
  }
  return { buckets: seen as unknown as JsonObject[] };
}

/** Of the first account that is not disabled: which one it is changes nothing of what is read. */
async function mintForReading(reading: Reading, plan: Plan, signal: AbortSignal): Promise<GeneratedToken> {
  const request = { scopes: [cloudPlatform], lifetimeSeconds: readingSeconds, reason: 'writ state' };
  for (const account of reading.accountsFor(plan)) {
    try {
      const given = await asCaller(reading.caller, signal, (token) =>
        reading.iamCredentials({ ...request, account }, token, signal),
      );
      const now = reading.clock.now().getTime();
      const fault = lifetimeFault(given.expiresAt.getTime(), now, now + readingSeconds * 1000 + clockToleranceMs);
      if (fault !== null) throw new ProviderError('upstream_mismatch', fault);
      return given;
    } catch (error) {
      // One of the pool that waits for the end of what was minted on it.
      if (error instanceof ProviderError && error.providerCode === 'FAILED_PRECONDITION') continue;
      throw error;
    }
  }
  throw new ProviderError('pool_exhausted', 'Every service account that could read the state is disabled.');
}

/** In words, two lines a bucket. Pure. */
export function stateInWords({ state, ...plan }: Plan): string[] {
  if (state === undefined) return [];
  const { buckets } = readPermission(plan);
  const seen = state.seen.buckets as unknown as SeenBucket[];
  return seen.flatMap((each, index) => [
    listingInWords(buckets[index], each),
    `The service account in ${each.bucket} as it is: it may ${each.may.length === 0 ? 'do nothing with objects' : each.may.join(', ')}`,
  ]);
}

function listingInWords(access: BucketAccess | undefined, seen: SeenBucket): string {
  const { bucket, count, bytes, newest, listing } = seen;
  const begins = access === undefined ? '' : beginningOf(access);
  const under = access?.object === undefined ? 'under' : 'called';
  const where = begins === '' ? `in the bucket ${bucket}` : `${under} ${shown(begins)} in ${bucket}`;
  if (newest === null) return `The objects ${where} as they are: none`;
  return (
    `The objects ${where} as they are: ${count} with ${bytes} bytes, the newest ${shown(newest.name)} ` +
    `of generation ${newest.generation}, listing ${listing.slice(0, 12)}`
  );
}

/** Somebody else named it: no control characters, and long names keep both ends. */
function shown(name: string): string {
  const plain = [...name.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '\ufffd')];
  return plain.length <= 120 ? plain.join('') : `${plain.slice(0, 70).join('')}…${plain.slice(-40).join('')}`;
}
