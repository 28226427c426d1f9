/** What happened in a session, in order. */

import type { Json } from '../core/vocabulary.ts';
import type { Store } from '../store/open.ts';

export interface TimelineEntry {
  seq: number;
  at: string;
  type: string;
  actor: string;
  grant_id: string | null;
  lease_id: string | null;
  request_id: string | null;
  payload: Json;
  hash: string;
}

/** @param after number of the last row already read; at most `limit` rows from there */
export async function timeline(store: Store, chain: string, after = 0, limit = 500): Promise<TimelineEntry[]> {
  const rows = await store.prisma.auditEvent.findMany({
    where: { chain, seq: { gt: after } },
    orderBy: { seq: 'asc' },
    take: limit,
  });
  return rows.map((row) => ({
    seq: row.seq,
    at: row.at.toISOString(),
    type: row.type,
    actor: row.actor,
    grant_id: row.grantId,
    lease_id: row.leaseId,
    request_id: row.requestId,
    payload: row.payload as Json,
    hash: row.hash,
  }));
}
