/** Which tools a session may call now: what its model should be shown. */
import { compiledCalls } from '../manifests/compile-calls.ts';
import { rereadSession, type SessionFacts } from '../sessions/authenticate.ts';
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
export async function callableTools(deps: ActionDeps, admitted: SessionFacts): Promise<CallableTool[]> {
  const published = await deps.catalog.inForce(admitted.agent, admitted.currentManifestVersion);
  const { manifest } = published.compiled;
  const calls = Object.keys(manifest.tools ?? {}).map((tool): Call => ({ tool, args: {}, costMicroUsd: null }));
  const facts = calls.map((call) => callFacts(manifest, admitted.task, call));
  const cells = facts.flatMap((one) => cellsFor(manifest, admitted.task, one, deps.digest));
  const session = await rereadSession(deps.store, admitted, deps.clock.now(), { cells, owner: manifest.owner });
  const known = cellsOf(session);
  const rules = compiledCalls(manifest).rules.filter(({ effect }) => effect === 'approve');
  return calls
    .filter((call, index) => {
      // What a person's yes is missing for may be called: they are asked then.
      const asking = new Set(rules.map(({ id }) => `${call.tool}.rule.${id}`));
      const { decision } = evaluateCall(published, session, call, facts[index]!, known, deps.clock.now(), deps.digest);
      return decision.reasons.every(
        ({ code, policy_id }) => code === 'argument_outside' || code === 'field_missing' || asking.has(policy_id ?? ''),
      );
    })
    .map(({ tool }) => ({ name: tool, description: manifest.tools?.[tool]?.description ?? null }));
}
