/** Rows for tests of approvals and console: sessions and grants as the broker would have left them. */

import type { VouchedPerson } from '../broker/core/identifier.ts';
import { aboutBatch } from '../broker/core/questions.ts';
import type { ApprovalTerm, Json, JsonObject, Plan } from '../broker/core/vocabulary.ts';
import { planDigest } from '../broker/decide/plan-digest.ts';
import { proveGrant } from '../broker/grants/proven-grant.ts';
import { batchPlan } from '../broker/grants/question.ts';
import type { Identity } from '../broker/people/identity.ts';
import type { Store } from '../broker/store/open.ts';

export const start = new Date('2026-03-04T12:00:00.000Z');

/** `start` moved by seconds. */
export function after(seconds: number): Date {
  return new Date(start.getTime() + seconds * 1000);
}

/** A person whom the platform names: by an e-mail address, or by another kind of name. */
export function vouched(value: string, kind = 'email', issuer?: string): VouchedPerson {
  return { kind, value, ...(issuer === undefined ? {} : { issuer }), by: 'platform_token' };
}

export interface SessionRow {
  id: string;
  agent?: string;
  taskType?: string;
  inputs?: JsonObject;
  /** Whom it acts for as the platform says, and as the agent does. */
  onBehalfOf?: VouchedPerson | null;
  declaredOnBehalfOf?: string | null;
  /** Default: somebody else than the people of the tests. Null = nobody says. */
  startedBy?: VouchedPerson | null;
  responsible?: string | null;
  subject?: JsonObject;
  parentId?: string | null;
  status?: 'active' | 'ended';
  openedAt?: Date;
  expiresAt?: Date;
  heartbeatDeadline?: Date;
}

export async function addSession(store: Store, row: SessionRow): Promise<string> {
  const name = row.agent ?? 'invoice-bot';
  await store.prisma.agent.createMany({ data: [{ name, version: 1 }], skipDuplicates: true });
  await store.prisma.session.create({ data: sessionData(store, row) });
  return row.id;
}

/** The row with its proof, for whoever writes many at once. */
export function sessionData(store: Store, row: SessionRow) {
  const name = row.agent ?? 'invoice-bot';
  const onBehalfOf = row.onBehalfOf == null ? null : { ...row.onBehalfOf };
  const startedBy = row.startedBy === null ? null : { ...(row.startedBy ?? vouched('somebody@example.com')) };
  const data = {
    id: row.id,
    agent: name,
    manifestVersion: 1,
    parentId: row.parentId ?? null,
    rootId: row.parentId ?? row.id,
    taskType: row.taskType ?? 'pay-invoice',
    inputs: row.inputs ?? { invoice_id: '4711' },
    ...(onBehalfOf === null ? {} : { onBehalfOf }),
    declaredOnBehalfOf: row.declaredOnBehalfOf ?? null,
    ...(startedBy === null ? {} : { startedBy }),
    responsible: row.responsible ?? null,
    principalRoot: name,
    capabilities: [],
    subject: row.subject ?? { issuer: 'https://platform.example', subject: 'repo:acme/bot' },
    status: row.status ?? 'active',
    endedAt: row.status === 'ended' ? after(60) : null,
    openedAt: row.openedAt ?? start,
    expiresAt: row.expiresAt ?? after(1800),
    heartbeatDeadline: row.heartbeatDeadline ?? after(180),
  };
  const proof = store.proofs.make('session', {
    id: data.id,
    agent: data.agent,
    manifest_version: data.manifestVersion,
    parent_id: data.parentId,
    root_id: data.rootId,
    task_type: data.taskType,
    inputs: data.inputs,
    on_behalf_of: onBehalfOf,
    declared_on_behalf_of: data.declaredOnBehalfOf,
    started_by: startedBy,
    responsible: data.responsible,
    capabilities: data.capabilities,
    narrowed: false,
    subject: data.subject,
    dpop_jkt: null,
    max_grants: null,
    opened_at: data.openedAt,
    expires_at: data.expiresAt,
  });
  return { ...data, proof };
}

