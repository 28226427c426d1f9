/**
 * That a login ended before its time is on record, each on a chain of its own: an older copy of its row, put
 * back by whoever writes the table, is no login.
 */
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';

/** SQL condition. @param hash SQL of the login's `token_hash` */
export const endedOnRecord = (hash: string): string =>
  `EXISTS (SELECT 1 FROM audit_event e WHERE e.chain = 'login:' || ${hash})`;

/** Part of the statement that deletes logins. @param rows relation with their `token_hash` */
export const loginEnded = (rows: string, { at, actor }: { at: string; actor: string }): string =>
  appendEvent(
    { chain: "'login:' || token_hash", at, type: event('login.ended'), actor, payload: "'{}'::json" },
    `${rows} ORDER BY token_hash`,
  );
