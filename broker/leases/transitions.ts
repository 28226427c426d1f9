/**
 * Every change of a lease's status, as SQL for the statements that make it: issuing → active → revoking →
 * revoked / expired / failed. Only this room writes the table (scripts/check/tables.ts). One path leads to
 * `revoking`.
 */
import { keepAfterEndMs } from '../../providers/contract.ts';
import { revokeReason } from '../core/reasons.ts';
import type { LeaseStatus } from '../core/vocabulary.ts';

/**
 * → issuing: the intent, before any provider is called (invariant 5).
 * @param rows SQL of rows with `lease_id`, `grant_id`, `session_id`, `agent`, `provider`, `plan`,
 *   `plan_digest`, `reserved`, `lock_key`, `at`, `answer_by` and `provider_expires_at`
 */
export const intendLease = (rows: string): string => `
      INSERT INTO lease (id, grant_id, session_id, agent, provider, plan, plan_digest, status, reserved, lock_key, intent_at, expires_at,
                         provider_expires_at, due_at)
      SELECT lease_id, grant_id, session_id, agent, provider, plan, plan_digest, 'issuing', reserved, lock_key, at, provider_expires_at,
             provider_expires_at, answer_by FROM (${rows}) intent`;

/**
 * issuing → active, with what the provider answered. A lease whose end was ordered meanwhile stays
 * `revoking`, and is due at once: what it needs is known now.
 * @param r alias of rows with `lease_id`, `handle`, `sealed`, `digest`, `marks`, `at`, `expires_at`,
 *   `provider_expires_at` and `over_at`, when it must be looked at unless its end is ordered before
 */
export const recordAnswer = (r: string): string => `
      UPDATE lease SET status = CASE WHEN status = 'issuing' THEN 'active' ELSE status END, handle = ${r}.handle, sealed = ${r}.sealed,
             credential_digest = ${r}.digest, marks = ${r}.marks, issued_at = ${r}.at, expires_at = ${r}.expires_at, provider_expires_at = ${r}.provider_expires_at,
             due_at = CASE WHEN status = 'issuing' THEN ${r}.over_at ELSE ${r}.at END
      FROM ${r} WHERE id = ${r}.lease_id AND status IN ('issuing', 'revoking')`;

/**
 * issuing | revoking → failed: nothing was minted.
 * @param error SQL of the error's code @param text SQL of the provider's own words
 */
export const failMint = (where: string, at: string, error: string, text: string): string => `
      UPDATE lease SET status = 'failed', revoke_reason = ${revokeReason('mint_failed')}, last_error = ${error}, provider_text = ${text}, due_at = NULL, ended_at = ${at}, sealed = NULL
      WHERE status IN ('issuing', 'revoking') AND ${where}`;

/**
 * Until when a lease's kill, and what it needs, is kept: a while past the end that the provider itself gave,
 * by the provider's own clock. Compare it with `endedBefore` (provider-time.ts).
 */
export const keptUntil = (lease: string): string =>
  `(${lease}.provider_expires_at + interval '${keepAfterEndMs / 1000} seconds')`;

/**
 * Leases that were denied, or must be: those whose denial the shared document of `lockKey` holds.
 * @param over SQL of the moment before which what ends has ended, by `endedBefore` (provider-time.ts)
 */
export const standingIn = (provider: string, lockKey: string, over: string): string =>
  `provider = ${provider} AND lock_key = ${lockKey} AND provider_expires_at > ${over} - interval '${keepAfterEndMs / 1000} seconds'
      AND (status IN ('revoking', 'revoked') OR (status = 'expired' AND prune_at IS NOT NULL))`;

export interface Revoking {
  /** SQL condition on rows of `lease`. */
  where: string;
  /** SQL of the revoke reason: `revokeReason('…')`. */
  reason: string;
  /** SQL of the moment at which revocation begins. */
  dueAt: string;
  /** Where it may come from; default issuing and active. */
  from?: readonly LeaseStatus[];
  /** SQL of the error's code, when one led here. */
  error?: string;
  /** It was called revoked, or waits for the lag of its denial: both start anew. */
  anew?: boolean;
  /** More of the row that is known by then: SQL of its columns' values. */
  known?: { [column in 'handle' | 'sealed' | 'provider_expires_at' | 'provider_text']?: string };
}

/**
 * issuing | active → revoking, and revoked → revoking where what had ended it was taken away again: the one
 * path, whatever the reason.
 */
export const startRevoking = ({
  where,
  reason,
  dueAt,
  from = ['issuing', 'active'],
  error,
  anew = false,
  known = {},
}: Revoking): string => `
      UPDATE lease SET status = 'revoking', revoke_reason = ${reason}, due_at = ${dueAt}, attempts = 0${error === undefined ? '' : `, last_error = ${error}`}${anew ? `, settling_since = ${dueAt}, ended_at = NULL, prune_at = NULL` : ''}${Object.entries(
        known,
      )
        .map(([column, value]) => `, ${column} = coalesce(${value}, ${column})`)
        .join('')}
      WHERE status IN (${from.map((status) => `'${status}'`).join(', ')}) AND ${where}`;

/**
 * The moment at which revocation begins when an admin or a session's end asks for it: at once, or when the
 * mint must have answered, so that revocation has the provider's answer to work with.
 * @param seconds SQL of how long after its intent a mint may still answer
 */
export const onceAnswered = (at: string, seconds: string): string =>
  `CASE WHEN handle IS NULL THEN GREATEST(${at}, intent_at + make_interval(secs => ${seconds})) ELSE ${at} END`;

/** active | revoking → expired: the provider itself has ended the credential. */
export const expireLease = (where: string, at: string): string => `
      UPDATE lease SET status = 'expired', revoke_reason = ${revokeReason('expired')}, due_at = NULL, ended_at = ${at}, sealed = NULL, marks = '{}', attempts = 0
      WHERE status IN ('active', 'revoking') AND ${where}`;

/**
 * revoking → revoked / expired / failed, or on with revoking. What somebody else has settled stays settled.
 * @param o alias of rows with `id`, `status`, `due_at`, `evidence` (JSON text), `error`, `text`,
 *   `settling` and `anew`: the lag begins now
 */
export const settleRevocation = (o: string, at: string): string => `
      UPDATE lease SET status = ${o}.status, evidence = coalesce(${o}.evidence::jsonb, lease.evidence), last_error = ${o}.error, provider_text = ${o}.text,
             settling_since = CASE WHEN ${o}.error IS NOT NULL THEN NULL WHEN ${o}.anew THEN ${at}
                                   WHEN ${o}.settling THEN coalesce(lease.settling_since, ${at}) ELSE lease.settling_since END,
             due_at = CASE WHEN ${o}.status = 'revoking' THEN ${o}.due_at END,
             sealed = CASE WHEN ${o}.status = 'revoking' THEN lease.sealed END,
             marks = CASE WHEN ${o}.status = 'revoking' THEN lease.marks ELSE '{}' END,
             ended_at = CASE WHEN ${o}.status = 'revoking' THEN NULL ELSE ${at} END,
             prune_at = CASE WHEN ${o}.status <> 'revoking' AND lease.lock_key IS NOT NULL THEN GREATEST(${keptUntil('lease')}, ${at}) END,
             attempts = CASE WHEN ${o}.error IS NULL THEN 0 ELSE lease.attempts END
      FROM ${o} WHERE lease.id = ${o}.id AND lease.status = 'revoking'`;
