/** Whether a pre-approval is as it was given. */
import type { ProvenRows } from '../broker/core/proven-rows.ts';
import type { Store } from '../broker/store/open.ts';

const columns: { readonly [name in keyof ProvenRows['pre_approval']]: true } = {
  id: true,
  agent: true,
  task_type: true,
  capability: true,
  bounds: true,
  max_uses: true,
  max_ttl_seconds: true,
  until: true,
  terms: true,
  groups: true,
  from_grant: true,
  reason: true,
  giver: true,
  given_by: true,
  given_at: true,
};

/** For a statement that acts on what it reads; `p` is the alias of `pre_approval`. */
export const provenPreApprovalColumns = (p: string): string =>
  [...Object.keys(columns), 'proof'].map((name) => `${p}.${name}`).join(', ');

const proven = (row: ProvenRows['pre_approval']) =>
  Object.fromEntries(
    Object.keys(columns).map((name) => [name, row[name as keyof typeof columns]]),
  ) as unknown as ProvenRows['pre_approval'];

/** @returns what goes into the row's `proof` */
export const provePreApproval = ({ proofs }: Store, row: ProvenRows['pre_approval']): string =>
  proofs.make('pre_approval', proven(row));

/** @param row may have more columns */
export const preApprovalHolds = ({ proofs }: Store, row: ProvenRows['pre_approval'] & { proof: string }): boolean =>
  proofs.holds('pre_approval', proven(row), row.proof);
