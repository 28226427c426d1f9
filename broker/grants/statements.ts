/**
 * The statements that write a grant. Each is one transaction: it holds the session (and the root of its tree)
 * still, checks that what was decided on still holds, and writes the change with its audit row. An intent
 * (`issuing`) writes the lease row too, before any provider is called (invariant 5).
 */

import { insertIncident, type Telling } from '../../approvals/incidents.ts';
import { insertNotices } from '../../approvals/notices.ts';
import { moveCells, type StoredWrite, unlessMovedOn } from '../actions/move-cells.ts';
import { movesOf } from '../actions/rebuild.ts';
import { appendEvent } from '../audit/append.ts';
import { type EventPayload, event, eventAmong } from '../audit/events.ts';
import { holdGlass, recordUse } from '../break-glass/uses.ts';
import { newId } from '../core/ids.ts';
import type { ApprovalTerm, JsonObject, Plan } from '../core/vocabulary.ts';
import { holdRoom, type NoRoom, type SharedRoom } from '../leases/fair-share.ts';
import { reserveMember } from '../leases/pools.ts';
import { intendLease } from '../leases/transitions.ts';
import { holdRate, moveRate } from '../manifests/agent-rate.ts';
import { countGrant, countInChild, countInRoot } from '../sessions/counts.ts';
import { mayAct } from '../sessions/live-session.ts';
import { batch } from '../store/batch.ts';
import type { Statement, Store } from '../store/open.ts';
import { type AsksPeople, askPeople, askRow } from './ask-people.ts';
import { proveGrant } from './proven-grant.ts';
import { isOverOnRecord } from './transitions.ts';

/** What is known of a grant when it is first written. */
export interface GrantRecord {
  id: string;
  sessionId: string;
  rootId: string;
  /** Version of the root session that the decision saw. */
  sessionVersion: number;
  agent: string;
  capability: string;
  idempotencyKey: string;
  requestDigest: string;
  params: JsonObject;
  justification: string | null;
  credentialJwk: JsonObject | null;
  manifestVersion: number;
  plan: Plan;
  planDigest: string;
  tier: number;
  status: 'denied' | 'pending' | 'issuing';
  decision: JsonObject;
  decisionJws: string | null;
  at: Date;
  /** For a pending grant: when it is denied unless somebody has decided. */
  decideBy: Date | null;
  requestId: string | null;
  /** Grants the agent may ask for in a minute; 0 = no limit. */
  perMinute: number;
  /** Grants of a session whose envelope names no number. */
  ceiling: number;
  /** Requests of the agent that people may be asked about in an hour, where this is one; 0 = no limit. */
  askedPerHour: number;
  /** Ids of grants that are put to people together with it. */
  together: readonly string[];
  auditType: 'grant.denied' | 'grant.pending' | 'grant.allowed';
  audit: EventPayload<'grant.allowed'>;
}

/** The break-glass that gives it, and what the record says of that. */
export interface BreakGlassUse {
  id: string;
  audit: EventPayload<'break_glass.used'>;
}

/** What is written of the lease before the provider is asked. */
export interface LeaseRecord {
  id: string;
  plan: Plan;
  planDigest: string;
  lockKey: string | null;
  /** Members of which one must be reserved; null = none needed. */
  pool: string[] | null;
  /** What it takes a part of that others share; null = nothing. */
  room: SharedRoom | null;
  /** When the answer must have come; the reconciler looks then. */
  answerBy: Date;
  /** Latest end a credential minted now can have at its provider. */
  providerExpiresAt: Date;
}

/**
 * `ok`, or why nothing was written: the session moved on (decide again), no pool member is free, there is no
 * room at the provider, or the agent has asked for as much as it may in a minute.
 */
export type Recorded =
  | { ok: true; reserved: string | null }
  | { ok: false; because: 'moved_on' | 'pool_exhausted' | NoRoom | 'rate_limited' };

