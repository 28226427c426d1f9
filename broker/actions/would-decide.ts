/** What the answer to calls would be now. Nothing is written: it is no attempt, and moves no history. */
import type { CallDecision } from '../decide/decide-call.ts';
import { valuesAt } from '../manifests/call-arguments.ts';
import type { Manifest } from '../manifests/manifest.ts';
import { rereadSession, type SessionFacts } from '../sessions/authenticate.ts';
import { type Call, callFacts, cellsFor, evaluateCall } from './evaluate-call.ts';
import { type ActionDeps, cellsOf } from './request-action.ts';

export interface WouldBe<Asked extends Call> {
  call: Asked;
  decision: CallDecision;
}

/** @param callsOf the calls to look at, by the manifest in force */
export async function wouldDecide<Asked extends Call>(
  deps: ActionDeps,
  admitted: SessionFacts,
  callsOf: (manifest: Manifest) => readonly Asked[],
): Promise<WouldBe<Asked>[]> {
  const published = await deps.catalog.inForce(admitted.agent, admitted.currentManifestVersion);
  const { manifest } = published.compiled;
  const calls = callsOf(manifest).map((call) => ({ call, facts: callFacts(manifest, admitted.task, call) }));
  const cells = calls.flatMap(({ facts }) => cellsFor(manifest, admitted.task, facts, deps.digest));
  const session = await rereadSession(deps.store, admitted, deps.clock.now(), { cells, owner: manifest.owner });
  const known = cellsOf(session);
  return calls.map(({ call, facts }) => ({
    call,
    decision: evaluateCall(published, session, call, facts, known, deps.clock.now(), deps.digest).decision,
  }));
}

/** Whether nothing stands against a call but that some of its arguments are not known yet. */
export const passesSoFar = <Asked extends Call>({ call, decision }: WouldBe<Asked>): boolean =>
  decision.reasons.every(
    ({ code, path = '' }) =>
      code === 'field_missing' ||
      (code === 'argument_outside' &&
        path.startsWith(inArguments) &&
        valuesAt(call.args, path.slice(inArguments.length)).length === 0),
  );

const inArguments = 'context.arguments.';
