/** The values of a call's arguments, for the person who is asked about it. */
import { isDeepStrictEqual } from 'node:util';
import type { JsonObject } from '../core/vocabulary.ts';
import type { Seal } from '../keys/seal.ts';
import type { Statement, Store } from '../store/open.ts';
import type { Digest } from './cells.ts';
import { shownArguments } from './shown-arguments.ts';

const sealedStatement: Statement = {
  name: 'actions_under_review',
  text: `SELECT sealed_arguments AS sealed, plan #> '{permission,arguments}' AS shown FROM grants WHERE id = $1::text AND sealed_arguments IS NOT NULL`,
};

/**
 * @returns null when the question is about no call or is over, and when the values are not those that its
 * plan
 *   digests: nobody consents to what they did not see
 */
export async function argumentsUnderReview(
  { store, seal, digest }: { store: Store; seal: Seal; digest: Digest },
  grantId: string,
): Promise<JsonObject | null> {
  const [row] = await store.run<{ sealed: string; shown: JsonObject }>(sealedStatement, [grantId]);
  if (row === undefined) return null;
  const values = JSON.parse(await seal.open(row.sealed, grantId)) as JsonObject;
  return isDeepStrictEqual(shownArguments(values, digest), row.shown) ? values : null;
}
