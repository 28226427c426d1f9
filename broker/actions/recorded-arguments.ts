/** The values of a call's arguments, where its manifest has them recorded in full. */
import { WritError } from '../core/errors.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import type { Seal } from '../keys/seal.ts';
import type { Statement, Store } from '../store/open.ts';

const sealedStatement: Statement = {
  name: 'action_arguments',
  text: 'SELECT sealed_arguments AS sealed FROM action WHERE id = $1::text AND sealed_arguments IS NOT NULL',
};

/** @throws WritError `not_found` where there is no such call, or only digests of its arguments are kept */
export async function recordedArguments(
  { store, seal }: { store: Store; seal: Seal },
  id: string,
): Promise<JsonObject> {
  const [row] = await store.run<{ sealed: string }>(sealedStatement, [id]);
  if (row === undefined) throw new WritError('not_found');
  return JSON.parse(await seal.open(row.sealed, id)) as JsonObject;
}