/**
 * Holds the session and its root; false when they are not as the decision saw them: ended, another grant of
 * the tree came first (the root's version), a child took what was left of the envelope meanwhile (which moves
 * no version), or the manifest was replaced. `ORDER BY` keeps two transactions from waiting for each other.
 */
const held = (ceiling: string) => `
    locked_trees AS MATERIALIZED (
      SELECT count(*) = CASE WHEN $1::text = $2::text THEN 1 ELSE 2 END AS ok FROM (
        SELECT s.id FROM session s
        WHERE s.id IN ($1::text, $2::text) AND ${mayAct('s', '$4::timestamptz')} AND (s.id <> $2::text OR s.version = $3::int)
          AND (s.id <> $1::text OR $18::text = 'denied' OR s.grant_count < coalesce(s.max_grants, ${ceiling}::int))
          AND EXISTS (SELECT 1 FROM agent a WHERE a.name = $6::text AND a.version = $13::int)
        ORDER BY s.id FOR UPDATE OF s) locked
    )`;

/**
 * What is held, and within the agent's rate: `held` is what may be written, `seq` its number.
 * @param glass SQL of the id of the break-glass that must be open; absent = none need be
 * @param may SQL of what must be true besides, asked once the session is held
 */
const heldWithinRate = (perMinute: string, ceiling: string, glass?: string, may?: string) => `
    ${held(ceiling)}, ${glass === undefined ? '' : `${holdGlass(glass, '$4::timestamptz', '(SELECT ok FROM locked_trees)')}, `}asking AS (
      SELECT $6::text AS agent, $4::timestamptz AS at, ${perMinute}::int AS per_minute FROM locked_trees WHERE ok
    ), rate AS MATERIALIZED (${holdRate('asked', 'asking')}
    ), held AS MATERIALIZED (
      SELECT locked_trees.ok AND coalesce(rate.used < ${perMinute}::int, true)${glass === undefined ? '' : ' AND EXISTS (SELECT 1 FROM glass)'}${may === undefined ? '' : ` AND (${may})`} AS ok, locked_trees.ok AND rate.used >= ${perMinute}::int AS limited,
             rate.newest + 1 AS seq
      FROM locked_trees LEFT JOIN rate ON true
    )`;

/** @param proof SQL of the proof @param moves SQL of the cells that it moves, as the row keeps them */
const insertGrant = (proof: string, moves = "'{}'") => `
      INSERT INTO grants (id, session_id, agent, capability, idempotency_key, request_digest, params, justification, credential_jwk, manifest_version,
                          provider, plan, plan_digest, tier, status, decision, decision_jws, requested_at, decide_by, decided_at, ended_at, proof, agent_seq, asked_moves)
      SELECT $5::text, $1::text, $6::text, $7::text, $8::text, $9::text, $10::jsonb, $11::text, $12::jsonb, $13::int, $14::text, $15::jsonb, $16::text,
             $17::int, $18::text, $19::jsonb, $20::text, $4::timestamptz, $21::timestamptz,
             CASE WHEN $18::text <> 'pending' THEN $4::timestamptz END, CASE WHEN $18::text = 'denied' THEN $4::timestamptz END, ${proof},
             (SELECT seq FROM held), ${moves}::text[]`;

/** One too many is decided again, and denied by what it finds then (spare-people.ts). */
const mayAsk = `CASE WHEN locked_trees.ok AND $18::text = 'pending' AND $30::int > 0 THEN writ_may_ask($6::text, $4::timestamptz, $30::int, $31::text[]) ELSE true END`;

/**
 * A denial does not count against the envelope. A pending grant and its notices are committed together.
 * @param moving whether cells of history are moved with it ($32), and a rule does something to the tree: its
 *   effect ($33), what the tree loses ($34), and the question to people about that ($35, `askRow`), or what
 *   they are told ($36); as the row keeps the moves: $37
 */
