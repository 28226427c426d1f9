/** The values of a call's arguments, where its manifest has them recorded in full. */
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import type { Clock, JsonObject } from '../core/vocabulary.ts';
import type { Seal } from '../keys/seal.ts';
import type { Statement, Store } from '../store/open.ts';

/** Who reads them is on record before they are opened. */
const openStatement: Statement = {
  name: 'action_arguments',
  text: `
    WITH a AS (
      SELECT id, session_id, tool, sealed_arguments FROM action WHERE id = $1::text AND sealed_arguments IS NOT NULL
    ), event AS (
      ${appendEvent({ chain: 'session_id', at: '$2::timestamptz', type: event('arguments.opened'), actor: '$3::text', request: '$4::text', payload: "json_build_object('action_id', id, 'tool', tool)" }, 'a')}
    )
    SELECT sealed_arguments AS sealed FROM a`,
};

/** Who opens what is sealed, and by which request. */
export interface Reader {
  name: string;
  requestId: string | null;
}

/** @throws WritError `not_found` where there is no such call, or only digests of its arguments are kept */
export async function recordedArguments(
  { store, seal, clock }: { store: Store; seal: Seal; clock: Clock },
  id: string,
  reader: Reader,
): Promise<JsonObject> {
  const values = [id, clock.now(), reader.name, reader.requestId];
  const [row] = await store.run<{ sealed: string }>(openStatement, values);
  if (row === undefined) throw new WritError('not_found');
  return JSON.parse(await seal.open(row.sealed, id)) as JsonObject;
}
