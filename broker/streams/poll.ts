/** What the receiver of a stream gets when it polls (RFC 8936). */
import type { EventStream } from '../core/event-stream.ts';
import type { Poll } from '../core/long-poller.ts';
import type { KeyRing } from '../keys/ring.ts';
import type { Statement, Store } from '../store/open.ts';
import { readReceiverError } from './receiver-words.ts';
import { signSet } from './sign-set.ts';
import { namedEvents, nextEvents, type ReadDeps, type Settled, settleEvents } from './stored-events.ts';

export interface PollDeps extends ReadDeps {
  ring: KeyRing;
}

/** In one answer, whatever the receiver asks for. */
const mostSets = 100;

/**
 * Takes what the receiver says of events that it has: taken, or refused. Of others nothing is known here any
 * more, and nothing is said. A refusal of no form that the standard knows is one all the same.
 */
export async function acknowledge(
  deps: PollDeps,
  stream: EventStream,
  { ack, setErrs }: { ack: readonly string[]; setErrs: { readonly [jti: string]: unknown } },
  now: Date,
): Promise<void> {
  const names = [...new Set([...ack, ...Object.keys(setErrs)])];
  const settled = (await namedEvents(deps, stream, now, names)).map((event): Settled => {
    if (!Object.hasOwn(setErrs, event.jti)) return { event, refused: null };
    return { event, refused: readReceiverError(setErrs[event.jti]) ?? { err: 'unknown', description: '' } };
  });
  await settleEvents(deps, stream, settled, { via: 'poll', actor: `receiver ${stream.name}`, now });
}

/** The next events, signed. They come again until they are acknowledged. */
export async function nextSets(
  deps: PollDeps,
  stream: EventStream,
  now: Date,
  most: number,
): Promise<{ sets: { [jti: string]: string }; moreAvailable: boolean }> {
  const limit = Math.min(most, mostSets);
  // One more says whether there is more.
  const { found, events } = await nextEvents(deps, stream, now, limit + 1);
  const given = events.slice(0, limit);
  const signed = await Promise.all(
    given.map(async (event) => [event.jti, await signSet(deps.ring, deps.issuer, stream, event)] as const),
  );
  return { sets: Object.fromEntries(signed), moreAvailable: found > given.length };
}

const waitingStatement: Statement = {
  name: 'stream_waiting',
  text: `
    SELECT name FROM unnest($1::text[]) AS name WHERE EXISTS (SELECT 1 FROM stream_event e WHERE e.stream = name)`,
};

/** For the long poller: which streams have something to tell. */
export const createWaiting =
  (store: Store): Poll =>
  async (names) =>
    (await store.run<{ name: string }>(waitingStatement, [names])).map(({ name }) => name);
