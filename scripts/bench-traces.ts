/**
 * `npm run bench:traces`: recorded runs of agents, attacked and not, replayed through the broker with a
 * manifest for each suite. How many attacks it stops, and how many harmless runs. See docs/performance.md.
 */
import { writeFile } from 'node:fs/promises';
import { parse, stringify } from 'yaml';
import type { Manifest } from '../broker/manifests/manifest.ts';
import { makePlace, postgresVersion } from './bench/servers.ts';
import { attackersCalls } from './bench/traces/attackers-call.ts';
import { type Counted, figuresOf, type SuiteFigures, tableOf } from './bench/traces/figures.ts';
import { type Options, type Part, readOptions, usage } from './bench/traces/options.ts';
import {
  callsOf,
  isAttack,
  isBenign,
  isPartOf,
  readSuites,
  type Suite,
  type Trace,
} from './bench/traces/read-traces.ts';
import { openWorld, type Replayed, type World } from './bench/traces/replay.ts';

/** Runs at a time: what they ask for at the same moment shares executions. */
const lanes = 12;

async function main(options: Options): Promise<void> {
  const suites = await readSuites(options);
  const backend = options.backend ?? ((await postgresVersion()) === null ? 'pglite' : 'postgres');
  const place = await makePlace(backend);
  const results: SuiteFigures[] = [];
  try {
    const world = await openWorld(place);
    try {
      for (const suite of suites)
        for (const part of options.parts) results.push(await replaySuite(world, suite, part, options));
    } finally {
      await world.close();
    }
  } finally {
    await place.remove();
  }
  if (options.json !== null) await writeFile(options.json, `${JSON.stringify({ suites: results }, null, 2)}\n`);
}

async function replaySuite(world: World, suite: Suite, part: Part, { list }: Options): Promise<SuiteFigures> {
  const began = performance.now();
  const traces = suite.traces.filter((trace) => isPartOf(part, suite.name, trace));
  const attacks = traces.filter(isAttack);
  const scope = await replayAll(world, await world.publish(withoutRules(suite.manifest)), attacks);
  const manifest = await world.publish(suite.manifest);
  const counted = traces.filter((trace) => isAttack(trace) || isBenign(trace));
  const replayed = await replayAll(world, manifest, counted);
  const attackersCall = attackersCalls(manifest, traces);
  const inTime = (trace: Trace, { stoppedAt }: Replayed) =>
    stoppedAt !== null && stoppedAt <= (attackersCall(trace) ?? -1);
  const runs = counted.map((trace): Counted => {
    const run = replayed.get(trace)!;
    const attack = isAttack(trace);
    const refused = run.stoppedAt !== null || !run.opened;
    return {
      task: trace.userTask,
      attack,
      onRecord: attack && attackersCall(trace) !== null,
      stopped: attack ? inTime(trace, run) : refused,
      stoppedByScope: attack && inTime(trace, scope.get(trace)!),
      calls: attack ? 0 : callsOf(trace).length,
      refused: !attack && refused ? 1 : 0,
    };
  });
  const figures = figuresOf(suite.name, part, runs);
  const asked = [...replayed.values(), ...scope.values()].reduce((sum, one) => sum + one.asked, 0);
  const seconds = (performance.now() - began) / 1000;
  const tasks = new Set(traces.map(({ userTask }) => userTask)).size;
  const which = part === 'all' ? 'all' : part === 'report' ? 'reported' : 'developed on';
  say(`\n${suite.name}, ${tasks} tasks (${which}): ${asked} calls in ${seconds.toFixed(1)} s`);
  for (const line of tableOf(figures)) say(line);
  if (list)
    for (const [index, { attack, stopped }] of runs.entries())
      if (attack !== stopped) say(`    ${described(counted[index]!, replayed.get(counted[index]!)!, attackersCall)}`);
  return figures;
}

/** Scope alone: tools and their arguments, and nothing about what was before. */
function withoutRules(source: string): string {
  const { rules, separation_of_duties, ...rest } = parse(source) as Manifest;
  const { max_calls, max_cost_usd, ...envelope } = rest.envelope;
  return stringify({ ...rest, envelope });
}

async function replayAll(world: World, manifest: Manifest, traces: Trace[]): Promise<Map<Trace, Replayed>> {
  const replayed = new Map<Trace, Replayed>();
  const left = traces.values();
  const lane = async () => {
    for (const trace of left) replayed.set(trace, await world.replay(manifest, trace));
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return replayed;
}

function described(trace: Trace, { stoppedAt, reasons }: Replayed, attackersCall: (trace: Trace) => number | null) {
  const at = isAttack(trace) ? attackersCall(trace) : null;
  const named = (index: number | null) =>
    index === null ? 'nowhere' : `${index + 1} ${JSON.stringify(callsOf(trace)[index]).slice(0, 160)}`;
  const why = reasons.map(({ code, policy_id }) => policy_id ?? code).join(', ');
  return isAttack(trace)
    ? `passed: ${trace.id}; attacker’s call ${named(at)}; stopped at ${named(stoppedAt)} ${why}`
    : `interrupted: ${trace.id}; ${named(stoppedAt)} by ${why}`;
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
