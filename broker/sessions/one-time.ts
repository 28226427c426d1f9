/**
 * What is shown to open a session and must not be shown again, on any process: remembered in `replay` until
 * it is too old anyway. A DPoP proof and a client assertion count once. A platform's token, which some
 * platforms keep handing out for an hour, counts for the key that showed it first.
 */
import { type ErrorCode, WritError } from '../core/errors.ts';
import type { CheckedProof } from '../identity/dpop.ts';
import type { VerifiedSubject } from '../identity/platform-token.ts';
import type { Statement, Store } from '../store/open.ts';

export interface OneTime {
  key: string;
  /** Until when it could be used. */
  expiresAt: Date;
  /** Thumbprint of the key that may show it again; null = nobody may. */
  boundTo: string | null;
  /** The answer to whoever shows it again. */
  usedBefore: { code: Extract<ErrorCode, 'invalid_grant' | 'invalid_client' | 'invalid_dpop_proof'>; detail: string };
}

/** The token of a platform, shown with or without a proof. */
export function subjectTokenOnce(subject: VerifiedSubject, proof: CheckedProof | null): OneTime {
  const boundTo = subject.singleUse ? null : (proof?.jkt ?? null);
  return {
    key: subject.replayKey,
    expiresAt: subject.replayExpiresAt,
    boundTo,
    usedBefore: {
      code: 'invalid_grant',
      detail:
        boundTo === null
          ? 'The subject token was used before. Without a DPoP key, or where the trust file says `single_use`, it counts once.'
          : 'The subject token was used before with another key, or with none.',
    },
  };
}

export function assertionOnce(client: { replayKey: string; replayExpiresAt: Date }): OneTime {
  const usedBefore = { code: 'invalid_client' as const, detail: 'The client assertion was used before.' };
  return { key: client.replayKey, expiresAt: client.replayExpiresAt, boundTo: null, usedBefore };
}

export function proofOnce(proof: { replayKey: string; replayExpiresAt: Date } | null): OneTime[] {
  if (proof === null) return [];
  const usedBefore = { code: 'invalid_dpop_proof' as const, detail: 'The proof was used before.' };
  return [{ key: proof.replayKey, expiresAt: proof.replayExpiresAt, boundTo: null, usedBefore }];
}

/** What to answer where `stale` are the keys of those that had been used. */
export function usedBefore(shown: readonly OneTime[], stale: readonly string[]): WritError {
  const { code, detail } = (shown.find(({ key }) => stale.includes(key)) ?? shown[0]!).usedBefore;
  return new WritError(code, { detail });
}

/** Values for `burnShown`. */
export const shownColumns = (shown: readonly OneTime[]) =>
  [shown.map(({ key }) => key), shown.map(({ expiresAt }) => expiresAt), shown.map(({ boundTo }) => boundTo)] as const;

/**
 * SQL: INSERT of rows `key, until, bound` that returns the key of each that may be shown: it is new, or came
 * with the same key of the caller before.
 * @param rows a SELECT of `key, until, bound`, each key once, in the order of keys
 */
export const burnShown = (rows: string): string => `
      INSERT INTO replay (key, expires_at, bound_to) ${rows}
      ON CONFLICT (key) DO UPDATE SET expires_at = GREATEST(replay.expires_at, excluded.expires_at) WHERE replay.bound_to = excluded.bound_to
      RETURNING key`;

/**
 * SQL: as `burnShown`, for what nobody may show again.
 * @param rows a SELECT of `key, until`, each key once, in the order of keys
 */
export const burnOnce = (rows: string): string => `
      INSERT INTO replay (key, expires_at) ${rows}
      ON CONFLICT (key) DO NOTHING RETURNING key`;

const takeStatement: Statement = {
  name: 'replay_take',
  text: `
    WITH burnt AS (${burnShown('SELECT key, until, bound FROM unnest($1::text[], $2::timestamptz[], $3::text[]) AS once (key, until, bound) ORDER BY key')}
    )
    SELECT key FROM unnest($1::text[]) AS shown (key) EXCEPT SELECT key FROM burnt`,
};

/**
 * @throws WritError where one of them had been used: `invalid_grant`, `invalid_client`, `invalid_dpop_proof`
 */
export async function takeShown(store: Store, shown: readonly OneTime[]): Promise<void> {
  const stale = await store.run<{ key: string }>(takeStatement, [...shownColumns(shown)]);
  if (stale.length > 0)
    throw usedBefore(
      shown,
      stale.map(({ key }) => key),
    );
}
