/**
 * Every call after the first: the token says which session, the proof says that its holder sent it, the
 * database says whether the session still lives. The last part is one statement that also reads what a
 * grant's decision needs, so that the hot path has one read.
 */
import { WritError } from '../core/errors.ts';
import type { VouchedPerson } from '../core/identifier.ts';
import type { Clock, EndReason, JsonObject, LockTarget, Plan, Reason, SessionStatus } from '../core/vocabulary.ts';
import type { ConsentedRow, ReviewRow } from '../grants/consent.ts';
import { provenGrantColumns } from '../grants/proven-grant.ts';
import {
  lockOnSession,
  type NewestLock,
  newestLocks,
  ownerWhereLocked,
  standingLocks,
} from '../locks/standing-locks.ts';
import type { SessionFactValues } from '../manifests/facts-table.ts';
import { batch } from '../store/batch.ts';
import type { Statement, Store } from '../store/open.ts';
import { type FactColumns, factColumns, factsOfRow, historyAggregates, historySums } from './fact-columns.ts';
import { mayAct } from './live-session.ts';
import { sessionHolds } from './proven-session.ts';
import type { ActorChain, SessionTokens } from './session-token.ts';

/** What the HTTP layer hands over: nothing here knows a framework. */
export interface Credentials {
  authorization: string | undefined;
  dpop: string | undefined;
  method: string;
  /** Absolute URL as the client must have signed it: the broker's public URL and the request's path. */
  url: string;
}

/** Checks a proof (RFC 9449 section 4.3). `dpop.ts` has the real one. */
export type ProofCheck = (input: {
  proof: string;
  method: string;
  url: string;
  accessToken: string;
  expectedJkt: string;
  now: Date;
}) => Promise<{ replayKey: string; replayExpiresAt: Date }>;

/**
 * A caller whose token and proof hold. Whether the session lives, and whether the proof is fresh, the next
 * read says.
 */
export interface Caller {
  sessionId: string;
  agent: string;
  jkt: string | null;
  /** The key that signed the token. Absent for a read that no token asked for. */
  kid?: string;
  replay: { key: string; expiresAt: Date } | null;
}

/** The session as the database has it now, with what history says about it. */
export interface SessionFacts {
  id: string;
  agent: string;
  manifestVersion: number;
  /** Version of the agent's manifest in force now; it decides, not the one the session was opened under. */
  currentManifestVersion: number;
  parentId: string | null;
  /**
   * Top of the session's tree: counts and serialisation are the tree's, so that a child session resets
   * nothing.
   */
  rootId: string;
  task: { task_type: string; inputs: { [name: string]: string | number | boolean } };
  /** Whom it acts for and who started it, as vouched. */
  onBehalfOf: VouchedPerson | null;
  startedBy: VouchedPerson | null;
  /** Whom it acts for in the agent's own word, `user:…`. */
  declaredOnBehalfOf: string | null;
  /** `team:…` or `user:…` that counts as its starter. */
  responsible: string | null;
  capabilities: string[];
  narrowed: boolean;
  subject: JsonObject & { act?: ActorChain };
  /** Claims of the platform's token that the manifest asked for when it opened. */
  attested: JsonObject | null;
  jkt: string | null;
  status: SessionStatus;
  endReason: EndReason | null;
  maxGrants: number | null;
  openedAt: Date;
  rootOpenedAt: Date;
  expiresAt: Date;
  heartbeatDeadline: Date;
  endedAt: Date | null;
  /** Optimistic version of the tree's root. */
  version: number;
  /**
   * What policies may look at (`manifests/facts-table.ts`); history is that of the capability asked about.
   */
  facts: SessionFactValues;
  counts: {
    /**
     * Grants of this session that were not denied, of any capability; what was handed on to children counts
     * as used.
     */
    session: number;
    /** Requests of the whole tree that were denied. */
    denied: number;
    /**
     * Grants this agent asked for in the last minute, over all its sessions (counted up to the limit asked
     * for).
     */
    lastMinute: number;
  };
  /** Every lock that stood when it was read; none of them stops the session itself. */
  locks: readonly LockTarget[];
  /** The grant made under the Idempotency-Key asked about, if there is one. */
  previousGrantId: string | null;
  /** The agent, and the human it acts for as vouched: what history hangs on. */
  principalRoot: string;
  /** The action asked about, by its id or its key. */
  action: StoredAction | null;
  /** Of the cells of history asked about, those that are there. */
  cells: StoredCell[];
  /** Which were asked about, and of which owner: of any other nothing is known, not that it is not there. */
  cellsAskedFor: Pick<SessionReads, 'cells' | 'owner'>;
}

