/**
 * PGlite in a thread of its own, with a watchdog: a question that is not answered in time fails, those after
 * it fail at once, and whoever asks is told that this process must be started anew.
 */
import { Worker } from 'node:worker_threads';
import { messages, type PGlite } from '@electric-sql/pglite';
import { embeddedStatements } from './embedded-statements.ts';
import type { Statement } from './store.ts';

export interface QueryOptions {
  rowMode?: 'array' | 'object';
  /** By type, from its text: run on this side, since functions do not cross threads. */
  parsers?: { [type: number]: (value: string, type?: number) => unknown };
}

export interface QueryResult<Row> {
  rows: Row[];
  fields: { name: string; dataTypeID: number }[];
  affectedRows?: number;
}

/** As much of PGlite as is used: by the store, by migrations and by Prisma's adapter. */
export interface EmbeddedDatabase {
  /** Runs a statement that is prepared once, by its name. */
  run<Row>(statement: Statement, values: unknown[]): Promise<Row[]>;
  query<Row>(text: string, values?: unknown[], options?: QueryOptions): Promise<QueryResult<Row>>;
  exec(text: string): Promise<unknown>;
  transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T | undefined>;
  /** Why it will answer no more, in words; null = it may. */
  broken(): string | null;
  close(): Promise<void>;
}

/** What is asked of it, one after another. */
type Questions = Pick<EmbeddedDatabase, 'run' | 'query' | 'exec'>;

export interface Transaction extends Pick<EmbeddedDatabase, 'query' | 'exec'> {
  rollback(): Promise<void>;
}

export type ThreadQuestion =
  | { kind: 'run'; statement: Statement; values: unknown[] }
  | { kind: 'query'; text: string; values: unknown[]; options?: { rowMode?: 'array' | 'object'; asText: number[] } }
  | { kind: 'exec'; text: string }
  | { kind: 'close' };
export interface ThreadAnswer {
  id: number;
  result?: unknown;
  error?: object;
}

/** No answer in time. It may have been done. */
class Unanswered extends Error {
  readonly code = 'ETIMEDOUT';
  override readonly name = 'Unanswered';
}

