/**
 * What is tried again every second and fails for hours must not fill the log: its failing is said once, each
 * new reason for it too, again every quarter of an hour, and once that it is over.
 */
import type { Clock } from './vocabulary.ts';

export interface Retried {
  /** @param about for the log; the failure itself is added as `err` */
  failed(name: string, error: unknown, about: object, message: string): void;
  works(name: string, about: object, message: string): void;
}

interface Episode {
  failures: number;
  reasons: Set<string>;
  saidAt: number;
}

const againMs = 900_000;
/** Messages may hold what differs each time. */
const mostReasons = 5;

export function createRetried(
  clock: Clock,
  log: { error(fields: object, message: string): void; info(fields: object, message: string): void },
): Retried {
  const failing = new Map<string, Episode>();
  return {
    failed: (name, error, about, message) => {
      const now = clock.now().getTime();
      const episode = failing.get(name) ?? { failures: 0, reasons: new Set(), saidAt: Number.NEGATIVE_INFINITY };
      failing.set(name, episode);
      episode.failures += 1;
      const { code, message: words } = (error ?? {}) as { code?: unknown; message?: unknown };
      const reason = `${String(code)} ${String(words)}`;
      const isNew = !episode.reasons.has(reason) && episode.reasons.size < mostReasons;
      if (!isNew && now - episode.saidAt < againMs) return;
      if (isNew) episode.reasons.add(reason);
      episode.saidAt = now;
      log.error({ err: error, ...about, ...(episode.failures === 1 ? {} : { failures: episode.failures }) }, message);
    },
    works: (name, about, message) => {
      const episode = failing.get(name);
      if (episode === undefined) return;
      failing.delete(name);
      log.info({ ...about, failures: episode.failures }, message);
    },
  };
}
