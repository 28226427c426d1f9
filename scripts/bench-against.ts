/**
 * `npm run bench:against -- TREE`: the broker of another working tree and this one's, both up at once and
 * driven by turns. A machine that is slower in one minute than in the next weighs on both alike, and the
 * turns say how far the mean can be trusted. Before it measures, both are driven until they are compiled.
 */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type Child, startChild } from './bench/child.ts';
import { type Servers, sample } from './bench/measure.ts';
import { type Scenario, scenarios } from './bench/scenarios.ts';
import { makePlace, processOf, startBrokers, thisTree } from './bench/servers.ts';

const usage = `npm run bench:against -- TREE [options]

  TREE                 another working tree of this repository, with its packages installed
  --only NAME,…        rows to measure (session-open,grant-by-policy)
  --clients N          clients at once (32)
  --seconds N          length of one turn (1)
  --warm N             turns before it measures (15)
  --turns N            turns of each that are measured (40)
  --json FILE          write the results there`;

/** One tree's broker, and what drives it. */
interface Side {
  sandbox: Child;
  load: Child;
  servers: Servers;
  urls: string[];
}

export interface AgainstRow {
  name: string;
  turns: number;
  /** Of the other tree and of this one: requests a second, and CPU of the broker per request. */
  rps: [number, number];
  cpu_ms: [number, number];
  /** This tree's requests a second by the other's in the same turn: the mean, and its standard error. */
  ratio: number;
  error: number;
}

interface Options {
  tree: string;
  rows: Scenario[];
  clients: number;
  seconds: number;
  warm: number;
  turns: number;
  json: string | null;
}

async function main(options: Options): Promise<void> {
  const cleanUp: (() => Promise<void>)[] = [];
  try {
    const sides: Side[] = [];
    for (const tree of [options.tree, thisTree]) sides.push(await startSide(tree, cleanUp));
    const results: AgainstRow[] = [];
    for (const row of options.rows) {
      const result = await measureRow(row, sides, options);
      results.push(result);
      const { name, turns, rps, cpu_ms, ratio, error } = result;
      const [there, here] = rps.map((value) => value.toFixed(0));
      const cpu = cpu_ms.map((value) => value.toFixed(3)).join(' → ');
      say(`${name}: ${there} → ${here} requests/s, CPU ${cpu} ms`);
      say(`  ratio ${ratio.toFixed(3)}, standard error ${error.toFixed(3)}, ${turns} turns each`);
    }
    if (options.json !== null) await writeFile(options.json, `${JSON.stringify({ results }, null, 2)}\n`);
  } finally {
    for (const undo of cleanUp.reverse()) await undo();
  }
}

async function startSide(tree: string, cleanUp: (() => Promise<void>)[]): Promise<Side> {
  const sandbox = await startChild(processOf(tree, 'sandbox-process.ts'), {});
  cleanUp.push(() => sandbox.stop());
  const load = await startChild('load-process.ts', {});
  cleanUp.push(() => load.stop());
  const place = await makePlace('postgres');
  cleanUp.push(() => place.remove());
  const world = await sandbox.ask<Record<string, string>>('env');
  const servers = await startBrokers(world, place, 1, 'plain', tree);
  cleanUp.push(async () => void (await Promise.all(servers.children.map((child) => child.stop()))));
  return { sandbox, load, servers, urls: servers.urls };
}

async function measureRow(row: Scenario, sides: Side[], options: Options): Promise<AgainstRow> {
  const { clients, seconds, warm, turns } = options;
  const samples = sides.map(() => [] as { rps: number; cpuMs: number }[]);
  const order = sides.map((_, at) => at);
  let expected = 1000;
  for (let turn = 0; turn < warm + turns; turn += 1) {
    // Whoever comes second in one turn comes first in the next.
    for (const at of turn % 2 === 0 ? order : order.toReversed()) {
      const side = sides[at]!;
      const enough = Math.ceil(expected * seconds * 2) + clients;
      const requests = await row.prepare(side, Math.min(row.most(clients), enough));
      const what = { clients, seconds, requests, status: row.status, settles: row.settles };
      const one = await sample(side.load, side.servers, what);
      expected = Math.max(expected, one.rps);
      if (turn >= warm) samples[at]!.push(one);
    }
  }
  const [other, own] = samples as [(typeof samples)[0], (typeof samples)[0]];
  const ratios = own.map(({ rps }, turn) => rps / other[turn]!.rps);
  const ratio = mean(ratios);
  const variance = mean(ratios.map((value) => (value - ratio) ** 2));
  return {
    name: row.name,
    turns,
    rps: [mean(other.map(({ rps }) => rps)), mean(own.map(({ rps }) => rps))],
    cpu_ms: [mean(other.map(({ cpuMs }) => cpuMs)), mean(own.map(({ cpuMs }) => cpuMs))],
    ratio,
    error: Math.sqrt(variance / Math.max(1, turns - 1)),
  };
}

const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** @throws Error that says what is wrong with the arguments */
function readArguments(): Options {
  const text = { type: 'string' } as const;
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { only: text, clients: text, seconds: text, warm: text, turns: text, json: text },
  });
  const [tree, ...more] = positionals;
  if (tree === undefined || more.length > 0) throw new TypeError('name one other tree');
  const rows = (values.only ?? 'session-open,grant-by-policy').split(',').map((name) => {
    const row = scenarios.find((one) => one.name === name);
    if (row === undefined) throw new TypeError(`--only: ${name} is none of ${scenarios.map((one) => one.name)}`);
    return row;
  });
  const number = (option: 'clients' | 'seconds' | 'warm' | 'turns', otherwise: number, least: number) => {
    const value = Number(values[option] ?? otherwise);
    const whole = option === 'seconds' || Number.isInteger(value);
    if (!(whole && value >= least && value <= 1000)) throw new TypeError(`--${option}: ${values[option]} is no number`);
    return value;
  };
  return {
    tree: resolve(tree),
    rows,
    clients: number('clients', 32, 1),
    seconds: number('seconds', 1, 0.1),
    warm: number('warm', 15, 0),
    turns: number('turns', 40, 2),
    json: values.json ?? null,
  };
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

let options: Options;
try {
  options = readArguments();
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n\n${usage}\n`);
  process.exit(2);
}
await main(options);
