/** Calls of one MCP server, by itself and behind the guard, beside a broker of this machine. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { startChild } from '../child.ts';
import type { Backend } from '../options.ts';
import { makePlace, startBrokers } from '../servers.ts';

export interface Latencies {
  p50_ms: number;
  p99_ms: number;
}

export interface GuardRow {
  name: 'guarded-call';
  backend: Backend;
  calls: number;
  /** Between an answer and the next call. */
  pause_ms: number;
  unguarded: Latencies;
  guarded: Latencies;
  /** Of the guarded call over the other, percentile by percentile. */
  added: Latencies;
}

const writ = join(import.meta.dirname, '../../../client/cli/writ.ts');
const server = [process.execPath, '--disable-warning=ExperimentalWarning', join(import.meta.dirname, 'echo-server.ts')];
const rounds = 5;
/** Before it is measured: what has never run is compiled then. */
const warmUp = 50;

type Program = ChildProcessByStdio<Writable, Readable, null>;

/**
 * One row for each pause.
 * @param calls of each kind in a row, in all
 */
export async function* measureCalls(
  backend: Backend,
  calls: number,
  pauses: readonly number[],
): AsyncGenerator<GuardRow> {
  const cleanUp: (() => Promise<unknown>)[] = [];
  try {
    const sandbox = await startChild('sandbox-process.ts', {});
    cleanUp.push(() => sandbox.stop());
    const place = await makePlace(backend);
    cleanUp.push(() => place.remove());
    const broker = await startBrokers(await sandbox.ask<Record<string, string>>('env'), place, 1, 'calls');
    cleanUp.push(() => Promise.all(broker.children.map((child) => child.stop())));
    const folder = await mkdtemp(join(tmpdir(), 'writ-bench-guard-'));
    cleanUp.push(() => rm(folder, { recursive: true }));
    const [token] = await sandbox.ask<string[]>('tokens', 1);
    await writeFile(join(folder, 'token'), token!, { mode: 0o600 });

    const env = { PATH: process.env.PATH ?? '', NODE_NO_WARNINGS: '1', WRIT_STATE_DIR: folder };
    const identity = { WRIT_URL: broker.urls[0]!, WRIT_SUBJECT_TOKEN_FILE: join(folder, 'token') };
    const opening = ['--task-type', 'answer-invoice-question', '--input', 'customer_id=1'];
    const session = start([process.execPath, writ, 'session', 'open', ...opening], { ...env, ...identity });
    cleanUp.push(() => ended(session));
    const [line] = await once(createInterface({ input: session.stdout }), 'line');
    const socket = /^export WRIT_SESSION_SOCKET='(.+)'$/.exec(String(line))?.[1];
    if (socket === undefined) throw new Error('no session was opened');

    const bare = await connect(start(server, env));
    cleanUp.push(() => ended(bare.program));
    const guarded = await connect(
      start([process.execPath, writ, 'guard', '--', ...server], { ...env, WRIT_SESSION_SOCKET: socket }),
    );
    cleanUp.push(() => ended(guarded.program));

    for (const client of [bare, guarded]) await timesOf(client, warmUp, 0);
    for (const pause of pauses) {
      const times = { bare: [] as number[], guarded: [] as number[] };
      for (let round = 0; round < rounds; round += 1) {
        times.bare.push(...(await timesOf(bare, Math.ceil(calls / rounds), pause)));
        times.guarded.push(...(await timesOf(guarded, Math.ceil(calls / rounds), pause)));
      }
      const [without, behind] = [latencies(times.bare), latencies(times.guarded)];
      yield {
        name: 'guarded-call',
        backend,
        calls: times.guarded.length,
        pause_ms: pause,
        unguarded: without,
        guarded: behind,
        added: { p50_ms: behind.p50_ms - without.p50_ms, p99_ms: behind.p99_ms - without.p99_ms },
      };
    }
  } finally {
    for (const undo of cleanUp.reverse()) await undo();
  }
}

function start([command, ...args]: readonly string[], env: Record<string, string>): Program {
  return spawn(command!, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
}

async function ended(program: Program): Promise<void> {
  if (program.exitCode !== null || program.signalCode !== null) return;
  const gone = once(program, 'close');
  program.kill('SIGTERM');
  await gone;
}

interface Client {
  program: Program;
  lines: Interface;
  id: number;
}

async function connect(program: Program): Promise<Client> {
  const client: Client = { program, lines: createInterface({ input: program.stdout }), id: 0 };
  const clientInfo = { name: 'bench', version: '1' };
  await ask(client, 'initialize', { protocolVersion: '2025-11-25', capabilities: {}, clientInfo });
  program.stdin.write('{"jsonrpc":"2.0","method":"notifications/initialized"}\n');
  await ask(client, 'tools/list', {});
  return client;
}

async function ask(client: Client, method: string, params: object): Promise<{ isError?: boolean }> {
  client.id += 1;
  const answered = once(client.lines, 'line');
  client.program.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', id: client.id, method, params })}\n`);
  const [line] = await answered;
  const { result, error } = JSON.parse(String(line));
  if (error !== undefined) throw new Error(`${method}: ${error.message}`);
  return result;
}

/** Milliseconds of each call. @throws Error when one is denied */
async function timesOf(client: Client, count: number, pause: number): Promise<number[]> {
  const times: number[] = [];
  for (let n = 0; n < count; n += 1) {
    if (pause > 0) await wait(pause);
    const at = performance.now();
    const result = await ask(client, 'tools/call', { name: 'read_invoice', arguments: { invoice: '2026-0042' } });
    times.push(performance.now() - at);
    if (result.isError === true) throw new Error(`a call was denied: ${JSON.stringify(result)}`);
  }
  return times;
}

function latencies(times: readonly number[]): Latencies {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  return { p50_ms: at(0.5), p99_ms: at(0.99) };
}
