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
  /** Whose history the rules look at. */
  scope: 'session' | 'principal';
  /** Actions on record before it is measured, of each session or of the one person. */
  history: number;
  rps: number;
  p50_ms: number;
  p99_ms: number;
  round_trips: number;
  reference_ratio: number;
}

const manyClients = 32;
const rounds = 3;

/** Lengths of the history that is measured, by whose it is. */
export interface Histories {
  session: number[];
  principal: number[];
}

/** @param seconds of each run; the reference runs for as long before and after */
export async function* measureEvaluations(histories: Histories, seconds: number): AsyncGenerator<EvaluationRow> {
  const cleanUp: (() => Promise<void>)[] = [];
  try {
    const sandbox = await startChild('sandbox-process.ts', {});
    cleanUp.push(() => sandbox.stop());
    const load = await startChild('load-process.ts', {});
    cleanUp.push(() => load.stop());
    const place = await makePlace('postgres');
    cleanUp.push(() => place.remove());
    const broker = await startBrokers(await sandbox.ask<Record<string, string>>('env'), place, 1, 'calls');
    cleanUp.push(() => stop(broker));
    const { key, requests: endless } = await prepareReference();
    const reference = await startReferences(key, place, 1);
    cleanUp.push(() => stop(reference));
    const database = new pg.Client({ connectionString: place.env.DATABASE_URL });
    await database.connect();
    cleanUp.push(() => database.end());

    const bench = { sandbox, load, urls: broker.urls };
    const tokens = await openSessions(bench, manyClients);
    const requests = tokens.map((token) => evaluation(token, 'read_invoice'));
    // One person's agent, one call after another: what it did for a month is one history.
    const [first] = await openSessions(bench, 1);
    const parts = [
      { scope: 'session', clients: manyClients, lengths: histories.session, requests, lengthen },
      {
        scope: 'principal',
        clients: 1,
        lengths: histories.principal,
        requests: [evaluation(first!, 'pay_invoice')],
        lengthen: lengthenPrincipal,
      },
    ] as const;
    // What has never run is compiled while it is measured.
    await run(broker, requests, 200, manyClients);
    await run(reference, endless, 201, manyClients);
    for (const { scope, clients, lengths, requests: asked, lengthen: grow } of parts) {
      await run(broker, [...asked], 200, clients);
      for (const history of lengths) yield await row(scope, clients, asked, history, grow);
    }

    function run(servers: Servers, what: LoadRequest[], status: number, clients: number) {
      return sample(load, servers, { clients, seconds, requests: what, status, settles: false });
    }

    async function row(
      scope: EvaluationRow['scope'],
      clients: number,
      asked: readonly LoadRequest[],
      history: number,
      grow: (database: pg.Client, history: number) => Promise<void>,
    ): Promise<EvaluationRow> {
      await grow(database, history);
      const samples = [];
      let before = await run(reference, endless, 201, clients);
      for (let round = 0; round < rounds; round += 1) {
        const mine = await run(broker, [...asked], 200, clients);
        const after = await run(reference, endless, 201, clients);
        samples.push({ ...mine, ratio: (2 * mine.rps) / (before.rps + after.rps) });
        before = after;
      }
      const latencies = samples.flatMap((one) => one.latencies).sort((a, b) => a - b);
      const at = (share: number) => latencies[Math.floor(latencies.length * share)] ?? 0;
      const middle = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
      return {
        name: 'evaluation',
        backend: 'postgres',
        clients,
        scope,
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
function evaluation(token: string, tool: string): LoadRequest {
  const body = JSON.stringify({
    subject: { type: 'agent', id: 'invoice-bot' },
    action: { name: tool },
    resource: { type: 'tool', id: tool },
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

/**
 * The same for one person: the calls of earlier sessions, and what is remembered of each entity they touched.
 */
async function lengthenPrincipal(database: pg.Client, history: number): Promise<void> {
  await database.query(
    `
    INSERT INTO action (id, session_id, root_id, agent, tool, arguments, call_key, request_digest, effect, decision, manifest_version, cost_micro_usd, awaited, asked_at, labels)
    SELECT 'act_' || left(md5('month' || n), 20), session_id, root_id, agent, tool, arguments, 'month-' || n, request_digest, effect, decision, manifest_version,
           cost_micro_usd, awaited, asked_at - n * interval '30 days' / $1::int, labels
    FROM (SELECT * FROM action WHERE tool = 'pay_invoice' LIMIT 1) sample CROSS JOIN generate_series(1, $1::int) n
    ON CONFLICT DO NOTHING`,
    [history],
  );
  await database.query(
    `
    INSERT INTO monitor_cell (scope, cell, state, version, moved_at)
    SELECT scope, split_part(cell, '.', 1) || '.' || left(md5('month' || n), 22), state, 1, moved_at
    FROM (SELECT * FROM monitor_cell WHERE scope LIKE 'principal:%' AND cell LIKE '%.%' LIMIT 1) sample CROSS JOIN generate_series(1, $1::int) n
    ON CONFLICT DO NOTHING`,
    [history],
  );
  await database.query('VACUUM ANALYZE action');
  await database.query('VACUUM ANALYZE monitor_cell');
}
