/**
 * Mints and delivers the credential of a signed decision. The lease row (`issuing`) and its audit row are
 * committed before this runs; if this process crashes at any line, the row is enough for the reconciler to
 * end a credential that may exist.
 */

import type { Logger } from 'pino';
import { type Issued, type Minted, type Provider, ProviderError } from '../../providers/contract.ts';
import { appendEvent } from '../audit/append.ts';
import { event, eventBy, eventPayload, eventWhen } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import { revokeReason } from '../core/reasons.ts';
import type { Clock, Plan } from '../core/vocabulary.ts';
import { planDigest } from '../decide/plan-digest.ts';
import { type DecisionRefusal, DecisionRefused, type SignedDecision, verifyDecision } from '../decide/sign-decision.ts';
import { grantIssued, grantUnminted } from '../grants/transitions.ts';
import type { KeyRing } from '../keys/ring.ts';
import type { Seal } from '../keys/seal.ts';
import { uncountGrant } from '../sessions/counts.ts';
import { mayAct } from '../sessions/live-session.ts';
import { batch } from '../store/batch.ts';
import type { Statement, Store } from '../store/open.ts';
import { type AnswerContext, credentialDigest, endsByItself, faultInAnswer, keptOf } from './answer-bounds.ts';
import { type Mark, marksOf } from './credential-marks.ts';
import { withDeadline } from './deadline.ts';
import type { LeaseMetrics } from './metrics.ts';
import { revokeUndelivered } from './order-revocation.ts';
import { failMint, keptUntil, recordAnswer, startRevoking } from './transitions.ts';

export interface LeaseDeps {
  store: Store;
  clock: Clock;
  seal: Seal;
  ring: KeyRing;
  providers: ReadonlyMap<string, Provider>;
  providerTimeoutSeconds: number;
  log: Logger;
  metrics: LeaseMetrics;
  /** Keyed digest by which a credential is recognised where it does not belong. */
  mark: Mark;
  /** Notifies whoever revokes. */
  notify(): void;
}

/** The intent as it was committed. */
export interface LeaseIntent {
  leaseId: string;
  grantId: string;
  sessionId: string;
  agent: string;
  plan: Plan;
  reserved: string | null;
  intentAt: Date;
  decision: string;
  /**
   * What a person consented to: it stands when the mint has no effect and another may. Null: policy alone
   * allowed it.
   */
  consent: { plan: Plan; planDigest: string } | null;
}

export interface Delivered {
  credential: Issued['credential'];
  expiresAt: Date;
}

export const outcomeStatement: Statement = {
  name: 'lease_outcome',
  text: `
    WITH r AS MATERIALIZED (
      SELECT * FROM json_to_recordset($1::json) AS r (n int, lease_id text, handle jsonb, sealed text, digest text, marks text[], at timestamptz,
                                                      expires_at timestamptz, provider_expires_at timestamptz, over_at timestamptz,
                                                      reserved boolean, audit json) ORDER BY lease_id LIMIT 16
    ), l AS (
${recordAnswer('r')}
      RETURNING n, id, grant_id, session_id, status, at, r.provider_expires_at, r.reserved, audit
    ), slot AS (
      UPDATE pool_slot SET release_after = ${keptUntil('l')} FROM l WHERE l.reserved AND pool_slot.lease_id = l.id
    ), g AS (
${grantIssued('l')}
    ), event AS (
      ${appendEvent({ chain: 'session_id', at: 'at', type: eventWhen("status = 'active'", event('lease.issued'), event('lease.withheld')), actor: "'system'", grant: 'grant_id', lease: 'id', payload: 'audit' }, 'l ORDER BY session_id, id')}
    )
    SELECT n, status FROM l`,
};

