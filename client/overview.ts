/** A session as its holder sees it: itself, its grants, its leases and how far their revocation is. */
import type { EndReason } from './lifetime.ts';

export interface Lease {
  id: string;
  grantId: string;
  provider: string;
  /** `revoked` stands for the provider's own word, read back where it can be. */
  status: 'issuing' | 'active' | 'revoking' | 'revoked' | 'expired' | 'failed';
  expiresAt: Date;
  endedAt: Date | null;
  evidence: { [name: string]: unknown } | null;
}

export interface Overview {
  session: {
    id: string;
    agent: string;
    taskType: string;
    inputs: { [name: string]: string | number | boolean };
    /** Whom the run is for, `user:…`: as the platform vouches for it, else as the agent declared it. */
    onBehalfOf: string | null;
    /** Whether the platform vouches for it. */
    onBehalfOfVouched: boolean;
    parentId: string | null;
    /** What a child session is narrowed to; null = all of the manifest's. */
    capabilities: string[] | null;
    status: 'active' | 'suspended' | 'asleep' | 'ended';
    endReason: EndReason | null;
    openedAt: Date;
    expiresAt: Date;
    endedAt: Date | null;
    /** Null = no limit. */
    grantsLeft: number | null;
  };
  grants: { id: string; capability: string; status: string; requestedAt: Date }[];
  leases: Lease[];
}

const timeOrNull = (at: string | null) => (at === null ? null : new Date(at));

// biome-ignore lint/suspicious/noExplicitAny: the broker's JSON
export function readOverview({ session, grants, leases }: any): Overview {
  return {
    session: {
      id: session.id,
      agent: session.agent,
      taskType: session.task_type,
      inputs: session.inputs,
      onBehalfOf: session.on_behalf_of ?? session.declared_on_behalf_of ?? null,
      onBehalfOfVouched: session.on_behalf_of !== null,
      parentId: session.parent_id,
      capabilities: session.capabilities,
      status: session.status,
      endReason: session.end_reason,
      openedAt: new Date(session.opened_at),
      expiresAt: new Date(session.expires_at),
      endedAt: timeOrNull(session.ended_at),
      grantsLeft: session.grants_left,
    },
    grants: grants.map((grant: { id: string; capability: string; status: string; requested_at: string }) => ({
      id: grant.id,
      capability: grant.capability,
      status: grant.status,
      requestedAt: new Date(grant.requested_at),
    })),
    leases: leases.map(
      (lease: {
        id: string;
        grant_id: string;
        provider: string;
        status: Lease['status'];
        expires_at: string;
        ended_at: string | null;
        evidence: Lease['evidence'];
      }) => ({
        id: lease.id,
        grantId: lease.grant_id,
        provider: lease.provider,
        status: lease.status,
        expiresAt: new Date(lease.expires_at),
        endedAt: timeOrNull(lease.ended_at),
        evidence: lease.evidence,
      }),
    ),
  };
}
