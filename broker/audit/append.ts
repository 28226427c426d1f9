/**
 * The one place that inserts audit rows. A statement that makes a change takes this fragment, so that the
 * change and its record are one statement; `npm run check` refuses an INSERT anywhere else. The database
 * numbers and chains the row (a trigger), and lets nobody change or delete one.
 */
import type { EventName } from './events.ts';

/** SQL expressions of one row of the record. */
export interface AuditRow {
  /**
   * Whose history: the id of a session or of a pre-approval, `agent:<name>`, `login:<token hash>`, `locks`,
   * or `system`.
   */
  chain: string;
  at: string;
  /** By `event`, `eventBy`, `eventAmong` or `eventWhen`: the compiler refuses any other text. */
  type: EventName;
  /** Who did it. */
  actor: string;
  grant?: string;
  lease?: string;
  request?: string;
  payload: string;
}

/**
 * Appends an event for each row of `from`; without `from`, one.
 * @param from SQL after FROM: the rows that the change returned, in the order of their chains
 */
export function appendEvent(
  { chain, at, type, actor, grant, lease, request, payload }: AuditRow,
  from?: string,
): string {
  const columns = { chain, at, type, actor, grant_id: grant, lease_id: lease, request_id: request, payload };
  const given = Object.entries(columns).filter(([, value]) => value !== undefined);
  const rows = from === undefined ? '' : ` FROM ${from}`;
  return `INSERT INTO audit_event (${given.map(([name]) => name).join(', ')})
      SELECT ${given.map(([, value]) => value).join(', ')}${rows}`;
}

/** Rows of one kind that somebody who is refused may cause in one chain in a minute. */
export const refusalsAMinute = 60;

/**
 * SQL of whether this actor caused fewer than that lately: whoever is let in and refused again and again must
 * not fill a chain. That they go on is told by what counts refused requests (`http/refused-request.ts`). Of a
 * chain its newest rows are looked at, so that a long one costs no more.
 */
export const fewRefusals = ({ chain, at, type, actor }: Pick<AuditRow, 'chain' | 'at' | 'type' | 'actor'>): string => `
      (SELECT count(*) FROM (SELECT e.at, e.type, e.actor FROM audit_event e WHERE e.chain = ${chain} ORDER BY e.seq DESC LIMIT ${3 * refusalsAMinute}) e
       WHERE e.type = ${type} AND e.actor = ${actor} AND e.at > ${at} - interval '1 minute') < ${refusalsAMinute}`;
