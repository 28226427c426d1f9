/**
 * `npm run bench:guard`: what `writ guard` adds to the call of an MCP tool beside a broker of this machine,
 * its record included, with the same call unguarded in the same run.
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { type GuardRow, measureCalls } from './bench/guard/calls.ts';
import { type Backend, backends } from './bench/options.ts';
import { postgresVersion } from './bench/servers.ts';

const usage = `npm run bench:guard -- [options]

  --backends NAME,…    pglite, postgres (TEST_DATABASE_URL; left out when it does not answer)
  --calls N            calls of each kind (1000)
  --quick              a short run: looks at everything once, measures little
  --json FILE          write the results there`;

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Milliseconds: results are reported while the model thinks; without a pause, the next call waits for it. */
const pauses = [20, 0];

const cell = (ms: number) => ms.toFixed(2).padStart(10);

async function main(wanted: readonly Backend[], calls: number, json: string | null): Promise<void> {
  const results: GuardRow[] = [];
  say('one client, one call after another: ms. Pause: between an answer and the next call, less than a model takes');
  say('                     unguarded             guarded               added');
  say('backend   pause         p50       p99       p50       p99       p50       p99');
  for (const backend of wanted) {
    if (backend === 'postgres' && (await postgresVersion()) === null) {
      say('postgres does not answer; point TEST_DATABASE_URL at a server.');
      continue;
    }
    for await (const row of measureCalls(backend, calls, pauses)) {
      results.push(row);
      const { pause_ms, unguarded, guarded, added } = row;
      const figures = [unguarded, guarded, added].map((one) => cell(one.p50_ms) + cell(one.p99_ms));
      say(backend.padEnd(9) + `${pause_ms}`.padStart(6) + figures.join(''));
    }
  }
  if (json !== null) await writeFile(json, `${JSON.stringify({ results }, null, 2)}\n`);
}

/** @throws Error that says what is wrong with the arguments */
function readArguments(): [Backend[], number, string | null] {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    options: { backends: text, calls: text, json: text, quick: { type: 'boolean', default: false } },
  });
  const wanted = values.backends?.split(',') ?? [...backends];
  const unknown = wanted.find((name) => !backends.some((known) => known === name));
  if (unknown !== undefined) throw new TypeError(`--backends: ${unknown} is none of ${backends.join(', ')}`);
  const calls = values.calls ?? (values.quick ? '20' : '1000');
  if (!/^[1-9][0-9]{0,6}$/.test(calls)) throw new TypeError('--calls must be a whole number');
  return [wanted as Backend[], Number(calls), values.json ?? null];
}

let given: ReturnType<typeof readArguments> | null = null;
try {
  given = readArguments();
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n\n${usage}\n`);
  process.exitCode = 2;
}
if (given !== null) await main(...given);
