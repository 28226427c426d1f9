/**
 * Something that helps and must not hurt: Redis, a chat, a log's reader. When it fails it is tried again with
 * growing pauses, its failing is said once and its return once, and what is lost meanwhile is counted.
 */

import { Counter, Gauge, type Registry } from 'prom-client';
import { backoffMs } from './backoff.ts';
import type { Clock } from './vocabulary.ts';

export interface SideChannelDeps {
  log: { warn(fields: object, message: string): void; info(fields: object, message: string): void };
  metrics: SideChannelMetrics;
  /** Jitter, 0 to 1. */
  random(): number;
  /** Where it is given: what is back and fails again within a minute fails on and off, which is said once. */
  clock?: Clock;
}

/** So long without a failure, and it works. */
const steadyMs = 60_000;

export type SideChannelMetrics = ReturnType<typeof createSideChannelMetrics>;

export function createSideChannelMetrics(registry: Registry) {
  const shared = { labelNames: ['channel'] as const, registers: [registry] };
  return {
    failures: new Counter({
      name: 'writ_side_channel_failures_total',
      help: 'Failures of what only helps.',
      ...shared,
    }),
    dropped: new Counter({
      name: 'writ_side_channel_dropped_total',
      help: 'Messages that what only helps did not take; nothing depends on them.',
      ...shared,
    }),
    failing: new Gauge({
      name: 'writ_side_channel_failing',
      help: '1 while what only helps fails: it is tried again with growing pauses.',
      ...shared,
    }),
  };
}

export interface SideChannel {
  /**
   * Says so when it is the first failure of an episode.
   * @param about for the log: a code, never a message that may quote a secret
   * @returns how long to leave it alone, in ms
   */
  failed(about: object): number;
  /** Ends the episode. */
  works(): void;
  dropped(count: number): void;
}

export function createSideChannel(name: string, consequence: string, deps: SideChannelDeps): SideChannel {
  const { log, metrics, random } = deps;
  const labels = { channel: name };
  let failures = 0;
  let lost = 0;
  /** When it was back last, after how many failures. */
  let back = { at: Number.NEGATIVE_INFINITY, failures: 0 };
  let onAndOff = false;
  const now = () => deps.clock?.now().getTime() ?? Number.POSITIVE_INFINITY;
  metrics.failing.set(labels, 0);
  const say = (about: object, what: string) =>
    log.warn(
      { channel: name, ...about },
      `${name} ${what}: ${consequence}. It is tried again with growing pauses; this is said once`,
    );
  const sayBack = () => {
    log.info({ channel: name, failures: back.failures, dropped: lost }, `${name} works again`);
    lost = 0;
    onAndOff = false;
  };
  return {
    failed: (about) => {
      const again = failures === 0 && now() - back.at < steadyMs;
      failures = again ? back.failures + 1 : failures + 1;
      metrics.failures.inc(labels);
      metrics.failing.set(labels, 1);
      if (again && !onAndOff) say(about, 'fails on and off');
      else if (!again && failures === 1) {
        onAndOff = false;
        say(about, 'fails');
      }
      onAndOff ||= again;
      return backoffMs(failures, random());
    },
    works: () => {
      if (failures === 0) {
        if (onAndOff && now() - back.at >= steadyMs) sayBack();
        return;
      }
      back = { at: now(), failures };
      failures = 0;
      metrics.failing.set(labels, 0);
      if (!onAndOff) sayBack();
    },
    dropped: (count) => {
      lost += count;
      metrics.dropped.inc(labels, count);
    },
  };
}
