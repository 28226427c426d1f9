/** What a provider's target has of leases, compared with the lease rows. Reads alone. */
import type { Provider } from '../../providers/contract.ts';
import type { LeaseStatus } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';

/** What has ended is not looked at again: it is not due. */
const unendedStatement: Statement = {
  name: 'lease_unended',
  text: `SELECT id, status FROM lease WHERE provider = $1 AND due_at IS NOT NULL ORDER BY id`,
};

export interface Comparison {
  provider: string;
  /** Whether the target can list what it has of leases; where not, the rest is empty. */
  listed: boolean;
  /** How many have not ended. */
  leases: number;
  /** What is there and of no lease, and what an active lease lacks: whole sentences. */
  faults: string[];
  /** What is there and may be another broker's. */
  notes: string[];
}

/** @throws ProviderError where the target does not say */
export async function compareTraces(store: Store, provider: Provider, signal: AbortSignal): Promise<Comparison> {
  const { name, traces } = provider;
  if (traces === undefined) return { provider: name, listed: false, leases: 0, faults: [], notes: [] };
  const unended = () => store.run<{ id: string; status: LeaseStatus }>(unendedStatement, [name]);
  // The target between two looks at the rows: the second has what was made meanwhile, the first what ended.
  const before = await unended();
  const found = await traces.list(signal);
  const after = await unended();
  const explained = new Set([...before, ...after].map(({ id }) => traces.nameOf(id)));
  const usable = new Set(found.filter((trace) => trace.usable).map((trace) => trace.name));
  const stayedActive = new Set(after.filter(({ status }) => status === 'active').map(({ id }) => id));
  const unexplained = found.filter((trace) => !explained.has(trace.name));
  const lacking = before.filter(
    ({ id, status }) => status === 'active' && stayedActive.has(id) && !usable.has(traces.nameOf(id)),
  );
  return {
    provider: name,
    listed: true,
    leases: after.length,
    faults: [
      ...unexplained.filter(({ ours }) => ours).map((trace) => `${trace.name} is of no lease: ${trace.what}`),
      ...lacking.map(({ id }) => `the lease ${id} is active, and ${traces.nameOf(id)} is not there`),
    ],
    notes: unexplained
      .filter(({ ours }) => !ours)
      .map((trace) => `${trace.name} is of no lease, and maybe another broker’s: ${trace.what}`),
  };
}
