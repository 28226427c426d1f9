/**
 * Tells streams which agents and sessions are suspended, and which are no more. What is true is found anew at
 * every tick (locks by their proofs, marks, the state of sessions) and held against what each stream was told
 * last: a lock that is lifted, an owner who comes back, a stream that is new, and whatever a dead process
 * left, all come out the same. Who changes what is remembered here has told only what is true once more.
 */
import { type EventStream, type StreamEvent, streamsFor } from '../core/event-stream.ts';
import { allStanding } from '../locks/stored-lock.ts';
import { endsSessions, scopeOf } from '../locks/under-lock.ts';
import { isOwnedBy } from '../manifests/owner-marks.ts';
import type { Statement, Store } from '../store/open.ts';
import type { SuspensionReason } from './event-of.ts';

interface Change {
  stream: string;
  about: string;
  /** Null = it is suspended no more. */
  why: SuspensionReason | null;
  /** How often it was told before. */
  number: number;
}

const step = 200;

const agentsStatement: Statement = {
  name: 'stream_agent_changes',
  text: `
    WITH state AS (
      SELECT a.name, CASE WHEN $2::boolean OR a.name = ANY($3::text[]) THEN 'locked'
        WHEN a.stopped_owner IS NOT NULL AND ${isOwnedBy('a.name', 'a.stopped_owner')} THEN 'owner_gone' END AS why
      FROM agent a
    )
    SELECT w.stream, i.name AS about, i.why, coalesce(t.number, 0) AS number
    FROM unnest($1::text[]) AS w (stream) CROSS JOIN state i LEFT JOIN told_suspension t ON t.stream = w.stream AND t.about = i.name
    WHERE (i.why IS NOT NULL) <> coalesce(t.suspended, false) ORDER BY w.stream, i.name LIMIT ${step}`,
};

/** A rule suspends a tree, by its top. Of one that has ended, its end is told. */
const sessionsStatement: Statement = {
  name: 'stream_session_changes',
  text: `
    SELECT w.stream, s.id AS about, 'ruled' AS why, coalesce(t.number, 0) AS number
    FROM unnest($1::text[]) AS w (stream) CROSS JOIN session s LEFT JOIN told_suspension t ON t.stream = w.stream AND t.about = s.id
    WHERE s.ended_at IS NULL AND s.status = 'suspended' AND NOT coalesce(t.suspended, false)
    UNION ALL
    SELECT t.stream, t.about, NULL, t.number FROM told_suspension t JOIN session s ON s.id = t.about
    WHERE t.stream = ANY($1::text[]) AND t.suspended AND s.ended_at IS NULL AND s.status <> 'suspended'
    ORDER BY 1, 2 LIMIT ${step}`,
};

/**
 * Does nothing where another has told of it meanwhile. What a stream does not want to hear is remembered all
 * the same.
 */
const tellStatement: Statement = {
  name: 'stream_tell_suspensions',
  text: `
    WITH change AS (
      SELECT * FROM jsonb_to_recordset($1::jsonb) AS c (stream text, about text, number int, suspended boolean, wanted boolean, jti text, type text, reason text, proof text)
    ), told AS (
      INSERT INTO told_suspension AS t (stream, about, number, suspended)
      SELECT stream, about, number, suspended FROM change ORDER BY stream, about
      ON CONFLICT (stream, about) DO UPDATE SET number = excluded.number, suspended = excluded.suspended WHERE t.number = excluded.number - 1
      RETURNING stream, about
    )
    INSERT INTO stream_event (stream, jti, type, about, reason, number, at, proof)
    SELECT c.stream, c.jti, c.type, c.about, c.reason, c.number, $2::timestamptz, c.proof
    FROM change c JOIN told ON told.stream = c.stream AND told.about = c.about WHERE c.wanted
    ON CONFLICT (stream, jti) DO NOTHING`,
};

const forgetStatement: Statement = {
  name: 'stream_forget_suspensions',
  text: `
    DELETE FROM told_suspension t USING session s WHERE s.id = t.about AND s.ended_at IS NOT NULL`,
};

/** One pass over agents and one over sessions. */
export async function watchSuspensions(store: Store, streams: readonly EventStream[], now: Date): Promise<void> {
  const names = (...events: StreamEvent[]) => [...new Set(events.flatMap((event) => streamsFor(streams, event)))];
  const ofAgents = names('account-disabled', 'account-enabled');
  if (ofAgents.length > 0) {
    const locked = await lockedAgents(store);
    for (let found = step; found === step; ) {
      const values = [ofAgents, locked === 'all', locked === 'all' ? [] : locked];
      const changes = await store.run<Change>(agentsStatement, values);
      await tell(store, streams, changes, now, (suspended) => (suspended ? 'account-disabled' : 'account-enabled'));
      found = changes.length;
    }
  }
  const ofSessions = names('risk-level-change');
  if (ofSessions.length > 0) {
    const changes = await store.run<Change>(sessionsStatement, [ofSessions]);
    await tell(store, streams, changes, now, () => 'risk-level-change');
  }
}

/** Forgets what was told of sessions that have ended. */
export const forgetSuspensions = async (store: Store): Promise<void> => void (await store.run(forgetStatement, []));

async function lockedAgents(store: Store): Promise<string[] | 'all'> {
  const agents: string[] = [];
  for (const lock of (await allStanding(store)).filter(endsSessions)) {
    const scope = await scopeOf(store, lock);
    if (scope.agents === null) return 'all';
    agents.push(...scope.agents);
  }
  return agents;
}

async function tell(
  store: Store,
  streams: readonly EventStream[],
  changes: readonly Change[],
  now: Date,
  typeOf: (suspended: boolean) => StreamEvent,
): Promise<void> {
  if (changes.length === 0) return;
  const rows = changes.map(({ stream, about, why, number: before }) => {
    const suspended = why !== null;
    const type = typeOf(suspended);
    const number = before + 1;
    const reason: SuspensionReason = why ?? (type === 'risk-level-change' ? 'lifted' : 'ended');
    const row = { jti: `${stream}.${type}.${about}.${number}`, stream, type, about, reason, number, at: now };
    const wanted = streams.some(({ name, events }) => name === stream && events.includes(type));
    return { ...row, suspended, wanted, proof: store.proofs.make('stream_event', row) };
  });
  await store.run(tellStatement, [JSON.stringify(rows), now]);
}
