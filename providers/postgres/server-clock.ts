/** The server's own time, learnt from every connection: roles and scopes end by it. */
import type { Clock, ProviderClock } from '../contract.ts';

/** A measurement serves so long. */
const freshMs = 5 * 60_000;

export interface ServerClock extends ProviderClock {
  /** Notes what the server called now, asked at `askedAt` by our clock. */
  observe(serverNow: Date, askedAt: Date): void;
  /** The moment of the server's time, by our clock. */
  byOurs(serverTime: Date): Date;
}

/** @param ask asks the server for its time, and has it observed */
export function serverClock(clock: Clock, ask: (signal: AbortSignal) => Promise<void>): ServerClock {
  let measured: { skewMs: number; at: number } | null = null;
  return {
    observe: (serverNow, askedAt) => {
      const answered = clock.now().getTime();
      const [least, most] = [serverNow.getTime() - answered, serverNow.getTime() - askedAt.getTime()];
      const skewMs = least <= 0 && most >= 0 ? 0 : Math.round((least + most) / 2);
      measured = { skewMs, at: answered };
    },
    byOurs: (serverTime) => new Date(serverTime.getTime() - (measured?.skewMs ?? 0)),
    skewMs: () => measured?.skewMs ?? null,
    askNow: async (signal) => {
      const age = measured === null ? Number.POSITIVE_INFINITY : Math.abs(clock.now().getTime() - measured.at);
      if (age > freshMs) await ask(signal);
      return new Date(clock.now().getTime() + (measured?.skewMs ?? 0));
    },
  };
}
