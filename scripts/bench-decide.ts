/**
 * `npm run bench:decide`: what a decision on a tool call costs: the pure one, by the number of policies and
 * rules, and the whole evaluation over HTTP with its durable record, by the length of the history, beside the
 * reference of `npm run bench`.
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { type EvaluationRow, measureEvaluations } from './bench/decide/evaluations.ts';
import { pureDecision } from './bench/decide/pure.ts';
import { measureRefusals, type RefusalRow } from './bench/decide/refusals.ts';
import { postgresVersion } from './bench/servers.ts';

const usage = `npm run bench:decide -- [options]

  --quick        a short run: looks at everything once, measures little
  --json FILE    write the results there`;

interface DecisionRow {
  name: 'decision';
  policies: number;
  rules: number;
  p50_us: number;
  p99_us: number;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function main(quick: boolean, json: string | null): Promise<void> {
  const results: (DecisionRow | EvaluationRow | RefusalRow)[] = [];
  say('the pure decision, rules and all');
  say('policies   rules    p50 µs    p99 µs');
  for (const policies of [10, 100, 1000]) {
    for (const rules of [10, 100]) {
      const { p50, p99 } = pureDecision(policies, rules, quick ? 200 : 5_000);
      results.push({ name: 'decision', policies, rules, p50_us: p50, p99_us: p99 });
      say(
        `${policies}`.padStart(8) + `${rules}`.padStart(8) + p50.toFixed(0).padStart(10) + p99.toFixed(0).padStart(10),
      );
    }
  }
  if ((await postgresVersion()) === null) {
    say('\nPostgreSQL does not answer, so evaluations are not measured; point TEST_DATABASE_URL at a server.');
  } else {
    say('\nthe whole evaluation over HTTP, with its durable record, on PostgreSQL');
    say('    scope  history  clients  requests/s    p50 ms    p99 ms   SQL trips  of reference');
    const histories = quick
      ? { session: [1, 100], principal: [10, 100] }
      : { session: [1, 1_000, 100_000], principal: [10, 1_000_000] };
    for await (const row of measureEvaluations(histories, quick ? 0.3 : 3)) {
      results.push(row);
      say(
        row.scope.padStart(9) +
          `${row.history}`.padStart(9) +
          `${row.clients}`.padStart(9) +
          row.rps.toFixed(0).padStart(12) +
          row.p50_ms.toFixed(2).padStart(10) +
          row.p99_ms.toFixed(2).padStart(10) +
          row.round_trips.toFixed(2).padStart(12) +
          `${(row.reference_ratio * 100).toFixed(0)} %`.padStart(14),
      );
    }
    const path = await measureRefusals(quick ? 3 : 30);
    results.push(path);
    say('\nfrom the call that a rule ends the session for to the target’s refusal of its key (AWS, sandbox)');
    say(
      `${path.sessions} sessions: answered in ${path.answer_p50_ms.toFixed(1)} ms, refused after ${path.p50_ms.toFixed(0)} ms (median), ${path.worst_ms.toFixed(0)} ms at worst; the target itself takes ${path.target_lag_ms} ms`,
    );
  }
  if (json !== null) await writeFile(json, `${JSON.stringify({ results }, null, 2)}\n`);
}

try {
  const { values } = parseArgs({ options: { quick: { type: 'boolean', default: false }, json: { type: 'string' } } });
  await main(values.quick, values.json ?? null);
} catch (error) {
  if ((error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS') !== true) throw error;
  process.stderr.write(`${(error as Error).message}\n\n${usage}\n`);
  process.exitCode = 2;
}
