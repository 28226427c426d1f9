/** What the statement that ends sessions writes for event streams. Pure text, for `sessions/`. */

/** After whatever else is told of the session. */
const last = 2_147_483_647;

/** The name under which a stream is told of a session's end: there is one. */
export const endJti = (stream: string, sessionId: string): string => `${stream}.session-revoked.${sessionId}`;

/**
 * SQL that writes an event for each stream and each session that has ended; none where there is no stream.
 * One that is there already stays: nobody who writes the table can keep a session from ending.
 * @param ended relation with the `id` of each session
 * @param streams placeholder of `text[]`
 */
export const tellEnds = (ended: string, streams: string, at: string): string => `
      INSERT INTO stream_event (stream, jti, type, about, number, at)
      SELECT n.stream, n.stream || '.session-revoked.' || ${ended}.id, 'session-revoked', ${ended}.id, ${last}, ${at}
      FROM ${ended}, unnest(${streams}::text[]) AS n (stream) ON CONFLICT (stream, jti) DO NOTHING`;
