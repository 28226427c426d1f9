/**
 * Runs the jobs that make sure of everything. They read due rows and act on them; whatever makes things
 * prompt (notifications, BullMQ jobs) only runs them sooner. Any number of workers may run at once: rows are
 * claimed with FOR UPDATE SKIP LOCKED.
 */
import type { Provider } from '../../providers/contract.ts';
import { createRetried, type Retried } from '../core/retried.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Job, JobDeps, ProviderJob, SystemJob } from './job.ts';
import { type Loop, startLoop } from './loop.ts';

export interface ReconcilerDeps extends Omit<JobDeps, 'wakeProviders'> {
  jobs: readonly Job[];
  /**
   * Is the clock right enough to work by? While it is not, only what measures runs. Never rejects. Default:
   * it always is.
   */
  mayWork?(): Promise<boolean>;
}

export interface Reconciler {
  /** Runs the prompt jobs at once: something was written that is due now. */
  notify(): void;
  /** Resolves when every loop has finished what it was doing. */
  stop(): Promise<void>;
}

/**
 * Starts the loops and runs them until stopped: one for the system's jobs, and one for each provider's, so
 * that a provider that hangs delays nobody else's leases. Every loop does all its jobs every `seconds`, and
 * its prompt jobs whenever it is notified.
 */
export function startReconciler(deps: ReconcilerDeps, clock: Clock, seconds: number): Reconciler {
  const providerJobs = deps.jobs.filter((job) => job.scope === 'provider');
  const systemJobs = deps.jobs.filter((job) => job.scope === 'system');
  const loops: Loop[] = [];
  const wake = () => {
    for (const loop of loops) loop.notify();
  };
  const jobDeps: Running = { ...deps, wakeProviders: wake, retried: createRetried(deps.clock, deps.log) };
  for (const provider of deps.providers.values()) {
    loops.push(
      startLoop(
        clock,
        seconds,
        (tick) => runForProvider(deps, jobDeps, provider, providerJobs.filter(dueOn(tick))),
        () => runForProvider(deps, jobDeps, provider, providerJobs.filter(isPrompt)),
      ),
    );
  }
  const system = startLoop(
    clock,
    seconds,
    (tick) => runSystem(deps, jobDeps, systemJobs.filter(dueOn(tick))),
    () => runSystem(deps, jobDeps, systemJobs.filter(isPrompt)),
  );
  return {
    notify: () => {
      wake();
      if (systemJobs.some(isPrompt)) system.notify();
    },
    stop: async () => {
      await Promise.all([system, ...loops].map((loop) => loop.stop()));
    },
  };
}

/**
 * Runs every job once, however seldom it is due: what needs no provider, then all providers at once, then
 * what measures the rest.
 */
export async function reconcileOnce(deps: ReconcilerDeps): Promise<void> {
  const jobDeps: Running = { ...deps, wakeProviders: () => {}, retried: createRetried(deps.clock, deps.log) };
  const systemJobs = deps.jobs.filter((job) => job.scope === 'system');
  const providerJobs = deps.jobs.filter((job) => job.scope === 'provider');
  await runSystem(
    deps,
    jobDeps,
    systemJobs.filter((job) => job.measures !== true),
  );
  await Promise.all(
    [...deps.providers.values()].map((provider) => runForProvider(deps, jobDeps, provider, providerJobs)),
  );
  await runSystem(
    deps,
    jobDeps,
    systemJobs.filter((job) => job.measures === true),
  );
}

const isPrompt = (job: Job): boolean => job.prompt === true;
const dueOn =
  (tick: number) =>
  (job: Job): boolean =>
    tick % (job.everyTicks ?? 1) === 0;

type Gate = Pick<ReconcilerDeps, 'mayWork'>;
type Running = JobDeps & { retried: Retried };

async function runSystem(gate: Gate, deps: Running, jobs: readonly SystemJob[]): Promise<void> {
  const working = gate.mayWork === undefined || (await gate.mayWork());
  for (const job of jobs)
    if (working || job.measures === true) await runJob(deps, job.name, (now) => job.run(deps, now));
}

async function runForProvider(
  gate: Gate,
  deps: Running,
  provider: Provider,
  jobs: readonly ProviderJob[],
): Promise<void> {
  if (gate.mayWork !== undefined && !(await gate.mayWork())) return;
  for (const job of jobs) await runJob(deps, `${job.name} ${provider.name}`, (now) => job.run(deps, now, provider));
}

/** A job that fails is logged by its name, and does not keep the others from being done. */
async function runJob(deps: Running, name: string, run: (now: Date) => Promise<unknown>): Promise<void> {
  try {
    await run(deps.clock.now());
    deps.retried.works(name, { job: name }, 'worker job works again');
  } catch (error) {
    deps.retried.failed(name, error, { job: name }, 'worker job failed; it will be tried again, and this is said once');
  }
}
