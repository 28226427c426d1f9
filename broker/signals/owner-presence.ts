/**
 * What the identity provider said of people who own agents: gone, or back. Rows are only added. That somebody
 * is gone counts in any case; that they are back, only with its proof: whoever can write the database can end
 * more by it, and hides nobody's absence.
 */
import { type Identifier, isSame, readUser } from '../core/identifier.ts';
import type { ProvenRows } from '../core/proven-rows.ts';
import { ownersInForce } from '../manifests/owner-marks.ts';
import type { Statement, Store } from '../store/open.ts';

type Presence = ProvenRows['owner_presence'];

/** The word that counts, and how many rows there were of its owner. */
type Counting = Presence & { rows: number };

const rowsStatement: Statement = {
  name: 'owner_presence_rows',
  text: 'SELECT owner, number, gone, at, signal, event, proof FROM owner_presence ORDER BY owner, number DESC, gone DESC',
};

/**
 * What counts of each owner: a proven `back` settles all that is older; of what is newer, that they are gone,
 * and since when at the earliest. A row nobody proves neither takes a number nor moves the grace on.
 */
async function wordsThatCount(store: Store): Promise<Map<string, Counting>> {
  const said = new Map<string, number>();
  const words = new Map<string, Presence>();
  const settled = new Set<string>();
  for (const { proof, ...row } of await store.run<Presence & { proof: string }>(rowsStatement, [])) {
    said.set(row.owner, (said.get(row.owner) ?? 0) + 1);
    if (settled.has(row.owner)) continue;
    const newer = words.get(row.owner);
    if (row.gone) {
      const first = newer === undefined || row.at < newer.at ? row : newer;
      words.set(row.owner, { ...first, number: newer?.number ?? row.number });
    } else if (store.proofs.holds('owner_presence', row, proof)) {
      if (newer === undefined) words.set(row.owner, row);
      settled.add(row.owner);
    }
  }
  return new Map([...words].map(([owner, word]) => [owner, { ...word, rows: said.get(owner) ?? 0 }]));
}

export interface GoneOwner {
  since: Date;
  /** `jti` and event type of the signal that said so. */
  signal: string;
  event: string;
  /** How many rows there were of this owner when that was judged. */
  rows: number;
}

/** SQL condition: nothing was said of the owner since that was judged. */
export const nothingSaidSince = (owner: string, rows: string): string =>
  `(SELECT count(*) FROM owner_presence said WHERE said.owner = ${owner}::text) = ${rows}::int`;

/** When sessions of the agents of an owner who is gone end. */
export const endOfGrace = ({ since }: GoneOwner, graceSeconds: number): Date =>
  new Date(since.getTime() + graceSeconds * 1000);

/** Owners who are gone. */
export async function goneOwners(store: Store): Promise<Map<string, GoneOwner>> {
  const gone = new Map<string, GoneOwner>();
  for (const [owner, { gone: isGone, at, signal, event, rows }] of await wordsThatCount(store))
    if (isGone) gone.set(owner, { since: at, signal, event, rows });
  return gone;
}

const addStatement: Statement = {
  name: 'owner_presence_add',
  text: `
    INSERT INTO owner_presence (owner, number, gone, at, signal, event, proof)
    VALUES ($1::text, $2::int, $3::boolean, $4::timestamptz, $5::text, $6::text, $7::text) ON CONFLICT DO NOTHING`,
};

/**
 * Writes down what a signal says of every owner that is surely this person. A team is nobody's account, and
 * what cannot be compared is left alone. What came before the newest word, or is it, changes nothing.
 * @param at when the signal came
 * @returns how many owners it was about
 */
export async function recordPresence(
  store: Store,
  names: readonly Identifier[],
  { gone, at, jti, event }: { gone: boolean; at: Date; jti: string; event: string },
): Promise<number> {
  const meant = (await ownersInForce(store)).filter((owner) => {
    const person = readUser(owner);
    return person !== null && person.kind !== null && names.some((name) => isSame(name, person));
  });
  if (meant.length === 0) return 0;
  const words = await wordsThatCount(store);
  for (const owner of meant) {
    const word = words.get(owner);
    if (word === undefined ? !gone : word.gone === gone || word.at >= at) continue;
    const row = { owner, number: (word?.number ?? 0) + 1, gone, at, signal: jti, event };
    const proof = store.proofs.make('owner_presence', row);
    await store.run(addStatement, [owner, row.number, gone, at, jti, event, proof]);
  }
  return meant.length;
}
