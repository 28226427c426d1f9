/**
 * Walks every chain and names the first broken row. Recomputes in this process what the database's trigger
 * computed (`writ_audit_hash`, prisma/migrations), so a changed trigger or function does not hide a changed
 * row.
 */
import { hash } from 'node:crypto';

export interface BrokenRow {
  chain: string;
  /** Number of the row that does not hold; for a cut-off tail, of the first one missing. */
  seq: number;
  what:
    | 'row was changed'
    | 'row is missing'
    | 'link to the row before is broken'
    | 'tail was cut off'
    | 'chain has no head';
}

export interface Verification {
  chains: number;
  rows: number;
  broken: BrokenRow | null;
}

/** Runs one statement and returns its rows: on a store, or on a connection of the caller's. */
export interface RecordReader {
  run<Row>(statement: { name: string; text: string }, values: (string | number)[]): Promise<Row[]>;
}

const pageStatement = {
  name: 'audit_page',
  text: `
    SELECT chain, seq, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at, type, actor, grant_id, lease_id, request_id,
           payload::text AS payload, prev_hash, hash
    FROM audit_event WHERE (chain, seq) > ($1, $2) ORDER BY chain, seq LIMIT $3`,
};
const headsStatement = {
  name: 'audit_heads',
  text: 'SELECT chain, seq, head FROM audit_chain WHERE chain > $1 ORDER BY chain LIMIT $2',
};

export interface StoredEvent {
  chain: string;
  seq: number;
  at: string;
  type: string;
  actor: string;
  grant_id: string | null;
  lease_id: string | null;
  request_id: string | null;
  payload: string;
  prev_hash: string;
  hash: string;
}

/** The hash of one row as the database must have computed it. */
function eventHash(event: Omit<StoredEvent, 'hash'>): string {
  const fields = [
    event.prev_hash,
    event.chain,
    event.seq,
    event.at,
    event.type,
    event.actor,
    event.grant_id ?? '',
    event.lease_id ?? '',
    event.request_id ?? '',
    event.payload,
  ];
  return hash('sha256', fields.join('\n'), 'hex');
}

/** @param pageSize rows held in memory at a time */
export async function verifyAudit(record: RecordReader, pageSize = 1000): Promise<Verification> {
  const tails = new Map<string, { seq: number; hash: string }>();
  let rows = 0;
  let at = { chain: '', seq: 0 };
  for (;;) {
    const page = await record.run<StoredEvent>(pageStatement, [at.chain, at.seq, pageSize]);
    for (const event of page) {
      const before = tails.get(event.chain) ?? { seq: 0, hash: '' };
      const broken = (what: BrokenRow['what'], seq: number) => ({
        chains: tails.size,
        rows,
        broken: { chain: event.chain, seq, what },
      });
      if (event.seq !== before.seq + 1) return broken('row is missing', before.seq + 1);
      if (event.prev_hash !== before.hash) return broken('link to the row before is broken', event.seq);
      if (eventHash(event) !== event.hash) return broken('row was changed', event.seq);
      tails.set(event.chain, { seq: event.seq, hash: event.hash });
      rows += 1;
    }
    const last = page.at(-1);
    if (last === undefined || page.length < pageSize) break;
    at = { chain: last.chain, seq: last.seq };
  }
  const chains = tails.size;
  let after = '';
  for (;;) {
    const heads = await record.run<{ chain: string; seq: number; head: string }>(headsStatement, [after, pageSize]);
    for (const head of heads) {
      const tail = tails.get(head.chain) ?? { seq: 0, hash: '' };
      // Rows may have been appended since they were read: only fewer rows than the head knows are a cut.
      if (tail.seq > 0 && tail.seq < head.seq) {
        const [again] = await record.run<StoredEvent>(pageStatement, [head.chain, tail.seq, 1]);
        if (again?.chain !== head.chain)
          return { chains, rows, broken: { chain: head.chain, seq: tail.seq + 1, what: 'tail was cut off' } };
      } else if (tail.seq === 0) {
        const [again] = await record.run<StoredEvent>(pageStatement, [head.chain, 0, 1]);
        if (again?.chain !== head.chain)
          return { chains, rows, broken: { chain: head.chain, seq: 1, what: 'tail was cut off' } };
      } else if (tail.seq === head.seq && tail.hash !== head.head) {
        return { chains, rows, broken: { chain: head.chain, seq: tail.seq, what: 'row was changed' } };
      }
      tails.delete(head.chain);
    }
    const last = heads.at(-1);
    if (last === undefined || heads.length < pageSize) break;
    after = last.chain;
  }
  const [headless] = tails;
  return {
    chains,
    rows,
    broken: headless === undefined ? null : { chain: headless[0], seq: headless[1].seq, what: 'chain has no head' },
  };
}
