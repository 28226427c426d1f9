/** What a reviewer may lower in Google Cloud's parameters: a bucket's prefix, by a longer one. Pure. */
import type { Level } from '../contract.ts';
import type { GcpParams } from './params.ts';

export function levels({ bucket, prefix, buckets }: GcpParams): Level[] {
  const longer = (pointer: string, name: string, now: string | undefined): Level => ({
    pointer,
    name: `prefix in the bucket ${name}`,
    now: now ?? 'the whole bucket',
    begins: now ?? '',
  });
  if (bucket !== undefined) return [longer('/prefix', bucket, prefix)];
  return (buckets ?? []).map((one, index) => longer(`/buckets/${index}/prefix`, one.bucket, one.prefix));
}
