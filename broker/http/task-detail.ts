/** The elements of `authorization_details` (RFC 9396): as clients send them, and as they are answered. */
import { z } from 'zod';
import { readUser } from '../core/identifier.ts';
import { grantBody } from './grants.ts';
import { named } from './named-schemas.ts';
import { line } from './text.ts';

/** One `task` of `authorization_details` (RFC 9396). */
export const taskDetail = named(
  'Task',
  z.strictObject({
    type: z.literal('task'),
    task_type: line(63).optional().describe('A task type of the agent’s manifest. A child session has its parent’s.'),
    inputs: z
      .record(line(63), z.union([z.string().max(256), z.number(), z.boolean()]))
      .default({})
      .describe('The inputs the task type requires.'),
    on_behalf_of: line(320)
      .refine((text) => readUser(text) !== null, 'must be user:<e-mail>, user:<kind>:<name> or user:<name>')
      .optional()
      .describe(
        'Whom the run is for in the agent’s own word, `user:<e-mail>`, `user:<kind>:<name>` or `user:<name>`. That person cannot approve it; nobody gets a right from it.',
      ),
    envelope: z
      .strictObject({
        wall_time_seconds: z.int().min(1).max(604_800).optional(),
        max_grants: z.int().min(0).max(1_000_000).optional(),
      })
      .default({})
      .describe('Narrower bounds than the manifest’s.'),
    capabilities: z
      .array(line(63))
      .max(64)
      .optional()
      .describe(
        'What the session may ask for, of what its task allows; all of it when left out. A child session names them.',
      ),
  }),
);

/** One `grant`, of CIBA. */
export const grantDetail = named(
  'Grant',
  grantBody.omit({ justification: true, credential_jwk: true }).extend({ type: z.literal('grant') }),
);

/** The task as it holds, within all bounds. */
export const openedTask = named(
  'OpenedTask',
  z.object({
    type: z.literal('task'),
    task_type: z.string(),
    inputs: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
    on_behalf_of: z.string().optional(),
    envelope: z.object({ wall_time_seconds: z.int(), max_grants: z.int().optional() }),
    capabilities: z.array(z.string()),
  }),
);

export const openedGrant = named(
  'OpenedGrant',
  z.object({ type: z.literal('grant'), grant_id: z.string(), capability: z.string() }),
);

/**
 * Of a parameter that is JSON text: what the text says, for the documentation.
 * @param names of the elements, each of which comes once
 */
export function jsonText(names: readonly ('Task' | 'Grant')[]) {
  const [first, ...others] = names.map((name) => ({ $ref: `#/components/schemas/${name}` }));
  return {
    contentMediaType: 'application/json',
    contentSchema: {
      type: 'array',
      minItems: names.length,
      maxItems: names.length,
      items: others.length === 0 ? first : { anyOf: [first, ...others] },
    },
  };
}
