/**
 * The statements that write a call and its outcome. Each is one transaction: it holds the root of the
 * session's tree still, checks that what was decided on still holds, moves the cells, and writes the change
 * with its audit row.
 *
 * Cells beyond the session are checked one by one: where any was moved by somebody else in the meantime,
 * the whole statement is undone, and the call is decided again.
 */
import { insertIncident, type Telling } from '../../approvals/incidents.ts';
import { appendEvent } from '../audit/append.ts';
import { type EventPayload, event, eventAmong } from '../audit/events.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import type { CallEffect } from '../decide/effects.ts';
import { type AsksPeople, askPeople, askRow } from '../grants/ask-people.ts';
import { consentStands, useConsent } from '../grants/question.ts';
import { countAction, countActions } from '../sessions/counts.ts';
import { mayAct } from '../sessions/live-session.ts';
import { batch } from '../store/batch.ts';
import type { Statement, Store } from '../store/open.ts';
import { ifAsRead, moveCells, type StoredWrite, unlessMovedOn } from './move-cells.ts';
import type { Awaited } from './outcome.ts';
import { movesOf } from './rebuild.ts';

/** The session and the root of its tree, as `held` of grants/statements.ts holds them. */
const heldTree = (version: string) => `
    held AS MATERIALIZED (
      SELECT count(*) = CASE WHEN $1::text = $2::text THEN 1 ELSE 2 END AS ok FROM (
        SELECT s.id FROM session s
        WHERE s.id IN ($1::text, $2::text) AND ${mayAct('s', '$4::timestamptz')} AND (s.id <> $2::text OR s.version = ${version})
        ORDER BY s.id FOR UPDATE OF s) locked
    )`;

/**
 * Calls of different session trees in one execution (store/batch.ts). Trees are locked in the order of their
 * roots, cells in the order of their names, so that two executions never wait for each other. Where one of
 * the calls finds a cell moved, all are undone, and each is tried by itself.
 *
 * @param people whether people are asked because of the call, or were; few are, and what they do not need
 *   would be set up with every execution all the same
 */
const recordStatement = (people: boolean): Statement => ({
  name: people ? 'action_record_with_people' : 'action_record',
  text: `
    WITH r AS MATERIALIZED (
      SELECT * FROM json_to_recordset($1::json) AS r (
        n int, session_id text, root_id text, version int, at timestamptz, id text, agent text, tool text, arguments jsonb, call_key text,
        request_digest text, effect text, decision jsonb, manifest_version int, cost_micro_usd bigint, awaited jsonb, labels text[], asked_moves text[], sealed text,
        took text[], cells json, event text, request_id text, audit json, alert json${people ? ', question json, asked json, notices text[], channels text[], restrained text, restraint json, consent_id text, replaces text, tells jsonb, asked_per_hour int' : ''}) ORDER BY root_id LIMIT 16
    ), ${people ? 'locked' : 'held'} AS MATERIALIZED (
      SELECT r.* FROM r
      CROSS JOIN LATERAL (
        SELECT parent_id, status, expires_at, heartbeat_deadline, version FROM session WHERE id = r.root_id FOR UPDATE) root
      CROSS JOIN LATERAL (
        SELECT parent_id, status, expires_at, heartbeat_deadline FROM session WHERE id = r.session_id FOR UPDATE) s
      WHERE ${mayAct('root', 'r.at')} AND root.version = r.version AND ${mayAct('s', 'r.at')}
        AND EXISTS (SELECT 1 FROM agent a WHERE a.name = r.agent AND a.version = r.manifest_version)
        ${people ? `AND (r.consent_id IS NULL OR (${consentStands('r', event('action.allowed'))}))` : ''}${
          people
            ? `
    ), held AS MATERIALIZED (
      -- One too many is decided again, and denied by what it finds then (grants/spare-people.ts).
      SELECT * FROM locked WHERE CASE WHEN effect = 'approve' AND asked_per_hour > 0 THEN writ_may_ask(agent, at, asked_per_hour, '{}') ELSE true END`
            : ''
        }
    ), cells AS (
      INSERT INTO monitor_cell (scope, cell, state, version, moved_at)
      SELECT c.scope, c.cell, c.state, c.version + 1, held.at
      FROM held CROSS JOIN LATERAL json_to_recordset(held.cells) AS c (scope text, cell text, state jsonb, version int)
      ORDER BY c.scope COLLATE "C", c.cell COLLATE "C"
      ${ifAsRead}
      RETURNING 1
    ), may AS MATERIALIZED (
      SELECT (SELECT count(*) FROM cells) = coalesce(sum(json_array_length(held.cells)), 0) OR writ_moved_on() AS ok FROM held
    )${
      people
        ? `, freed AS (
      UPDATE action SET call_key = 'asked:' || action.id FROM held, may WHERE may.ok AND action.id = held.replaces AND action.effect = 'approve' RETURNING action.id
    )`
        : ''
    }, a AS (
      INSERT INTO action (id, session_id, root_id, agent, tool, arguments, call_key, request_digest, effect, decision, manifest_version, cost_micro_usd, awaited, asked_at, labels, asked_moves, sealed_arguments)
      SELECT id, session_id, root_id, agent, tool, arguments, call_key, request_digest, effect, decision, manifest_version, cost_micro_usd, awaited, at, labels, asked_moves, sealed
      FROM held JOIN may ON may.ok ${people ? 'WHERE held.replaces IS NULL OR EXISTS (SELECT 1 FROM freed)' : ''} RETURNING id
    ), written AS MATERIALIZED (
      SELECT held.* FROM held JOIN a ON a.id = held.id
    ), bump AS (
${countActions('written')}
    ), noted AS (
      SELECT 1 AS nth, session_id, at, event, agent, request_id, audit${people ? ', consent_id' : ''} FROM written
      UNION ALL SELECT 2, session_id, at, 'canary.touched', agent, request_id, alert${people ? ', NULL' : ''} FROM written WHERE alert IS NOT NULL
    ), event AS (
      ${appendEvent({ chain: 'session_id', at: 'at', type: eventAmong('event', 'action.allowed', 'action.denied', 'action.reported', 'canary.touched', ...(people ? (['action.pending'] as const) : [])), actor: 'agent', request: 'request_id', payload: 'audit', ...(people ? { grant: 'consent_id' } : {}) }, 'noted ORDER BY session_id, nth')}
    )${people ? withPeople : ''}
    SELECT n FROM written`,
});