export interface GrantRow {
  id: string;
  sessionId: string;
  agent?: string;
  capability?: string;
  justification?: string | null;
  plan?: Plan;
  status?: string;
  decideBy?: Date | null;
  requestedAt?: Date;
  decision?: JsonObject;
  tier?: number;
  params?: JsonObject;
  /** Whose approvals it needs, as its manifest said. */
  approval?: ApprovalTerm[];
}

export const plan: Plan = {
  provider: 'aws',
  permission: {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: ['s3:GetObject'], Resource: ['arn:aws:s3:::orders/customers/42/*'] }],
  },
  ttl_seconds: 900,
};

export async function addGrant(store: Store, row: GrantRow): Promise<string> {
  await store.prisma.grant.create({ data: grantData(store, row) });
  return row.id;
}

/** The row with its proof, for whoever writes many at once. */
export function grantData(store: Store, row: GrantRow) {
  const asked = row.plan ?? plan;
  const proof = proveGrant(store, {
    id: row.id,
    session_id: row.sessionId,
    agent: row.agent ?? 'invoice-bot',
    capability: row.capability ?? 'read-customer-files',
    request_digest: 'sha256:0',
    params: row.params ?? {},
    justification: row.justification ?? null,
    credential_jwk: null,
    manifest_version: 1,
    provider: asked.provider,
    plan: asked as unknown as JsonObject,
    tier: row.tier ?? 2,
    requested_at: row.requestedAt ?? start,
    approval: row.approval ?? null,
  });
  return {
    proof,
    id: row.id,
    sessionId: row.sessionId,
    agent: row.agent ?? 'invoice-bot',
    capability: row.capability ?? 'read-customer-files',
    idempotencyKey: row.id,
    requestDigest: 'sha256:0',
    params: row.params ?? {},
    justification: row.justification ?? null,
    manifestVersion: 1,
    provider: asked.provider,
    plan: asked as unknown as JsonObject,
    planDigest: planDigest(asked),
    tier: row.tier ?? 2,
    status: row.status ?? 'pending',
    endedAt: ['denied', 'failed', 'ended'].includes(row.status ?? 'pending') ? after(60) : null,
    decision: {
      ...(row.decision ?? { effect: 'approve', reasons: [] }),
      ...(row.approval === undefined ? {} : { approval: row.approval as unknown as Json }),
    },
    requestedAt: row.requestedAt ?? start,
    decideBy: row.decideBy === undefined ? after(300) : row.decideBy,
  };
}

/** Several that wait together, each with what its provider says of it. @returns the id of their batch */
export async function addBatch(
  store: Store,
  row: Omit<GrantRow, 'plan' | 'capability'>,
  members: readonly { id: string; capability: string; plan: Plan; summary: string[] }[],
): Promise<string> {
  for (const { id, capability, plan } of members) await addGrant(store, { ...row, id, capability, plan });
  const listed = members.map(({ id, ...member }) => ({
    ...member,
    grant: id,
    revocability: 'Writ ends it within seconds.',
  }));
  await addGrant(store, { ...row, capability: aboutBatch(members[0]?.capability ?? ''), plan: batchPlan(listed) });
  await store.prisma.grant.updateMany({
    where: { id: { in: members.map(({ id }) => id) } },
    data: { batchId: row.id },
  });
  return row.id;
}

/** A person of the identity provider `https://login.example`. */
export function person(email: string, more: Partial<Identity> = {}): Identity {
  return {
    issuer: 'https://login.example',
    subject: `sub-${email}`,
    email,
    emailVerified: true,
    groups: [],
    aliases: [],
    ...more,
  };
}

/** Types, actors and payloads of a chain's events, oldest first. */
export async function eventsOf(store: Store, chain: string) {
  const rows = await store.prisma.auditEvent.findMany({ where: { chain }, orderBy: { seq: 'asc' } });
  return rows.map(({ type, actor, payload }) => ({ type, actor, payload: payload as JsonObject }));
}
