/**
 * What the role that a broker runs as may do, table by table: what its statements do, and no more. Every
 * table may be read. `npm run check` compares the list with the statements; `prepare.ts` grants it.
 */

export interface TableRights {
  insert?: true;
  delete?: true;
  /** Columns that may be changed. What a row proves (core/proven-rows.ts) is mostly not among them. */
  update?: readonly string[];
}

export const runtimeRights: { readonly [table: string]: TableRights } = {
  // History: added to, never changed. A chain's head is moved by the trigger, with its owner's rights.
  audit_event: { insert: true },
  audit_chain: {},
  audit_checkpoint: {
    insert: true,
    update: ['number', 'hash', 'watermark', 'next_watermark', 'cursor', 'pending', 'due_at', 'proof'],
  },
  manifest: { insert: true },
  manifest_proposal: { insert: true, update: ['status', 'decided_by', 'decided_at', 'decision_reason', 'version'] },
  review: { insert: true },
  pre_approval: { insert: true, update: ['used_count', 'ended_at', 'end_reason'] },
  pre_approval_use: { insert: true },
  access_lock: { insert: true },
  access_lock_lift: { insert: true },
  owner_presence: { insert: true },
  break_glass: {
    insert: true,
    update: [
      'status',
      'approved_by',
      'approver',
      'approver_passkey',
      'approver_evidence',
      'approved_at',
      'expires_at',
      'approval_proof',
      'ended_at',
      'ended_how',
      'ended_by',
      'end_words',
      'review_due_at',
      'reviewed_by',
      'reviewer',
      'reviewed_at',
      'review',
      'review_proof',
      'reminded_at',
    ],
  },
  break_glass_use: { insert: true },
  agent: {
    insert: true,
    update: ['version', 'asked', 'opened', 'rechecked_version', 'providers', 'owner_gone', 'stopped_owner'],
  },
  session: {
    insert: true,
    update: [
      'status',
      'end_reason',
      'grant_count',
      'child_count',
      'ended_at',
      'released_at',
      'heartbeat_deadline',
      // Of one that sleeps or is woken, under a new proof.
      'expires_at',
      'dpop_jkt',
      'slept',
      'resume_hash',
      'proof',
      'withheld',
      'version',
    ],
  },
  grants: {
    insert: true,
    update: [
      'status',
      'approval_count',
      'plan',
      'plan_digest',
      'decision',
      'decision_jws',
      'credential_jwk',
      'decide_by',
      'sealed_arguments',
      'redeemed_moves',
      'batch_id',
      'decided_at',
      'ended_at',
    ],
  },
  action: {
    insert: true,
    update: [
      'call_key',
      'outcome',
      'labels',
      'output_digest',
      'finished_at',
      'outcome_moves',
      'reported_cost_micro_usd',
      'entities',
    ],
  },
  monitor_cell: { insert: true, delete: true, update: ['state', 'version', 'moved_at'] },
  manifest_candidate: {
    insert: true,
    update: ['number', 'source', 'sha256', 'author', 'reason', 'published_at', 'withdrawn_at'],
  },
  shadow_cell: { insert: true, delete: true, update: ['candidate', 'state', 'version'] },
  shadow_difference: { insert: true, delete: true },
  lease: {
    insert: true,
    update: [
      'status',
      'credential_digest',
      'marks',
      'provider_text',
      'handle',
      'sealed',
      'issued_at',
      'expires_at',
      'provider_expires_at',
      'due_at',
      'prune_at',
      'settling_since',
      'attempts',
      'revoke_reason',
      'last_error',
      'evidence',
      'ended_at',
    ],
  },
  approval_outbox: { insert: true, update: ['attempts', 'due_at', 'delivered_at', 'last_error', 'reference'] },
  signing_key: { insert: true, update: ['retired_at', 'withdrawn_at'] },
  bootstrap: { insert: true, update: ['token_hash', 'created_at', 'proof', 'expired_at'] },
  login: { insert: true, delete: true, update: ['identity', 'checked_at', 'sealed', 'proof', 'seen_at', 'seen_proof'] },
  confirmed_person: { insert: true, delete: true, update: ['identity', 'confirmed_at', 'proof'] },
  passkey: { insert: true, delete: true, update: ['sign_count', 'last_used_at', 'proof'] },
  account_name: { insert: true, update: ['proven_at'] },
  signal: { insert: true, delete: true, update: ['due_at'] },
  stream_event: { insert: true, delete: true },
  event_stream: { insert: true, update: ['held_by', 'held_until', 'due_at'] },
  told_suspension: { insert: true, delete: true, update: ['number', 'suspended'] },
  replay: { insert: true, delete: true, update: ['expires_at'] },
  access_request_key: { insert: true, delete: true },
  pool_slot: { insert: true, delete: true, update: ['release_after'] },
  upstream_lock: { insert: true, delete: true, update: ['holder', 'until'] },
};

/** Functions that statements call; a trigger's function needs no right of whoever fires it. */
export const runtimeFunctions = [
  'writ_room(text, text, text, int, text[], timestamptz)',
  'writ_shared(text, text)',
  'writ_moved_on()',
  'writ_asked(text, timestamptz, text[])',
  'writ_may_ask(text, timestamptz, int, text[])',
];
