/**
 * Group commit. What a statement costs is mostly not its rows: a round trip, a plan set up and torn down, a commit. Requests that want the same statement in the
 * same moment therefore share one execution of it. Nobody waits for company: an idle statement leaves at the end of the current turn of the event loop; while
 * `lanes` executions are under way, those who come wait for the next to leave, together.
 */
import type { Statement, Store } from './open.ts';

/** Rows in one execution, at most. The statements say it too, as `LIMIT 16`: the planner then knows that there are few, and looks each up by its index. */
export const mostTogether = 16;

/** Executions of one statement under way at once, at most. */
const lanes = 4;

/** Who comes when so many wait is turned away: the database answers nobody, or not fast enough. */
export const longestQueue = 1_000;

interface Waiting {
  /** As JSON, `{"…` without its opening brace. */
  columns: string;
  apart: string | null;
  resolve(answer: unknown): void;
  reject(error: unknown): void;
}

interface Queue {
  waiting: Waiting[];
  underWay: number;
  leaving: boolean;
}

const queues = new WeakMap<Store, Map<string, Queue>>();

/**
 * Runs a statement whose $1 is a JSON array of rows, each numbered `n`, and whose answer says for each `n` what came of it.
 *
 * @param apart rows with the same value here never share an execution (null = whoever it may be): for rows of which the second must see what the first did
 * @returns the answer to this row; undefined when the statement has none for it
 * @throws whatever the database says of this row (when it refuses several together, each is tried by itself); Overloaded
 */
export function runTogether<Answer extends { n: number }>(
  store: Store,
  statement: Statement,
  row: { [column: string]: unknown },
  apart: string | null,
): Promise<Answer | undefined> {
  const queue = queueOf(store, statement.name);
  return new Promise((resolve, reject) => {
    if (queue.waiting.length >= longestQueue) throw new Overloaded();
    const columns = JSON.stringify(row).slice(1);
    queue.waiting.push({ columns, apart, resolve: resolve as (answer: unknown) => void, reject });
    leave(store, statement, queue);
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
    queue = { waiting: [], underWay: 0, leaving: false };
    ofStore.set(name, queue);
  }
  return queue;
}

function leave(store: Store, statement: Statement, queue: Queue): void {
  if (queue.leaving || queue.waiting.length === 0 || queue.underWay >= lanes) return;
  queue.leaving = true;
  setImmediate(async () => {
    queue.leaving = false;
    queue.underWay += 1;
    const company = takeCompany(queue);
    leave(store, statement, queue);
    try {
      await execute(store, statement, company);
    } finally {
      queue.underWay -= 1;
      leave(store, statement, queue);
    }
  });
}

/** The first in the queue, and as many after it as may share an execution with all before them. */
function takeCompany(queue: Queue): Waiting[] {
  const company: Waiting[] = [];
  const left: Waiting[] = [];
  const apart = new Set<string>();
  for (const one of queue.waiting) {
    const may = company.length < mostTogether && (one.apart === null || !apart.has(one.apart));
    (may ? company : left).push(one);
    if (one.apart !== null) apart.add(one.apart);
  }
  queue.waiting = left;
  return company;
}

/** Settles everybody in the company; never rejects. */
async function execute(store: Store, statement: Statement, company: Waiting[]): Promise<void> {
  try {
    const rows = company.map(({ columns }, n) => `{"n":${n},${columns}`);
    const answers = await store.run<{ n: number }>(statement, [`[${rows.join(',')}]`]);
    const byNumber = new Map(answers.map((answer) => [answer.n, answer]));
    for (const [n, one] of company.entries()) one.resolve(byNumber.get(n));
  } catch (error) {
    // Only what the server has undone may be tried again. One row must not fail its neighbours.
    if (company.length > 1 && isUndone(error)) {
      await Promise.all(company.map((one) => execute(store, statement, [one])));
    } else {
      for (const one of company) one.reject(error);
    }
  }
}

/** An ERROR ends the statement and undoes it; after a lost connection (no severity) or a FATAL nobody knows. */
function isUndone(error: unknown): boolean {
  return (error as { severity?: string }).severity === 'ERROR';
}
