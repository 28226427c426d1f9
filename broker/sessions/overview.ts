/**
 * What a session looks like to its holder: itself, its grants, its leases and how far their revocation is.
 */

import type { Poll } from '../core/long-poller.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';
import type { SessionFacts } from './authenticate.ts';

/** The last grant and the last lease of a page. Ids sort by time, so what comes later is on a later page. */
export interface Cursor {
  grant: string;
  lease: string;
}

const writeCursor = ({ grant, lease }: Cursor): string => Buffer.from(`${grant}.${lease}`).toString('base64url');

/** @returns null for what `overview` never wrote */
export function readCursor(text: string): Cursor | null {
  const ids = /^(gnt_[0-9a-z]{20})?\.(lse_[0-9a-z]{20})?$/.exec(Buffer.from(text, 'base64url').toString('latin1'));
  return ids === null ? null : { grant: ids[1] ?? '', lease: ids[2] ?? '' };
}

/**
 * A page of a session's rows. The session's index finds them, and their number is bounded; in the order of
 * the primary key alone, the first page would pass over all older rows of everybody. "C": one order on any
 * server.
 */
const pageOf = (table: string, columns: string) => `
    WITH own AS MATERIALIZED (SELECT id FROM ${table} WHERE session_id = $1::text),
    page AS (SELECT id FROM own WHERE id COLLATE "C" > $2::text ORDER BY id COLLATE "C" LIMIT $3::int)
    SELECT ${columns} FROM page JOIN ${table} USING (id) ORDER BY id COLLATE "C"`;

const grantsStatement: Statement = {
  name: 'session_grants',
  text: pageOf('grants', 'id, capability, status, requested_at'),
};
const leasesStatement: Statement = {
  name: 'session_leases',
  text: pageOf('lease', 'id, grant_id, provider, status, expires_at, ended_at, evidence'),
};

interface GrantRow {
  id: string;
  capability: string;
  status: string;
  requested_at: Date;
}

interface LeaseRow {
  id: string;
  grant_id: string;
  provider: string;
  status: string;
  expires_at: Date;
  ended_at: Date | null;
  evidence: JsonObject | null;
}

/**
 * One page: at most `limit` grants and as many leases, in order of time.
 * @param ceiling grants a session may ask for whose envelope names no number
 */
export async function overview(
  store: Store,
  session: SessionFacts,
  ceiling: number,
  { limit, after = { grant: '', lease: '' } }: { limit: number; after?: Cursor | undefined },
) {
  const [grantRows, leaseRows] = await Promise.all([
    store.run<GrantRow>(grantsStatement, [session.id, after.grant, limit + 1]),
    store.run<LeaseRow>(leasesStatement, [session.id, after.lease, limit + 1]),
  ]);
  const [grants, leases] = [grantRows.slice(0, limit), leaseRows.slice(0, limit)];
  const more = grantRows.length > limit || leaseRows.length > limit;
  return {
    session: {
      id: session.id,
      agent: session.agent,
      task_type: session.task.task_type,
      inputs: session.task.inputs,
      on_behalf_of: session.onBehalfOf,
      parent_id: session.parentId,
      capabilities: session.narrowed ? session.capabilities : null,
      status: session.status,
      end_reason: session.endReason,
      opened_at: session.openedAt.toISOString(),
      expires_at: session.expiresAt.toISOString(),
      ended_at: session.endedAt?.toISOString() ?? null,
      grants_left: Math.max(0, (session.maxGrants ?? ceiling) - session.counts.session),
    },
    grants: grants.map((grant) => ({
      id: grant.id,
      capability: grant.capability,
      status: grant.status,
      requested_at: grant.requested_at.toISOString(),
    })),
    leases: leases.map((lease) => ({
      id: lease.id,
      grant_id: lease.grant_id,
      provider: lease.provider,
      status: lease.status,
      expires_at: lease.expires_at.toISOString(),
      ended_at: lease.ended_at?.toISOString() ?? null,
      evidence: lease.evidence,
    })),
    next: more
      ? writeCursor({ grant: grants.at(-1)?.id ?? after.grant, lease: leases.at(-1)?.id ?? after.lease })
      : null,
  };
}

const settledStatement: Statement = {
  name: 'sessions_settled',
  text: `
    SELECT asked.id FROM unnest($1::text[]) AS asked (id)
    WHERE NOT EXISTS (SELECT 1 FROM lease WHERE lease.session_id = asked.id AND status IN ('issuing', 'active', 'revoking'))`,
};

/**
 * Which of these sessions have no lease left that may be alive. Made once per process: it is what the waiting
 * poller groups by.
 */
export function settledSessions(store: Store): Poll {
  return async (ids) => (await store.run<{ id: string }>(settledStatement, [ids])).map(({ id }) => id);
}
