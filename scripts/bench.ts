/**
 * `npm run bench`: what the broker's main steps cost, next to a reference that does the least an
 * authenticated write can do on this stack. See docs/performance.md.
 */
import { writeFile } from 'node:fs/promises';
import { cpus, loadavg, platform, totalmem } from 'node:os';
import { installedServers } from '../sandbox/postgres/binaries.ts';
import { startChild } from './bench/child.ts';
import { measure, type Result, type Servers, sample, summarise, usageOf } from './bench/measure.ts';
import { type Backend, type Options, readOptions, rowNames, targetNames, usage } from './bench/options.ts';
import { measureTarget } from './bench/postgres-target.ts';
import { prepareReference } from './bench/reference.ts';
import { type Bench, scenarios } from './bench/scenarios.ts';
import { makePlace, postgresVersion, startBrokers, startReferences } from './bench/servers.ts';
import { headings, line, type TargetResult } from './bench/table.ts';

interface Machine {
  cpu: string;
  cores: number;
  memory_gb: number;
  platform: string;
  node: string;
  postgres: string | null;
  /** Of the minute before the run and of its last: what else the machine was doing. */
  load: [before: number, after: number];
  started_at: string;
}

async function main(options: Options): Promise<void> {
  const postgres = await postgresVersion();
  const machine: Machine = {
    cpu: cpus()[0]?.model.trim() ?? '',
    cores: cpus().length,
    memory_gb: Math.round(totalmem() / 2 ** 30),
    platform: platform(),
    node: process.version,
    postgres,
    load: [loadavg()[0]!, 0],
    started_at: new Date().toISOString(),
  };
  say(
    `${machine.cores} × ${machine.cpu}, Node ${machine.node}, PostgreSQL ${postgres ?? 'absent'}, load ${machine.load[0].toFixed(2)}`,
  );
  const backends = options.backends.filter((backend) => backend === 'pglite' || postgres !== null);
  if (backends.length < options.backends.length) {
    say('PostgreSQL does not answer, so only PGlite is measured; point TEST_DATABASE_URL at a server.');
  }
  const results: Result[] = [];
  for (const backend of rowNames.some((name) => options.only.includes(name)) ? backends : []) {
    for (const processes of options.processes) {
      if (backend === 'pglite' && processes > 1) continue;
      results.push(...(await measureBackend(options, backend, processes)));
    }
  }
  const targets: TargetResult[] = [];
  for (const server of targetNames.some((name) => options.only.includes(name)) ? installedServers() : [])
    targets.push(...(await measureTarget(server, options, say)));
  machine.load[1] = loadavg()[0]!;
  if (options.json !== null)
    await writeFile(options.json, `${JSON.stringify({ machine, results, targets }, null, 2)}\n`);
}

async function measureBackend(options: Options, backend: Backend, processes: number): Promise<Result[]> {
  const cleanUp: (() => Promise<void>)[] = [];
  try {
    const sandbox = await startChild('sandbox-process.ts', {});
    cleanUp.push(() => sandbox.stop());
    const load = await startChild('load-process.ts', {});
    cleanUp.push(() => load.stop());
    const place = await makePlace(backend);
    cleanUp.push(() => place.remove());
    const world = await sandbox.ask<Record<string, string>>('env');

    const first = await timed(() => startBrokers(world, place, 1));
    await stop(first.value);
    const again = await timed(() => startBrokers(world, place, 1));
    const broker =
      processes === 1 ? again.value : await restart(again.value, () => startBrokers(world, place, processes));
    cleanUp.push(() => stop(broker));
    const { key, requests } = await prepareReference();
    const reference = await startReferences(key, place, processes);
    cleanUp.push(() => stop(reference));

    say(`\n${backend}, ${processes} broker process${processes === 1 ? '' : 'es'}`);
    say(`cold start ${first.seconds.toFixed(2)} s on an empty database, ${again.seconds.toFixed(2)} s on this one`);
    const bench = { sandbox, load, urls: broker.urls, broker };
    const results = await measureRows(
      options,
      bench,
      (clients, seconds) => sample(load, reference, { clients, seconds, requests, status: 201, settles: false }),
      { backend, processes },
    );
    const [mine, its] = await Promise.all([usageOf(broker), usageOf(reference)]);
    say(`peak RSS ${mine.peakRssMb.toFixed(0)} MB (reference ${its.peakRssMb.toFixed(0)} MB)`);
    return results;
  } finally {
    for (const undo of cleanUp.reverse()) await undo();
  }
}

type Sample = Awaited<ReturnType<typeof sample>>;

async function measureRows(
  options: Options,
  bench: Bench & { broker: Servers },
  referenceFor: (clients: number, seconds: number) => Promise<Sample>,
  where: Pick<Result, 'backend' | 'processes'>,
): Promise<Result[]> {
  const wanted = scenarios.filter(({ name }) => options.only.includes(name));
  // What has never run is compiled while it is measured: once through everything first. It also says how much
  // to prepare.
  const expected = new Map<string, number>();
  await referenceFor(8, options.seconds / 2);
  for (const scenario of wanted) {
    const requests = await scenario.prepare(bench, Math.min(scenario.most(8), Math.ceil(1000 * options.seconds)));
    const { status, settles } = scenario;
    const warm = await sample(bench.load, bench.broker, {
      clients: 8,
      seconds: options.seconds,
      requests,
      status,
      settles,
    });
    expected.set(scenario.name, warm.rps);
  }
  say(headings);
  const results: Result[] = [];
  for (const clients of options.clients) {
    const references: Sample[] = [];
    const rows: Result[] = [];
    const reference = () => referenceFor(clients, options.seconds / 2);
    if (wanted.length === 0) for (let i = 0; i < options.rounds; i += 1) references.push(await reference());
    for (const scenario of wanted) {
      const rounds = scenario.name === 'session-end-100' ? 1 : options.rounds;
      const expectedRps = expected.get(scenario.name)! * 1.3;
      const measured = await measure(bench, scenario, {
        clients,
        seconds: options.seconds,
        rounds,
        expectedRps,
        reference,
      });
      references.push(...measured.references);
      rows.push(summarise({ name: scenario.name, clients, ...where }, measured.samples, measured.ratios));
    }
    if (options.only.includes('reference'))
      rows.unshift(summarise({ name: 'reference', clients, ...where }, references, [1]));
    for (const row of rows) say(line(row));
    results.push(...rows);
  }
  return results;
}

const stop = async ({ children }: Servers) => void (await Promise.all(children.map((child) => child.stop())));

async function restart(running: Servers, start: () => Promise<Servers>): Promise<Servers> {
  await stop(running);
  return start();
}

async function timed<T>(work: () => Promise<T>): Promise<{ value: T; seconds: number }> {
  const start = performance.now();
  const value = await work();
  return { value, seconds: (performance.now() - start) / 1000 };
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

let options: Options | null = null;
try {
  options = readOptions(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n\n${usage}\n`);
  process.exitCode = 2;
}
if (options !== null) await main(options);
