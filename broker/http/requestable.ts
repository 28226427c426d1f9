/**
 * What a denial says when a person may lift it: where to ask, until when, and a token that binds what is
 * asked there to what was denied (the Access Request and Approval Profile, draft 1, "Requestable Denial
 * Context").
 */
import type { Reason } from '../core/vocabulary.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';
import { type AuthzenDeps, accessRequestsPath, type Decided } from './authzen-answers.ts';
import type { EvaluationBody } from './authzen-requests.ts';

/** How long a denial may be followed up, in seconds: long enough for a program, too short to be traded. */
const requestableSeconds = 600;

export type Requestable = Pick<Decided['context'], 'evaluation_id' | 'evaluated_at' | 'reason' | 'access_request'>;

/** @param denial grantId and until: the review that waits for a person already, and until when */
export async function requestable(
  { denials, issuer, actions: { clock } }: Pick<AuthzenDeps, 'denials' | 'issuer' | 'actions'>,
  session: SessionFacts,
  body: EvaluationBody,
  denial: { evaluationId: string; grantId: string | null; until: Date | null; reasons: readonly Reason[] },
): Promise<Requestable> {
  const now = clock.now();
  const latest = now.getTime() + requestableSeconds * 1000;
  const expiresAt = new Date(Math.min(latest, denial.until?.getTime() ?? latest));
  const { evaluationId, grantId } = denial;
  return {
    evaluation_id: evaluationId,
    evaluated_at: now.toISOString(),
    reason: denial.reasons[0]?.code ?? 'needs_approval',
    access_request: {
      endpoint: `${issuer}${accessRequestsPath}`,
      template: grantId === null ? 'grant' : 'tool_call',
      expires_at: expiresAt.toISOString(),
      binding_token: await denials.sign({ sessionId: session.id, evaluationId, grantId, expiresAt }, body),
    },
  };
}
