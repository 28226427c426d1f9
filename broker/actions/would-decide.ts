/** What stands against calls now. Nothing is written: it is no attempt, and moves no history. */
import type { Reason } from '../core/vocabulary.ts';
import { valuesAt } from '../manifests/call-arguments.ts';
import { compiledCalls } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import { rereadSession, type SessionFacts } from '../sessions/authenticate.ts';
import { anyEntityCell } from './cells.ts';
import { type Call, callFacts, cellsFor, evaluateCall } from './evaluate-call.ts';
import { type ActionDeps, cellsOf } from './request-action.ts';

export interface WouldBe<Asked extends Call> {
  call: Asked;
  /** What stands against it; empty = it would be allowed. */
  against: Reason[];
  /** Of the policies against it, those that a person's yes overcomes. */
  asking: ReadonlySet<string>;
}

/**
 * A decoy counts as what it looks like: one that were missing from an answer, alone among its like, would be
 * told by that.
 * @param callsOf the calls to look at, by the manifest in force
 */
export async function wouldDecide<Asked extends Call>(
  deps: ActionDeps,
  admitted: SessionFacts,
  callsOf: (manifest: Manifest) => readonly Asked[],
): Promise<WouldBe<Asked>[]> {
  const published = await deps.catalog.inForce(admitted.agent, admitted.currentManifestVersion);
  const { manifest } = published.compiled;
  const calls = callsOf(manifest).map((call) => ({ call, facts: callFacts(manifest, admitted.task, call) }));
  // Which entity a call will touch may not be known yet: it is not that of everybody.
  const cells = calls
    .flatMap(({ facts }) => cellsFor(manifest, admitted.task, facts, deps.digest))
    .filter(({ cell }) => cell !== anyEntityCell.cell);
  const session = await rereadSession(deps.store, admitted, deps.clock.now(), { cells, owner: manifest.owner });
  const known = cellsOf(session);
  const { rules } = compiledCalls(manifest);
  const canaries = rules.filter(({ canary }) => canary !== undefined);
  const approvals = rules.filter(({ effect }) => effect === 'approve');
  return calls.map(({ call, facts }) => {
    const { decision } = evaluateCall(published, session, call, facts, known, deps.clock.now(), deps.digest);
    const decoys = new Set<string | undefined>(canaries.map(({ id }) => `${call.tool}.rule.${id}`));
    return {
      call,
      against: decision.reasons.filter(({ policy_id }) => !decoys.has(policy_id)),
      asking: new Set(approvals.map(({ id }) => `${call.tool}.rule.${id}`)),
    };
  });
}

const inArguments = 'context.arguments.';

/** Whether nothing stands against a call but arguments, or a person's yes, that are not known yet. */
export const passesSoFar = <Asked extends Call>({ call, against, asking }: WouldBe<Asked>): boolean =>
  against.every(
    ({ code, path = '', policy_id = '' }) =>
      code === 'field_missing' ||
      asking.has(policy_id) ||
      (code === 'argument_outside' &&
        path.startsWith(inArguments) &&
        valuesAt(call.args, path.slice(inArguments.length)).length === 0),
  );

/** Whether it would be allowed as it stands. */
export const passes = <Asked extends Call>({ against }: WouldBe<Asked>): boolean => against.length === 0;
