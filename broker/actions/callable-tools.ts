/** Which tools a session may call now: what its model should be shown. */
import type { Manifest } from '../manifests/manifest.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';
import type { ActionDeps } from './request-action.ts';
import { passesSoFar, wouldDecide } from './would-decide.ts';

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
  let tools: Manifest['tools'];
  const answers = await wouldDecide(deps, admitted, (manifest) => {
    tools = manifest.tools;
    return Object.keys(manifest.tools ?? {}).map((tool) => ({ tool, args: {}, costMicroUsd: null, address }));
  });
  return answers
    .filter(passesSoFar)
    .map(({ call: { tool } }) => ({ name: tool, description: tools?.[tool]?.description ?? null }));
}
