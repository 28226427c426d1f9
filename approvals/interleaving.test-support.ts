/**
 * Processes of a broker that a test interleaves statement by statement, and kills between any two: each has
 * a store of its own, whose statements wait until the test lets one of them run. A process that is killed
 * never hears of its statement again, whether it ran or not.
 */
import type { SqlValue, Statement, Store } from '../broker/store/open.ts';

export interface Waiting {
  statement: Statement;
  values: SqlValue[];
  answer(rows: unknown[]): void;
  fail(error: unknown): void;
}

/** One process, at one piece of work. */
export class Process {
  readonly name: string;
  readonly store: Store;
  /** What it waits for; null when its work is over, or while it computes. */
  waiting: Waiting | null = null;
  /** How its work ended; null until then. */
  result: { value: unknown } | { error: unknown } | null = null;
  #turned = Promise.withResolvers<void>();

  constructor(name: string, database: Store, work: (store: Store) => Promise<unknown>) {
    this.name = name;
    const run = (statement: Statement, values: SqlValue[]) =>
      new Promise<unknown[]>((answer, fail) => {
        if (this.waiting !== null) throw new Error(`${name} runs two statements at once`);
        this.waiting = { statement, values, answer, fail };
        this.#turned.resolve();
      });
    this.store = { ...database, run: run as Store['run'] };
    work(this.store).then(
      (value) => this.#end({ value }),
      (error: unknown) => this.#end({ error }),
    );
  }

  #end(result: { value: unknown } | { error: unknown }): void {
    this.result = result;
    this.#turned.resolve();
  }

  /** Resolves when it waits for a statement, or is done. */
  turned(): Promise<void> {
    return this.#turned.promise;
  }

  /** Its statement has run. */
  async goOn(rows: unknown[]): Promise<void> {
    const waiting = this.#take();
    waiting.answer(rows);
    await this.turned();
  }

  async goOnWith(error: unknown): Promise<void> {
    this.#take().fail(error);
    await this.turned();
  }

  #take(): Waiting {
    const { waiting } = this;
    if (waiting === null) throw new Error(`${this.name} waits for nothing`);
    this.waiting = null;
    this.#turned = Promise.withResolvers<void>();
    return waiting;
  }
}

/** A seeded generator (mulberry32). */
export function seeded(seed: number) {
  let state = seed | 0;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    chance: (share: number) => next() < share,
    below: (n: number) => Math.floor(next() * n),
    pick: <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)]!,
  };
}

/**
 * The embedded database plans each statement anew, which is most of what it costs. Here each is planned once,
 * as a server does it for the broker (`plan_cache_mode`).
 */
export function preparing(store: Store): Store['run'] {
  if (store.backend !== 'pglite') return store.run;
  const known = new Set<string>();
  const plain = (text: string) => store.run<never>({ name: 'test_plain', text }, []);
  return async <Row>({ name, text }: Statement, values: SqlValue[]) => {
    if (known.size === 0) {
      await plain("SET plan_cache_mode = 'force_generic_plan'");
      // Planned while the tables are empty, it would read them whole ever after.
      await plain('SET enable_seqscan = off');
    }
    if (!known.has(name)) await plain(`PREPARE ${name} AS ${text}`);
    known.add(name);
    const given = values.length === 0 ? '' : `(${values.map(literal).join(', ')})`;
    return store.run<Row>({ name: 'test_execute', text: `EXECUTE ${name}${given}` }, []);
  };
}

function literal(value: SqlValue): string {
  if (value === null) return 'NULL';
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  const text = Array.isArray(value)
    ? `{${value.map((member) => JSON.stringify(String(member))).join(',')}}`
    : value instanceof Date
      ? value.toISOString()
      : value;
  return `'${text.replaceAll("'", "''")}'`;
}
