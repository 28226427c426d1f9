/** Whether a session is as it was opened: who runs, for whom, what, within which bounds. */
import type { ProvenRows } from '../core/proven-rows.ts';
import type { Store } from '../store/open.ts';

/** For a statement that acts on what it reads of a session; `s` is the alias of `session`. */
export const provenColumns = (s: string): string =>
  Object.keys(columns)
    .map((name) => `${s}.${name}`)
    .join(', ');

const columns: { readonly [name in keyof Required<ProvenRows['session']>]: true } = {
  id: true,
  agent: true,
  manifest_version: true,
  parent_id: true,
  root_id: true,
  task_type: true,
  inputs: true,
  on_behalf_of: true,
  declared_on_behalf_of: true,
  started_by: true,
  responsible: true,
  capabilities: true,
  narrowed: true,
  subject: true,
  dpop_jkt: true,
  max_grants: true,
  opened_at: true,
  expires_at: true,
  slept: true,
};

function proven(row: ProvenRows['session']): ProvenRows['session'] {
  const { slept, ...all } = Object.fromEntries(
    Object.keys(columns).map((name) => [name, row[name as keyof typeof columns]]),
  );
  // Rows of before there was sleep have no such column under their proof.
  return { ...all, ...(slept == null ? {} : { slept }) } as unknown as ProvenRows['session'];
}

/** @returns what goes into the row's `proof` */
export const proveSession = ({ proofs }: Store, row: ProvenRows['session']): string =>
  proofs.make('session', proven(row));

/** @param row may have more columns; one that is missing is an error of the compiler */
export function sessionHolds({ proofs }: Store, row: ProvenRows['session'] & { proof: string }): boolean {
  return proofs.holds('session', proven(row), row.proof);
}
