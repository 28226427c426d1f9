/** A receiver asks for a verification event (SSF section 8.1.4), to see that its stream works. */
import type { EventStream } from '../core/event-stream.ts';
import { newId } from '../core/ids.ts';
import type { Statement, Store } from '../store/open.ts';

/** One at a time: whoever asks again before the last was taken learns nothing new by it. */
const askStatement: Statement = {
  name: 'stream_ask_verification',
  text: `
    INSERT INTO stream_event (stream, jti, type, about, reason, number, at, proof)
    SELECT $1::text, $2::text, 'verification', $3::text, $4::text, 1, $5::timestamptz, $6::text
    WHERE NOT EXISTS (SELECT 1 FROM stream_event e WHERE e.stream = $1::text AND e.type = 'verification') RETURNING jti`,
};

/**
 * @param state the receiver's own word, given back to it
 * @returns false = one that was asked for before still waits
 */
export async function askForVerification(
  store: Store,
  { name }: EventStream,
  state: string | null,
  now: Date,
): Promise<boolean> {
  const id = newId('ver', now);
  const row = {
    jti: `${name}.verification.${id}`,
    stream: name,
    type: 'verification',
    about: id,
    reason: state,
    number: 1,
    at: now,
  };
  const values = [name, row.jti, id, state, now, store.proofs.make('stream_event', row)];
  return (await store.run(askStatement, values)).length > 0;
}
