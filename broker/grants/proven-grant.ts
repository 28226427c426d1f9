/**
 * Whether a request is as it was made. Only one that waits for a person carries a proof: what policy allows
 * by itself is minted at once, from memory, and its row is never acted on.
 */
import type { ProvenRows } from '../core/proven-rows.ts';
import { batchProvider } from '../core/questions.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import type { Store } from '../store/open.ts';

/** The columns that `grantHolds` looks at, for a statement; `g` is the alias of `grants`. */
export const provenGrantColumns = (g: string): string =>
  [
    'id',
    'session_id',
    'agent',
    'capability',
    'request_digest',
    'params',
    'justification',
    'credential_jwk',
    'manifest_version',
    'provider',
    'plan',
    'tier',
    'requested_at',
    'proof',
  ]
    .map((name) => `${g}.${name}`)
    .concat(`${g}.decision -> 'approval' AS approval`, `${g}.decision -> 'asked_plan' AS asked_plan`)
    .join(', ');

/**
 * What a review may narrow is not the request's: its own proof says to what. Nor is the state that it was
 * made on: a review's proof says which one people saw, and it is read again before anything is given.
 */
const proven = (row: ProvenRows['grants']): ProvenRows['grants'] => {
  const { ttl_seconds: _, state: __, ...plan } = (row.asked_plan ?? row.plan) as JsonObject & { ttl_seconds?: unknown };
  if ((row.provider === 'session' || row.provider === batchProvider) && typeof plan.permission === 'object')
    plan.permission = { ...plan.permission, withhold: [] };
  return {
    id: row.id,
    session_id: row.session_id,
    agent: row.agent,
    capability: row.capability,
    request_digest: row.request_digest,
    params: row.params,
    justification: row.justification,
    credential_jwk: row.credential_jwk,
    manifest_version: row.manifest_version,
    provider: row.provider,
    plan: plan as JsonObject,
    tier: row.tier,
    requested_at: row.requested_at,
    ...(row.approval == null ? {} : { approval: row.approval }),
  };
};

/** @returns what goes into the row's `proof` */
export const proveGrant = ({ proofs }: Store, row: ProvenRows['grants']): string => proofs.make('grants', proven(row));

/** @param row may have more columns */
export function grantHolds({ proofs }: Store, row: ProvenRows['grants'] & { proof: string }): boolean {
  return proofs.holds('grants', proven(row), row.proof);
}
