/** How a manifest names people, and says how many of whom must approve. */
import { z } from 'zod';
import { isApproverName, isOwnerName } from '../core/identifier.ts';
import { duration } from './duration-schema.ts';

const ownerFault = 'must be team:<group> or user:<e-mail>';
export const owner = z
  .string()
  .max(300)
  // What JSON Schema can say of it; the rest is said below.
  .regex(/^(?:team:\S|user:(?:[^:@]+@|[a-z][a-z0-9_]*:)\S)/, { message: ownerFault, abort: true })
  .refine(isOwnerName, ownerFault);

const approverFault = 'must be team:<group>, user:<e-mail> or oncall:<rota>';
const approver = z
  .string()
  .max(300)
  .regex(/^(?:team:\S|oncall:[a-z0-9]|user:(?:[^:@]+@|[a-z][a-z0-9_]*:)\S)/, { message: approverFault, abort: true })
  .refine(isApproverName, approverFault);

/** More people than that are no quorum but a meeting. */
const maxQuorum = 9;

/** Shorter, and nobody can have been told and have read it. */
const shortestWaitSeconds = 30;

export const ApprovalSchema = z.strictObject({
  expires: duration
    .refine((seconds) => seconds >= shortestWaitSeconds, 'must be 30 seconds or more')
    .optional()
    .describe(
      'How long a request waits for them: undecided by then, it is denied. From 30s to 168h; never longer than the session lives or may sleep. Of several that are asked, the shortest. Default: `WRIT_APPROVAL_TIMEOUT_SECONDS`, of tier 3 `WRIT_PASSKEY_APPROVAL_TIMEOUT_SECONDS`.',
    ),
  quorum: z
    .int()
    .min(1)
    .max(maxQuorum)
    .optional()
    .describe('How many different people must approve. Default 1. A denial by any of them ends it.'),
  from: z
    .array(approver)
    .min(1)
    .max(16)
    .optional()
    .describe(
      'Whose approvals count: team:<group>, user:<e-mail>, user:<kind>:<name>, or oncall:<rota>: whoever is on call there at the moment of the review. Whoever is in two of them counts once. Default: the owners of the agent and of the capability, who may always see it and deny it.',
    ),
});

const challenge = z
  .boolean()
  .optional()
  .describe(
    'Whether whoever approves it must show having read it, by picking the one sentence that it says among others. Then it is approved on its page alone, and never ahead of time. Default false.',
  );

export const AgentApprovalSchema = ApprovalSchema.extend({ challenge });

export const CapabilityApprovalSchema = ApprovalSchema.extend({
  challenge,
  state: z
    .boolean()
    .optional()
    .describe(
      'Whether people approve the state that they see as well (a branch’s head, an object’s version, a role’s policies, how many rows there are), as far as the provider can read it. It is read again when the agent collects: where it has changed, they are asked again. Where it cannot be read, nothing is given.',
    ),
});

/** As the manifest says it; what it leaves out is another's to say (`approval-terms.ts`). */
export type Approval = z.output<typeof ApprovalSchema>;
