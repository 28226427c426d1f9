/**
 * Walks every chain and names the first broken row. Recomputes in this process what the database's trigger
 * computed (`writ_audit_hash`, prisma/migrations), so a changed trigger or function does not hide a changed
 * row.
 *
 * Whoever owns the database can rebuild a whole chain with its head, or remove it. That every session,
 * request, credential, review and manifest has its record, and every record its row, is asked besides; what
 * was removed or rebuilt altogether is found by checkpoints alone.
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
    | 'chain has no head'
    | 'row is not the one that a checkpoint signed'
    | 'rows that a checkpoint signed were cut off'
    | 'chain that a checkpoint signed is gone'
    | Orphan['what'];
}

export interface Verification {
  chains: number;
  rows: number;
  broken: BrokenRow | null;
}

/** Rows that must be as a checkpoint says: chain → number of the row → its hash. */
export type Anchors = ReadonlyMap<string, ReadonlyMap<number, string>>;

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

/** A row without its record, or a record without its row. */
interface Orphan {
  what:
    | 'session has no record'
    | 'session of this record is gone'
    | 'grant has no record'
    | 'grant of this record is gone'
    | 'lease has no record'
    | 'lease of this record is gone'
    | 'review has no record'
    | 'review of this record is gone'
    | 'manifest version has no record'
    | 'manifest version of this record is gone';
  /** SQL of `chain` and `seq`. */
  text: string;
}

const opened = `e.type = 'session.opened'`;
const reviewed = `e.type IN ('review.approved', 'grant.approved', 'grant.denied') AND e.payload->>'review_id' IS NOT NULL`;
const published = `e.type = 'manifest.published'`;
const orphans: readonly Orphan[] = [
  {
    what: 'session has no record',
    text: `SELECT id AS chain, 1 AS seq FROM session s WHERE NOT EXISTS (SELECT 1 FROM audit_event e WHERE e.chain = s.id AND ${opened})`,
  },
  {
    what: 'session of this record is gone',
    text: `SELECT chain, seq FROM audit_event e WHERE ${opened} AND NOT EXISTS (SELECT 1 FROM session s WHERE s.id = e.chain)`,
  },
  {
    what: 'grant has no record',
    text: `SELECT session_id AS chain, 1 AS seq FROM grants g
      WHERE NOT EXISTS (SELECT 1 FROM audit_event e WHERE e.chain = g.session_id AND e.grant_id = g.id AND e.type LIKE 'grant.%')`,
  },
  {
    what: 'grant of this record is gone',
    text: `SELECT chain, seq FROM audit_event e WHERE e.type IN ('grant.pending', 'grant.allowed')
      AND NOT EXISTS (SELECT 1 FROM grants g WHERE g.id = e.grant_id AND g.session_id = e.chain)`,
  },
  {
    what: 'lease has no record',
    text: `SELECT session_id AS chain, 1 AS seq FROM lease l WHERE NOT EXISTS (SELECT 1 FROM audit_event e WHERE e.chain = l.session_id AND e.lease_id = l.id)`,
  },
  {
    what: 'lease of this record is gone',
    text: `SELECT chain, seq FROM audit_event e WHERE e.type IN ('grant.allowed', 'grant.redeemed', 'lease.issued')
      AND NOT EXISTS (SELECT 1 FROM lease l WHERE l.id = e.lease_id AND l.session_id = e.chain)`,
  },
  {
    what: 'review has no record',
    text: `SELECT g.session_id AS chain, 1 AS seq FROM review r JOIN grants g ON g.id = r.grant_id
      WHERE NOT EXISTS (SELECT 1 FROM audit_event e WHERE e.chain = g.session_id AND ${reviewed} AND e.payload->>'review_id' = r.id)`,
  },
  {
    what: 'review of this record is gone',
    text: `SELECT chain, seq FROM audit_event e WHERE ${reviewed} AND NOT EXISTS (SELECT 1 FROM review r WHERE r.id = e.payload->>'review_id')`,
  },
  {
    what: 'manifest version has no record',
    text: `SELECT 'agent:' || agent AS chain, 1 AS seq FROM manifest m
      WHERE NOT EXISTS (SELECT 1 FROM audit_event e WHERE e.chain = 'agent:' || m.agent AND ${published} AND e.payload->>'version' = m.version::text)`,
  },
  {
    what: 'manifest version of this record is gone',
    text: `SELECT chain, seq FROM audit_event e WHERE ${published}
      AND NOT EXISTS (SELECT 1 FROM manifest m WHERE 'agent:' || m.agent = e.chain AND m.version::text = e.payload->>'version')`,
  },
];

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

/**
 * @param pageSize rows held in memory at a time
 * @param anchors what checkpoints say of rows (`checkpoint-format.ts`)
 */
export async function verifyAudit(
  record: RecordReader,
  pageSize = 1000,
  anchors: Anchors = new Map(),
): Promise<Verification> {
  const lengths = new Map<string, number>();
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
      if ((anchors.get(event.chain)?.get(event.seq) ?? event.hash) !== event.hash)
        return broken('row is not the one that a checkpoint signed', event.seq);
      tails.set(event.chain, { seq: event.seq, hash: event.hash });
      if (anchors.has(event.chain)) lengths.set(event.chain, event.seq);
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
  if (headless !== undefined)
    return { chains, rows, broken: { chain: headless[0], seq: headless[1].seq, what: 'chain has no head' } };
  return { chains, rows, broken: cutOff(lengths, anchors) ?? (await firstOrphan(record)) };
}

/** What checkpoints know of and the walk has not met. */
function cutOff(lengths: ReadonlyMap<string, number>, anchors: Anchors): BrokenRow | null {
  for (const [chain, rows] of anchors) {
    const length = lengths.get(chain) ?? 0;
    if (Math.max(...rows.keys()) <= length) continue;
    return length === 0
      ? { chain, seq: 1, what: 'chain that a checkpoint signed is gone' }
      : { chain, seq: length + 1, what: 'rows that a checkpoint signed were cut off' };
  }
  return null;
}

async function firstOrphan(record: RecordReader): Promise<BrokenRow | null> {
  for (const [n, { what, text }] of orphans.entries()) {
    const statement = { name: `audit_orphan_${n}`, text: `${text} ORDER BY 1, 2 LIMIT 1` };
    const [row] = await record.run<{ chain: string; seq: number }>(statement, []);
    if (row !== undefined) return { ...row, what };
  }
  return null;
}
