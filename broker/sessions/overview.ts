/**
 * What a session looks like to its holder: itself, its grants, its leases and how far their revocation is.
 */

import { userText } from '../core/identifier.ts';
import type { Poll } from '../core/long-poller.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';
import type { SessionFacts } from './authenticate.ts';

export async function overview(store: Store, session: SessionFacts) {
  const [grants, leases] = await Promise.all([
    store.prisma.grant.findMany({
      where: { sessionId: session.id },
      orderBy: { requestedAt: 'asc' },
      select: { id: true, capability: true, status: true, requestedAt: true },
    }),
    store.prisma.lease.findMany({
      where: { sessionId: session.id },
      orderBy: { intentAt: 'asc' },
      select: { id: true, grantId: true, provider: true, status: true, expiresAt: true, endedAt: true, evidence: true },
    }),
  ]);
  return {
    session: {
      id: session.id,
      agent: session.agent,
      task_type: session.task.task_type,
      inputs: session.task.inputs,
      on_behalf_of: session.onBehalfOf === null ? null : userText(session.onBehalfOf),
      declared_on_behalf_of: session.declaredOnBehalfOf,
      started_by: session.startedBy === null ? null : userText(session.startedBy),
      responsible: session.responsible,
      parent_id: session.parentId,
      capabilities: session.narrowed ? session.capabilities : null,
      status: session.status,
      end_reason: session.endReason,
      opened_at: session.openedAt.toISOString(),
      expires_at: session.expiresAt.toISOString(),
      ended_at: session.endedAt?.toISOString() ?? null,
      grants_left: session.maxGrants === null ? null : Math.max(0, session.maxGrants - session.counts.session),
    },
    grants: grants.map((grant) => ({
      id: grant.id,
      capability: grant.capability,
      status: grant.status,
      requested_at: grant.requestedAt.toISOString(),
    })),
    leases: leases.map((lease) => ({
      id: lease.id,
      grant_id: lease.grantId,
      provider: lease.provider,
      status: lease.status,
      expires_at: lease.expiresAt.toISOString(),
      ended_at: lease.endedAt?.toISOString() ?? null,
      evidence: lease.evidence as JsonObject | null,
    })),
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
