/** The command line of `npm run bench`. */
import { parseArgs } from 'node:util';

/** Rows of the broker, next to the reference. */
export const rowNames = [
  'reference',
  'session-open',
  'grant-by-policy',
  'grant-aws',
  'grant-github',
  'grant-gcp',
  'session-end-1',
  'session-end-10',
  'session-end-100',
] as const;
export type RowName = (typeof rowNames)[number];
/** PostgreSQL as a target, without a broker: leases, and what row security costs a query. */
export const targetNames = ['postgres-leases', 'postgres-rows'] as const;
export const names = [...rowNames, ...targetNames];
export type Name = (typeof names)[number];
export const backends = ['pglite', 'postgres'] as const;
export type Backend = (typeof backends)[number];

export interface Options {
  only: Name[];
  backends: Backend[];
  clients: number[];
  processes: number[];
  /** Length of one run of one row. */
  seconds: number;
  /** Runs of each row, interleaved with runs of the reference; the medians are shown. */
  rounds: number;
  /** Leases that live while one more is made and ended, on a target. */
  live: number[];
  json: string | null;
}

export const usage = `npm run bench -- [options]

  --only NAME,…        rows to measure (${names.join(', ')})
  --backends NAME,…    pglite, postgres (TEST_DATABASE_URL; left out when it does not answer)
  --clients N,…        clients at once (1,8,32)
  --processes N,…      broker processes; more than one on PostgreSQL only (1)
  --seconds N          length of one run (0.8)
  --rounds N           runs of each row (3)
  --live N,…           leases that live on a target meanwhile (1,1000)
  --json FILE          write the results there
  --quick              a short run: looks at everything once, measures little`;

/** @throws Error that says what is wrong with the arguments */
export function readOptions(args: string[]): Options {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    args,
    options: {
      only: text,
      backends: text,
      clients: text,
      processes: text,
      seconds: text,
      rounds: text,
      live: text,
      json: text,
      quick: { type: 'boolean', default: false },
    },
  });
  const quick = values.quick;
  return {
    only: choice('only', values.only, names),
    backends: choice('backends', values.backends, backends),
    clients: numbers('clients', values.clients ?? (quick ? '4' : '1,8,32'), 256),
    processes: numbers('processes', values.processes ?? '1', 16),
    seconds: number('seconds', values.seconds ?? (quick ? '0.15' : '0.8'), 60),
    rounds: numbers('rounds', values.rounds ?? (quick ? '1' : '3'), 100)[0]!,
    live: numbers('live', values.live ?? (quick ? '1,20' : '1,1000'), 5000),
    json: values.json ?? null,
  };
}

function choice<T extends string>(option: string, given: string | undefined, all: readonly T[]): T[] {
  if (given === undefined) return [...all];
  const asked = given.split(',').map((item) => item.trim());
  const unknown = asked.find((item) => !all.some((known) => known === item));
  if (unknown !== undefined) throw new Error(`--${option}: ${unknown} is none of ${all.join(', ')}`);
  return all.filter((known) => asked.includes(known));
}

function number(option: string, given: string, max: number): number {
  const value = Number(given);
  if (!(value > 0 && value <= max)) throw new Error(`--${option}: ${given} is not a number from 0 to ${max}`);
  return value;
}

function numbers(option: string, given: string, max: number): number[] {
  const values = given.split(',').map((item) => number(option, item.trim(), max));
  if (!values.every(Number.isInteger)) throw new Error(`--${option}: whole numbers only`);
  return values;
}
