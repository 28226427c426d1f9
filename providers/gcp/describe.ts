/** A plan in plain words, for the person who approves it. */
import type { Plan, PlanDescription } from '../contract.ts';
import type { BucketAccess } from './boundary.ts';
import { cloudPlatform, scopeBeginning } from './params.ts';
import { readPermission } from './permission.ts';

/** What the usual roles amount to; any other role is named as it is. */
const roleWords: { [role: string]: string } = {
  'roles/storage.objectViewer': 'Read and list objects',
  'roles/storage.legacyObjectReader': 'Read objects',
  'roles/storage.legacyBucketReader': 'List objects',
  'roles/storage.objectCreator': 'Create new objects',
  'roles/storage.objectUser': 'Read, list, create, overwrite and delete objects',
  'roles/storage.objectAdmin': 'Read, list, create, overwrite and delete objects, and change who may access them',
};

/** Pure. `lagSeconds`: how long a disabled account may still be accepted. */
export function describe(plan: Plan, lagSeconds: number): PlanDescription {
  const permission = readPermission(plan);
  const account = permission.service_account ?? 'a service account from the pool, reserved for this grant alone';
  const summary = permission.buckets.map(bucketLine);
  if (permission.buckets.length === 0)
    summary.push(
      permission.scopes.includes(cloudPlatform)
        ? 'Every Google Cloud API, as far as the roles of the service account go'
        : 'Google APIs within the scopes below, as far as the roles of the service account go',
    );
  else summary.push('Nothing in Google Cloud outside these objects');
  summary.push(`Acts as ${account}`, `OAuth scopes: ${permission.scopes.map(scopeInWords).join(', ')}`);
  if (!permission.exclusive)
    return {
      summary,
      revocability: {
        kind: 'expiry',
        text: `Cannot be revoked: the service account is shared, and Google has no way to end a single token. Google itself ends it after ${plan.ttl_seconds} seconds.`,
      },
    };
  return {
    summary,
    revocability: {
      kind: 'eventual',
      text: `Revoked by disabling its service account at Google, which may take up to ${lagSeconds} s to be felt everywhere. Google itself ends the token after ${plan.ttl_seconds} seconds.`,
    },
  };
}

/** Google's usual ones by their names; a word of OpenID Connect must not read like one of them. */
function scopeInWords(scope: string): string {
  if (scope.startsWith(scopeBeginning)) return scope.slice(scopeBeginning.length);
  return scope.startsWith('https:') ? scope : `${scope} (OpenID Connect)`;
}

function bucketLine({ bucket, role, prefix, object, managed_folder, name_begins }: BucketAccess): string {
  const what = roleWords[role] ?? `What ${role} allows`;
  const where = `in the Cloud Storage bucket ${bucket}`;
  const quoted = (text: string) => JSON.stringify(shorten(text));
  if (object !== undefined)
    return `${what.replace(/(?<=^Read) and list|, list/, '')}: the one named ${quoted(object)} ${where}, none can be listed`;
  if (managed_folder !== undefined)
    return `${what} in the managed folder ${quoted(managed_folder)}, and the folder itself as far as ${role} goes, ${where}`;
  if (name_begins !== undefined)
    return `${what} whose names begin with ${quoted(name_begins)}, whatever follows, neighbours too, ${where}`;
  if (prefix === null) return `${what} anywhere ${where}`;
  return `${what} whose names start with ${quoted(prefix)} ${where}`;
}

/** Long prefixes keep both ends; the exact text stands in the plan. */
function shorten(text: string): string {
  const characters = [...text];
  if (characters.length <= 200) return text;
  return `${characters.slice(0, 120).join('')}…${characters.slice(-60).join('')}`;
}