const recordStatement = (moving: boolean): Statement => ({
  name: moving ? 'grant_record_moving' : 'grant_record',
  text: `
    WITH ${heldWithinRate('$27', '$28', undefined, mayAsk)}, ${moving ? `${moveCells('held', '$32', '$4::timestamptz')}, ` : ''}g AS (${insertGrant('$29::text', moving ? '$37' : undefined)} FROM held ${moving ? 'JOIN may ON may.ok ' : ''}WHERE held.ok
      ON CONFLICT (session_id, idempotency_key) DO NOTHING RETURNING id, session_id, agent, agent_seq
    ), counted AS (${moveRate('asked', 'g')}
    ), bump AS (
${countGrant('$1::text', '$2::text', "$18::text <> 'denied'", 'EXISTS (SELECT 1 FROM g)', moving ? { effect: '$33::text', took: '$34::text[]', at: '$4::timestamptz' } : undefined)}
    ), event AS (
      ${appendEvent({ chain: 'session_id', at: '$4::timestamptz', type: eventAmong('$22::text', 'grant.denied', 'grant.pending'), actor: '$6::text', grant: 'id', request: '$23::text', payload: '$24::json' }, 'g')}
    ), notices AS (${insertNotices('g', '$25', '$26', '$4')})${
      moving
        ? `, because AS MATERIALIZED (
      SELECT $2::text AS root_id, $4::timestamptz AS at, $23::text AS request_id, $6::text AS agent, asks.* FROM g,
        json_to_record($35::json) AS asks (question json, asked json, notices text[], channels text[], restrained text, restraint json)
    ), ${askPeople('because', { ids: '(SELECT notices FROM because)', channels: '(SELECT channels FROM because)' })}, telling AS (
      SELECT $1::text AS session_id, $4::timestamptz AS at, $36::jsonb AS tells FROM g
    ), told AS (${insertIncident('telling')}
    )`
        : ''
    }
    SELECT EXISTS (SELECT 1 FROM g) AS ok, coalesce((SELECT limited FROM held), false) AS limited`,
});
const recordAlone = recordStatement(false);
const recordMoving = recordStatement(true);

/**
 * Writes intents of different session trees in one execution: `held` and `insertGrant` for several rows (see
 * store/batch.ts). Trees are locked in the order of their roots, the root before the session.
 *
 * @param limited whether the agent's rate has a limit: what counts would be set up with every execution
 */
