/**
 * What a Google Cloud plan may do at most, as patterns: permissions or the role on `gs://BUCKET/OBJECT`.
 * What is in a role is Google's to say: of the predefined ones, what concerns objects is known here.
 */
import { literally, type Plan, type Reach } from '../contract.ts';
import { beginningOf } from './boundary.ts';
import { readPermission } from './permission.ts';

const objects = ['get', 'list', 'create', 'delete', 'update'];
/** "IAM roles for Cloud Storage", Google Cloud documentation: `storage.objects.…` of each role. */
const inRole: { readonly [role: string]: readonly string[] } = {
  'roles/storage.objectViewer': ['get', 'list'],
  'roles/storage.objectCreator': ['create'],
  'roles/storage.objectUser': objects,
  'roles/storage.objectAdmin': objects,
  'roles/storage.admin': objects,
};

/**
 * What scopes leave of these verbs, "OAuth 2.0 scopes" of the Cloud Storage documentation; null = not known.
 */
function leftBy(scopes: readonly string[]): readonly string[] | null {
  const some = (...names: string[]) => names.some((name) => scopes.includes(`https://www.googleapis.com/auth/${name}`));
  if (some('cloud-platform', 'devstorage.full_control', 'devstorage.read_write')) return objects;
  return some('cloud-platform.read-only', 'devstorage.read_only') ? ['get', 'list'] : null;
}

export function reach(plan: Plan): Reach[] {
  const { buckets, scopes } = readPermission(plan);
  if (buckets.length === 0) {
    const uncertain = `it is bounded by its scopes (${scopes.join(', ')}) and by what the service account may do`;
    return [{ actions: ['*'], resources: ['*'], uncertain }];
  }
  const left = leftBy(scopes);
  const bounds = {
    ...(left === objects ? {} : { onlyIf: `what its scopes allow: ${scopes.join(', ')}` }),
    ...(left === null
      ? { uncertain: `whether its scopes let it use a bucket is not known: ${scopes.join(', ')}` }
      : {}),
  };
  return buckets.flatMap((access): Reach[] => {
    const { bucket, role, object } = access;
    const begins = beginningOf(access);
    const resources = [`gs://${literally(bucket)}/${literally(begins)}${object === undefined ? '*' : ''}`];
    if (begins === '') resources.push(`gs://${literally(bucket)}`);
    const known = inRole[role];
    const uncertain = `what is in ${role} is Google’s to say`;
    if (known === undefined)
      return [
        { actions: [role], resources, ...bounds },
        { actions: ['storage.*'], resources, uncertain },
      ];
    const verbs = known.filter((verb) => left?.includes(verb) !== false).map((verb) => `storage.objects.${verb}`);
    return [
      { actions: [role], resources, ...bounds },
      ...(verbs.length === 0 ? [] : [{ actions: verbs, resources, ...bounds }]),
      // Beyond the five verbs: multipart uploads, managed folders, retention, policies of objects.
      {
        actions: [
          'storage.objects.*Iam*',
          'storage.objects.*etention*',
          'storage.objects.restore',
          'storage.objects.move',
          'storage.multipart*',
          'storage.managed*',
          'storage.folders.*',
          'storage.buckets.*',
        ],
        resources,
        uncertain,
      },
    ];
  });
}