/** A tool call as it was written (broker/actions/). */
export interface StoredAction {
  id: string;
  tool: string;
  effect: string;
  decision: JsonObject;
  request_digest: string;
  manifest_version: number;
  cost_micro_usd: number;
  awaited: JsonObject[];
  asked_at: Date;
  outcome: string | null;
  /** What people were asked about it; null = nobody was. */
  question: StoredQuestion | null;
}

/** A question about a tool call, and what people said (broker/grants/question.ts). */
export type StoredQuestion = ConsentedRow & {
  status: string;
  decide_by: Date | null;
  decision: { reasons?: Reason[] };
  plan: Plan;
  reviews: ReviewRow[];
};

/** A cell of history (broker/actions/monitors.ts). `scope`: `session`, `agent`, `principal` or `owner`. */
export interface StoredCell {
  scope: string;
  cell: string;
  state: JsonObject | null;
  version: number;
}

const questionOf = (action: string) => `
               SELECT ${provenGrantColumns('g')}, g.plan_digest, g.status, g.decide_by, g.decision,
                 (SELECT coalesce(json_agg(v ORDER BY v.at, v.id), '[]') FROM review v WHERE v.grant_id = g.id AND v.verdict = 'approve') AS reviews
               FROM grants g WHERE g.session_id = ${action}.session_id AND g.idempotency_key = ${action}.id`;

/** JSON has its times as text. */
const dated = (stored: StoredAction | null): StoredAction | null => {
  if (stored === null) return null;
  const action = { ...stored, asked_at: new Date(stored.asked_at) };
  if (action.question === null) return action;
  const time = (text: Date | null) => (text === null ? null : new Date(text));
  const { question } = action;
  const reviews = question.reviews.map((review) => ({
    ...review,
    at: new Date(review.at),
    redeem_by: time(review.redeem_by),
  }));
  const times = { requested_at: new Date(question.requested_at), decide_by: time(question.decide_by) };
  return { ...action, question: { ...question, ...times, reviews } };
};

/** An action with the cells that its outcome moves, and cells asked for by their keys. */
const withHistory = `
           CASE WHEN r.call_key IS NOT NULL OR r.action_id IS NOT NULL THEN (
             SELECT json_build_object('id', t.id, 'tool', t.tool, 'effect', t.effect, 'decision', t.decision, 'request_digest', t.request_digest,
                                      'manifest_version', t.manifest_version, 'cost_micro_usd', t.cost_micro_usd, 'awaited', t.awaited, 'asked_at', t.asked_at, 'outcome', t.outcome,
                                      'question', CASE WHEN t.effect = 'approve' THEN (SELECT to_json(q) FROM (${questionOf('t')}) q) END)
             FROM action t WHERE t.session_id = s.id AND t.id = coalesce(r.action_id, (
               SELECT keyed.id FROM action keyed WHERE keyed.session_id = s.id AND keyed.call_key = r.call_key))) END AS action,
           CASE WHEN r.cells IS NOT NULL THEN (
             SELECT json_agg(json_build_object('scope', c.scope, 'cell', c.cell, 'state', m.state, 'version', m.version))
             FROM (SELECT scope, cell FROM json_to_recordset(r.cells) AS given (scope text, cell text)
                   UNION SELECT scope, cell FROM action t, jsonb_to_recordset(t.awaited) AS waited (scope text, cell text)
                   WHERE t.session_id = s.id AND t.id = r.action_id) c
             CROSS JOIN LATERAL (SELECT state, version FROM monitor_cell WHERE cell = c.cell AND scope =
               CASE c.scope WHEN 'session' THEN 'session:' || s.root_id WHEN 'agent' THEN 'agent:' || s.agent
                            WHEN 'principal' THEN 'principal:' || s.principal_root ELSE 'owner:' || r.owner END LIMIT 1) m) END AS cells`;

