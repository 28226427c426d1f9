/**
 * One row: several short runs, each between two runs of the reference, so that what else this machine is
 * doing weighs on both alike.
 */
import { setTimeout as wait } from 'node:timers/promises';
import type { Child, Usage } from './child.ts';
import type { Load, LoadRequest, LoadResult } from './load-process.ts';
import type { Backend, RowName } from './options.ts';
import type { Bench, Scenario } from './scenarios.ts';

/** One line of the results; the names are those of the JSON file. */
export interface Result {
  name: RowName;
  backend: Backend;
  clients: number;
  processes: number;
  rps: number;
  p50_ms: number;
  p99_ms: number;
  /** Of the server's processes, per request. */
  cpu_ms: number;
  /** SQL round trips per request. */
  round_trips: number;
  /** Requests a second, as a share of what the reference reached right before and after. */
  reference_ratio: number;
}

interface Sample {
  rps: number;
  latencies: number[];
  cpuMs: number;
  trips: number;
}

/** Servers that do the same, and where they listen. */
export interface Servers {
  children: Child[];
  urls: string[];
}

/** Sends requests for some seconds and says what they cost the servers. */
export async function sample(
  load: Child,
  servers: Servers,
  what: { clients: number; seconds: number; requests: LoadRequest[]; status: number; settles: boolean },
): Promise<Sample> {
  const before = await usageOf(servers);
  const { clients, seconds, requests, status } = what;
  const order: Load = { urls: servers.urls, clients, seconds, requests, status, keep: false };
  const result = await load.ask<LoadResult>('drive', order);
  const after = what.settles ? await settled(servers) : await usageOf(servers);
  return {
    rps: result.count / result.seconds,
    latencies: result.latencies,
    cpuMs: (after.cpuMs - before.cpuMs) / result.count,
    trips: (after.trips - before.trips) / result.count,
  };
}

/** Measures a row in all its rounds. `reference` runs the reference once. */
export async function measure(
  bench: Bench & { broker: Servers },
  scenario: Scenario,
  how: { clients: number; seconds: number; rounds: number; expectedRps: number; reference: () => Promise<Sample> },
): Promise<{ samples: Sample[]; references: Sample[]; ratios: number[] }> {
  const { clients, seconds } = how;
  const samples: Sample[] = [];
  const ratios: number[] = [];
  let before = await how.reference();
  const references = [before];
  for (let round = 0; round < how.rounds; round += 1) {
    const enough = Math.ceil(how.expectedRps * seconds * 1.5) + clients;
    const requests = await scenario.prepare(bench, Math.min(scenario.most(clients), enough));
    const { status, settles } = scenario;
    const mine = await sample(bench.load, bench.broker, { clients, seconds, requests, status, settles });
    const after = await how.reference();
    samples.push(mine);
    references.push(after);
    ratios.push((2 * mine.rps) / (before.rps + after.rps));
    before = after;
  }
  return { samples, references, ratios };
}

/** Medians over the runs; the latencies of all runs together. */
export function summarise(
  row: Pick<Result, 'name' | 'backend' | 'clients' | 'processes'>,
  samples: Sample[],
  ratios: number[],
): Result {
  const latencies = samples.flatMap((one) => one.latencies).sort((a, b) => a - b);
  const at = (share: number) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0;
  return {
    ...row,
    rps: round(median(samples.map((one) => one.rps)), 1),
    p50_ms: round(at(0.5), 2),
    p99_ms: round(at(0.99), 2),
    cpu_ms: round(median(samples.map((one) => one.cpuMs)), 3),
    round_trips: round(median(samples.map((one) => one.trips)), 2),
    reference_ratio: round(median(ratios), 3),
  };
}

/** What the servers have used together. */
export async function usageOf({ children }: Servers): Promise<Usage> {
  const all = await Promise.all(children.map((child) => child.ask<Usage>('usage')));
  return {
    cpuMs: sum(all.map((one) => one.cpuMs)),
    peakRssMb: Math.max(...all.map((one) => one.peakRssMb)),
    trips: sum(all.map((one) => one.trips)),
  };
}

/** The same, once they have been idle for a moment: what a request set going is done. */
async function settled(servers: Servers): Promise<Usage> {
  let last = await usageOf(servers);
  for (let tries = 0; tries < 100; tries += 1) {
    await wait(100);
    const now = await usageOf(servers);
    if (now.trips === last.trips) return last;
    last = now;
  }
  return last;
}

const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
const round = (value: number, digits: number) => Number(value.toFixed(digits));

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
