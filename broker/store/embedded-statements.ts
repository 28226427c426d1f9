/**
 * Statements on PGlite: each prepared once, as a server does it. PGlite's own `query` parses and plans
 * anew at every call, which costs our statements up to fifty times what running them does.
 */
import { messages, type PGlite, protocol, types } from '@electric-sql/pglite';
import type { Statement } from './store.ts';

const { serialize } = protocol;
type Message = Awaited<ReturnType<PGlite['execProtocolStream']>>[number];

/** What the database said of a statement when it prepared it. */
interface Prepared {
  /** Its name there. Not ours: PostgreSQL cuts names off after 63 bytes, and takes two for one. */
  called: string;
  /** Types of what is given, by their OID. */
  given: number[];
  columns: { name: string; dataTypeID: number }[];
}

/**
 * @returns runs a statement in its own transaction; its values are written and its rows read as `query` does
 * @throws DatabaseError as `query` does
 */
export function embeddedStatements(
  db: PGlite,
): (statement: Statement, values: unknown[]) => Promise<{ [column: string]: unknown }[]> {
  /** By text: whoever writes a text anew each time would fill it. */
  const prepared = new Map<string, Prepared>();
  let count = 0;

  const prepare = async (text: string): Promise<Prepared> => {
    const known = prepared.get(text);
    if (known !== undefined) return known;
    count += 1;
    const called = `writ_${count}`;
    const said = await ask(
      db,
      serialize.parse({ name: called, text }),
      serialize.describe({ type: 'S', name: called }),
    );
    const fresh = {
      called,
      given: said.flatMap((message) =>
        message instanceof messages.ParameterDescriptionMessage ? message.dataTypeIDs : [],
      ),
      columns: said.flatMap((message) => (message instanceof messages.RowDescriptionMessage ? message.fields : [])),
    };
    prepared.set(text, fresh);
    return fresh;
  };

  return ({ text }, values) =>
    db.runExclusive(async () => {
      const { called, given, columns } = await prepare(text);
      const written = values.map((value, n) => {
        if (value === null || value === undefined) return null;
        const write = db.serializers[given[n]!];
        return write === undefined ? String(value) : write(value);
      });
      const bind = serialize.bind({ statement: called, values: written });
      const said = await ask(db, bind, serialize.execute({}));
      return said.flatMap((message) => {
        if (!(message instanceof messages.DataRowMessage)) return [];
        const cells = message.fields.map((cell, n) => [
          columns[n]!.name,
          types.parseType(cell, columns[n]!.dataTypeID, db.parsers),
        ]);
        return [Object.fromEntries(cells)];
      });
    });
}

/** One trip into the engine. After a fault it skips what is left of the trip, up to its end. */
async function ask(db: PGlite, ...parts: Uint8Array[]): Promise<Message[]> {
  const trip = Buffer.concat([...parts, serialize.sync()]);
  const said = await db.execProtocolStream(trip, { throwOnError: false });
  const fault = said.find((message) => message instanceof messages.DatabaseError);
  if (fault !== undefined) throw fault;
  return said;
}
