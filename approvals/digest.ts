/**
 * Once a day each owner is told what was decided in their name. Rows of `approval_outbox` without a grant,
 * whose id is made of the day, the owner and the channel: whichever process writes them, and however often,
 * they are written once. `outbox.ts` delivers them.
 */

import { createHash } from 'node:crypto';
import { nameOfAsked } from '../broker/core/questions.ts';
import type { Clock } from '../broker/core/vocabulary.ts';
import type { Statement, Store } from '../broker/store/open.ts';
import type { Digest } from './contract.ts';
import { type Decided, loadDecided, type Period, totals } from './decided.ts';
import { noticeLinesMax } from './message-size.ts';
import { type Claim, line } from './notices.ts';

const dayMs = 86_400_000;

/** The day that ended last, at that minute of the day by UTC. */
export function lastDay(minuteOfDay: number, now: Date): Period {
  const offset = minuteOfDay * 60_000;
  const until = Math.floor((now.getTime() - offset) / dayMs) * dayMs + offset;
  return { from: new Date(until - dayMs), until: new Date(until) };
}

/** As the row keeps it. */
export interface DigestRecord extends Decided {
  /** ISO 8601. */
  from: string;
  until: string;
}

const writeStatement: Statement = {
  name: 'outbox_digests',
  text: `
    INSERT INTO approval_outbox (id, digest, channel, kind, created_at, due_at)
    SELECT d.id, d.digest, d.channel, 'digest', $2::timestamptz, $2::timestamptz
    FROM jsonb_to_recordset($1::jsonb) AS d (id text, channel text, digest jsonb)
    ON CONFLICT (id) DO NOTHING`,
};

/** The same in every process, and at every try. */
const digestId = (owner: string, channel: string, until: Date): string =>
  `dig_${createHash('sha256')
    .update(JSON.stringify([owner, channel, until.toISOString()]))
    .digest('hex')
    .slice(0, 40)}`;

/**
 * Writes the digests of a day, one for each owner and channel. Writing them again changes nothing.
 * @returns of how many owners something was decided
 */
export async function writeDigests(store: Store, channels: readonly string[], day: Period, now: Date): Promise<number> {
  const decided = await loadDecided(store, day);
  const rows = decided.flatMap((one) => {
    const digest: DigestRecord = { ...one, from: day.from.toISOString(), until: day.until.toISOString() };
    return channels.map((channel) => ({ id: digestId(one.owner, channel, day.until), channel, digest }));
  });
  if (rows.length > 0) await store.run(writeStatement, [JSON.stringify(rows), now]);
  return decided.length;
}

/**
 * Sees to it that the last day's digests are written; does nothing more until the next day. A process that
 * starts looks once.
 */
export function digestWriter(
  store: Store,
  clock: Clock,
  { minuteOfDay, channels }: { minuteOfDay: number; channels: readonly string[] },
): () => Promise<void> {
  let written = Number.NEGATIVE_INFINITY;
  return async () => {
    const now = clock.now();
    const day = lastDay(minuteOfDay, now);
    if (day.until.getTime() <= written) return;
    await writeDigests(store, channels, day, now);
    written = day.until.getTime();
  };
}

export interface ClaimedDigest extends Claim {
  digest: DigestRecord;
}

/** A digest's capabilities and people are its readers' and the manifests' words; all of it is plain text. */
export function digestOf({ publicUrl }: { publicUrl: string }, { id, attempts, digest }: ClaimedDigest): Digest {
  const until = new Date(digest.until);
  return {
    id,
    kind: 'digest',
    attempt: attempts,
    owner: line(digest.owner),
    recipients: [digest.owner],
    url: `${publicUrl}/approvals/team?until=${encodeURIComponent(until.toISOString())}`,
    from: new Date(digest.from),
    until,
    totals: totals(digest.counts),
    lines: capped(capabilityLines(digest)),
    people: capped(digest.people.map(inWords)),
    hasty: digest.people.reduce((sum, { hasty }) => sum + hasty, 0),
  };
}

function capabilityLines({ counts }: Decided): string[] {
  const groups = Map.groupBy(counts, ({ agent, capability }) => `${agent}: ${nameOfAsked(capability)}`);
  return [...groups].map(
    ([name, of]) =>
      `${name}: ${of.map(({ result, count }) => `${count} ${result === 'ahead' ? 'approved ahead of time' : result}`).join(', ')}`,
  );
}

const inWords = ({ name, approved, denied, hasty }: Decided['people'][number]): string =>
  `${name.replace(/^user:/, '')}: ${approved} approved${hasty > 0 ? ` (${hasty} of them faster than a person can read)` : ''}, ${denied} denied`;

function capped(all: readonly string[]): string[] {
  const kept = all.slice(0, noticeLinesMax).map(line);
  return kept.length === all.length ? kept : [...kept, `and ${all.length - kept.length} more: see the page`];
}
