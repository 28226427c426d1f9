/**
 * The types behind the words of docs/architecture.md. Imported by every folder of the broker. What a provider
 * shares with the broker (plans, JSON, the clock) is the providers' contract, and only passed on here.
 *
 * Times are `Date` in memory and ISO 8601 UTC on the wire; durations are whole seconds unless the name says
 * otherwise.
 */

import type { DecisionReason } from './reasons.ts';

export type {
  Clock,
  Finding,
  Json,
  JsonObject,
  Plan,
  PlanDescription,
  Revocability,
  RevocabilityKind,
} from '../../providers/contract.ts';
export type { DecisionReason, EndReason, RevokeReason } from './reasons.ts';

/** `suspended`: a rule froze it, with its tree, until a person lifts that. */
export type SessionStatus = 'active' | 'suspended' | 'asleep' | 'ended';

export type GrantStatus = 'pending' | 'approved' | 'denied' | 'issuing' | 'issued' | 'failed' | 'ended';

export type LeaseStatus = 'issuing' | 'active' | 'revoking' | 'revoked' | 'expired' | 'failed';

/**
 * Risk tier of a capability: 1 = policy alone; 2 = a person approves; 3 = a person approves with a passkey
 * (approvals issue).
 */
export type Tier = 1 | 2 | 3;

/** So many different people of these must approve. */
export interface ApprovalTerm {
  quorum: number;
  /** `team:…` and `user:…`. */
  from: string[];
}

/** The task a session is bound to for good. */
export interface Task {
  task_type: string;
  inputs: { [name: string]: string | number | boolean };
}

/** What a lock (kill switch) stops. */
export const lockLevels = ['agent', 'owner', 'capability', 'provider', 'everything'] as const;
export type LockLevel = (typeof lockLevels)[number];

/**
 * What is locked: an agent by its name, an owner as the manifest in force writes it (`team:…`, `user:…`), a
 * capability by its name in every manifest (`NAME`) or in one (`AGENT/NAME`), a provider by its name;
 * everything has no subject.
 */
export interface LockTarget {
  level: LockLevel;
  subject: string;
}

/** One machine-readable reason of a decision. `code` is stable; `advice` tells the agent what would pass. */
export interface Reason {
  code: DecisionReason;
  policy_id?: string;
  /** JSON-pointer-like path into the request, e.g. `params.bucket`. */
  path?: string;
  advice?: string;
}