/** One call at a time: the relation `written` has one row. */
const withPeople = `, used AS (
${useConsent('written')}
    ), ${askPeople('written', { ids: '(SELECT notices FROM written)', channels: '(SELECT channels FROM written)' })}, told AS (${insertIncident('written')}
    )`;

const recordAlone = recordStatement(false);
const recordWithPeople = recordStatement(true);

/** A call of a session that may do nothing any more: it is on record once, and moves nothing. */
const lateStatement: Statement = {
  name: 'action_report_late',
  text: `
    WITH a AS (
      INSERT INTO action (id, session_id, root_id, agent, tool, arguments, call_key, request_digest, effect, decision, manifest_version, cost_micro_usd, awaited, asked_at, labels, asked_moves)
      SELECT $2::text, s.id, s.root_id, s.agent, $3::text, $4::jsonb, $5::text, $6::text, 'deny', $7::jsonb, $8::int, 0, '[]', $9::timestamptz, '{}', '{}'
      FROM session s WHERE s.id = $1::text
      ON CONFLICT (session_id, call_key) DO NOTHING RETURNING id, session_id, agent
    ), event AS (
      ${appendEvent({ chain: 'session_id', at: '$9::timestamptz', type: event('action.reported'), actor: 'agent', request: '$10::text', payload: '$11::json' }, 'a')}
    )
    SELECT id FROM a`,
};