/**
 * Of two requests with the same proof in one execution, the first is fresh. Most requests ask for nothing of
 * history: what they do not ask for would be set up with every execution all the same.
 */
const factsStatementOf = (name: string, history: string): Statement => ({
  name,
  text: `
    WITH r AS MATERIALIZED (
      SELECT * FROM json_to_recordset($1::json) AS r (n int, session_id text, now timestamptz, proof text, proof_until timestamptz, capability text,
                                                      idempotency_key text, count_up_to int, kid text, owner text, cells json, action_id text, call_key text) LIMIT 16
    ), proofs AS MATERIALIZED (
      SELECT DISTINCT ON (proof) n, proof, proof_until FROM r WHERE proof IS NOT NULL ORDER BY proof, n
    ), burnt AS (
      INSERT INTO replay (key, expires_at) SELECT proof, proof_until FROM proofs ORDER BY proof ON CONFLICT (key) DO NOTHING RETURNING key
    )
    SELECT r.n, s.id, s.agent, s.manifest_version, a.version AS current_version, s.parent_id, s.root_id, s.task_type, s.inputs, s.on_behalf_of, s.declared_on_behalf_of, s.started_by,
           s.responsible, s.principal_root, s.subject, s.dpop_jkt, s.status, s.end_reason, s.max_grants, s.opened_at, s.expires_at, s.heartbeat_deadline,
           s.ended_at, s.capabilities, s.narrowed, s.slept, s.proof, root.version, root.opened_at AS root_opened_at, root.status AS root_status, ${factColumns},
           (r.proof IS NULL OR EXISTS (SELECT 1 FROM burnt JOIN proofs ON proofs.proof = burnt.key WHERE proofs.n = r.n)) AS proof_is_fresh,
           ${mayAct('s', 'r.now')} AS may_act,
           EXISTS (SELECT 1 FROM signing_key k WHERE k.kid = r.kid AND k.withdrawn_at IS NOT NULL) AS key_withdrawn,
           history.denied_count,
           CASE WHEN r.count_up_to = 0 THEN 0 ELSE (SELECT count(*)::int FROM (
             SELECT 1 FROM grants g WHERE g.agent = s.agent AND g.requested_at > r.now - interval '1 minute'
             ORDER BY g.requested_at DESC LIMIT r.count_up_to) recent) END AS last_minute,
           (SELECT g.id FROM grants g WHERE g.session_id = s.id AND g.idempotency_key = r.idempotency_key) AS previous_grant,
           ${newestLocks} AS locks, ${ownerWhereLocked('s.agent', 'a.version')} AS owner,
           ${history}
    FROM r
    CROSS JOIN LATERAL (SELECT * FROM session WHERE id = r.session_id LIMIT 1) s
    CROSS JOIN LATERAL (SELECT version, opened_at, status, withheld FROM session WHERE id = s.root_id LIMIT 1) root
    LEFT JOIN LATERAL (SELECT version FROM agent WHERE name = s.agent LIMIT 1) a ON true
    LEFT JOIN LATERAL (
      SELECT ${historySums}, sum(own.denied_count)::int AS denied_count
      FROM session t CROSS JOIN LATERAL (
        SELECT ${historyAggregates}, count(*) FILTER (WHERE g.status = 'denied') AS denied_count
        FROM grants g WHERE g.session_id = t.id
      ) own WHERE t.root_id = s.root_id
    ) history ON r.capability IS NOT NULL`,
});
export const factsStatement = factsStatementOf('session_facts', 'NULL::json AS action, NULL::json AS cells');
export const historyStatement = factsStatementOf('session_facts_and_history', withHistory);

