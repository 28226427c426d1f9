/**
 * The thread of the embedded database. Whatever happens in it (a disk that is full, a loop that never ends),
 * the thread that serves goes on, and can end this one.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { PGlite } from '@electric-sql/pglite';
import type { ThreadAnswer, ThreadQuestion } from './embedded-database.ts';
import { embeddedStatements } from './embedded-statements.ts';

const { dataDir } = workerData as { dataDir: string };
const port = parentPort!;
// PostgreSQL clears its 128 MB of buffers at each start, for a database that has a few.
const startParams = [...PGlite.defaultStartParams, '-c', 'shared_buffers=32MB'];
const db = PGlite.create(dataDir, { startParams });
// The first question tells what went wrong with opening.
db.catch(() => {});
const run = db.then(embeddedStatements);
run.catch(() => {});
const asText = (value: string) => value;

async function answer(question: ThreadQuestion): Promise<unknown> {
  if (question.kind === 'run') return (await run)(question.statement, question.values);
  const database = await db;
  if (question.kind === 'exec') return void (await database.exec(question.text));
  if (question.kind === 'close') return database.close();
  const { text, values, options } = question;
  const parsers = Object.fromEntries((options?.asText ?? []).map((type) => [type, asText]));
  const rowMode = options?.rowMode;
  return database.query(text, values, { ...(rowMode === undefined ? {} : { rowMode }), parsers });
}

/** What an error of the database says, member by member: a class does not cross threads. */
function membersOf(error: unknown): object {
  const { name, message, stack } = error as Error;
  const own = Object.entries(error as object).filter(([, value]) => ['string', 'number'].includes(typeof value));
  return { ...Object.fromEntries(own), name, message, stack };
}

port.on('message', async ({ id, question }: { id: number; question: ThreadQuestion }) => {
  let said: ThreadAnswer;
  try {
    said = { id, result: await answer(question) };
  } catch (error) {
    said = { id, error: membersOf(error) };
  }
  port.postMessage(said);
});