// The session is locked first, as by every statement that changes it together with its grants and leases.
// What minted nothing costs nothing: a pool member is free again at once when the mint was refused ($10), and
// as soon as the provider has made it ready when something was wrong with it (it may still be disabled).
const failureStatement: Statement = {
  name: 'lease_failure',
  text: `
    WITH held AS MATERIALIZED (
      SELECT ${mayAct('s', '$4::timestamptz')} AS live FROM session s WHERE s.id = $11::text FOR UPDATE OF s
    ), nothing AS (${failMint('id = $1::text AND NOT $2::boolean AND EXISTS (SELECT 1 FROM held)', '$4::timestamptz', '$3::text', '$6::text')}
      RETURNING id, grant_id, session_id, status, provider_expires_at
    ), something AS (${startRevoking({
      where: 'id = $1::text AND $2::boolean AND EXISTS (SELECT 1 FROM held)',
      reason: revokeReason('mint_failed'),
      dueAt: '$4::timestamptz',
      from: ['issuing', 'revoking'],
      error: '$3::text',
      known: {
        handle: '$7::jsonb',
        sealed: '$8::text',
        provider_expires_at: '$9::timestamptz',
        provider_text: '$6::text',
      },
    })}
      RETURNING id, grant_id, session_id, status, provider_expires_at
    ), l AS (
      SELECT * FROM nothing UNION ALL SELECT * FROM something
    ), slot AS (
      DELETE FROM pool_slot USING l WHERE pool_slot.lease_id = l.id AND l.status = 'failed' AND $10::boolean
      RETURNING pool_slot.provider, pool_slot.member, pool_slot.lease_id, l.session_id
    ), kept AS (
      UPDATE pool_slot SET release_after = CASE WHEN l.status = 'failed' THEN $4::timestamptz ELSE ${keptUntil('l')} END
      FROM l WHERE pool_slot.lease_id = l.id AND NOT (l.status = 'failed' AND $10::boolean)
    ), released AS (
      ${appendEvent({ chain: 'session_id', at: '$4::timestamptz', type: event('pool.released'), actor: "'system'", lease: 'lease_id', payload: "json_build_object('provider', provider, 'member', member)" }, 'slot')}
    ), g AS (
${grantUnminted('l', '$4::timestamptz', { plan: '$12::jsonb', planDigest: '$13::text', stands: "l.status = 'failed' AND (SELECT live FROM held)" })}
      RETURNING grants.id, grants.session_id, grants.status, grants.plan_digest, grants.decide_by
    ), taken_back AS (
${uncountGrant('$11::text', "EXISTS (SELECT 1 FROM nothing) AND NOT EXISTS (SELECT 1 FROM g WHERE status = 'approved')")}
    ), told AS (
      SELECT 1 AS n, status AS what, session_id, grant_id, id AS lease_id, $5::json AS audit FROM l
      UNION ALL
      SELECT 2, 'kept', session_id, id, NULL, json_build_object('plan_digest', plan_digest, 'redeem_by', decide_by) FROM g WHERE status = 'approved'
    ), event AS (
      ${appendEvent({ chain: 'session_id', at: '$4::timestamptz', type: eventBy('what', { failed: 'lease.failed', revoking: 'lease.revoking', kept: 'grant.approval_kept' }), actor: "'system'", grant: 'grant_id', lease: 'lease_id', payload: 'audit' }, 'told ORDER BY n')}
    )
    SELECT status, decide_by FROM g`,
};

/**
 * Mints the credential of one intent and delivers it.
 *
 * 1. The decision must be ours, unexpired, an allow, and about this very plan; else nobody is asked.
 * 2. The provider is asked, with a deadline; an answer outside the bounds is ended, and not delivered.
 * 3. The outcome is committed with its audit row; only then is the credential handed on.
 *
 * A failure with no effect consumes nothing: what was consented to stands. A failure after the mint revokes.
 *
 * @throws WritError `provider_refused`, `provider_unavailable` (both with `grant_id` and `grant_status`),
 *   `session_ended` (it ended while the provider was minting), `unavailable`, `internal`
 */
export async function issueLease(deps: LeaseDeps, intent: LeaseIntent): Promise<Delivered> {
  const provider = deps.providers.get(intent.plan.provider);
  if (provider === undefined)
    throw new WritError('internal', { cause: new Error(`no provider ${intent.plan.provider}`) });
  let plan_digest: string;
  try {
    ({ plan_digest } = checkDecision(deps, intent));
  } catch (fault) {
    throw await notActedOn(deps, intent, fault as WritError);
  }

  let issued: Issued;
  try {
    issued = await mint(deps, provider, intent);
  } catch (error) {
    throw await failed(deps, intent, error);
  }

  const context = { provider, plan: intent.plan, now: deps.clock.now() };
  const fault = faultInAnswer(issued, context);
  if (fault !== null) throw await failed(deps, intent, outOfBounds(provider, fault, keptOf(issued, context)));

  const digest = credentialDigest(issued.credential);
  let status: string | undefined;
  try {
    status = await recordOutcome(deps, intent, issued, context, digest, plan_digest);
  } catch (cause) {
    if (isRepeated(cause)) {
      await endOtherOf(deps, digest);
      throw await failed(deps, intent, outOfBounds(provider, 'another live lease has it', keptOf(issued, context)));
    }
    // Where the row still says `issuing`, the reconciler will end it. What only this process knows (a GitHub
    // token) would be lost, so revoke it here. Where the answer alone was lost, the row says `active`.
    await revokeUnrecorded(deps, provider, intent, issued);
    await endUndelivered(deps, intent);
    throw new WritError('unavailable', { retryAfterSeconds: 5, cause });
  }
  if (status === 'active') {
    deps.metrics.issued.inc({ provider: provider.name });
    return { credential: issued.credential, expiresAt: issued.expiresAt };
  }
  if (status === undefined) {
    await revokeUnrecorded(deps, provider, intent, issued);
    await endUndelivered(deps, intent);
  } else deps.notify();
  throw new WritError('session_ended', {
    detail: 'The session ended while the credential was being minted; it is being revoked.',
  });
}