interface FactsRow extends FactColumns {
  n: number;
  id: string;
  agent: string;
  manifest_version: number;
  current_version: number | null;
  parent_id: string | null;
  root_id: string;
  task_type: string;
  inputs: SessionFacts['task']['inputs'];
  on_behalf_of: VouchedPerson | null;
  declared_on_behalf_of: string | null;
  started_by: VouchedPerson | null;
  responsible: string | null;
  subject: SessionFacts['subject'];
  dpop_jkt: string | null;
  status: string;
  end_reason: EndReason | null;
  max_grants: number | null;
  opened_at: Date;
  root_opened_at: Date;
  root_status: string;
  expires_at: Date;
  heartbeat_deadline: Date;
  ended_at: Date | null;
  capabilities: string[];
  narrowed: boolean;
  slept: object | null;
  proof: string;
  version: number;
  proof_is_fresh: boolean;
  may_act: boolean;
  key_withdrawn: boolean;
  denied_count: number | null;
  last_minute: number;
  previous_grant: string | null;
  locks: NewestLock[] | null;
  owner: string | null;
  principal_root: string;
  action: StoredAction | null;
  cells: StoredCell[] | null;
}

/**
 * Token and proof, without the database.
 * @throws WritError `unauthenticated`, `invalid_dpop_proof`
 */
export async function authenticate(
  credentials: Credentials,
  tokens: SessionTokens,
  checkProof: ProofCheck,
  clock: Clock,
): Promise<Caller> {
  const [scheme, token, ...rest] = (credentials.authorization ?? '').split(' ');
  if (token === undefined || token === '' || rest.length > 0) throw new WritError('unauthenticated');
  const claims = await tokens.verify(token);
  const bearer = scheme?.toLowerCase() === 'bearer';
  if (!bearer && scheme?.toLowerCase() !== 'dpop') throw new WritError('unauthenticated');
  if (claims.jkt === null) {
    // RFC 9449 section 7.1: the DPoP scheme is for tokens that are bound to a key.
    if (!bearer) throw new WritError('unauthenticated');
    return { sessionId: claims.sessionId, agent: claims.agent, jkt: null, kid: claims.kid, replay: null };
  }
  // A bound token sent as a bearer token is how a thief would send it (section 7.2).
  if (bearer || credentials.dpop === undefined) throw new WritError('invalid_dpop_proof');
  const proof = await checkProof({
    proof: credentials.dpop,
    method: credentials.method,
    url: credentials.url,
    accessToken: token,
    expectedJkt: claims.jkt,
    now: clock.now(),
  });
  return {
    sessionId: claims.sessionId,
    agent: claims.agent,
    jkt: claims.jkt,
    kid: claims.kid,
    replay: { key: proof.replayKey, expiresAt: proof.replayExpiresAt },
  };
}

/** What an operation wants to know of the session's history besides. */
export interface SessionReads {
  capability?: string;
  idempotencyKey?: string;
  /** Count the agent's grants of the last minute up to this many; 0 = do not count. */
  countLastMinute?: number;
  /** Cells of history to read, and the agent's owner, whose history is among them. */
  cells?: readonly { scope: string; cell: string }[];
  owner?: string;
  /** An action to read, with the cells that its outcome moves; by its id, or by its caller's key. */
  actionId?: string;
  callKey?: string;
}

/**
 * Reads the session in one round trip and burns the proof's `jti` in the same statement.
 * @throws WritError `session_ended`, `session_suspended`, `session_asleep`, `locked`, `invalid_dpop_proof`
 *   (replayed),
 *   `unauthenticated` (no such session, or not as it was opened)
 */
