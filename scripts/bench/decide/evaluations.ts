/** The whole evaluation over HTTP with its record, beside the reference, by the length of the history. */
import pg from 'pg';
import { startChild } from '../child.ts';
import type { LoadRequest } from '../load-process.ts';
import { type Servers, sample } from '../measure.ts';
import { prepareReference } from '../reference.ts';
import { openSessions } from '../scenarios.ts';
import { makePlace, startBrokers, startReferences } from '../servers.ts';

export interface EvaluationRow {
  name: 'evaluation';
  backend: 'postgres';
  clients: number;
  /** Actions on record of each session before it is measured. */
  history: number;
  rps: number;
  p50_ms: number;
  p99_ms: number;
  round_trips: number;
  reference_ratio: number;
}

const clients = 32;
const rounds = 3;

/** @param seconds of each run; the reference runs for as long before and after */
export async function* measureEvaluations(histories: number[], seconds: number): AsyncGenerator<EvaluationRow> {
  const cleanUp: (() => Promise<void>)[] = [];
  try {
    const sandbox = await startChild('sandbox-process.ts', {});
    cleanUp.push(() => sandbox.stop());
    const load = await startChild('load-process.ts', {});
    cleanUp.push(() => load.stop());
    const place = await makePlace('postgres');
    cleanUp.push(() => place.remove());
    const broker = await startBrokers(await sandbox.ask<Record<string, string>>('env'), place, 1);
    cleanUp.push(() => stop(broker));
    const { key, requests: endless } = await prepareReference();
    const reference = await startReferences(key, place, 1);
    cleanUp.push(() => stop(reference));
    const database = new pg.Client({ connectionString: place.env.DATABASE_URL });
    await database.connect();
    cleanUp.push(() => database.end());

    const bench = { sandbox, load, urls: broker.urls };
    const tokens = await openSessions(bench, clients);
    const requests = tokens.map(evaluation);
    const run = (servers: Servers, what: LoadRequest[], status: number) =>
      sample(load, servers, { clients, seconds, requests: what, status, settles: false });
    // What has never run is compiled while it is measured.
    await run(broker, requests, 200);
    await run(reference, endless, 201);
    for (const history of histories) {
      await lengthen(database, history);
      const samples = [];
      let before = await run(reference, endless, 201);
      for (let round = 0; round < rounds; round += 1) {
        const mine = await run(broker, requests, 200);
        const after = await run(reference, endless, 201);
        samples.push({ ...mine, ratio: (2 * mine.rps) / (before.rps + after.rps) });
        before = after;
      }
      const latencies = samples.flatMap((one) => one.latencies).sort((a, b) => a - b);
      const at = (share: number) => latencies[Math.floor(latencies.length * share)] ?? 0;
      const middle = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
      yield {
        name: 'evaluation',
        backend: 'postgres',
        clients,
        history,
        rps: middle(samples.map(({ rps }) => rps)),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        round_trips: middle(samples.map(({ trips }) => trips)),
        reference_ratio: middle(samples.map(({ ratio }) => ratio)),
      };
    }
  } finally {
    for (const undo of cleanUp.reverse()) await undo();
  }
}

const stop = async ({ children }: Servers) => void (await Promise.all(children.map((child) => child.stop())));

/** Each client has a session of its own, and asks for one call after another. */
function evaluation(token: string): LoadRequest {
  const body = JSON.stringify({
    subject: { type: 'agent', id: 'invoice-bot' },
    action: { name: 'read_invoice' },
    resource: { type: 'tool', id: 'read_invoice' },
    context: { arguments: { invoice: '2026-0042', note: 'to answer a question' } },
  });
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  return { path: '/access/v1/evaluation', headers, body, times: Number.MAX_SAFE_INTEGER };
}

/** Copies calls that were made until every session has so many on record. */
async function lengthen(database: pg.Client, history: number): Promise<void> {
  await database.query(
    `
    INSERT INTO action (id, session_id, root_id, agent, tool, arguments, call_key, request_digest, effect, decision, manifest_version, cost_micro_usd, awaited, asked_at, labels)
    SELECT 'act_' || left(md5(sample.session_id || n), 20), sample.session_id, root_id, agent, tool, arguments, 'copy-' || n, request_digest, effect, decision, manifest_version,
           cost_micro_usd, awaited, asked_at, labels
    FROM (SELECT DISTINCT ON (session_id) * FROM action) sample
    CROSS JOIN LATERAL (SELECT n FROM generate_series(1, greatest(0, $1::int - (SELECT count(*) FROM action own WHERE own.session_id = sample.session_id))) n) missing
    ON CONFLICT DO NOTHING`,
    [history],
  );
  await database.query('VACUUM ANALYZE action');
}
