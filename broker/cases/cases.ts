/**
 * Cases of a manifest, as people keep them beside it (`NAME.cases.yaml`): what an agent's host would ask for,
 * in order, and what the decision must be. The schema; `read-cases.ts` reads a file, `run-cases.ts` runs it.
 */
import { z } from 'zod';
import { readUser } from '../core/identifier.ts';
import { span } from '../manifests/tool-schema.ts';

const text = z.string().min(1).max(300);
const sessionName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,62}$/, 'must be a name: a lower-case letter, then up to 62 of a-z, 0-9 and -');
const label = z.string().min(1).max(64);
const moment = z.iso.datetime({ offset: true, error: 'must be a time such as 2026-03-02T10:00:00Z' });
const person = z
  .string()
  .max(300)
  .refine((value) => (readUser(value)?.kind ?? null) !== null, 'must be user:<e-mail> or user:<kind>:<name>');
const file = z
  .string()
  .min(1)
  .max(300)
  .regex(/\.ya?ml$/, 'must be the name of a YAML file');
const values = z.record(z.string().min(1).max(256), z.json());
const oneOrMore = <T extends z.ZodType>(one: T) => z.union([one, z.array(one).max(64)]);

const effects = z.enum(['allow', 'deny', 'approve', 'suspend', 'downgrade', 'terminate']);
export type ExpectedEffect = z.output<typeof effects>;

const ExpectationSchema = z.union(
  [
    effects,
    z.strictObject({
      effect: effects.describe(
        'The decision. `deny` also stands for a request that is refused because it is malformed (reason `bad_request`), and for whatever is asked for after the session has ended or was suspended (reasons `session_ended`, `session_suspended`).',
      ),
      rule: oneOrMore(text)
        .optional()
        .describe('Ids of rules, or of a separation of duties, that must be among what decided.'),
      reason: oneOrMore(text).optional().describe('Codes that must be among the reasons, such as `argument_outside`.'),
      path: oneOrMore(text)
        .optional()
        .describe('Paths that must be among the reasons’, such as `context.arguments.to` or `params.bucket`.'),
      flagged: oneOrMore(text)
        .optional()
        .describe('Ids of the rules with the effect `flag` that must hold: all of these, and no other.'),
    }),
  ],
  'must be an effect, or an object with `effect` and at most `rule`, `reason`, `path` and `flagged`',
);

const outcome = {
  outcome: z
    .enum(['response', 'error'])
    .optional()
    .describe('How the host reports that an allowed call came out. Not reported where neither this nor an output is.'),
  output: z.string().max(65_536).optional().describe('What came back, as text: its words have an origin now.'),
  structured: z.json().optional().describe('The same as JSON, for `trusted_fields`.'),
  labels: z.array(label).max(16).optional().describe('Labels that the host reports with it.'),
  real_cost_usd: z.number().min(0).max(1_000_000).optional().describe('What the host reports that it really cost.'),
  entities: z.array(text).max(16).optional().describe('What the host reports that it turned out to touch.'),
};

const StepSchema = z.strictObject({
  wait: span.optional().describe('Time that goes by before the step, such as 5m.'),
  in: sessionName.optional().describe('The session that asks, one of `sessions`. Default: the case’s own.'),
  call: text.optional().describe('A tool call: the tool’s name. A step is one of `call`, `grant`, `report`, `said`.'),
  args: values.optional().describe('Of a call: its arguments.'),
  cost_usd: z.number().min(0).max(1_000_000).optional().describe('Of a call: the host’s estimate of its cost.'),
  id: sessionName.optional().describe('Of a call: a name by which a later step reports how it came out.'),
  grant: text.optional().describe('A request for a credential: the capability’s name.'),
  params: values.optional().describe('Of a grant: the parameters that the agent gives.'),
  ttl: span
    .optional()
    .describe('Of a grant: the lifetime that is asked for. Default: 15m, or the capability’s if less.'),
  approved: z
    .literal(true)
    .optional()
    .describe(
      'A person has approved this very grant or call, which an earlier step asked for, and it is collected now.',
    ),
  report: sessionName.optional().describe('How a call came out that has this `id`.'),
  said: z.string().min(1).max(65_536).optional().describe('Words of the person, as the host reports them.'),
  ...outcome,
  expect: ExpectationSchema.optional().describe(
    'Of a call or a grant: what must be decided. An effect alone, or with what decided it. Default: `allow`.',
  ),
});

const SessionSchema = z.strictObject({
  manifest: file.optional().describe('Of another agent: its manifest, beside this file.'),
  task_type: text.optional().describe('The task it is opened for.'),
  inputs: z
    .record(z.string().min(1).max(64), z.union([z.string(), z.int(), z.boolean()]))
    .optional()
    .describe('The inputs of the task.'),
  on_behalf_of: person.optional().describe('Whom it acts for, as the platform vouches: `user:…`.'),
  declared_on_behalf_of: person.optional().describe('Whom it acts for, as the agent says.'),
  attested: z
    .record(z.string(), z.json())
    .optional()
    .describe('Claims of the platform’s token that the manifest asks for, nested as there.'),
  address: z.union([z.ipv4(), z.ipv6()], 'must be an IP address').optional().describe('Where its requests come from.'),
  parent: sessionName.optional().describe('The session whose sub-agent’s it is: both have one history.'),
  capabilities: z.array(text).max(64).optional().describe('What a sub-agent’s session was narrowed to.'),
  max_grants: z.int().min(0).max(100_000).optional().describe('A bound of its own on its grants.'),
  open_for: span.optional().describe('How long it has been open when the case begins.'),
});

const CaseSchema = z.strictObject({
  name: text.describe('What holds, in a sentence.'),
  at: moment.optional().describe('When it begins. Default: 2026-03-02T10:00:00Z, a Monday.'),
  session: SessionSchema.optional().describe('The session that asks where a step names none. On top of the file’s.'),
  sessions: z
    .record(sessionName, SessionSchema)
    .refine((all) => Object.keys(all).length <= 32, 'must not have more than 32 sessions')
    .optional()
    .describe('More of them, by a name of your own: for rules that look beyond one session.'),
  steps: z.array(StepSchema).min(1).max(1000).describe('What happens, in order.'),
});

export const CasesSchema = z
  .strictObject({
    apiVersion: z.literal('writ/v1').describe('Version of the format.'),
    manifest: file.optional().describe('The manifest, beside this file. Default: `NAME.yaml` of `NAME.cases.yaml`.'),
    session: SessionSchema.optional().describe('What every session here is, unless its case says otherwise.'),
    cases: z.array(CaseSchema).min(1).max(1000).describe('Each begins with an empty history.'),
  })
  .meta({ title: 'Writ cases', description: 'What a manifest must decide, kept beside it.' });

export type Cases = z.output<typeof CasesSchema>;
export type Case = Cases['cases'][number];
export type Step = Case['steps'][number];
export type SessionShape = z.output<typeof SessionSchema>;
export type Expectation = z.output<typeof ExpectationSchema>;

/** The published JSON Schema (draft 2020-12) of the YAML as people write it. */
export function casesJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(CasesSchema, { io: 'input', target: 'draft-2020-12' }) as Record<string, unknown>;
}
