/**
 * The statements that write a call and its outcome. Each is one transaction: it holds the root of the
 * session's tree still, checks that what was decided on still holds, moves the cells, and writes the change
 * with its audit row.
 *
 * Cells beyond the session are checked one by one: where any was moved by somebody else in the meantime,
 * the whole statement is undone, and the call is decided again.
 */
import { appendEvent } from '../audit/append.ts';
import { type EventPayload, event, eventAmong } from '../audit/events.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import { countAction } from '../sessions/counts.ts';
import { mayAct } from '../sessions/live-session.ts';
import type { Statement, Store } from '../store/open.ts';
import type { Awaited, CellWrite } from './evaluate-call.ts';

/** @param held a CTE with `ok`: whether anything may be written at all */
const moveCells = (held: string, cells: string, at: string) => `
    cells AS (
      INSERT INTO monitor_cell (scope, cell, state, version, moved_at)
      SELECT c.scope, c.cell, c.state, c.version + 1, ${at} FROM ${held}, json_to_recordset(${cells}::json) AS c (scope text, cell text, state jsonb, version int)
      WHERE ${held}.ok ORDER BY c.scope COLLATE "C", c.cell COLLATE "C"
      ON CONFLICT (scope, cell) DO UPDATE SET state = EXCLUDED.state, version = EXCLUDED.version, moved_at = EXCLUDED.moved_at
      WHERE monitor_cell.version = EXCLUDED.version - 1
      RETURNING 1
    ), may AS MATERIALIZED (
      SELECT CASE WHEN NOT ${held}.ok THEN false WHEN (SELECT count(*) FROM cells) = json_array_length(${cells}::json) THEN true ELSE writ_moved_on() END AS ok FROM ${held}
    )`;

/** The session and the root of its tree, as `held` of grants/statements.ts holds them. */
const heldTree = (version: string) => `
    held AS MATERIALIZED (
      SELECT count(*) = CASE WHEN $1::text = $2::text THEN 1 ELSE 2 END AS ok FROM (
        SELECT s.id FROM session s
        WHERE s.id IN ($1::text, $2::text) AND ${mayAct('s', '$4::timestamptz')} AND (s.id <> $2::text OR s.version = ${version})
        ORDER BY s.id FOR UPDATE OF s) locked
    )`;

const recordStatement: Statement = {
  name: 'action_record',
  text: `
    WITH ${heldTree('$3::int')}, in_force AS MATERIALIZED (
      SELECT held.ok AND EXISTS (SELECT 1 FROM agent a WHERE a.name = $6::text AND a.version = $12::int) AS ok FROM held
    ), ${moveCells('in_force', '$15', '$4::timestamptz')}, a AS (
      INSERT INTO action (id, session_id, root_id, agent, tool, arguments, call_key, request_digest, effect, decision, manifest_version, cost_micro_usd, awaited, asked_at, labels)
      SELECT $5::text, $1::text, $2::text, $6::text, $7::text, $8::jsonb, $9::text, $10::text, $11::text, $13::jsonb, $12::int, $14::bigint, $16::jsonb, $4::timestamptz, $17::text[]
      FROM may WHERE may.ok RETURNING id, session_id, agent
    ), bump AS (
${countAction('$2::text', "$11::text = 'terminate'", '$4::timestamptz', 'EXISTS (SELECT 1 FROM a)')}
    ), event AS (
      ${appendEvent({ chain: 'session_id', at: '$4::timestamptz', type: eventAmong('$18::text', 'action.allowed', 'action.denied'), actor: 'agent', request: '$19::text', payload: '$20::json' }, 'a')}
    )
    SELECT id FROM a`,
};

const finishStatement: Statement = {
  name: 'action_finish',
  text: `
    WITH ${heldTree('$3::int')}, waiting AS MATERIALIZED (
      SELECT held.ok AND EXISTS (SELECT 1 FROM action WHERE id = $5::text AND session_id = $1::text AND effect = 'allow' AND outcome IS NULL FOR UPDATE) AS ok FROM held
    ), ${moveCells('waiting', '$9', '$4::timestamptz')}, a AS (
      UPDATE action SET outcome = $6::text, labels = labels || $7::text[], output_digest = $8::text, finished_at = $4::timestamptz
      FROM may WHERE may.ok AND id = $5::text RETURNING id, session_id, agent
    ), bump AS (
${countAction('$2::text', 'false', '$4::timestamptz', 'EXISTS (SELECT 1 FROM a)')}
    ), event AS (
      ${appendEvent({ chain: 'session_id', at: '$4::timestamptz', type: event('action.finished'), actor: 'agent', request: '$10::text', payload: '$11::json' }, 'a')}
    )
    SELECT id FROM a`,
};

