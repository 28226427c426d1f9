/** What a reviewer may lower in Google Cloud's parameters: a bucket's prefix, by a longer one. Pure. */
import type { Level } from '../contract.ts';
import type { GcpParams } from './params.ts';

type Access = NonNullable<GcpParams['buckets']>[number];

export function levels({ bucket, buckets, ...one }: GcpParams): Level[] {
  if (bucket !== undefined) return longer('', { bucket, ...one });
  return (buckets ?? []).flatMap((access, index) => longer(`/buckets/${index}`, access));
}

/** One object is as little as there is. */
function longer(above: string, access: Access): Level[] {
  if (access.object !== undefined) return [];
  const way = (['managed_folder', 'name_begins'] as const).find((each) => access[each] !== undefined) ?? 'prefix';
  const now = access[way];
  const name = `${way.replace('_', ' ')} in the bucket ${access.bucket}`;
  return [{ pointer: `${above}/${way}`, name, now: now ?? 'the whole bucket', begins: now ?? '' }];
}
