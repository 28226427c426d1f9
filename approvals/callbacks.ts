/**
 * Tells the program that made an access request how it ended (AuthZEN's Access Request and Approval Profile,
 * "Callback Completion"). Where, is the reference of an outbox row of the grant with a proof of its own, and
 * the statement that settles the grant makes the notice of it, as of any channel. It is no channel of people:
 * it has a row for the grants that a callback was named for, and only those.
 *
 * What is posted tells that the task has a status, and gives nothing: the task itself is what counts.
 */
import { hash } from 'node:crypto';
import { SignJWT } from 'jose';
import { z } from 'zod';
import { WritError } from '../broker/core/errors.ts';
import { newId } from '../broker/core/ids.ts';
import { mayConnect, post } from '../broker/core/post.ts';
import type { RowProofs } from '../broker/core/proven-rows.ts';
import type { Clock } from '../broker/core/vocabulary.ts';
import type { KeyRing } from '../broker/keys/ring.ts';
import type { Statement, Store } from '../broker/store/open.ts';
import { type Channel, DeliveryError, type Notice } from './contract.ts';
import { callbackChannel } from './notices.ts';

export interface Callback {
  endpoint: string;
  /** Given back as it came. */
  state: string | null;
  /** Statuses that are told; null = all. */
  events: readonly string[] | null;
}

/** Where the deployment lets callbacks go. */
export interface CallbackRules {
  origins: readonly string[];
  /** Whether a name may lead to a private address. */
  anywhere: boolean;
}