const intentStatement = (limited: boolean): Statement => ({
  name: limited ? 'grant_intent_limited' : 'grant_intent',
  text: `
    WITH r AS MATERIALIZED (
      SELECT * FROM json_to_recordset($1::json) AS r (
        n int, session_id text, root_id text, session_version int, at timestamptz, id text, agent text, capability text, idempotency_key text,
        request_digest text, params jsonb, justification text, credential_jwk jsonb, manifest_version int, plan jsonb, plan_digest text, tier int,
        decision jsonb, decision_jws text, request_id text, audit json, lease_id text, provider text, lock_key text, answer_by timestamptz,
        provider_expires_at timestamptz, per_minute int, ceiling int) ORDER BY root_id LIMIT 16
    ), locked_trees AS MATERIALIZED (
      SELECT r.* FROM r
      CROSS JOIN LATERAL (
        SELECT parent_id, status, expires_at, heartbeat_deadline, version FROM session WHERE id = r.root_id FOR UPDATE) root
      CROSS JOIN LATERAL (
        SELECT parent_id, status, expires_at, heartbeat_deadline, max_grants, grant_count FROM session WHERE id = r.session_id FOR UPDATE) s
      WHERE ${mayAct('root', 'r.at')} AND root.version = r.session_version
        AND ${mayAct('s', 'r.at')} AND s.grant_count < coalesce(s.max_grants, r.ceiling)
        AND EXISTS (SELECT 1 FROM agent a WHERE a.name = r.agent AND a.version = r.manifest_version)
    ), ${
      limited
        ? `rate AS MATERIALIZED (${holdRate('asked', 'locked_trees')}
    ), placed AS MATERIALIZED (
      SELECT locked_trees.*, rate.used, row_number() OVER (PARTITION BY locked_trees.agent ORDER BY locked_trees.n) AS place, rate.newest
      FROM locked_trees LEFT JOIN rate ON rate.agent = locked_trees.agent
    ), held AS MATERIALIZED (
      SELECT *, newest + place AS agent_seq FROM placed WHERE used IS NULL OR used + place <= per_minute`
        : 'held AS (SELECT *, NULL::bigint AS agent_seq FROM locked_trees'
    }
    ), g AS (
      INSERT INTO grants (id, session_id, agent, capability, idempotency_key, request_digest, params, justification, credential_jwk, manifest_version,
                          provider, plan, plan_digest, tier, status, decision, decision_jws, requested_at, decided_at, agent_seq)
      SELECT id, session_id, agent, capability, idempotency_key, request_digest, params, justification, credential_jwk, manifest_version,
             provider, plan, plan_digest, tier, 'issuing', decision, decision_jws, at, at, agent_seq FROM held
      ON CONFLICT (session_id, idempotency_key) DO NOTHING RETURNING id
    ), written AS MATERIALIZED (
      SELECT held.* FROM held JOIN g ON g.id = held.id
    ), ${
      limited
        ? `counted AS (${moveRate('asked', 'written')}
    ), `
        : ''
    }bump AS (
${countInRoot('written')}
    ), bump_child AS (
${countInChild('written')}
    ), l AS (
${intendLease('SELECT lease_id, id AS grant_id, session_id, agent, provider, plan, plan_digest, NULL AS reserved, lock_key, at, answer_by, provider_expires_at FROM written')}
    ), event AS (
      ${appendEvent({ chain: 'session_id', at: 'at', type: event('grant.allowed'), actor: 'agent', grant: 'id', lease: 'lease_id', request: 'request_id', payload: 'audit' }, 'written ORDER BY session_id')}
    )
    SELECT n, true AS ok FROM written${limited ? ' UNION ALL SELECT n, false FROM placed WHERE used + place > per_minute' : ''}`,
});
export const intentStatements = { free: intentStatement(false), limited: intentStatement(true) };

/**
 * The same for a lease that takes a part of what others share: a pool member of its own, or a place in a
 * document; whose grant moves cells of history ($35, and as the row keeps them: $36); or that is given by a
 * break-glass (the last two: its id, and what the record says). One by one: two of them may want the same.
 */
function intentAloneStatement(moving: boolean, broken: boolean): Statement {
  const [glass, use] = moving ? ['$37::text', '$38::json'] : ['$35::text', '$36::json'];
  return {
    name: `grant_intent_${moving ? 'moving' : 'room'}${broken ? '_broken' : ''}`,
    text: `
    WITH ${heldWithinRate('$30', '$31', broken ? glass : undefined)}, ${holdRoom({ provider: '$14::text', agent: '$6::text', lockKey: '$26::text', denials: '$32', members: '$33', endedBefore: '$34' })}, ${reserveMember('$25::text', '$14::text', '$29', '$28::timestamptz')}, ${moving ? `${moveCells('ready', '$35', '$4::timestamptz')}, ` : ''}g AS (${insertGrant("''", moving ? '$36' : undefined)} FROM ready ${moving ? 'JOIN may ON may.ok ' : ''}WHERE ready.ok
      ON CONFLICT (session_id, idempotency_key) DO NOTHING RETURNING id, session_id, agent, agent_seq
    ), counted AS (${moveRate('asked', 'g')}
    ), bump AS (
${countGrant('$1::text', '$2::text', 'true', 'EXISTS (SELECT 1 FROM g)')}
    ), l AS (
${intendLease(`SELECT $25::text AS lease_id, g.id AS grant_id, $1::text AS session_id, $6::text AS agent, $14::text AS provider, $15::jsonb AS plan,
        $16::text AS plan_digest, ready.reserved, $26::text AS lock_key, $4::timestamptz AS at, $27::timestamptz AS answer_by,
        $28::timestamptz AS provider_expires_at FROM g, ready`)}
    ), event AS (
      ${appendEvent({ chain: 'session_id', at: '$4::timestamptz', type: eventAmong('$22::text', 'grant.allowed'), actor: '$6::text', grant: 'id', lease: '$25::text', request: '$23::text', payload: '$24::json' }, 'g')}
    )${broken ? `, ${recordUse('g', { at: '$4::timestamptz', lease: '$25::text', request: '$23::text', payload: use! })}` : ''}
    SELECT EXISTS (SELECT 1 FROM g) AS ok, exhausted, reserved, coalesce((SELECT limited FROM held), false) AS limited, (SELECT why FROM room) AS no_room FROM ready`,
  };
}
const intentInRoom = intentAloneStatement(false, false);
const intentMoving = intentAloneStatement(true, false);
const brokenInRoom = intentAloneStatement(false, true);
const brokenMoving = intentAloneStatement(true, true);

/** @param moving whether cells of history are moved with it ($21), and how the row keeps that ($22) */
const claimStatement = (moving: boolean): Statement => ({
  name: moving ? 'grant_claim_moving' : 'grant_claim',
  text: `
    WITH held AS (
      SELECT count(*) = 1 AS ok FROM (
        SELECT s.id FROM session s JOIN grants g ON g.session_id = s.id
        WHERE s.id = $1::text AND ${mayAct('s', '$2::timestamptz')} AND g.id = $3::text AND g.status = 'approved' AND g.plan_digest = $4::text AND g.decide_by > $2::timestamptz
          AND NOT ${isOverOnRecord('g', event('lease.issued'))}
          AND NOT EXISTS (SELECT 1 FROM pre_approval_use u JOIN audit_event e ON e.chain = u.pre_approval_id AND e.type = ${event('pre_approval.ended')}
            WHERE u.grant_id = g.id)
        FOR UPDATE OF s, g) locked
    ), ${holdRoom({ provider: '$6::text', agent: '$17::text', lockKey: '$13::text', denials: '$18', members: '$19', endedBefore: '$20' })}, ${reserveMember('$5::text', '$6::text', '$7', '$8::timestamptz')}, ${moving ? `${moveCells('ready', '$21', '$2::timestamptz')}, ` : ''}g AS (
      UPDATE grants SET status = 'issuing', plan = $9::jsonb, plan_digest = $10::text, decision_jws = $11::text, credential_jwk = coalesce($12::jsonb, credential_jwk)${moving ? ', redeemed_moves = redeemed_moves || $22::jsonb' : ''}
      FROM ready ${moving ? 'JOIN may ON may.ok ' : ''}WHERE ready.ok AND grants.id = $3::text
      RETURNING grants.id, grants.session_id, grants.agent
    ), l AS (
${intendLease(`SELECT $5::text AS lease_id, g.id AS grant_id, g.session_id, g.agent, $6::text AS provider, $9::jsonb AS plan,
        $10::text AS plan_digest, ready.reserved, $13::text AS lock_key, $2::timestamptz AS at, $14::timestamptz AS answer_by,
        $8::timestamptz AS provider_expires_at FROM g, ready`)}
    ), event AS (
      ${appendEvent({ chain: 'session_id', at: '$2::timestamptz', type: event('grant.redeemed'), actor: 'agent', grant: 'id', lease: '$5::text', request: '$15::text', payload: '$16::json' }, 'g')}
    )
    SELECT EXISTS (SELECT 1 FROM g) AS ok, exhausted, reserved, (SELECT why FROM room) AS no_room FROM ready`,
});
const claimAlone = claimStatement(false);
const claimMoving = claimStatement(true);

const json = (value: object | null) => (value === null ? null : JSON.stringify(value));

function grantValues(grant: GrantRecord) {
  return [
    grant.sessionId,
    grant.rootId,
    grant.sessionVersion,
    grant.at,
    grant.id,
    grant.agent,
    grant.capability,
    grant.idempotencyKey,
    grant.requestDigest,
    json(grant.params),
    grant.justification,
    json(grant.credentialJwk),
    grant.manifestVersion,
    grant.plan.provider,
    json(grant.plan),
    grant.planDigest,
    grant.tier,
    grant.status,
    json(grant.decision),
    grant.decisionJws,
    grant.decideBy,
    grant.auditType,
    grant.requestId,
    json(grant.audit),
  ];
}

/**
 * Writes a denied or pending grant.
 * @param moves cells of history that it moves
 * @param channels channels that deliver: writes one notice for each
 * @param asks what people are asked because a rule froze or narrowed the session by it
 * @param tells what they are told because a rule ended it
 */
export async function recordGrant(
  store: Store,
  grant: GrantRecord,
  moves: readonly StoredWrite[],
  channels: readonly string[] = [],
  asks: AsksPeople | null = null,
  tells: Telling | null = null,
): Promise<Recorded> {
  const noticeIds = channels.map(() => newId('ntc', grant.at));
  const values = [
    ...grantValues(grant),
    noticeIds,
    [...channels],
    grant.perMinute,
    grant.ceiling,
    proofOf(store, grant),
    grant.askedPerHour,
    [...grant.together],
  ];
  const effect = grant.decision.session_effect === undefined ? null : String(grant.decision.session_effect);
  const took = asks?.took == null ? null : [...asks.took];
  const because = () => [
    JSON.stringify(moves),
    effect,
    took,
    JSON.stringify(asks === null ? {} : askRow(asks)),
    json(tells),
    movesOf(moves),
  ];
  const [row] = await (moves.length === 0 && effect === null
    ? store.run<RecordRow>(recordAlone, values)
    : unlessMovedOn(store.run<RecordRow>(recordMoving, [...values, ...because()])).then(orNone));
  if (row?.ok === true) return { ok: true, reserved: null };
  return { ok: false, because: row?.limited === true ? 'rate_limited' : 'moved_on' };
}

interface RecordRow {
  ok: boolean;
  limited: boolean;
}

/** A statement that was undone wrote nothing. */
const orNone = <Row>(rows: Row[] | null): Row[] => rows ?? [];

const proofOf = (store: Store, grant: GrantRecord): string =>
  proveGrant(store, {
    id: grant.id,
    session_id: grant.sessionId,
    agent: grant.agent,
    capability: grant.capability,
    request_digest: grant.requestDigest,
    params: grant.params,
    justification: grant.justification,
    credential_jwk: grant.credentialJwk,
    manifest_version: grant.manifestVersion,
    provider: grant.plan.provider,
    plan: grant.plan as unknown as JsonObject,
    tier: grant.tier,
    requested_at: grant.at,
    approval: (grant.decision as { approval?: ApprovalTerm[] }).approval ?? null,
  });

/**
 * Writes a grant that policy alone allowed, together with the intent to mint.
 * @param use the break-glass by which it is given past the rules; null = none
 */
export async function recordIntent(
  store: Store,
  grant: GrantRecord,
  lease: LeaseRecord,
  moves: readonly StoredWrite[],
  use: BreakGlassUse | null = null,
): Promise<Recorded> {
  if (lease.room === null && moves.length === 0 && use === null) {
    const row = intentRow(grant, lease);
    const statement = intentStatements[grant.perMinute > 0 ? 'limited' : 'free'];
    const written = await batch<{ n: number; ok: boolean }>(store, statement, row, grant.rootId);
    if (written === undefined) return { ok: false, because: 'moved_on' };
    return written.ok ? { ok: true, reserved: null } : { ok: false, because: 'rate_limited' };
  }
  const values = [
    ...grantValues(grant),
    lease.id,
    lease.lockKey,
    lease.answerBy,
    lease.providerExpiresAt,
    lease.pool,
    grant.perMinute,
    grant.ceiling,
    ...roomValues(lease),
  ];
  const moving = moves.length === 0 ? [] : [JSON.stringify(moves), movesOf(moves)];
  const broken = use === null ? [] : [use.id, JSON.stringify(use.audit)];
  const [alone, movingToo] = use === null ? [intentInRoom, intentMoving] : [brokenInRoom, brokenMoving];
  const [row] = await (moves.length === 0
    ? store.run<IntentRow>(alone, [...values, ...broken])
    : unlessMovedOn(store.run<IntentRow>(movingToo, [...values, ...moving, ...broken])).then(orNone));
  return readIntent(row);
}

const roomValues = ({ room }: LeaseRecord) => [room?.denials ?? null, room?.members ?? null, room?.endedBefore ?? null];

function intentRow(grant: GrantRecord, lease: LeaseRecord) {
  return {
    session_id: grant.sessionId,
    root_id: grant.rootId,
    session_version: grant.sessionVersion,
    at: grant.at.toISOString(),
    id: grant.id,
    agent: grant.agent,
    capability: grant.capability,
    idempotency_key: grant.idempotencyKey,
    request_digest: grant.requestDigest,
    params: grant.params,
    justification: grant.justification,
    credential_jwk: grant.credentialJwk,
    manifest_version: grant.manifestVersion,
    plan: grant.plan,
    plan_digest: grant.planDigest,
    tier: grant.tier,
    decision: grant.decision,
    decision_jws: grant.decisionJws,
    request_id: grant.requestId,
    audit: grant.audit,
    lease_id: lease.id,
    provider: grant.plan.provider,
    lock_key: lease.lockKey,
    answer_by: lease.answerBy.toISOString(),
    provider_expires_at: lease.providerExpiresAt.toISOString(),
    per_minute: grant.perMinute,
    ceiling: grant.ceiling,
  };
}

/**
 * Turns an approved grant into an intent to mint: once, however often it is called. `consented` is the digest
 * the approver consented to.
 */
export async function claimApproved(
  store: Store,
  input: {
    sessionId: string;
    agent: string;
    grantId: string;
    consented: string;
    /** In force now: what is moved is moved by it. */
    manifestVersion: number;
    decisionJws: string;
    credentialJwk: JsonObject | null;
    at: Date;
    requestId: string | null;
    audit: EventPayload<'grant.redeemed'>;
  },
  lease: LeaseRecord,
  moves: readonly StoredWrite[],
): Promise<Recorded> {
  const values = [
    input.sessionId,
    input.at,
    input.grantId,
    input.consented,
    lease.id,
    lease.plan.provider,
    lease.pool,
    lease.providerExpiresAt,
    json(lease.plan),
    lease.planDigest,
    input.decisionJws,
    json(input.credentialJwk),
    lease.lockKey,
    lease.answerBy,
    input.requestId,
    json(input.audit),
    input.agent,
    ...roomValues(lease),
  ];
  const redeemed = () =>
    JSON.stringify([{ at: input.at, manifest_version: input.manifestVersion, moves: movesOf(moves) }]);
  const [row] = await (moves.length === 0
    ? store.run<IntentRow>(claimAlone, values)
    : unlessMovedOn(store.run<IntentRow>(claimMoving, [...values, JSON.stringify(moves), redeemed()])).then(orNone));
  return readIntent(row);
}

interface IntentRow {
  ok: boolean;
  /**
   * Returned when no member was free, or another statement took it first: a second attempt may find another.
   */
  exhausted: boolean;
  reserved: string | null;
  no_room: NoRoom | null;
  /** The agent has asked for as much as it may; a claim was counted when it was asked for. */
  limited?: boolean;
}

function readIntent(row: IntentRow | undefined): Recorded {
  if (row?.ok === true) return { ok: true, reserved: row.reserved };
  if (row?.limited === true) return { ok: false, because: 'rate_limited' };
  if (row?.no_room != null) return { ok: false, because: row.no_room };
  return { ok: false, because: row?.exhausted === true ? 'pool_exhausted' : 'moved_on' };
}