interface Pending {
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

/**
 * @param answerMs how long a question may take
 * @param entry the thread's program; tests give one that misbehaves
 */
export function startEmbedded(
  dataDir: string,
  answerMs: number,
  entry = new URL('./embedded-thread.ts', import.meta.url),
): EmbeddedDatabase {
  const worker = new Worker(entry, { workerData: { dataDir } });
  const pending = new Map<number, Pending>();
  let last = 0;
  // Opening makes a database, or repairs one that was killed: on a slow machine that takes its time.
  let patience = answerMs * 6;
  let timer: NodeJS.Timeout | undefined;
  let fault: string | null = null;
  let ended = false;

  const failAll = (why: string) => {
    fault = why;
    for (const { reject } of pending.values()) reject(new Unanswered(why));
    pending.clear();
  };
  /**
   * Runs from the oldest question, or the last answer, on. An idle thread does not keep the process alive.
   */
  const watch = () => {
    clearTimeout(timer);
    if (pending.size === 0) {
      worker.unref();
      return;
    }
    worker.ref();
    timer = setTimeout(
      () =>
        failAll(
          `the embedded database has not answered for ${patience / 1000} s: is the disk full? This process must be started anew`,
        ),
      patience,
    );
  };
  worker.on('message', ({ id, result, error }: ThreadAnswer) => {
    // It answers after all, though late.
    if (!ended) fault = null;
    patience = answerMs;
    const asked = pending.get(id);
    pending.delete(id);
    watch();
    if (error === undefined) asked?.resolve(result);
    else asked?.reject(revived(error));
  });
  const gone = (why: string) => {
    if (ended) return;
    ended = true;
    failAll(`the embedded database's thread has ended (${why}): this process must be started anew`);
    watch();
  };
  worker.on('error', (error) => gone((error as Error).message));
  worker.on('exit', (code) => gone(`code ${code}`));

  const ask = <T>(question: ThreadQuestion): Promise<T> =>
    new Promise((resolve, reject) => {
      if (fault !== null) return reject(new Unanswered(fault));
      last += 1;
      pending.set(last, { resolve: resolve as (result: unknown) => void, reject });
      if (pending.size === 1) watch();
      worker.postMessage({ id: last, question });
    });

  const query = async <Row>(
    text: string,
    values: unknown[] = [],
    options?: QueryOptions,
  ): Promise<QueryResult<Row>> => {
    const parsers = options?.parsers ?? {};
    const rowMode = options?.rowMode;
    const asText = Object.keys(parsers).map(Number);
    const result = await ask<QueryResult<unknown[]>>({
      kind: 'query',
      text,
      values,
      options: { ...(rowMode === undefined ? {} : { rowMode }), asText },
    });
    if (asText.length > 0 && rowMode === 'array') {
      const byColumn = result.fields.map(({ dataTypeID }) => parsers[dataTypeID]);
      for (const row of result.rows) {
        for (const [n, parse] of byColumn.entries()) {
          if (parse !== undefined && row[n] !== null) row[n] = parse(row[n] as string, result.fields[n]!.dataTypeID);
        }
      }
    }
    return result as QueryResult<Row>;
  };
  return {
    ...inTurns({
      run: (statement, values) => ask({ kind: 'run', statement, values }),
      query,
      exec: (text) => ask({ kind: 'exec', text }),
    }),
    broken: () => fault,
    close: async () => {
      if (fault === null) await ask({ kind: 'close' }).catch(() => {});
      ended = true;
      clearTimeout(timer);
      await worker.terminate();
    },
  };
}

/** A transaction holds everybody else: there is one connection. */
function inTurns({ run, query, exec }: Questions): Questions & Pick<EmbeddedDatabase, 'transaction'> {
  let turn: Promise<unknown> = Promise.resolve();
  let held = 0;
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => (held === 0 ? work() : turn.then(work, work));
  return {
    run: (statement, values) => inTurn(() => run(statement, values)),
    query: (text, values, options) => inTurn(() => query(text, values, options)),
    exec: (text) => inTurn(() => exec(text)),
    transaction: (work) => {
      held += 1;
      const result = turn.then(async () => {
        await exec('BEGIN');
        let undone = false;
        try {
          const rollback = async () => {
            undone = true;
            await exec('ROLLBACK');
          };
          const value = await work({ query, exec, rollback });
          if (!undone) await exec('COMMIT');
          return value;
        } catch (error) {
          if (!undone) await exec('ROLLBACK').catch(() => {});
          throw error;
        }
      });
      turn = result
        .catch(() => {})
        .finally(() => {
          held -= 1;
        });
      return result;
    },
  };
}

/** As PGlite threw it: Prisma's adapter asks for the class. */
function revived(members: object): Error {
  const { message, name, severity } = members as { message: string; name: string; severity?: string };
  const error = severity === undefined ? new Error(message) : new messages.DatabaseError(message, 0, 'error');
  return Object.assign(error, members, { name });
}

/** PGlite in this thread, in the same shape: in memory, for tests, which open many. */
export function embeddedHere(db: PGlite): EmbeddedDatabase {
  const run = embeddedStatements(db);
  return {
    ...inTurns({
      run: (statement, values) => run(statement, values) as Promise<never[]>,
      query: (text, values, options) => db.query(text, values, options),
      exec: (text) => db.exec(text),
    }),
    broken: () => null,
    close: async () => {
      await stopIdleTimer(db);
      await db.close();
    },
  };
}

/**
 * After each command PostgreSQL sets a ten-second timer to flush its statistics, and closing PGlite does not
 * clear it: the process would stay alive until it fires. An immediate flush needs no such timer, and the
 * statement timeout's timer replaces the one that is set.
 */
async function stopIdleTimer(db: PGlite): Promise<void> {
  await db.exec("SET statement_timeout = '20ms'");
  await db.exec('SELECT pg_stat_force_next_flush()').catch(() => {});
}