/** Printable, and nothing that JSON escapes: a row's reference has room for it beside an escaped state. */
const plainAddress = /^[!#-[\]-~]{1,300}$/;

/** Whether callbacks may go there. Asked when one is named, and again when it is told. */
export function mayCall(endpoint: string, { origins, anywhere }: CallbackRules): boolean {
  if (!plainAddress.test(endpoint) || !URL.canParse(endpoint)) return false;
  const url = new URL(endpoint);
  return (
    origins.includes(url.origin) &&
    url.username === '' &&
    url.password === '' &&
    url.hash === '' &&
    mayConnect(endpoint, anywhere)
  );
}

// The grant's row is held, so that whoever settles it comes before or after. One who had begun before this
// was committed does not see it: run again, the statement writes what that one left out.
const nameStatement: Statement = {
  name: 'callback_name',
  text: `
    WITH asked AS MATERIALIZED (
      SELECT id, status FROM grants WHERE id = $1::text AND session_id = $2::text FOR UPDATE
    ), named AS (
      INSERT INTO approval_outbox (id, grant_id, channel, kind, created_at, delivered_at, attempts, reference)
      SELECT $3::text, asked.id, '${callbackChannel}', 'pending', $4::timestamptz, $4::timestamptz, 1, $5::text FROM asked
      ON CONFLICT (grant_id, channel, kind) DO NOTHING RETURNING grant_id, reference
    ), known AS (
      SELECT reference FROM named UNION ALL
      SELECT o.reference FROM approval_outbox o JOIN asked ON asked.id = o.grant_id WHERE o.channel = '${callbackChannel}' AND o.kind = 'pending'
    ), settled AS (
      INSERT INTO approval_outbox (id, grant_id, channel, kind, created_at, due_at)
      SELECT $3::text || '_settled', asked.id, '${callbackChannel}', 'settled', $4::timestamptz, $4::timestamptz
      FROM asked WHERE asked.status <> 'pending' AND EXISTS (SELECT 1 FROM known WHERE known.reference = $5::text)
      ON CONFLICT (grant_id, channel, kind) DO NOTHING
    )
    SELECT reference FROM known`,
};

/**
 * @throws WritError `idempotency_mismatch`: another callback was named for this task
 */
export async function nameCallback(
  { store, clock }: { store: Store; clock: Clock },
  sessionId: string,
  grantId: string,
  callback: Callback,
): Promise<void> {
  const now = clock.now();
  const reference = referenceOf(store.proofs, grantId, callback);
  const values = [grantId, sessionId, newId('ntc', now), now, reference];
  await store.run(nameStatement, values);
  const known = await store.run<{ reference: string | null }>(nameStatement, values);
  if (known.some((row) => row.reference !== reference)) throw new WritError('idempotency_mismatch');
}

function referenceOf(proofs: RowProofs, grantId: string, { endpoint, state, events }: Callback): string {
  const proof = proofs.make('approval_callback', { grant_id: grantId, endpoint, state, events });
  return JSON.stringify({ endpoint, state, events, proof });
}

const referenceSchema = z.object({
  endpoint: z.string(),
  state: z.string().nullable(),
  events: z.array(z.string()).nullable(),
  proof: z.string(),
});

/** @returns null unless a broker wrote it, for this grant */
function callbackIn(proofs: RowProofs, grantId: string, reference: string | null): Callback | null {
  if (reference === null) return null;
  try {
    const { proof, ...callback } = referenceSchema.parse(JSON.parse(reference));
    return proofs.holds('approval_callback', { grant_id: grantId, ...callback }, proof) ? callback : null;
  } catch {
    return null;
  }
}

export interface CallbackDeps {
  store: Store;
  clock: Clock;
  ring: KeyRing;
  issuer: string;
  rules: CallbackRules;
  /** The status of the task, as whoever polls reads it; null = there is none. */
  readStatus(grantId: string): Promise<string | null>;
  statusEndpoint(grantId: string): string;
}

/** A receiver has so long: others wait for their turn. */
const answerMs = 5_000;
/** And verifies so much later. */
const tokenSeconds = 300;

export function callbacks(deps: CallbackDeps): Channel {
  return {
    name: callbackChannel,
    deliver: async (message, signal) => {
      if (message.kind === 'settled') await tell(deps, message, signal);
      return null;
    },
  };
}

/** What is not to be told, or cannot be believed, counts as told: there is nothing to try again. */
async function tell(deps: CallbackDeps, notice: Notice, signal: AbortSignal): Promise<void> {
  const { store, rules } = deps;
  const { grantId } = notice;
  const reference = notice.earlier.find(({ kind }) => kind === 'pending')?.reference ?? null;
  const callback = callbackIn(store.proofs, grantId, reference);
  if (callback === null || !mayCall(callback.endpoint, rules)) return;
  const status = await deps.readStatus(grantId);
  if (status === null || status === 'pending' || callback.events?.includes(status) === false) return;
  const task = { id: grantId, status, status_endpoint: deps.statusEndpoint(grantId) };
  const body = JSON.stringify({ ...(callback.state === null ? {} : { state: callback.state }), task });
  // The same for the same status, whatever has become of an approval besides: a receiver takes each once.
  const id = notice.id.replace(`_${notice.outcome?.result}`, `_${status}`);
  const headers = {
    authorization: `Bearer ${await tokenFor(deps, callback.endpoint, id, body)}`,
    'content-type': 'application/json',
    'idempotency-key': id,
  };
  const limit = AbortSignal.any([signal, AbortSignal.timeout(answerMs)]);
  const answer = await post(callback.endpoint, headers, body, { anywhere: rules.anywhere, signal: limit }).catch(() => {
    signal.throwIfAborted();
    throw refused('the callback was not answered');
  });
  if (answer.status < 200 || answer.status >= 300) throw refused(`the callback was answered ${answer.status}`);
}

/** Each receiver is somebody else's: one that is down says nothing about the next. */
const refused = (message: string) => new DeliveryError('refused', message);

/** What the receiver verifies: by a published key, for its address alone, over this very body. */
function tokenFor({ ring, clock, issuer }: CallbackDeps, endpoint: string, id: string, body: string): Promise<string> {
  const key = ring.current();
  const now = Math.floor(clock.now().getTime() / 1000);
  return new SignJWT({ body_sha256: hash('sha256', body, 'base64url') })
    .setProtectedHeader({ alg: 'ES256', typ: 'writ-callback+jwt', kid: key.kid })
    .setIssuer(issuer)
    .setAudience(endpoint)
    .setIssuedAt(now)
    .setExpirationTime(now + tokenSeconds)
    .setJti(id)
    .sign(key.privateKey);
}
