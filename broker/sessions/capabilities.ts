/** What a session may ask for, and how much of it is left: what an agent that knows nothing asks first. */
import type { JsonObject } from '../core/vocabulary.ts';
import { lockedReasons } from '../locks/standing-locks.ts';
import { boundParams, missingInputs } from '../manifests/bind.ts';
import { countedGrant } from '../manifests/facts-table.ts';
import { askable, type Choice, type Manifest } from '../manifests/manifest.ts';
import type { Statement, Store } from '../store/open.ts';
import type { SessionFacts } from './authenticate.ts';

export interface AskableCapability {
  name: string;
  description: string;
  provider: string;
  tier: 1 | 2 | 3;
  max_ttl_seconds: number;
  /** How often the session’s tree may still be given it. */
  grants_left: number;
  /** For child sessions alone. */
  delegate_only: boolean;
  state: 'open' | 'spent' | 'withheld' | 'locked';
  /** What the manifest and the task fix. */
  params: JsonObject;
  choose: { [name: string]: Choice };
}

const countsStatement: Statement = {
  name: 'session_capability_counts',
  text: `
    SELECT g.capability, count(*)::int AS used FROM session t JOIN grants g ON g.session_id = t.id
    WHERE t.root_id = $1::text AND ${countedGrant} GROUP BY g.capability`,
};

/** @param ceiling grants a session may ask for whose envelope names no number */
export async function capabilitiesOf(
  store: Store,
  manifest: Manifest,
  session: SessionFacts,
  ceiling: number,
): Promise<{ grantsLeft: number; capabilities: AskableCapability[] }> {
  const rows = await store.run<{ capability: string; used: number }>(countsStatement, [session.rootId]);
  const used = new Map(rows.map((row) => [row.capability, row.used]));
  const grantsLeft = Math.max(0, (session.maxGrants ?? ceiling) - session.counts.session);
  const names = askable(manifest, session.task.task_type, session.narrowed ? session.capabilities : null);
  const capabilities = names.flatMap((name): AskableCapability[] => {
    const capability = manifest.capabilities[name]!;
    // Under a later manifest the task may lack what a capability needs by now: nobody can ask for it.
    if (missingInputs(capability, session.task).length > 0) return [];
    const ownLeft = Math.max(0, (capability.max_grants ?? Number.POSITIVE_INFINITY) - (used.get(name) ?? 0));
    const left = Math.min(grantsLeft, ownLeft);
    const { agent } = session;
    const locked = lockedReasons(session.locks, { agent, capability: name, provider: capability.provider }) !== null;
    const withheld = session.facts.withheld.includes(`capability:${name}`);
    return [
      {
        name,
        description: capability.description,
        provider: capability.provider,
        tier: capability.tier,
        max_ttl_seconds: capability.max_ttl,
        grants_left: left,
        delegate_only: capability.delegate_only === true,
        state: locked ? 'locked' : withheld ? 'withheld' : left === 0 ? 'spent' : 'open',
        params: boundParams(capability, session.task),
        choose: capability.choose,
      },
    ];
  });
  return { grantsLeft, capabilities };
}
