/**
 * What a step is: a statement that has committed a change, or an upstream's answer that has arrived. Seen
 * from outside the broker, so that production code has no hooks for tests. A process that dies right after a
 * step has done everything up to it and nothing of what follows.
 */
import { subscribe } from 'node:diagnostics_channel';
import type { Clock } from '../../broker/core/vocabulary.ts';
import type { Store } from '../../broker/store/open.ts';

/** Changes that return no row. */
const silent = new Set(['upstream_lock_drop', 'lease_pruned', 'lease_postpone']);
/** Reads: to die after one of them is to die after the step before. */
const looking = new Set([
  'session_facts',
  'session_overdue',
  'session_leases',
  'session_grants',
  'manifest_stale',
  'lease_standing',
  'lease_gauges',
  'lease_prune_due',
  'lease_prune_standing',
  'lease_natural_ends',
  'pool_any_due',
  'database_clock',
  'role_powers',
  'kill_next',
]);

/** Reports every step of the database, after its commit. */
export function watchStore(store: Store, step: (name: string) => void): Store {
  return {
    ...store,
    run: async (statement, values) => {
      const rows = await store.run<never>(statement, values);
      if (silent.has(statement.name) || (rows.length > 0 && !looking.has(statement.name))) step(statement.name);
      return rows;
    },
  };
}

/**
 * Reports every answer from upstream to what is not a mere read, before any code of ours sees it. Refusals
 * change nothing upstream and are no steps (the AWS SDK learns the time from one). Named by method and end of
 * the path, what is AWS by its service.
 */
export function watchUpstream(step: (name: string) => void): void {
  subscribe('undici:request:headers', (message) => {
    const { request, response } = message as {
      request: { method: string; path: string };
      response: { statusCode: number };
    };
    if (request.method !== 'GET' && response.statusCode < 400) step(nameOf(request.method, request.path, ''));
  });
  subscribe('http.client.response.finish', (message) => {
    const { request, response } = message as {
      request: { method: string; path: string; getHeader(name: string): unknown };
      response: { statusCode: number };
    };
    if (request.method !== 'GET' && response.statusCode < 400)
      step(nameOf(request.method, request.path, String(request.getHeader('authorization') ?? '')));
  });
}

function nameOf(method: string, path: string, authorization: string): string {
  const service = /Credential=[^/]+\/\d+\/[^/]+\/(\w+)\//.exec(authorization)?.[1];
  if (service !== undefined) return service;
  if (method === 'POST' && path === '/') return 'sts';
  return `${method} ${path.split(/[/:]/).at(-1)}`;
}

/**
 * The reconciler's loops, for whoever moves the clock. A clock that moves during a beat would run out the
 * provider's time, so it moves only while all of them sleep.
 */
export interface Beats {
  /** To be given to the broker: tells who sleeps. */
  clock: Clock;
  /**
   * Waits until every loop sleeps, and has gone to sleep at or after `since`: then it has done what was due.
   */
  asleep(since?: Date): Promise<void>;
}

/**
 * Seconds between two beats, by which the reconciler's sleep is told from every other: nothing else sleeps so
 * long.
 */
export const beatSeconds = 7;

/** One loop for the deployment, and one for each provider of the sandbox. */
const loops = 4;

export function watchBeats(clock: Clock): Beats {
  const sleeping = new Map<symbol, Date>();
  const resting = (since: Date) =>
    sleeping.size === loops && [...sleeping.values()].every((from) => from.getTime() >= since.getTime());
  return {
    clock: {
      now: () => clock.now(),
      sleep: async (ms, signal) => {
        const one = Symbol('sleep');
        if (ms === beatSeconds * 1000) sleeping.set(one, clock.now());
        try {
          await clock.sleep(ms, signal);
        } finally {
          sleeping.delete(one);
        }
      },
    },
    asleep: async (since = new Date(0)) => {
      // Twice in a row: a loop that was woken a moment ago has then left its sleep.
      for (let rests = 0; rests < 2; rests = resting(since) ? rests + 1 : 0) {
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    },
  };
}

const nextStatement = {
  name: 'kill_next',
  text: `
    SELECT min(at) AS next FROM (
      SELECT due_at AS at FROM lease UNION ALL SELECT prune_at FROM lease UNION ALL SELECT release_after FROM pool_slot
      UNION ALL SELECT LEAST(expires_at, heartbeat_deadline) FROM session WHERE status = 'active'
    ) moments`,
};

/** When the database next asks for something to be done; null = never. */
export async function nextMoment(store: Store): Promise<Date | null> {
  const [row] = await store.run<{ next: Date | null }>(nextStatement, []);
  return row?.next ?? null;
}
