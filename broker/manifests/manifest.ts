/**
 * The manifest: all an agent may ever do, as a strict schema. Its JSON Schema is published; the types below
 * are what every other part reads.
 *
 * Durations are written `90s`, `15m`, `2h` and read as whole seconds. What a schema cannot say (does the task
 * exist, does the pattern compile) is in `check.ts`.
 */
import { z } from 'zod';
import { AgentApprovalSchema, CapabilityApprovalSchema, owner } from './approval-schema.ts';
import { duration } from './duration-schema.ts';
import { packsSchema } from './include-packs.ts';
import { callBounds, callSections } from './tool-schema.ts';
import { isPlainText } from './unsafe-text.ts';

const maxCapabilities = 64;

const name = z
  .string()
  .regex(
    /^[a-z][a-z0-9-]{0,62}$/,
    'must be a name: a lower-case letter, then up to 62 lower-case letters, digits and hyphens',
  );

/**
 * Under `writ-…` the broker presents itself to clouds that trust its keys: no agent's token may carry such a
 * subject.
 */
const agentName = name.regex(
  /^(?!writ(?:-|$))/,
  'must not be "writ" or begin with "writ-": these names are the broker’s own',
);

const fieldName = z
  .string()
  .regex(
    /^[a-z][a-z0-9_]{0,62}$/,
    'must be a field name: a lower-case letter, then up to 62 lower-case letters, digits and underscores',
  );

const description = z
  .string()
  .min(1)
  .max(1000)
  .refine((text) => isPlainText(text.replaceAll('\n', ' ')), 'must not contain control characters');

const atMost = (limit: number, what: string) =>
  [(record: object) => Object.keys(record).length <= limit, `must not have more than ${limit} ${what}`] as const;

const enumeration = z.array(z.string().min(1).max(256)).min(1).max(256);
const pattern = z.string().min(1).max(256);
const integer = z.int();

const InputSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('string').describe('A text. Needs exactly one of `pattern` and `enum`.'),
    pattern: pattern.optional().describe('RE2 pattern that the whole value must match.'),
    enum: enumeration.optional().describe('The values it may have.'),
    description: description.optional().describe('What the input means.'),
  }),
  z.strictObject({
    type: z.literal('integer').describe('A whole number.'),
    min: integer.optional().describe('The smallest value.'),
    max: integer.optional().describe('The largest value.'),
    description: description.optional().describe('What the input means.'),
  }),
  z.strictObject({
    type: z.literal('boolean').describe('true or false.'),
    description: description.optional().describe('What the input means.'),
  }),
]);

export const ChoiceSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('string').describe('A text. Needs exactly one of `pattern` and `enum`.'),
    pattern: pattern.optional().describe('RE2 pattern that the whole value must match.'),
    enum: enumeration.optional().describe('The values the agent may choose from.'),
    default: z
      .string()
      .max(256)
      .optional()
      .describe('Taken when the agent does not choose; without it the agent must.'),
    description: description.optional().describe('What the choice means.'),
  }),
  z.strictObject({
    type: z.literal('integer').describe('A whole number between `min` and `max`.'),
    min: integer.describe('The smallest value the agent may choose.'),
    max: integer.describe('The largest value the agent may choose.'),
    default: integer.optional().describe('Taken when the agent does not choose; without it the agent must.'),
    description: description.optional().describe('What the choice means.'),
  }),
  z.strictObject({
    type: z.literal('boolean').describe('true or false.'),
    default: z.boolean().optional().describe('Taken when the agent does not choose; without it the agent must.'),
    description: description.optional().describe('What the choice means.'),
  }),
]);

const maxGrants = z.int().min(1).max(100_000);

const TaskTypeSchema = z.strictObject({
  description: description.describe('What an agent does in such a task.'),
  inputs: z
    .record(fieldName, InputSchema)
    .refine(...atMost(32, 'inputs'))
    .default({})
    .describe('What a session must declare when it opens. Every input is required.'),
  envelope: z
    .strictObject({
      wall_time: duration.optional().describe('Sessions of this task type end after this long.'),
      max_grants: maxGrants.optional().describe('Grants such a session may ask for.'),
    })
    .optional()
    .describe("Bounds of this task type's sessions, narrower than the agent's."),
});