const finishStatement: Statement = {
  name: 'action_finish',
  text: `
    WITH ${heldTree('$3::int')}, waiting AS MATERIALIZED (
      SELECT held.ok AND EXISTS (SELECT 1 FROM action WHERE id = $5::text AND session_id = $1::text AND effect = 'allow' AND outcome IS NULL FOR UPDATE) AS ok FROM held
    ), ${moveCells('waiting', '$9', '$4::timestamptz')}, a AS (
      UPDATE action SET outcome = $6::text, labels = labels || $7::text[], output_digest = $8::text, finished_at = $4::timestamptz, outcome_moves = $12::text[],
        reported_cost_micro_usd = $13::bigint, entities = $14::jsonb
      FROM may WHERE may.ok AND id = $5::text RETURNING id, session_id, agent
    ), bump AS (
${countAction('$2::text', 'EXISTS (SELECT 1 FROM a)')}
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
${countAction('$2::text', 'EXISTS (SELECT 1 FROM said)')}
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
  /** The values, sealed; null where the manifest does not ask for them. */
  sealed: string | null;
  callKey: string;
  requestDigest: string;
  effect: CallEffect;
  decision: object;
  manifestVersion: number;
  costMicroUsd: number;
  awaited: readonly Awaited[];
  labels: readonly string[];
  requestId: string | null;
  audit: EventPayload<'action.allowed'> | EventPayload<'action.reported'>;
  /** It was made before it was asked for. */
  reported: boolean;
  /** What people must be told besides. */
  alert: EventPayload<'canary.touched'> | null;
  /** What people are asked because of it, said of it before, or are told; null = nothing. */
  people: ActionPeople | null;
}

/** At most one of `question` (a call, or a session) and `consentId` is there. */
export interface ActionPeople {
  asks: AsksPeople | null;
  /** A yes of people that this call uses up. */
  consentId: string | null;
  /** The action that stood for this call until now. */
  replaces: string | null;
  /** Of which incident people are told; null = none. */
  tells: Telling | null;
  /** Requests of the agent that people are asked about in an hour; 0 = no limit. */
  askedPerHour: number;
}

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
  const row = {
    session_id: sessionId,
    root_id: rootId,
    version,
    at: at.toISOString(),
    id: action.id,
    agent: action.agent,
    tool: action.tool,
    arguments: action.arguments,
    sealed: action.sealed,
    call_key: action.callKey,
    request_digest: action.requestDigest,
    effect: action.effect,
    decision: action.decision,
    manifest_version: action.manifestVersion,
    cost_micro_usd: action.costMicroUsd,
    awaited: action.awaited,
    labels: action.labels,
    took: action.people?.asks?.took ?? null,
    asked_moves: movesOf(writes),
    cells: writes.map(({ scope, cell, state, version: read }) => ({ scope, cell, state, version: read })),
    event: action.reported ? 'action.reported' : eventOf(action.effect),
    request_id: action.requestId,
    audit: action.audit,
    alert: action.alert,
  };
  const written = await unlessMovedOn(
    action.people === null
      ? batch<{ n: number }>(store, recordAlone, row, rootId)
      : store
          .run<{ n: number }>(recordWithPeople, [JSON.stringify([{ n: 0, ...row, ...peopleRow(action.people) }])])
          .then(([first]) => first),
  );
  return written != null;
}

/** @returns false when the call is on record already */
export async function recordLateReport(
  store: Store,
  { sessionId, at }: Pick<Position, 'sessionId' | 'at'>,
  action: Pick<
    ActionRecord,
    'id' | 'tool' | 'arguments' | 'callKey' | 'requestDigest' | 'decision' | 'manifestVersion' | 'requestId'
  > & { audit: EventPayload<'action.reported'> },
): Promise<boolean> {
  const { id, tool, arguments: shown, callKey, requestDigest, decision, manifestVersion, requestId, audit } = action;
  const rows = await store.run(lateStatement, [
    sessionId,
    id,
    tool,
    JSON.stringify(shown),
    callKey,
    requestDigest,
    JSON.stringify(decision),
    manifestVersion,
    at,
    requestId,
    JSON.stringify(audit),
  ]);
  return rows.length > 0;
}

const eventOf = (effect: CallEffect) =>
  effect === 'allow' ? 'action.allowed' : effect === 'approve' ? 'action.pending' : 'action.denied';

const peopleRow = ({ asks, consentId, replaces, tells, askedPerHour }: ActionPeople) => ({
  ...(asks === null ? {} : askRow(asks)),
  consent_id: consentId,
  replaces,
  tells,
  asked_per_hour: askedPerHour,
});

/** @returns false when the session or a cell has moved on, or somebody else has reported the outcome */
export async function recordOutcome(
  store: Store,
  { sessionId, rootId, version, at }: Position,
  action: {
    id: string;
    outcome: 'response' | 'error';
    labels: readonly string[];
    outputDigest: string | null;
    costMicroUsd: number | null;
    /** As they are kept: none by its name. */
    entities: readonly JsonObject[];
    requestId: string | null;
    audit: EventPayload<'action.finished'>;
  },
  writes: readonly StoredWrite[],
): Promise<boolean> {
  const rows = await unlessMovedOn(
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
      movesOf(writes),
      action.costMicroUsd,
      JSON.stringify(action.entities),
    ]),
  );
  return rows !== null && rows.length > 0;
}

/** @returns false when the session or a cell has moved on */
export async function recordWords(
  store: Store,
  { sessionId, rootId, version, at }: Position,
  said: { agent: string; requestId: string | null; audit: EventPayload<'session.words_said'> },
  writes: readonly StoredWrite[],
): Promise<boolean> {
  const { agent, requestId, audit } = said;
  const rows = await unlessMovedOn(
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
  return rows !== null && rows.length > 0;
}
