/**
 * A reporter for node's test runner that runs inside the process of one test file and tells the process that
 * started it what goes on there (test-file.ts). It prints nothing: what people read is the `spec` reporter's.
 */
import { readFileSync } from 'node:fs';

export interface Counts {
  tests: number;
  passed: number;
  failed: number;
  cancelled: number;
  skipped: number;
  todo: number;
}

export type Progress =
  | { kind: 'began' | 'ended'; test: string }
  | { kind: 'waiting'; what: string }
  | { kind: 'skipped'; test: string; why: string }
  | { kind: 'summary'; counts: Counts; cpuSeconds: number };

interface TestEvent {
  type: string;
  // biome-ignore lint/suspicious/noExplicitAny: node's events differ in their data; each member is looked at below
  data: any;
}

/**
 * CPU seconds of this process and of its children that have ended (proc(5): utime, stime, cutime, cstime in
 * ticks of 10 ms); its own alone where there is no /proc.
 */
function cpuSeconds(): number {
  try {
    const afterName = readFileSync('/proc/self/stat', 'utf8').split(') ').at(-1)!.split(' ');
    return afterName.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
  } catch {
    const { userCPUTime, systemCPUTime } = process.resourceUsage();
    return (userCPUTime + systemCPUTime) / 1e6;
  }
}

function tell(progress: Progress): void {
  // Whoever is told may be gone already: what follows from that is done below.
  if (process.connected) process.send?.(progress, undefined, undefined, () => {});
}

// Whoever started this process is gone, and nobody will end what it has started.
process.once('disconnect', () => process.kill(-process.pid, 'SIGKILL'));
process.channel?.unref();
// Its broken pipe may be noticed before that, and end this process alone.
const starter = process.ppid;
process.once('exit', () => {
  if (process.ppid !== starter) process.kill(-process.pid, 'SIGKILL');
});

// biome-ignore lint/correctness/useYield: a reporter is a generator of what it prints
export default async function* progress(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const { type, data } of events) {
    const test = `${data?.name} (line ${data?.line})`;
    if (type === 'test:dequeue') tell({ kind: 'began', test });
    if (type === 'test:complete') tell({ kind: 'ended', test });
    if (type === 'test:pass' && data.skip !== undefined && data.skip !== false) {
      tell({ kind: 'skipped', test: data.name, why: String(data.skip) });
    }
    if (type === 'test:summary') tell({ kind: 'summary', counts: data.counts, cpuSeconds: cpuSeconds() });
  }
}