export async function readSession(
  store: Store,
  caller: Caller,
  now: Date,
  question: SessionReads & { allowEnded?: boolean } = {},
): Promise<SessionFacts> {
  const asked = {
    session_id: caller.sessionId,
    now: now.toISOString(),
    proof: caller.replay?.key ?? null,
    proof_until: caller.replay?.expiresAt.toISOString() ?? null,
    capability: question.capability ?? null,
    idempotency_key: question.idempotencyKey ?? null,
    count_up_to: question.countLastMinute ?? 0,
    kid: caller.kid ?? null,
    ...(question.cells === undefined ? {} : { cells: question.cells, owner: question.owner ?? null }),
    ...(question.actionId === undefined ? {} : { action_id: question.actionId }),
    ...(question.callKey === undefined ? {} : { call_key: question.callKey }),
  };
  // Counting a session's history costs what its agent made of it: no execution counts one twice.
  const apart = question.capability === undefined ? null : caller.sessionId;
  const asksHistory = question.cells !== undefined || question.actionId !== undefined || question.callKey !== undefined;
  const row = await batch<FactsRow>(store, asksHistory ? historyStatement : factsStatement, asked, apart);
  // Whatever this process still believes of the key: it was withdrawn in the database.
  if (row === undefined || row.current_version === null || row.key_withdrawn) throw new WritError('unauthenticated');
  if (!row.proof_is_fresh) throw new WritError('invalid_dpop_proof', { detail: 'The proof was used before.' });
  const frozen = row.root_status === 'suspended' && row.status !== 'ended' && row.expires_at > now;
  const asleep = row.status === 'asleep' && row.expires_at > now;
  if (!row.may_act && question.allowEnded !== true)
    throw new WritError(asleep ? 'session_asleep' : frozen ? 'session_suspended' : 'session_ended');
  // Its sleep is under its proof, its status is not: whoever writes the row wakes nobody.
  if (row.may_act && row.slept !== null) throw new WritError('unauthenticated');
  // One that may not act has no right to prove: whoever was bound to it may still read what it was.
  if ((row.may_act || frozen || asleep) && !sessionHolds(store, row)) throw new WritError('unauthenticated');
  const locks = standingLocks(store, row.locks);
  const lock = lockOnSession(locks, row);
  if (lock !== undefined && question.allowEnded !== true)
    throw new WritError('locked', { extensions: { level: lock.level } });
  const facts = factsOfRow(row);
  return {
    id: row.id,
    agent: row.agent,
    manifestVersion: row.manifest_version,
    currentManifestVersion: row.current_version,
    parentId: row.parent_id,
    rootId: row.root_id,
    task: { task_type: row.task_type, inputs: row.inputs },
    onBehalfOf: row.on_behalf_of,
    startedBy: row.started_by,
    declaredOnBehalfOf: row.declared_on_behalf_of,
    responsible: row.responsible,
    capabilities: facts.capabilities,
    narrowed: facts.narrowed,
    subject: row.subject,
    attested: (row.subject.attested as JsonObject | undefined) ?? null,
    jkt: row.dpop_jkt,
    status: row.may_act ? 'active' : asleep ? 'asleep' : frozen ? 'suspended' : 'ended',
    endReason: row.end_reason,
    maxGrants: row.max_grants,
    openedAt: row.opened_at,
    rootOpenedAt: row.root_opened_at,
    expiresAt: row.expires_at,
    heartbeatDeadline: row.heartbeat_deadline,
    endedAt: row.ended_at,
    version: row.version,
    facts,
    counts: {
      session: facts.grants,
      denied: row.denied_count ?? 0,
      lastMinute: row.last_minute,
    },
    locks,
    previousGrantId: row.previous_grant,
    principalRoot: row.principal_root,
    action: dated(row.action),
    cells: row.cells ?? [],
    cellsAskedFor: question,
  };
}

/** Whether every cell that is needed was asked for when the session was read. */
export function hasCells({ cellsAskedFor }: SessionFacts, { cells = [], owner }: SessionReads): boolean {
  const name = ({ scope, cell }: { scope: string; cell: string }) => `${scope}/${cell}`;
  const asked = new Set(cellsAskedFor.cells?.map(name));
  return cells.length === 0 || (owner === cellsAskedFor.owner && cells.every((cell) => asked.has(name(cell))));
}

/** Reads a session that this request was admitted with once more. Its proof was burnt by the first read. */
export function rereadSession(
  store: Store,
  session: SessionFacts,
  now: Date,
  reads: SessionReads & { allowEnded?: boolean },
): Promise<SessionFacts> {
  const caller = { sessionId: session.id, agent: session.agent, jkt: session.jkt, replay: null };
  return readSession(store, caller, now, reads);
}
