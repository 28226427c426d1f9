/**
 * The types behind the words of the house. Imported by every folder, imports nothing of ours.
 *
 * Times are `Date` in memory and ISO 8601 UTC on the wire; durations are whole seconds unless the name says otherwise.
 */

/** Anything JSON can carry. Values that are digested, signed or stored are of this type, never class instances. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** The one source of time. `main.ts` injects the system's; tests inject one they move by hand. */
export interface Clock {
  now(): Date;
  /** Resolves after `ms`, or rejects with the signal's reason as soon as it aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/**
 * How a provider can end a credential.
 * immediate: the provider kills it on request; eventual: the kill takes effect after the provider's lag;
 * expiry: nothing but the credential's own end stops it.
 */
export type RevocabilityKind = 'immediate' | 'eventual' | 'expiry';

export interface Revocability {
  kind: RevocabilityKind;
  /** One or two sentences for the approver: what ends the credential, how fast, who enforces its end. */
  text: string;
}

/**
 * The exact permission a provider will put into the credential: pure data. Its digest (see `broker/decide/plan-digest.ts`)
 * is what policy decided on, what the approver saw and what the provider is asked for.
 */
export interface Plan {
  provider: string;
  /** The permission in the provider's own terms (an IAM policy, repositories and permissions, a boundary …). */
  permission: JsonObject;
  /** Effective lifetime of the credential in seconds; narrowing it makes a new plan with a new digest. */
  ttl_seconds: number;
}

/** What people read about a plan. Derived from it, never part of the digest. */
export interface PlanDescription {
  /** Plain-language lines, one fact each, e.g. "Read objects under customers/42/ in the S3 bucket orders". */
  summary: string[];
  revocability: Revocability;
}

/** The terms under which a session runs. */
export interface Envelope {
  /** The session ends this many seconds after it was opened, whatever happens. */
  wall_time_seconds: number;
  /** How many grants the session may ask for in all; absent = no limit of its own. */
  max_grants?: number;
}

export type SessionStatus = 'active' | 'ended';

/** Why a session ended. */
export type EndReason =
  | 'ended_by_agent'
  | 'token_revoked'
  | 'heartbeat_missed'
  | 'envelope_spent'
  | 'parent_ended'
  | 'ended_by_admin';

export type GrantStatus = 'pending' | 'approved' | 'denied' | 'issuing' | 'issued' | 'failed' | 'ended';

export type LeaseStatus = 'issuing' | 'active' | 'revoking' | 'revoked' | 'expired' | 'failed';

/** Risk tier of a capability: 1 = policy alone; 2 = a person approves; 3 = a person approves with a passkey (approvals issue). */
export type Tier = 1 | 2 | 3;

/** The task a session is bound to for good. */
export interface Task {
  task_type: string;
  inputs: { [name: string]: string | number | boolean };
}

/** One machine-readable reason of a decision. `code` is stable; `advice` tells the agent what would pass. */
export interface Reason {
  code: string;
  policy_id?: string;
  /** JSON-pointer-like path into the request, e.g. `params.bucket`. */
  path?: string;
  advice?: string;
}