/** @returns the lease's status now; undefined when somebody has settled it meanwhile */
async function recordOutcome(
  deps: LeaseDeps,
  intent: LeaseIntent,
  issued: Issued,
  context: AnswerContext,
  digest: string,
  planDigest: string,
): Promise<string | undefined> {
  const sealed = issued.secret === undefined ? null : await deps.seal.seal(issued.secret, intent.leaseId);
  const row = await batch<{ n: number; status: string }>(
    deps.store,
    outcomeStatement,
    {
      lease_id: intent.leaseId,
      handle: issued.handle,
      sealed,
      digest,
      marks: marksOf(issued.credential, deps.mark),
      at: context.now.toISOString(),
      expires_at: issued.expiresAt.toISOString(),
      provider_expires_at: issued.providerExpiresAt.toISOString(),
      over_at: overAt(issued, context).toISOString(),
      reserved: intent.reserved !== null,
      audit: eventPayload('lease.issued', {
        provider: intent.plan.provider,
        expires_at: issued.expiresAt.toISOString(),
        plan_digest: planDigest,
      }),
    },
    null,
  );
  return row?.status;
}

/**
 * @returns what the decision says, its plan digest recomputed from the plan that the provider will be asked
 *   for
 */
function checkDecision(deps: LeaseDeps, intent: LeaseIntent): SignedDecision {
  let claims: SignedDecision;
  try {
    claims = verifyDecision(intent.decision, deps.ring.published(), deps.clock.now());
  } catch (cause) {
    throw new WritError('internal', { detail: 'The decision does not hold.', cause });
  }
  const same =
    claims.grant_id === intent.grantId &&
    claims.lease_id === intent.leaseId &&
    claims.session_id === intent.sessionId &&
    claims.agent === intent.agent &&
    claims.ttl_seconds === intent.plan.ttl_seconds &&
    claims.plan_digest === planDigest(intent.plan);
  if (!same) throw new WritError('internal', { detail: 'The decision is not about this plan.' });
  return claims;
}

/** What another decision on the same facts would not meet: this process slept, or a key was withdrawn. */
const passing = new Set<DecisionRefusal>(['expired', 'not_yet_valid', 'unknown_key']);

/** Nobody was asked for anything: there is nothing to end, and nothing that is shared stays taken. */
async function notActedOn(deps: LeaseDeps, intent: LeaseIntent, fault: WritError): Promise<WritError> {
  const reason = fault.cause instanceof DecisionRefused ? fault.cause.reason : null;
  const passes = reason !== null && passing.has(reason);
  const error = new ProviderError(passes ? 'upstream_unavailable' : 'upstream_refused', 'the decision does not hold', {
    providerCode: `decision_${reason ?? 'of_another_plan'}`,
    mayHaveMinted: false,
  });
  const answer = await failed(deps, intent, error);
  return passes ? answer : fault;
}

async function mint(deps: LeaseDeps, provider: Provider, intent: LeaseIntent): Promise<Issued> {
  const stop = deps.metrics.mintSeconds.startTimer({ provider: provider.name });
  const { plan, leaseId, sessionId, agent, reserved } = intent;
  try {
    return await withDeadline(deps.clock, deps.providerTimeoutSeconds, provider.name, (signal) =>
      provider.issue({ plan, leaseId, sessionId, agent, signal, ...(reserved === null ? {} : { reserved }) }),
    );
  } finally {
    stop();
  }
}

/** When the lease must be looked at: once its provider has surely ended it, or else when its time is over. */
function overAt(issued: Issued, context: AnswerContext): Date {
  const { expiresAt, providerExpiresAt } = issued;
  if (!endsByItself(issued, context)) return expiresAt;
  return expiresAt > providerExpiresAt ? expiresAt : providerExpiresAt;
}

const outOfBounds = (provider: Provider, fault: string, minted: Minted) =>
  new ProviderError('upstream_mismatch', `${provider.name}: ${fault}`, { mayHaveMinted: true, minted });

/** The unique index on the digests of live leases refused it. */
const isRepeated = (error: unknown) =>
  (error as { code?: string }).code === '23505' && /lease_credential_digest_key/.test(String(error));

const repeatedStatement: Statement = {
  name: 'lease_repeated',
  text: `
    WITH l AS (
${startRevoking({
  where: 'credential_digest = $1::text',
  reason: revokeReason('credential_repeated'),
  dueAt: '$2::timestamptz',
  from: ['active'],
})}
      RETURNING id, session_id, grant_id
    ), events AS (
      ${appendEvent({ chain: 'session_id', at: '$2::timestamptz', type: event('lease.revoking'), actor: "'system'", grant: 'grant_id', lease: 'id', payload: `json_build_object('reason', ${revokeReason('credential_repeated')})` }, 'l')}
    )
    SELECT id FROM l`,
};

