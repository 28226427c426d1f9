/** Reports what a process is doing or waiting for, from outside, since it may be busy or hang. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';

/**
 * Flags under which node writes a diagnostic report into `folder` when it gets SIGUSR2, and lets its debugger
 * be opened by SIGUSR1.
 */
export const reportFlags = (folder: string) => [
  '--inspect-port=0',
  '--report-on-signal',
  '--report-compact',
  '--report-exclude-env',
  '--report-exclude-network',
  `--report-directory=${folder}`,
  `--report-filename=${reportName}`,
];

const reportName = 'writ-waiting-for.json';

interface Handle {
  type: string;
  is_active: boolean;
  is_referenced?: boolean;
  pid?: number;
  firesInMsFromNow?: number;
  localEndpoint?: { port?: number } | null;
  remoteEndpoint?: { host?: string; port?: number } | null;
}

interface Report {
  javascriptStack?: { stack?: string[] };
  libuv?: Handle[];
}

/**
 * @param pid a process that was started with `reportFlags(folder)`
 * @param printed what it has printed so far
 * @returns lines for people; says so when the process does not answer
 */
export async function waitingFor(pid: number, folder: string, printed: () => string): Promise<string[]> {
  const report = await askForReport(pid, folder);
  // A report is written between two turns of the event loop: who never ends a turn writes none.
  if (report === null)
    return (await stackOfBusy(pid, printed)) ?? ['does not answer: it is stopped, or busy outside of JavaScript'];
  const stack = (report.javascriptStack?.stack ?? []).filter((line) => line.includes('file:') || line.includes('/'));
  const handles = (report.libuv ?? []).filter((one) => one.is_active && one.is_referenced === true);
  const waits = handles.map(describe).filter((line) => line !== null);
  return [
    ...stack.slice(0, 8).map((line) => `runs ${line}`),
    ...waits.slice(0, 20).map((line) => `waits for ${line}`),
    ...(await childrenOf(pid)).map(({ line }) => line),
  ];
}

async function askForReport(pid: number, folder: string): Promise<Report | null> {
  try {
    process.kill(pid, 'SIGUSR2');
  } catch {
    return null;
  }
  for (let tries = 0; tries < 50; tries += 1) {
    await wait(100);
    try {
      return JSON.parse(await readFile(join(folder, reportName), 'utf8')) as Report;
    } catch {
      // Not written yet, or not whole.
    }
  }
  return null;
}

/** Pauses it by its debugger (opened by SIGUSR1, from a thread of its own) and reads where it is. */
async function stackOfBusy(pid: number, printed: () => string): Promise<string[] | null> {
  process.kill(pid, 'SIGUSR1');
  for (let tries = 0; tries < 50; tries += 1) {
    await wait(100);
    const url = /Debugger listening on (ws:\S+)/.exec(printed())?.[1];
    if (url !== undefined) return Promise.race([pausedAt(url), wait(5000, null, { ref: false })]);
  }
  return null;
}

interface CallFrame {
  functionName: string;
  location: { scriptId: string; lineNumber: number };
}

function pausedAt(url: string): Promise<string[]> {
  const socket = new WebSocket(url);
  socket.onopen = () => {
    socket.send('{"id":1,"method":"Debugger.enable"}');
    socket.send('{"id":2,"method":"Debugger.pause"}');
  };
  const scripts = new Map<string, string>();
  return new Promise((resolve) => {
    socket.onmessage = ({ data }) => {
      const { method, params } = JSON.parse(String(data)) as {
        method?: string;
        params: { callFrames: CallFrame[]; scriptId: string; url: string };
      };
      if (method === 'Debugger.scriptParsed') scripts.set(params.scriptId, params.url);
      if (method !== 'Debugger.paused') return;
      resolve(
        params.callFrames
          .slice(0, 8)
          .map(
            ({ functionName, location }) =>
              `is busy in ${functionName} (${scripts.get(location.scriptId)}:${location.lineNumber + 1})`,
          ),
      );
      socket.close();
    };
  });
}

function describe(handle: Handle): string | null {
  const { type, localEndpoint: local, remoteEndpoint: remote } = handle;
  if (type === 'tcp' && remote) return `a connection, port ${local?.port} to ${remote.host}:${remote.port}`;
  if (type === 'tcp') return `connections to its port ${local?.port}`;
  if (type === 'timer') return `a timer that fires in ${Math.round(handle.firesInMsFromNow ?? 0)} ms`;
  if (type === 'process') return `its child, process ${handle.pid}`;
  if (type === 'pipe') return 'a pipe';
  return null;
}

/** Every process of a group but its leader, and a line about it for people. */
export async function childrenOf(leader: number): Promise<{ pid: number; line: string }[]> {
  try {
    const { stdout } = await promisify(execFile)('ps', ['-eo', 'pgid=,pid=,stat=,args=']);
    return stdout
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter(([group, pid]) => Number(group) === leader && Number(pid) !== leader)
      .map(([, pid, state, ...args]) => ({
        pid: Number(pid),
        line: `has the child ${pid} (${state}): ${args.join(' ').slice(0, 120)}`,
      }));
  } catch {
    return [];
  }
}
