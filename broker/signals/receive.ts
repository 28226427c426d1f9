/**
 * Takes a Security Event Token, however it came: verified, then remembered in one statement with its audit
 * rows. What it does is done by a worker (`carry-out.ts`); whoever delivered it is answered at once.
 */
import { hash } from 'node:crypto';
import { appendEvent } from '../audit/append.ts';
import { event, eventPayload } from '../audit/events.ts';
import type { RefusalReason } from '../core/reasons.ts';
import type { Statement, Store } from '../store/open.ts';
import { effectOf } from './effects.ts';
import { namesOf } from './subject.ts';
import { maxAgeSeconds, skewSeconds, type VerifyDeps, verifySet } from './verify-set.ts';

export interface ReceiveDeps extends VerifyDeps {
  store: Store;
  /** Notifies the workers that there is something to do. */
  notify(): void;
}

/** A token that was taken before writes nothing, whatever it says now. */
const receiveStatement: Statement = {
  name: 'signal_receive',
  text: `
    WITH new AS (
      SELECT n.type, n.names, n.effect, n.proof FROM jsonb_to_recordset($4::jsonb) AS n (type text, names jsonb, effect text, proof text)
      WHERE NOT EXISTS (SELECT 1 FROM signal s WHERE s.set_key = $1::text)
    ), received AS (
      INSERT INTO signal (set_key, event_type, jti, names, effect, received_at, due_at, proof)
      SELECT $1::text, type, $2::text, names, effect, $3::timestamptz, CASE WHEN effect <> 'none' THEN $3::timestamptz END, proof FROM new ORDER BY type
      ON CONFLICT DO NOTHING RETURNING event_type, names, effect
    ), events AS (
      ${appendEvent({ chain: "'system'", at: '$3::timestamptz', type: event('signal.received'), actor: "'identity provider'", request: '$5::text', payload: "json_build_object('signal', $2::text, 'event', event_type, 'effect', effect, 'subject', names, 'via', $6::text)" }, 'received ORDER BY event_type')}
    )
    SELECT effect FROM received`,
};

/**
 * @returns its `jti`
 * @throws Refusal
 */
export async function receiveSet(
  deps: ReceiveDeps,
  token: unknown,
  how: { via: 'push' | 'poll'; requestId: string | null },
): Promise<string> {
  const { jti, key, events } = await verifySet(token, deps);
  const at = deps.clock.now();
  const rows = events.map(({ type, payload, subject }) => {
    const [names, effect] = [namesOf(subject, deps.transmitter.opaque), effectOf(type, payload)];
    const row = { set_key: key, event_type: type, jti, names, effect, received_at: at };
    return { type, names, effect, proof: deps.store.proofs.make('signal', row) };
  });
  const taken = await deps.store.run<{ effect: string }>(receiveStatement, [
    key,
    jti,
    at,
    JSON.stringify(rows),
    how.requestId,
    how.via,
  ]);
  if (taken.some(({ effect }) => effect !== 'none')) deps.notify();
  return jti;
}

const refusedStatement: Statement = {
  name: 'signal_refused',
  text: appendEvent({
    chain: "'system'",
    at: '$1::timestamptz',
    type: event('signal.refused'),
    actor: "'identity provider'",
    payload: '$2::json',
  }),
};

/**
 * Puts on record that a token was refused which the transmitter gave; of others, `http/refusals.ts` does.
 */
export async function recordRefusal(
  { store, clock }: Pick<ReceiveDeps, 'store' | 'clock'>,
  token: unknown,
  reason: RefusalReason,
): Promise<void> {
  const payload = eventPayload('signal.refused', { reason, token_sha256: hash('sha256', String(token), 'hex') });
  await store.run(refusedStatement, [clock.now(), JSON.stringify(payload)]);
}

const forgetStatement: Statement = {
  name: 'signal_forget',
  text: 'DELETE FROM signal WHERE due_at IS NULL AND received_at <= $1::timestamptz',
};

/** Deletes what is remembered of tokens that are too old to be taken again. */
export async function forgetSignals(store: Store, now: Date): Promise<void> {
  const seconds = maxAgeSeconds + 3 * skewSeconds;
  await store.run(forgetStatement, [new Date(now.getTime() - seconds * 1000)]);
}
