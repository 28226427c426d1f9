/**
 * A request for a capability, from the first read to the credential, the wait, or the refusal. One flow; no step can be skipped by a provider or a channel.
 */
import { hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { WritError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { JsonObject, Reason } from '../core/vocabulary.ts';
import { signDecision } from '../decide/sign-decision.ts';
import { issueLease, type LeaseDeps } from '../leases/issue.ts';
import type { Catalog } from '../manifests/catalog.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import { type Caller, readSession, type SessionFacts } from '../sessions/authenticate.ts';
import { type Delivery, deliver } from './deliver.ts';
import { type Evaluation, evaluate } from './evaluate.ts';
import { leaseOf, payloadOf, poolExhausted, signingKey } from './intent.ts';
import { takeTurn } from './session-lock.ts';
import { type GrantRecord, recordGrant, recordIntent, recordRefusal } from './statements.ts';
import { type GrantView, viewGrant } from './view.ts';

export interface GrantDeps extends LeaseDeps {
  catalog: Catalog;
  /** Base of links, no trailing slash. */
  publicUrl: string;
  approvalTimeoutSeconds: number;
  /** Grants one agent may ask for in a minute; 0 = no limit. */
  grantsPerMinute: number;
  /** Names of the channels that tell people of a pending grant. */
  noticeChannels: readonly string[];
}

/** The body of `POST /v1/grants`, checked for shape. */
export interface GrantRequest {
  capability: string;
  params: JsonObject | undefined;
  ttlSeconds: number | undefined;
  justification: string | null;
  credentialJwk: JsonObject | null;
}

export type GrantAnswer =
  | { outcome: 'issued'; grant: GrantView; delivery: Delivery; decision: string }
  | { outcome: 'pending'; grant: GrantView }
  /** The same Idempotency-Key and body as before: the grant as it stands, without its credential. */
  | { outcome: 'repeated'; grantId: string };

/** Against other processes, and other sessions of the tree: how often a lost race is run again before the caller is told. */
const maxRaces = 20;

/**
 * 1. Read the session and its history; the token, the proof and the session must hold.
 * 2. The same key again is the same grant.
 * 3. Weigh: parameters → plan → facts → Cedar's decision.
 * 4. Denied: written down, with reasons and the nearest request that would pass.
 * 5. A person must decide: written down, parked.
 * 6. Allowed: the decision is signed, the intent is committed, the delivering side mints.
 *
 * @throws WritError `denied`, `bad_request`, `idempotency_mismatch`, `rate_limited`, `session_ended`, `provider_refused`, `provider_unavailable` …
 */
export async function requestGrant(
  deps: GrantDeps,
  caller: Caller,
  request: GrantRequest,
  idempotencyKey: string | null,
  requestId: string | null,
): Promise<GrantAnswer> {
  const endTurn = await takeTurn(caller.sessionId);
  try {
    return await decideAndIssue(deps, caller, request, idempotencyKey, requestId, endTurn);
  } finally {
    endTurn();
  }
}

/** @param endTurn called once the decision is committed: the provider is not waited for */
async function decideAndIssue(
  deps: GrantDeps,
  caller: Caller,
  request: GrantRequest,
  idempotencyKey: string | null,
  requestId: string | null,
  endTurn: () => void,
): Promise<GrantAnswer> {
  const { store, clock } = deps;
  const requestDigest = digestOf(request);

  for (let race = 0; race < maxRaces; race += 1) {
    // 1. A proof is burnt by the first read; a later turn of this loop is the same request.
    const now = clock.now();
    const session = await readSession(store, race === 0 ? caller : { ...caller, replay: null }, now, {
      capability: request.capability,
      countLastMinute: deps.grantsPerMinute,
      ...(idempotencyKey === null ? {} : { idempotencyKey }),
    });

    // 2.
    if (session.previousGrantId !== null) return repeated(deps, session.previousGrantId, requestDigest);
    if (deps.grantsPerMinute > 0 && session.counts.lastMinute >= deps.grantsPerMinute) {
      throw new WritError('rate_limited', { retryAfterSeconds: 10 });
    }

    // 3.
    const manifest = await deps.catalog.version(session.agent, session.currentManifestVersion);
    const evaluation = await evaluateOrRecord(deps, manifest, session, request, now, requestId);
    const id = newId('gnt', now);
    const record = draft(id, session, evaluation, request, requestDigest, idempotencyKey ?? id, now, requestId);

    // 4.
    if (evaluation.decision.effect === 'deny') {
      const nearest = evaluation.nearest();
      const written = await recordGrant(store, { ...record, status: 'denied', auditType: 'grant.denied' });
      if (!written.ok) continue;
      throw new WritError('denied', {
        extensions: {
          grant_id: id,
          reasons: evaluation.decision.reasons,
          ...(nearest === undefined ? {} : { nearest }),
        },
      });
    }

    // 5.
    if (evaluation.decision.effect === 'approve') {
      const decideBy = new Date(now.getTime() + deps.approvalTimeoutSeconds * 1000);
      const pending = { ...record, status: 'pending', auditType: 'grant.pending', decideBy } as const;
      const written = await recordGrant(store, pending, deps.noticeChannels);
      if (!written.ok) continue;
      return { outcome: 'pending', grant: view(deps, record, evaluation, 'pending', decideBy, null) };
    }

    // 6.
    const decisionJws = signDecision(payloadOf(record, evaluation, []), signingKey(deps), now);
    const lease = leaseOf(deps, evaluation.plan, evaluation.digest, evaluation.provider, now);
    const written = await recordIntent(
      store,
      { ...record, status: 'issuing', auditType: 'grant.allowed', decisionJws },
      lease,
    );
    if (!written.ok) {
      if (written.because === 'pool_exhausted') throw poolExhausted();
      continue;
    }
    endTurn();
    const delivered = await issueLease(deps, {
      leaseId: lease.id,
      grantId: id,
      sessionId: session.id,
      agent: session.agent,
      plan: evaluation.plan,
      reserved: written.reserved,
      intentAt: now,
      decision: decisionJws,
    });
    return {
      outcome: 'issued',
      grant: view(deps, record, evaluation, 'issued', null, {
        id: lease.id,
        status: 'active',
        expiresAt: delivered.expiresAt,
      }),
      delivery: await deliver(delivered.credential, request.credentialJwk),
      decision: decisionJws,
    };
  }
  throw new WritError('conflict', {
    detail: 'Too many requests of this session at once; try again.',
    retryAfterSeconds: 1,
  });
}

/** A request for something that cannot even be evaluation (no such capability, malformed parameters) is refused, and the refusal is on the record. */
async function evaluateOrRecord(
  deps: GrantDeps,
  manifest: PublishedManifest,
  session: SessionFacts,
  request: GrantRequest,
  now: Date,
  requestId: string | null,
): Promise<Evaluation> {
  try {
    return evaluate(deps.providers, manifest, session, request, now);
  } catch (error) {
    const { code, errors } = error instanceof WritError ? error : { code: 'internal', errors: undefined };
    const refusal = { capability: request.capability, code, errors: (errors ?? []) as unknown as JsonObject[] };
    await recordRefusal(deps.store, session, refusal, now, requestId);
    throw error;
  }
}

async function repeated(deps: GrantDeps, grantId: string, requestDigest: string): Promise<GrantAnswer> {
  const previous = await deps.store.prisma.grant.findUniqueOrThrow({
    where: { id: grantId },
    select: { requestDigest: true },
  });
  if (previous.requestDigest !== requestDigest) throw new WritError('idempotency_mismatch');
  return { outcome: 'repeated', grantId };
}

function draft(
  id: string,
  session: SessionFacts,
  evaluation: Evaluation,
  request: GrantRequest,
  requestDigest: string,
  idempotencyKey: string,
  at: Date,
  requestId: string | null,
): Omit<GrantRecord, 'status' | 'auditType'> {
  const { decision } = evaluation;
  return {
    id,
    sessionId: session.id,
    rootId: session.rootId,
    sessionVersion: session.version,
    agent: session.agent,
    capability: request.capability,
    idempotencyKey,
    requestDigest,
    params: evaluation.params,
    justification: request.justification,
    credentialJwk: request.credentialJwk,
    manifestVersion: decision.manifest_version,
    plan: evaluation.plan,
    planDigest: evaluation.digest,
    tier: decision.tier,
    decision: decision as unknown as JsonObject,
    decisionJws: null,
    at,
    decideBy: null,
    requestId,
    audit: {
      capability: request.capability,
      params: evaluation.params,
      plan: evaluation.plan as unknown as JsonObject,
      plan_digest: evaluation.digest,
      effect: decision.effect,
      tier: decision.tier,
      reasons: decision.reasons as unknown as JsonObject[],
      policy_ids: decision.policy_ids,
      manifest_version: decision.manifest_version,
      ...(request.justification === null ? {} : { justification: request.justification }),
    },
  };
}

function view(
  deps: GrantDeps,
  record: { id: string; capability: string; tier: number },
  evaluation: Evaluation,
  status: string,
  decideBy: Date | null,
  lease: { id: string; status: string; expiresAt: Date } | null,
): GrantView {
  const reasons: Reason[] = status === 'pending' ? evaluation.decision.reasons : [];
  const grant = { ...record, status, plan: evaluation.plan, planDigest: evaluation.digest, decideBy, reasons };
  return viewGrant(grant, evaluation.description, deps.publicUrl, lease);
}

function digestOf(request: GrantRequest): string {
  const canonical = canonicalize({
    capability: request.capability,
    params: request.params ?? null,
    ttl_seconds: request.ttlSeconds ?? null,
    justification: request.justification,
    credential_jwk: request.credentialJwk,
  });
  return `sha256:${hash('sha256', canonical!, 'hex')}`;
}
