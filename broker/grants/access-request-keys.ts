/**
 * Idempotency-Keys of access requests (AuthZEN's Access Request and Approval Profile, "Access Request
 * Submission"): the key covers the whole body, so what it was used for first is kept, as a digest.
 */
import { hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { WritError } from '../core/errors.ts';
import type { Json } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';

/** Keys of one session, at most: it is not the agent that says how large the table grows. */
const maxKeys = 1_000;

/** How long a key is kept after the session's last task can have waited: what the profile recommends. */
const keptMs = 24 * 3_600_000;

// Two that count at once may both be the last: a bound on size, not on rights.
const claimStatement: Statement = {
  name: 'access_request_key_claim',
  text: `
    WITH claimed AS (
      INSERT INTO access_request_key (session_id, key_digest, request_digest, forget_at)
      SELECT $1::text, $2::text, $3::text, $4::timestamptz
      WHERE (SELECT count(*) FROM access_request_key WHERE session_id = $1::text) < $5::int
      ON CONFLICT (session_id, key_digest) DO NOTHING RETURNING request_digest
    )
    SELECT request_digest FROM claimed
    UNION ALL SELECT request_digest FROM access_request_key WHERE session_id = $1::text AND key_digest = $2::text`,
};

// One that slept may be awake longer than it could when the key was claimed.
const forgetStatement: Statement = {
  name: 'access_request_key_forget',
  text: `
    DELETE FROM access_request_key k WHERE k.forget_at <= $1::timestamptz AND NOT EXISTS (
      SELECT 1 FROM session s WHERE s.id = k.session_id AND s.ended_at IS NULL AND s.expires_at > $1::timestamptz - interval '1 day')`,
};

/**
 * Gives the key to this body, before anything is done: a request that dies halfway is repeated under it.
 * @param keyDigest of the caller's key @param body as it was read; compared as canonical JSON
 * @throws WritError `idempotency_mismatch` when the key stands for another body; `rate_limited` for too many
 */
export async function claimRequestKey(
  store: Store,
  session: { id: string; expiresAt: Date },
  keyDigest: string,
  body: unknown,
): Promise<void> {
  const digest = `sha256:${hash('sha256', canonicalize(body as Json)!, 'hex')}`;
  const values = [session.id, keyDigest, digest, new Date(session.expiresAt.getTime() + keptMs), maxKeys];
  const claim = () => store.run(claimStatement, values);
  // Nothing at all: another claim was made since the statement began, or there is no room.
  const rows = await claim().then((first) => (first.length > 0 ? first : claim()));
  const [known] = rows as { request_digest: string }[];
  if (known === undefined) throw new WritError('rate_limited', { detail: `At most ${maxKeys} keys a session.` });
  if (known.request_digest !== digest) throw new WritError('idempotency_mismatch');
}

/** Deletes keys that nobody can repeat a request under. */
export async function forgetRequestKeys(store: Store, now: Date): Promise<void> {
  await store.run(forgetStatement, [now]);
}