const CapabilitySchema = z.strictObject({
  description: description.describe('What the agent can do with it.'),
  provider: name.describe('The provider that mints the credential.'),
  owner: owner
    .optional()
    .describe(
      "Who may approve beside the agent's owner, who is the default: team:<group>, user:<e-mail> or user:<kind>:<name>.",
    ),
  tasks: z.array(name).min(1).max(64).describe('Task types whose sessions may ask for it.'),
  tier: z
    .literal([1, 2, 3])
    .describe(
      '1: policy alone decides. 2: a person approves. 3: a person approves, and their passkey signs for the plan.',
    ),
  approval: CapabilityApprovalSchema.optional().describe(
    'How many of whom must approve it, where its tier or a rule has people asked. What it leaves out the agent’s `approval` says.',
  ),
  max_ttl: duration.describe('Longest lifetime of the credential, such as 15m.'),
  max_grants: maxGrants.optional().describe('How often one session may ask for it.'),
  delegate_only: z
    .literal(true)
    .optional()
    .describe('A session may open child sessions with it, for sub-agents, and not ask for it itself.'),
  break_glass: z
    .literal(true)
    .optional()
    .describe(
      'Two people with passkeys may have it given for a short time although a rule denies it or its approval is missing (docs/break-glass.md). Its parameters, lifetime and number stay as they are here.',
    ),
  slack: z
    .enum(['link', 'decide'])
    .optional()
    .describe(
      'Where Slack is a channel: `decide` = it may be approved there; `link` (the default) = the message leads to the page. With tier 3 it is always the page. It can be denied there anyway.',
    ),
  canary: z
    .boolean()
    .default(false)
    .describe('A decoy that no honest run asks for: whoever does ends the session, and people are told.'),
  params: z
    .record(fieldName, z.json())
    .refine(...atMost(64, 'parameters'))
    .default({})
    .describe(
      `Provider parameters fixed here. \`\${inputs.name}\` in a text takes the task's input; alone it keeps the input's type. The agent may repeat them, not change them.`,
    ),
  choose: z
    .record(fieldName, ChoiceSchema)
    .refine(...atMost(64, 'choices'))
    .default({})
    .describe('Provider parameters that the agent chooses, and within what.'),
});

export const ManifestSchema = z
  .strictObject({
    apiVersion: z.literal('writ/v1').describe('Version of the manifest format.'),
    agent: agentName.describe(
      'The agent this manifest is for. `writ`, and names that begin with `writ-`, are reserved.',
    ),
    owner: owner.describe(
      'Who answers for the agent and approves its requests: team:<group>, user:<e-mail> or user:<kind>:<name>.',
    ),
    approval: AgentApprovalSchema.optional().describe(
      'How many of whom must approve what this agent asks for, where a capability or a rule does not say.',
    ),
    description: description.describe('What the agent is for.'),
    envelope: z
      .strictObject({
        wall_time: duration.describe('Every session ends after this long.'),
        max_grants: maxGrants.optional().describe('Grants one session may ask for in all.'),
        sleep: duration
          .optional()
          .describe(
            'So long after it was opened a session may still sleep while people decide; it holds nothing then. Without it none sleeps.',
          ),
        ...callBounds,
      })
      .describe('Bounds of every session.'),
    task_types: z
      .record(name, TaskTypeSchema)
      .refine((record) => Object.keys(record).length > 0, 'must have at least one task type')
      .refine(...atMost(64, 'task types'))
      .describe('The tasks a session may be opened for.'),
    capabilities: z
      .record(name, CapabilitySchema)
      .refine(...atMost(maxCapabilities, 'capabilities'))
      .describe('The permissions a session may ask for.'),
    ...callSections,
    packs: packsSchema.optional(),
  })
  .meta({ title: 'Writ manifest', description: 'What one agent may ever do.' });

export type Manifest = z.output<typeof ManifestSchema>;
export type TaskType = Manifest['task_types'][string];
export type Input = TaskType['inputs'][string];
export type Capability = Manifest['capabilities'][string];
export type Choice = Capability['choose'][string];

/** The published JSON Schema (draft 2020-12) of the YAML as an admin writes it. */
export function manifestJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(ManifestSchema, { io: 'input', target: 'draft-2020-12' }) as Record<string, unknown>;
}

/** Own member of a record, never one inherited from Object.prototype (`constructor` is a legal name). */
export function member<T>(record: { readonly [key: string]: T }, key: string): T | undefined {
  // What is no text names nothing; turning it into one may throw.
  return typeof key === 'string' && Object.hasOwn(record, key) ? record[key] : undefined;
}

/**
 * What a session for this task may ask for: all that the manifest has for it, or those of them it was
 * narrowed to.
 */
export function askable(manifest: Manifest, taskType: string, narrowedTo: readonly string[] | null): string[] {
  return Object.entries(manifest.capabilities).flatMap(([name, { tasks }]) =>
    tasks.includes(taskType) && (narrowedTo === null || narrowedTo.includes(name)) ? [name] : [],
  );
}

/** Who may approve a capability beside the agent's owner. */
export function capabilityOwner(manifest: Manifest, capability: Capability): string {
  return capability.owner ?? manifest.owner;
}
