/** What the AuthZEN endpoints answer, and what they are made of. */
import { z } from 'zod';
import type { CallbackRules } from '../../approvals/callbacks.ts';
import type { ActionDeps } from '../actions/request-action.ts';
import type { WritError } from '../core/errors.ts';
import { codesOf, decisionReasons } from '../core/reasons.ts';
import { callEffects } from '../decide/effects.ts';
import type { GrantDeps } from '../grants/request-grant.ts';
import type { KeyRing } from '../keys/ring.ts';
import type { DenialTokens } from './denial-token.ts';
import type { RefusedRequest } from './refused-request.ts';

export interface AuthzenDeps {
  actions: ActionDeps;
  grants: GrantDeps;
  denials: DenialTokens;
  ring: KeyRing;
  issuer: string;
  /** Where an agent's program may be told how its request ended. */
  callbackRules: CallbackRules;
  /** Puts on the record that one of several evaluations was refused. */
  noteRefused(refused: RefusedRequest, refusal: WritError): Promise<void>;
}

/** Where access requests go, below the broker's URL. */
export const accessRequestsPath = '/access/v1/requests';

const reasonSchema = z.object({
  code: z.enum(codesOf(decisionReasons)),
  policy_id: z.string().optional(),
  path: z.string().optional(),
  advice: z.string().optional(),
});

export const decisionSchema = z.object({
  decision: z.boolean(),
  context: z.object({
    id: z
      .string()
      .optional()
      .describe(
        'The action: report its outcome to `/v1/actions/{id}/finish`. None where a capability was asked about.',
      ),
    effect: z
      .enum(callEffects)
      .describe(
        '`approve`: a person must agree; wait for `approval`, and ask again. `downgrade`: the session lost what `withheld` names. `suspend`: it can do nothing until a person lifts that. `terminate`: it ended.',
      ),
    reasons: z.array(reasonSchema),
    policy_ids: z.array(z.string()),
    manifest_version: z.int(),
    obligations: z.array(z.string()),
    evaluation_id: z.string().optional(),
    evaluated_at: z.string().optional(),
    reason: z.string().optional().describe('Of a denial that a person may lift, or that came in spite of an approval.'),
    access_request: z
      .object({ endpoint: z.string(), template: z.string(), expires_at: z.string(), binding_token: z.string() })
      .optional()
      .describe('Where and how to ask a person, in the terms of the Access Request and Approval Profile.'),
    approval: z
      .object({
        id: z.string(),
        status: z.string().optional(),
        decide_by: z.string().optional(),
        url: z.string().optional(),
        approved_until: z.string().optional(),
      })
      .optional()
      .describe(
        'What people are asked because of it: wait for it with `GET /v1/grants/{id}?wait=60`. Or the approval of a capability that the decision rests on.',
      ),
    withheld: z.array(z.string()).optional().describe('`tool:NAME` and `capability:NAME` that the session lost by it.'),
    next_action: z.enum(['request', 'retry', 'none']).optional(),
    retry_after: z.int().optional(),
  }),
});

/** One of several that could not be evaluated. */
export const failedSchema = z.object({
  decision: z.literal(false),
  context: z.object({
    effect: z.literal('deny'),
    error: z.object({
      status: z.int(),
      code: z.string(),
      message: z.string(),
      errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
    }),
  }),
});
export type Decided = z.output<typeof decisionSchema>;
export type Failed = z.output<typeof failedSchema>;
