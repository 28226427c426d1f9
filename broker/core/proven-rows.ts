/**
 * The rows that grant power, as far as their power goes: each carries a proof made with a key that is not in
 * the database (`keys/row-proofs.ts`). What is not a member here may be changed by whoever may write the row.
 */
import type { ApprovalTerm, JsonObject } from './vocabulary.ts';

/** Columns by table; the first one names the row in a log. A column that grants power must be added here. */
export interface ProvenRows {
  login: {
    token_hash: string;
    identity: object;
    csrf: string;
    created_at: Date;
    /**
     * When the identity provider last confirmed it: later than it was, an old word would pass for a new one.
     */
    checked_at: Date;
    sealed: string | null;
    expires_at: Date;
    /** How it was made; absent = by the identity provider, in the ordinary way. */
    method?: 'fresh_oidc' | 'passkey';
    /** Issuer and client id under which it was made; absent = before that was written down. */
    idp?: string;
  };
  /** When the browser of a login last asked for something: later than it was, an idle one would go on. */
  login_seen: { token_hash: string; seen_at: Date };
  /** Who somebody is, as of then: their groups are a right for as long as that is not too long ago. */
  confirmed_person: { issuer: string; subject: string; identity: object; confirmed_at: Date };
  /** Bound to the person: a row of somebody else's key gives nobody a passkey. */
  passkey: {
    id: string;
    issuer: string;
    subject: string;
    credential_id: string;
    public_key: string;
    sign_count: number;
    created_at: Date;
  };
  bootstrap: { id: number; token_hash: string; created_at: Date };
  manifest: {
    agent: string;
    version: number;
    source: string;
    sha256: string;
    author: string;
    reason: string;
    compiled: object;
    published_at: Date;
  };
  /** What waits for another admin: who proposed it must not be another by the time somebody agrees. */
  manifest_proposal: {
    id: string;
    agent: string;
    base_version: number;
    source: string;
    sha256: string;
    author: string;
    proposer: object;
    reason: string;
    proposed_at: Date;
  };
  /**
   * A lock that does not hold locks all the same. Whoever lifts it is compared with whoever set it, so it is
   * lifted only while it holds.
   */
  access_lock: {
    id: string;
    level: string;
    subject: string;
    number: number;
    reason: string;
    set_by: string;
    setter: object;
    set_at: Date;
  };
  access_lock_lift: { lock_id: string; reason: string; lifted_by: string; lifter: object; lifted_at: Date };
  /** What somebody asks to break the glass for: nobody else must have asked, nor for anything else. */
  break_glass: {
    id: string;
    agent: string;
    session_id: string | null;
    capabilities: object;
    reason: string;
    incident: string;
    seconds: number;
    digest: string;
    requested_by: string;
    requester: object;
    requester_passkey: string;
    requester_evidence: object;
    requested_at: Date;
    decide_by: Date;
  };
  /** The second person's word, in the same row: without it, and after `expires_at`, the glass is whole. */
  break_glass_approval: {
    id: string;
    digest: string;
    approved_by: string;
    approver: object;
    approver_passkey: string;
    approver_evidence: object;
    approved_at: Date;
    expires_at: Date;
  };
  /** The review, in the same row: without it, it is still open. */
  break_glass_review: { id: string; reviewed_by: string; reviewer: object; reviewed_at: Date; review: string };
  /** One that ends is carried out with or without it; that an owner is back, only while it holds. */
  signal: {
    set_key: string;
    event_type: string;
    jti: string;
    names: readonly object[];
    effect: string;
    received_at: Date;
  };
  /** An owner is gone with or without it; back, only while it holds. */
  owner_presence: { owner: string; number: number; gone: boolean; at: Date; signal: string; event: string };
  /** What is signalled to a receiver, where its row is not derived from another that is proven. */
  stream_event: {
    jti: string;
    stream: string;
    type: string;
    about: string;
    reason: string | null;
    number: number;
    at: Date;
  };
  session: {
    id: string;
    agent: string;
    manifest_version: number;
    parent_id: string | null;
    root_id: string;
    task_type: string;
    inputs: object;
    on_behalf_of: object | null;
    declared_on_behalf_of: string | null;
    started_by: object | null;
    responsible: string | null;
    capabilities: readonly string[];
    narrowed: boolean;
    subject: object;
    dpop_jkt: string | null;
    max_grants: number | null;
    opened_at: Date;
    expires_at: Date;
    /** While it sleeps: `expires_at` is then until when it may. Null or absent: it does not. */
    slept?: object | null;
  };
  /**
   * The request. Its `plan` without the lifetime, which a review may shorten; where a review left something
   * out, `asked_plan`, and the reviews say to what.
   */
  grants: {
    id: string;
    session_id: string;
    agent: string;
    capability: string;
    request_digest: string;
    params: JsonObject;
    justification: string | null;
    credential_jwk: JsonObject | null;
    manifest_version: number;
    provider: string;
    plan: JsonObject;
    tier: number;
    requested_at: Date;
    /** Whose approvals it needs; null or absent where its manifest says nothing of it. */
    approval?: ApprovalTerm[] | null;
    /** The plan as it was asked for; null or absent where nothing was left out. */
    asked_plan?: JsonObject | null;
  };
  review: {
    id: string;
    grant_id: string;
    reviewer: object;
    verdict: string;
    plan_digest: string;
    consented_digest: string;
    reason: string | null;
    channel: string;
    at: Date;
    redeem_by: Date | null;
    /** What its passkey signed; null or absent = it was given without one. */
    evidence?: object | null;
  };
  /** Where the program that asked is told how it ended: the reference of an outbox row of the grant. */
  approval_callback: { grant_id: string; endpoint: string; state: string | null; events: readonly string[] | null };
  /** What is approved ahead of time. That it was withdrawn, and how often it was used, the record says. */
  pre_approval: {
    id: string;
    agent: string;
    task_type: string;
    capability: string;
    bounds: object;
    max_uses: number;
    max_ttl_seconds: number;
    until: Date;
    terms: string;
    groups: readonly string[];
    from_grant: string;
    reason: string;
    giver: object;
    given_by: string;
    given_at: Date;
  };
  /** Where the checkpoints of the record have got to. */
  audit_checkpoint: {
    number: number;
    hash: string;
    watermark: Date | null;
    next_watermark: Date | null;
    cursor: string;
    pending: string | null;
  };
}

export type ProvenTable = keyof ProvenRows;

/** Makes proofs, and checks them where rows are read. */
export interface RowProofs {
  /** @returns what goes into the row's `proof` */
  make<Table extends ProvenTable>(table: Table, row: ProvenRows[Table]): string;
  /**
   * Whether the row is as we wrote it. One that is not is logged here, in detail; the caller gets no right
   * from it and says little.
   */
  holds<Table extends ProvenTable>(table: Table, row: ProvenRows[Table], proof: string): boolean;
}

/** For a store that was opened to look at, without the key-encryption key. */
export const noProofs: RowProofs = {
  make: () => {
    throw new Error('this store was opened without the key that proves rows');
  },
  holds: () => false,
};