/** The lease that was given the same credential before: to end the one is to end the other. */
async function endOtherOf(deps: LeaseDeps, digest: string): Promise<void> {
  await deps.store.run(repeatedStatement, [digest, deps.clock.now()]);
}

async function failed(deps: LeaseDeps, intent: LeaseIntent, error: unknown): Promise<WritError> {
  const known = error instanceof ProviderError ? error : null;
  // An unexpected error may have happened after the mint: assume that a credential exists.
  const mayExist = known?.mayHaveMinted ?? true;
  const code = known?.code ?? 'unexpected';
  const minted = mayExist ? (known?.minted() ?? null) : null;
  deps.log.warn({ err: error, lease: intent.leaseId, provider: intent.plan.provider, code }, 'mint failed');
  deps.metrics.mintFailures.inc({ provider: intent.plan.provider, code });
  const consent = known?.retryable === true && !mayExist ? intent.consent : null;
  let grant: { status: string; decide_by: Date | null } | undefined;
  try {
    [grant] = await deps.store.run<{ status: string; decide_by: Date | null }>(failureStatement, [
      intent.leaseId,
      mayExist,
      known?.providerCode === undefined ? code : `${code} (${known.providerCode})`,
      deps.clock.now(),
      JSON.stringify(
        eventPayload(mayExist ? 'lease.revoking' : 'lease.failed', {
          code,
          provider_code: known?.providerCode ?? null,
          may_have_minted: mayExist,
        }),
      ),
      known?.providerText ?? null,
      minted?.handle == null ? null : JSON.stringify(minted.handle),
      minted?.secret === undefined ? null : await deps.seal.seal(minted.secret, intent.leaseId),
      minted?.providerExpiresAt ?? null,
      code === 'upstream_refused',
      intent.sessionId,
      consent === null ? null : JSON.stringify(consent.plan),
      consent?.planDigest ?? null,
    ]);
  } catch (cause) {
    // What only this process knows (a GitHub token) would be lost with the row.
    const provider = deps.providers.get(intent.plan.provider);
    if (minted !== null && provider !== undefined) await revokeUnrecorded(deps, provider, intent, minted);
    throw new WritError('unavailable', { retryAfterSeconds: 5, cause });
  }
  if (mayExist || intent.reserved !== null) deps.notify();
  const redeemBy = grant?.status === 'approved' ? (grant.decide_by?.toISOString() ?? null) : null;
  const extensions = {
    grant_id: intent.grantId,
    // No row: its session has ended meanwhile, and the grant with it.
    grant_status: grant?.status ?? 'ended',
    ...(redeemBy === null ? {} : { redeem_by: redeemBy }),
    ...(known?.providerCode === undefined ? {} : { provider_code: known.providerCode }),
  };
  if (known?.retryable === false) return new WritError('provider_refused', { extensions, cause: error });
  return new WritError('provider_unavailable', {
    retryAfterSeconds: known?.retryAfterSeconds ?? 5,
    extensions,
    cause: error,
    ...(redeemBy === null
      ? {}
      : { detail: `Nothing was minted. The approval stands: redeem again until ${redeemBy}.` }),
  });
}

/**
 * What was recorded although nobody was told: it is given to nobody, and not left to its end. Where the
 * database is still away, that or its session's end must do.
 */
async function endUndelivered(deps: LeaseDeps, { leaseId }: LeaseIntent): Promise<void> {
  const order = { store: deps.store, mintDeadlineSeconds: 0, notify: deps.notify };
  await revokeUndelivered(order, { leaseId, requestId: null, now: deps.clock.now() }).catch((err: unknown) =>
    deps.log.error({ err, lease: leaseId }, 'it is not known whether a credential was recorded; nobody has it'),
  );
}

async function revokeUnrecorded(
  deps: LeaseDeps,
  provider: Provider,
  intent: LeaseIntent,
  issued: Minted,
): Promise<void> {
  // A provider with a single writer needs all outstanding denials from the database: leave it to the
  // reconciler.
  if (provider.lockKey !== undefined) return;
  const target = {
    leaseId: intent.leaseId,
    plan: intent.plan,
    handle: issued.handle,
    secret: issued.secret ?? null,
    reserved: intent.reserved,
    intentAt: intent.intentAt,
    providerExpiresAt: issued.providerExpiresAt,
    settlingSince: null,
  };
  const [outcome] = await provider.revoke([target], [], AbortSignal.timeout(deps.providerTimeoutSeconds * 1000));
  deps.log.warn({ lease: intent.leaseId, outcome: outcome?.state }, 'revoked a credential that could not be recorded');
}
