/**
 * Bounds how old a login's authority may be: the identity provider is asked again who the person is and which
 * groups they are in, at the first request after `seconds`. Who left a team stops approving then, and not
 * when the login ends.
 */
import { endWithGroups } from '../../approvals/pre-approval-transitions.ts';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import type { Identifier } from '../core/identifier.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';
import { rememberNames } from './account-names.ts';
import { forgetConfirmed, forgettable, proveConfirmed, rememberConfirmed } from './confirmed-person.ts';
import {
  GroupsNotDelivered,
  type Identity,
  identityRecord,
  namesToRemember,
  personRef,
  UnreadableClaim,
} from './identity.ts';
import { loginEnded } from './login-ends.ts';
import { type LoginMethod, loginProven } from './login-method.ts';
import { type OidcClient, type Renewal, waitAskedFor } from './oidc.ts';

/** A login as its row has it. */
export interface LoginRow {
  token_hash: string;
  identity: Identity;
  csrf: string;
  created_at: Date;
  checked_at: Date;
  sealed: string | null;
  expires_at: Date;
  method: LoginMethod;
  /** Issuer and client id under which it was made; null = before that was written down. */
  idp: string | null;
  /** When its browser last asked for something; null = not since it was made. */
  seen_at: Date | null;
  seen_proof: string;
  proof: string;
  former: Identifier[];
}

export interface Rechecks {
  /** What goes into the row: what the provider can be asked again with, sealed to that row. */
  seal(renewal: Renewal, tokenHash: string): Promise<string>;
  /**
   * The login as the provider confirms it, asked again when its word is older than `seconds`; null when it
   * confirms it no more.
   * @param load reads the row anew
   * @throws WritError `unavailable`
   */
  current(tokenHash: string, row: LoginRow, load: () => Promise<LoginRow | null>): Promise<LoginRow | null>;
}

export interface RecheckDeps {
  store: Store;
  clock: Clock;
  provider: OidcClient;
  seal: {
    seal(plaintext: string, owner: string): Promise<string>;
    open(sealed: string, owner: string): Promise<string>;
  };
  /** How old the provider's word may be. */
  seconds: number;
  log: { warn(fields: object, message: string): void };
}

/** What a provider asks for is told to people so far. */
const longestWaitSeconds = 300;

// Written only over the row that was asked about: of two that asked, the first has it.
const renewStatement: Statement = {
  name: 'login_renew',
  text: `
    WITH renewed AS (
      UPDATE login SET identity = $3::jsonb, checked_at = $4::timestamptz, sealed = $5::text, proof = $9::text
      WHERE token_hash = $1::text AND checked_at = $2::timestamptz RETURNING token_hash
    ), named AS (${rememberNames('$3::jsonb', '$6::json', '$4::timestamptz')}
    ), confirmed AS (${rememberConfirmed('$3::jsonb', '$4::timestamptz', '$10::text')}
    ), ${endWithGroups('$3::jsonb', '$4::timestamptz', 'EXISTS (SELECT 1 FROM renewed)')}, audited AS (
      ${appendEvent({ chain: "'system'", at: '$4::timestamptz', type: event('person.changed'), actor: '$7::text', payload: '$3::json' }, 'renewed WHERE $8::boolean')}
    )
    SELECT 1 FROM renewed`,
};

const lapseStatement: Statement = {
  name: 'login_lapse',
  text: `
    WITH lapsed AS (DELETE FROM login WHERE token_hash = $1::text AND checked_at = $2::timestamptz RETURNING token_hash), ended AS (
      ${loginEnded('lapsed', { at: '$3::timestamptz', actor: '$4::text' })}
    ), ${forgetConfirmed('$5::jsonb', '$3::timestamptz')}
    ${appendEvent({ chain: "'system'", at: '$3::timestamptz', type: event('person.lapsed'), actor: '$4::text', payload: "'{}'::json" }, 'lapsed')}`,
};

export function createRechecks(deps: RecheckDeps): Rechecks {
  const { store, clock, provider, seal } = deps;
  /** Several requests of one login at once ask the provider once: a refresh token may be good for one use. */
  const asking = new Map<string, Promise<LoginRow | null>>();

  const ask = async (tokenHash: string, row: LoginRow, load: () => Promise<LoginRow | null>) => {
    const renewal = JSON.parse(await seal.open(row.sealed ?? '', tokenHash)) as Renewal;
    const told = await provider.renew({ identity: row.identity, renewal }).catch((cause) => {
      // It answered, and not with a person that can be let in: at the next sign-in it is said why.
      if (cause instanceof UnreadableClaim || cause instanceof GroupsNotDelivered) return null;
      const { name, code } = cause as { name?: unknown; code?: unknown };
      deps.log.warn({ error: String(name), code: String(code) }, 'the identity provider could not be asked again');
      throw new WritError('unavailable', {
        detail:
          'Your identity provider does not answer, and must be asked whether you are still in your groups. Try again in a moment.',
        retryAfterSeconds: Math.min(waitAskedFor(cause) ?? 10, longestWaitSeconds),
        cause,
      });
    });
    const now = clock.now();
    if (told === null || told.renewal === null) {
      // Another process may have asked with the same refresh token, and have the answer.
      const other = await load();
      if (other !== null && other.checked_at > row.checked_at) return other;
      await store.run(lapseStatement, [
        tokenHash,
        row.checked_at,
        now,
        personRef(row.identity),
        forgettable([row.identity]),
      ]);
      return null;
    }
    const identity = identityRecord(told.identity);
    const record = JSON.stringify(identity);
    const sealed = await seal.seal(JSON.stringify(told.renewal), tokenHash);
    const renewed = loginProven({ ...row, identity, checked_at: now, sealed });
    await store.run(renewStatement, [
      tokenHash,
      row.checked_at,
      record,
      now,
      sealed,
      JSON.stringify(namesToRemember(told.identity)),
      personRef(told.identity),
      record !== JSON.stringify(identityRecord(row.identity)),
      store.proofs.make('login', renewed),
      proveConfirmed(store, told.identity, identity, now),
    ]);
    return load();
  };

  return {
    seal: (renewal, tokenHash) => seal.seal(JSON.stringify(renewal), tokenHash),
    current: async (tokenHash, row, load) => {
      // What cannot be asked again ends soon by itself (`uncheckedSeconds`).
      if (row.sealed === null) return row;
      const age = clock.now().getTime() - row.checked_at.getTime();
      if (age >= 0 && age < deps.seconds * 1000) return row;
      const running = asking.get(tokenHash) ?? ask(tokenHash, row, load).finally(() => asking.delete(tokenHash));
      asking.set(tokenHash, running);
      return running;
    },
  };
}
