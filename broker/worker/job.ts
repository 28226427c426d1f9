/**
 * A job: one kind of due work, with a name that people read in the log. One file each in `jobs/`; which jobs
 * there are says the list in `compose/jobs.ts`. A job holds no SQL: it calls a function of the room that owns
 * the rows.
 */
import type { Provider } from '../../providers/contract.ts';
import type { EndDeps } from '../break-glass/end.ts';
import type { RevokeDeps } from '../leases/revoke.ts';
import type { Catalog } from '../manifests/catalog.ts';
import type { EndSessionDeps } from '../sessions/end-session.ts';

/** What any job may use. `notify` tells the workers of all processes that there is something to revoke. */
export interface JobDeps extends RevokeDeps, EndSessionDeps {
  catalog: Catalog;
  /** Who is told that a break-glass ended, and by when it must be reviewed. */
  breakGlass: Pick<EndDeps, 'noticeChannels' | 'alerts' | 'reviewSeconds'>;
  /** Wakes the provider loops of this process, for what a job has just found due. */
  wakeProviders(): void;
}

interface Schedule {
  /**
   * What the job does, as a verb and its object: `end overdue sessions`. A provider's name is appended for
   * each provider.
   */
  name: string;
  /** On every nth tick only, the first one included. Default 1. */
  everyTicks?: number;
  /** Also at once, whenever a notification comes. Default false. */
  prompt?: boolean;
}

/** Runs once a tick in the process's own loop, one job after another in the order of the list. */
export interface SystemJob extends Schedule {
  scope: 'system';
  /** It measures what the other jobs have left: a single run of everything does it last. Default false. */
  measures?: boolean;
  /**
   * @param now when the job began. Whatever it throws is logged under its name, and the job runs again at the
   * next tick.
   */
  run(deps: JobDeps, now: Date): Promise<unknown>;
}

/**
 * Runs once a tick for each provider, in that provider's own loop, so that one that hangs delays nobody else.
 */
export interface ProviderJob extends Schedule {
  scope: 'provider';
  run(deps: JobDeps, now: Date, provider: Provider): Promise<unknown>;
}

export type Job = SystemJob | ProviderJob;

/** How many rows a job takes in one step: what piles up is drained in bounded statements. */
export const stepSize = 200;
