/**
 * A reporter for node's test runner that runs inside the process of one test file and tells the process that
 * started it what goes on there (test-file.ts). It prints nothing: what people read is the `spec` reporter's.
 */
import { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

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
  /** `why` is the first line of its error. */
  | { kind: 'failed'; test: string; why: string }
  | { kind: 'summary'; counts: Counts; cpuSeconds: number }
  /** One file of several in a process (together.ts) is over. */
  | { kind: 'over'; file: string; counts: Counts; cpuSeconds: number; error: string | null }
  /** What it left in the process. */
  | { kind: 'left'; file: string; what: string[] };

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

export function tell(progress: Progress, told: () => void = () => {}): void {
  // Whoever is told may be gone already: what follows from that is done below.
  if (process.connected) process.send?.(progress, undefined, undefined, told);
  else told();
}

/** Emits the name of a file of several when its outcome has been told. */
export const over = new EventEmitter();

// Whoever started this process is gone, and nobody will end what it has started.
process.once('disconnect', () => process.kill(-process.pid, 'SIGKILL'));
process.channel?.unref();
// Its broken pipe may be noticed before that, and end this process alone.
const starter = process.ppid;
process.once('exit', () => {
  if (process.ppid !== starter) process.kill(-process.pid, 'SIGKILL');
});

const none = (): Counts => ({ tests: 0, passed: 0, failed: 0, cancelled: 0, skipped: 0, todo: 0 });

/** Of several files in a process, which counts are whose: each is a suite of the first level. */
function countParts(): (type: string, data: TestEvent['data']) => void {
  let counts = none();
  let spent = 0;
  return (type, data) => {
    const isSuite = data.details?.type === 'suite';
    if (!isSuite) {
      counts.tests += 1;
      if (data.skip !== undefined && data.skip !== false) counts.skipped += 1;
      else if (data.todo !== undefined && data.todo !== false) counts.todo += 1;
      else if (type === 'test:pass') counts.passed += 1;
      else if (/^(cancelledByParent|testAborted|testTimeoutFailure)$/.test(data.details?.error?.failureType))
        counts.cancelled += 1;
      else counts.failed += 1;
    }
    if (data.nesting !== 0) return;
    const all = cpuSeconds();
    const error = type === 'test:fail' ? String(data.details?.error?.cause?.stack ?? data.details?.error) : null;
    const file = data.name;
    tell({ kind: 'over', file, counts, cpuSeconds: all - spent, error }, () => over.emit(file));
    [counts, spent] = [none(), all];
  };
}
const several = process.argv[1] === join(import.meta.dirname, 'together.ts');

export default async function* progress(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const count = several ? countParts() : () => {};
  for await (const { type, data } of events) {
    const test = `${data?.name} (line ${data?.line})`;
    if (type === 'test:dequeue') tell({ kind: 'began', test });
    if (type === 'test:complete') tell({ kind: 'ended', test });
    if (type === 'test:pass' && data.skip !== undefined && data.skip !== false) {
      tell({ kind: 'skipped', test: data.name, why: String(data.skip) });
    }
    // A suite fails with its tests: they are named.
    if (type === 'test:fail' && data.details?.error?.failureType !== 'subtestsFailed') {
      const { cause } = data.details?.error ?? {};
      const why = String(cause?.message ?? cause ?? data.details?.error).split('\n', 1)[0]!;
      tell({ kind: 'failed', test, why });
    }
    if (type === 'test:pass' || type === 'test:fail') count(type, data);
    if (type === 'test:summary') tell({ kind: 'summary', counts: data.counts, cpuSeconds: cpuSeconds() });
  }
}
