/** `/v1/capabilities`: what the session may ask for. Whether it gets it is decided when it asks. */
import { z } from 'zod';
import type { Catalog } from '../manifests/catalog.ts';
import { ChoiceSchema } from '../manifests/manifest.ts';
import { capabilitiesOf } from '../sessions/capabilities.ts';
import type { Store } from '../store/open.ts';
import { type Operation, operation } from './operation.ts';

export interface CapabilitiesDeps {
  store: Store;
  catalog: Catalog;
  maxGrantsPerSession: number;
}

const capabilitySchema = z.object({
  name: z.string().describe('`capability` of `POST /v1/grants`.'),
  description: z.string(),
  provider: z.string(),
  tier: z
    .literal([1, 2, 3])
    .describe('1: policy alone decides. 2: a person approves. 3: a person approves, with a passkey.'),
  max_ttl_seconds: z.int(),
  grants_left: z.int().describe('How often it may still be given, to this session and its children together.'),
  delegate_only: z.boolean().describe('True: for child sessions, not for this one.'),
  state: z
    .enum(['open', 'spent', 'withheld', 'locked'])
    .describe('`withheld`: a rule took it from this session. `locked`: an admin stopped it for everybody.'),
  params: z.record(z.string(), z.unknown()).describe('What is fixed; it need not be repeated.'),
  choose: z.record(z.string(), ChoiceSchema).describe('`params` that the agent chooses, and within what.'),
});

export function capabilityOperations(deps: CapabilitiesDeps): Operation[] {
  return [
    operation({
      method: 'get',
      path: '/v1/capabilities',
      summary: 'What the session may ask for, and what is left of it',
      tag: 'Sessions',
      access: 'session',
      responses: {
        200: {
          description: 'By the manifest in force now. Rules and approvers may still say no',
          schema: z.object({
            task_type: z.string(),
            manifest_version: z.int(),
            grants_left: z.int().describe('Of the session, over all capabilities.'),
            capabilities: z.array(capabilitySchema),
          }),
        },
      },
      errors: ['unauthenticated', 'invalid_dpop_proof', 'session_ended'],
      handle: async (_call, session) => {
        const { version, compiled } = await deps.catalog.inForce(session.agent, session.currentManifestVersion);
        const { grantsLeft, capabilities } = await capabilitiesOf(
          deps.store,
          compiled.manifest,
          session,
          deps.maxGrantsPerSession,
        );
        return {
          status: 200,
          body: {
            task_type: session.task.task_type,
            manifest_version: version,
            grants_left: grantsLeft,
            capabilities,
          },
        };
      },
    }),
  ];
}
