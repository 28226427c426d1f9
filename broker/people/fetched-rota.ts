/**
 * Rotas from a server (WRIT_ONCALL_URL): whoever it says is on call, is.
 *
 * - Asked at most once a minute, by the first who wants to know; everybody waits for the same answer.
 * - Five seconds, 64 KiB, no redirect, and the whole answer must have the shape: of one that has not, nothing
 *   counts.
 * - When it cannot be read, the last good answer counts until it is too old; then nobody is on call. It is
 *   asked again after ten seconds, or after as long as it asks for.
 */
import { z } from 'zod';
import { getJson, type JsonPlace } from '../core/get-json.ts';
import { isRotaName } from '../core/identifier.ts';
import { pauseAfter } from '../core/retry-after.ts';
import type { SideChannel } from '../core/side-channel.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { OnCall } from './on-call.ts';
import { onCallPerson } from './weekly-rota.ts';

const freshMs = 60_000;
const pauseMs = 10_000;
/** What it asks for is believed so far. */
const longestPauseMs = 300_000;
const timeoutMs = 5_000;
const maxBytes = 65_536;

const answerSchema = z.strictObject({
  on_call: z
    .record(z.string().refine(isRotaName), z.array(onCallPerson).max(20))
    .refine((rotas) => Object.keys(rotas).length <= 200),
});

export interface FetchedRotaDeps {
  clock: Clock;
  place: Omit<JsonPlace, 'maxBytes'>;
  /** For so long the last good answer counts. */
  staleSeconds: number;
  channel: SideChannel;
}

export function fetchedOnCall({ clock, place, staleSeconds, channel }: FetchedRotaDeps): OnCall {
  let rotas: ReadonlyMap<string, readonly string[]> = new Map();
  let fetchedAt = Number.NEGATIVE_INFINITY;
  let triedAt = Number.NEGATIVE_INFINITY;
  let leftAloneMs = pauseMs;
  let inFlight: Promise<void> | null = null;

  const refresh = async () => {
    // From before the question on: an answer is no younger than what it was made from.
    const asked = clock.now().getTime();
    try {
      const answer = answerSchema.parse(await withTimeout(clock, (signal) => getJson({ ...place, maxBytes }, signal)));
      rotas = new Map(Object.entries(answer.on_call));
      fetchedAt = asked;
      leftAloneMs = pauseMs;
      channel.works();
    } catch (error) {
      // What it answered is not quoted: it may be anything.
      const kind = error instanceof z.ZodError ? 'wrong shape' : error instanceof Error ? error.message : 'failed';
      leftAloneMs = pauseAfter(error, pauseMs, longestPauseMs);
      channel.failed({ kind });
    } finally {
      triedAt = clock.now().getTime();
    }
  };

  return {
    peopleOn: async (rota) => {
      const now = () => clock.now().getTime();
      if (now() - fetchedAt >= freshMs && (inFlight !== null || now() - triedAt >= leftAloneMs)) {
        inFlight ??= refresh().finally(() => {
          inFlight = null;
        });
        await inFlight;
      }
      return now() - fetchedAt < staleSeconds * 1000 ? (rotas.get(rota) ?? []) : [];
    },
  };
}

async function withTimeout<T>(clock: Clock, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const done = new AbortController();
  clock.sleep(timeoutMs, done.signal).then(
    () => stop.abort(new Error('no answer in time')),
    () => {}, // it ended first
  );
  try {
    return await work(stop.signal);
  } finally {
    done.abort();
  }
}