const wordsStatement: Statement = {
  name: 'action_words_said',
  text: `
    WITH ${heldTree('$3::int')}, ${moveCells('held', '$5', '$4::timestamptz')}, said AS (
      SELECT s.id AS session_id FROM session s, may WHERE may.ok AND s.id = $1::text
    ), bump AS (
${countAction('$2::text', 'false', '$4::timestamptz', 'EXISTS (SELECT 1 FROM said)')}
    ), event AS (
      ${appendEvent({ chain: 'session_id', at: '$4::timestamptz', type: event('session.words_said'), actor: '$6::text', request: '$7::text', payload: '$8::json' }, 'said')}
    )
    SELECT session_id FROM said`,
};

export interface Position {
  sessionId: string;
  rootId: string;
  /** Version of the root that was decided on. */
  version: number;
  at: Date;
}

export interface ActionRecord {
  id: string;
  agent: string;
  tool: string;
  arguments: JsonObject;
  callKey: string;
  requestDigest: string;
  effect: 'allow' | 'deny' | 'terminate';
  decision: object;
  manifestVersion: number;
  costMicroUsd: number;
  awaited: readonly Awaited[];
  labels: readonly string[];
  requestId: string | null;
  audit: EventPayload<'action.allowed'>;
}

/** A cell with its scope as it is stored. */
export type StoredWrite = Omit<CellWrite, 'scope'> & { scope: string };

/**
 * Writes a call as it was decided.
 * @returns false when the session, the manifest or a cell has moved on: decide again
 */
export async function recordAction(
  store: Store,
  { sessionId, rootId, version, at }: Position,
  action: ActionRecord,
  writes: readonly StoredWrite[],
): Promise<boolean> {
  return unlessMovedOn(
    store.run(recordStatement, [
      sessionId,
      rootId,
      version,
      at,
      action.id,
      action.agent,
      action.tool,
      JSON.stringify(action.arguments),
      action.callKey,
      action.requestDigest,
      action.effect,
      action.manifestVersion,
      JSON.stringify(action.decision),
      action.costMicroUsd,
      JSON.stringify(writes),
      JSON.stringify(action.awaited),
      [...action.labels],
      action.effect === 'allow' ? 'action.allowed' : 'action.denied',
      action.requestId,
      JSON.stringify(action.audit),
    ]),
  );
}

/** @returns false when the session or a cell has moved on, or somebody else has reported the outcome */
export async function recordOutcome(
  store: Store,
  { sessionId, rootId, version, at }: Position,
  action: {
    id: string;
    outcome: 'response' | 'error';
    labels: readonly string[];
    outputDigest: string | null;
    requestId: string | null;
    audit: EventPayload<'action.finished'>;
  },
  writes: readonly StoredWrite[],
): Promise<boolean> {
  return unlessMovedOn(
    store.run(finishStatement, [
      sessionId,
      rootId,
      version,
      at,
      action.id,
      action.outcome,
      [...action.labels],
      action.outputDigest,
      JSON.stringify(writes),
      action.requestId,
      JSON.stringify(action.audit),
    ]),
  );
}

/** @returns false when the session or a cell has moved on */
export async function recordWords(
  store: Store,
  { sessionId, rootId, version, at }: Position,
  said: { agent: string; requestId: string | null; audit: EventPayload<'session.words_said'> },
  writes: readonly StoredWrite[],
): Promise<boolean> {
  const { agent, requestId, audit } = said;
  return unlessMovedOn(
    store.run(wordsStatement, [
      sessionId,
      rootId,
      version,
      at,
      JSON.stringify(writes),
      agent,
      requestId,
      JSON.stringify(audit),
    ]),
  );
}

/** SQLSTATEs of what was undone for another: serialisation failure, deadlock, the same row twice. */
const undoneForAnother = new Set(['40001', '40P01', '23505']);

async function unlessMovedOn(written: Promise<unknown[]>): Promise<boolean> {
  try {
    return (await written).length > 0;
  } catch (error) {
    if (undoneForAnother.has(String((error as { code?: unknown }).code))) return false;
    throw error;
  }
}
