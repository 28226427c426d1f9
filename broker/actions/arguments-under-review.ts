/** The values of a call's arguments, for the person who is asked about it. */
import { isDeepStrictEqual } from 'node:util';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import type { Clock, JsonObject } from '../core/vocabulary.ts';
import type { Seal } from '../keys/seal.ts';
import type { Statement, Store } from '../store/open.ts';
import type { Digest } from './cells.ts';
import type { Reader } from './recorded-arguments.ts';
import { shownArguments } from './shown-arguments.ts';

/** Who reads them is on record before they are opened. */
const openStatement: Statement = {
  name: 'actions_under_review',
  text: `
    WITH g AS (
      SELECT id, session_id, plan, sealed_arguments FROM grants WHERE id = $1::text AND sealed_arguments IS NOT NULL
    ), event AS (
      ${appendEvent({ chain: 'session_id', at: '$2::timestamptz', type: event('arguments.opened'), actor: '$3::text', grant: 'id', request: '$4::text', payload: "json_build_object('tool', coalesce(plan #>> '{permission,tool}', plan #>> '{permission,asked}', ''))" }, 'g')}
    )
    SELECT sealed_arguments AS sealed, plan #> '{permission,arguments}' AS shown FROM g`,
};

/**
 * @returns null when the question is about no call or is over, and when the values are not those that its
 * plan
 *   digests: nobody consents to what they did not see
 */
export async function argumentsUnderReview(
  { store, seal, digest, clock }: { store: Store; seal: Seal; digest: Digest; clock: Clock },
  grantId: string,
  reader: Reader,
): Promise<JsonObject | null> {
  const [row] = await store.run<{ sealed: string; shown: JsonObject }>(openStatement, [
    grantId,
    clock.now(),
    reader.name,
    reader.requestId,
  ]);
  if (row === undefined) return null;
  const values = JSON.parse(await seal.open(row.sealed, grantId)) as JsonObject;
  return isDeepStrictEqual(shownArguments(values, digest), row.shown) ? values : null;
}
