/**
 * Group commit. What a statement costs is mostly not its rows: a round trip, a plan set up and torn down, a
 * commit. Requests that want the same statement in the same moment therefore share one execution of it.
 * Nobody waits for others: an idle statement leaves at the end of the current turn of the event loop; while
 * `maxInFlight` executions are under way, those who come wait for the next to flush, together.
 */
import type { Statement, Store } from './open.ts';

/**
 * Rows in one execution, at most. The statements say it too, as `LIMIT 16`: the planner then knows that there
 * are few, and looks each up by its index.
 */
export const maxBatch = 16;

/** Executions of one statement under way at once, at most. */
const maxInFlight = 4;

/** Maximum number of waiting rows; further ones are refused, because the database is down or too slow. */
export const maxQueued = 1_000;

interface Waiting {
  /** As JSON, `{"…` without its opening brace. */
  columns: string;
  exclusiveKey: string | null;
  resolve(answer: unknown): void;
  reject(error: unknown): void;
}

interface Queue {
  waiting: Waiting[];
  inFlight: number;
  flushing: boolean;
}

const queues = new WeakMap<Store, Map<string, Queue>>();

/** Times are texts: what JSON.stringify makes of one Date costs as much as of ten texts. */
type Column = string | number | boolean | null | (object & { toISOString?: never });

/**
 * Runs a statement whose $1 is a JSON array of rows, each numbered `n`, and whose answer says for each `n`
 * what came of it.
 *
 * @param exclusiveKey rows with the same value here never share an execution (null = no restriction): for
 *   rows of which the second must see what the first did
 * @returns the answer to this row; undefined when the statement has none for it
 * @throws whatever the database says of this row (when it refuses several together, each is tried by itself);
 *   Overloaded
 */
export function batch<Answer extends { n: number }>(
  store: Store,
  statement: Statement,
  row: { readonly [column: string]: Column },
  exclusiveKey: string | null,
): Promise<Answer | undefined> {
  const queue = queueOf(store, statement.name);
  return new Promise((resolve, reject) => {
    if (queue.waiting.length >= maxQueued) throw new Overloaded();
    const columns = JSON.stringify(row).slice(1);
    queue.waiting.push({ columns, exclusiveKey, resolve: resolve as (answer: unknown) => void, reject });
    flush(store, statement, queue);
  });
}

/** Too many wait already. */
export class Overloaded extends Error {
  readonly code = 'ETIMEDOUT';
  constructor() {
    super('the database does not keep up');
    this.name = 'Overloaded';
  }
}

function queueOf(store: Store, name: string): Queue {
  let ofStore = queues.get(store);
  if (ofStore === undefined) {
    ofStore = new Map();
    queues.set(store, ofStore);
  }
  let queue = ofStore.get(name);
  if (queue === undefined) {
    queue = { waiting: [], inFlight: 0, flushing: false };
    ofStore.set(name, queue);
  }
  return queue;
}

function flush(store: Store, statement: Statement, queue: Queue): void {
  if (queue.flushing || queue.waiting.length === 0 || queue.inFlight >= maxInFlight) return;
  queue.flushing = true;
  setImmediate(async () => {
    queue.flushing = false;
    queue.inFlight += 1;
    const taken = takeBatch(queue);
    flush(store, statement, queue);
    try {
      await execute(store, statement, taken);
    } finally {
      queue.inFlight -= 1;
      flush(store, statement, queue);
    }
  });
}

/** The first in the queue, and as many after it as may share an execution with all before them. */
function takeBatch(queue: Queue): Waiting[] {
  const taken: Waiting[] = [];
  const left: Waiting[] = [];
  const exclusiveKey = new Set<string>();
  for (const one of queue.waiting) {
    const may = taken.length < maxBatch && (one.exclusiveKey === null || !exclusiveKey.has(one.exclusiveKey));
    (may ? taken : left).push(one);
    if (one.exclusiveKey !== null) exclusiveKey.add(one.exclusiveKey);
  }
  queue.waiting = left;
  return taken;
}

/** Settles everybody in the taken; never rejects. */
async function execute(store: Store, statement: Statement, taken: Waiting[]): Promise<void> {
  try {
    const rows = taken.map(({ columns }, n) => `{"n":${n},${columns}`);
    const answers = await store.run<{ n: number }>(statement, [`[${rows.join(',')}]`]);
    const byNumber = new Map(answers.map((answer) => [answer.n, answer]));
    for (const [n, one] of taken.entries()) one.resolve(byNumber.get(n));
  } catch (error) {
    // Only what the server has undone may be tried again. One row must not make the others fail.
    if (taken.length > 1 && isUndone(error)) {
      await Promise.all(taken.map((one) => execute(store, statement, [one])));
    } else {
      for (const one of taken) one.reject(error);
    }
  }
}

/**
 * An ERROR ends the statement and undoes it; after a lost connection (no severity) or a FATAL the outcome is
 * unknown.
 */
function isUndone(error: unknown): boolean {
  return (error as { severity?: string }).severity === 'ERROR';
}
