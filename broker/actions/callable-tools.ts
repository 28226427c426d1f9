/** Which tools a session may call now: what its model should be shown. */
import { compiledCalls } from '../manifests/compile-calls.ts';
import { rereadSession, type SessionFacts } from '../sessions/authenticate.ts';
import { anyEntityCell } from './cells.ts';
import { type Call, callFacts, cellsFor, evaluateCall } from './evaluate-call.ts';
import { type ActionDeps, cellsOf } from './request-action.ts';

export interface CallableTool {
  name: string;
  description: string | null;
}

/**
 * The tools of the manifest in force that the session may call now, as far as that does not depend on the
 * arguments: of its task type, and with no rule against them. Writes nothing.
 */
export async function callableTools(
  deps: ActionDeps,
  admitted: SessionFacts,
  address: string | null,
): Promise<CallableTool[]> {
  const published = await deps.catalog.inForce(admitted.agent, admitted.currentManifestVersion);
  const { manifest } = published.compiled;
  const calls = Object.keys(manifest.tools ?? {}).map(
    (tool): Call => ({
      ...{ tool, args: {}, costMicroUsd: null, address },
    }),
  );
  const facts = calls.map((call) => callFacts(manifest, admitted.task, call));
  // Which entity a call will touch is not known yet: it is not that of everybody.
  const cells = facts
    .flatMap((one) => cellsFor(manifest, admitted.task, one, deps.digest))
    .filter(({ cell }) => cell !== anyEntityCell.cell);
  const session = await rereadSession(deps.store, admitted, deps.clock.now(), { cells, owner: manifest.owner });
  const known = cellsOf(session);
  // A decoy that were missing from the list, alone among the tools, would be told by that.
  const canaries = compiledCalls(manifest).rules.filter(({ canary }) => canary !== undefined);
  const decoys = new Set<string | undefined>(
    calls.flatMap(({ tool }) => canaries.map(({ id }) => `${tool}.rule.${id}`)),
  );
  return calls
    .filter((call, index) => {
      const { decision } = evaluateCall(published, session, call, facts[index]!, known, deps.clock.now(), deps.digest);
      return decision.reasons.every(
        ({ code, policy_id }) => code === 'argument_outside' || code === 'field_missing' || decoys.has(policy_id),
      );
    })
    .map(({ tool }) => ({ name: tool, description: manifest.tools?.[tool]?.description ?? null }));
}
