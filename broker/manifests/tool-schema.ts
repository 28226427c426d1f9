/**
 * The sections of a manifest about tool calls: which tools there are, what their calls may hold, where data
 * may go, and what may follow on what. As the admin writes them; `compile-calls.ts` makes of them what runs.
 */
import { z } from 'zod';
import { ApprovalSchema } from './approval-schema.ts';
import { isNetwork } from './networks.ts';

const atMost = (limit: number, what: string) =>
  [(record: object) => Object.keys(record).length <= limit, `must not have more than ${limit} ${what}`] as const;

const text = z.string().min(1).max(1000);
const pattern = z.string().min(1).max(256);
const toolNamePattern = /^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}$/;
const toolName = z
  .string()
  .regex(toolNamePattern, 'must be a tool’s name: up to 128 letters, digits and any of _ . : / -');
/** Classes may be grouped by dots: `read.sensitive`. */
export const className = z
  .string()
  .regex(/^[a-z][a-z0-9_.-]{0,62}$/, 'must be a lower-case letter, then up to 62 of a-z, 0-9, _ . and -');
const ruleId = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,62}$/, 'must be a lower-case letter, then up to 62 of a-z, 0-9 and -');
/** Where an argument is: `to`, `message.to`. Of a list, every member counts. */
export const argPath = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,64}(?:\.[A-Za-z0-9_-]{1,64}){0,7}$/, 'must be names of arguments, joined by dots');
const capabilityName = z.string().regex(/^[a-z][a-z0-9-]{0,62}$/, 'must be the name of a capability');

const secondsPerUnit: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 };
/** Read as whole seconds; 90 days at most, as long as history is kept. */
export const span = z
  .string('must be a duration such as 90s, 15m, 2h or 30d')
  .regex(/^[1-9][0-9]{0,5}[smhd]$/, 'must be a duration such as 90s, 15m, 2h or 30d')
  .transform((value) => Number(value.slice(0, -1)) * (secondsPerUnit[value.slice(-1)] ?? Number.NaN))
  .refine((seconds) => seconds <= 90 * 86_400, 'must be ninety days or less');
const within = z
  .union([z.literal('session'), span])
  .describe(
    'How far back it looks, such as 30m or 30d; `session` = since the session began, for rules that look at the session alone.',
  );

/** US dollars, read as whole millionths: money is never a fraction. */
export const dollars = z
  .number('must be an amount in US dollars, such as 0.50')
  .min(0)
  .max(1_000_000)
  .refine((value) => Math.abs(value * 1e6 - Math.round(value * 1e6)) < 1e-3, 'must not have more than six decimals')
  .transform((value) => Math.round(value * 1e6));

const scalar = z.union([z.string().max(256), z.int(), z.boolean()]);

const ArgumentSchema = z.union([
  scalar.describe(`What it must equal; \`\${inputs.name}\` takes the task’s input.`),
  z.strictObject({
    equals: scalar.optional().describe(`What it must equal; \`\${inputs.name}\` takes the task’s input.`),
    enum: z.array(scalar).min(1).max(256).optional().describe('The values it may have.'),
    pattern: pattern.optional().describe('RE2 pattern that the whole text must match.'),
    min: z.int().optional().describe('The smallest number.'),
    max: z.int().optional().describe('The largest number.'),
    optional: z.boolean().default(false).describe('Whether a call may leave it out.'),
  }),
]);

const ToolSchema = z.strictObject({
  description: text.optional().describe('What it does, for the list that a session is given.'),
  tasks: z
    .array(capabilityName)
    .min(1)
    .max(64)
    .optional()
    .describe('Task types whose sessions may call it. Default: all.'),
  args: z
    .record(argPath, ArgumentSchema)
    .refine(...atMost(64, 'arguments'))
    .default({})
    .describe('What its arguments must be. Others are free.'),
  no_other_args: z.boolean().default(false).describe('Refuse arguments that `args` does not name.'),
  entity: z
    .string()
    .max(256)
    .optional()
    .describe(`What a call touches, such as \`order:\${args.order_id}\`: what \`same: [entity]\` compares.`),
  writes: z
    .boolean()
    .default(false)
    .describe(
      'Whether a call puts something into its `entity`: then the session’s labels stick to that entity, and to whichever session of the owner’s agents touches it later.',
    ),
  destination: z
    .array(argPath)
    .max(16)
    .default([])
    .describe('Arguments that say where data or money goes: addresses, accounts, hosts, channels.'),
  sensitivity: z.int().min(0).max(3).default(0).describe('How sensitive what it returns is: 0 public … 3 secret.'),
  labels: z.array(className).max(16).default([]).describe('Labels of what it returns; they stick to the session.'),
  output: z
    .enum(['trusted', 'untrusted'])
    .default('untrusted')
    .describe('Whether values in what it returns may be used as destinations: a directory of yours is `trusted`.'),
  trusted_fields: z
    .array(argPath)
    .max(32)
    .default([])
    .describe(
      'Fields of the result (`structured` of the report) whose values may be used as destinations although the rest may not: what your system writes there and no third party can. Of a list, every member counts.',
    ),
  cost_usd: dollars.default(0).describe('What a call costs, as far as nobody reports it.'),
  record: z
    .enum(['digests', 'full'])
    .default('digests')
    .describe(
      'What is kept of its arguments: `digests`: type, keyed digest and a preview; `full`: their values too, sealed under the key-encryption key, for admins to read.',
    ),
  canary: z
    .boolean()
    .default(false)
    .describe('A decoy that no honest run calls: it is listed as any tool is, and whoever calls it ends the session.'),
});

const CanarySchema = z
  .strictObject({
    id: ruleId.describe('Its name on record. The agent is not told it.'),
    value: z
      .string()
      .min(6)
      .max(512)
      .optional()
      .describe('A text that nobody has a reason to use, such as a decoy credential or an account number.'),
    path: z
      .string()
      .regex(/^\/[^/\s]/, 'must be an absolute path that is not the root')
      .max(512)
      .optional()
      .describe('A path; what is below it counts.'),
    host: z
      .string()
      .regex(/^(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+$/, 'must be a host, or `*.` and one')
      .max(253)
      .optional()
      .describe('A host, in a URL, an address or alone; `*.example.com` takes all below it.'),
    entity: z
      .string()
      .min(1)
      .max(256)
      .optional()
      .describe('An entity, as the `entity` of a tool makes it: `order:999`.'),
  })
  .refine(
    ({ value, path, host, entity }) => [value, path, host, entity].filter((one) => one !== undefined).length === 1,
    'must have one of `value`, `path`, `host` and `entity`',
  );

const kinds = z.enum(['attempt', 'call', 'denied', 'response', 'error']);
const oneOrMore = <T extends z.ZodType>(one: T) => z.union([one, z.array(one).min(1).max(64)]);

const selectorShape = {
  tool: oneOrMore(toolName)
    .optional()
    .describe(
      'Calls of this tool, or of one of these. Of `tool`, `class` and `capability`, one must fit; of the rest, all.',
    ),
  class: oneOrMore(className).optional().describe('Calls of a class.'),
  capability: oneOrMore(capabilityName).optional().describe('Grants of this capability.'),
  provider: oneOrMore(capabilityName).optional().describe('Grants of this provider’s.'),
  tier: z.int().min(1).max(3).optional().describe('Grants of capabilities of at least this tier.'),
  sensitivity: z.int().min(1).max(3).optional().describe('Calls of tools that return at least this.'),
  label: className
    .optional()
    .describe('Calls whose result has this label: by the manifest, and of outcomes, as reported too.'),
  destination: z.enum(['known', 'unknown']).optional().describe('Calls that send there.'),
  match: z
    .record(argPath, pattern)
    .refine(...atMost(16, 'arguments'))
    .optional()
    .describe('Calls whose arguments match these RE2 patterns as a whole; `.` takes line ends too.'),
};
const SelectorSchema = z.strictObject(selectorShape);
const kind = oneOrMore(kinds)
  .optional()
  .describe(
    '`attempt`: whatever was asked; `call` (default): what was allowed; `denied`; `response` and `error`: as the agent’s host reports the outcome: what nobody reports is neither.',
  );
const EventSchema = z.strictObject({ ...selectorShape, kind });

const correlation = z.union([z.enum(['entity', 'destination', 'tool']), z.string().regex(/^arg:/)]);
const same = z
  .array(correlation)
  .max(4)
  .default([])
  .describe(
    'Only events with the same entity, destination (its host), tool or argument (`arg:PATH`) as this call, however spelled; in `unless`, and for first times, spelled the same.',
  );

/** What the platform vouches for: claims of its token, nested as they are there. */
export interface Attested {
  [claim: string]: string | number | boolean | Attested;
}
const attested: z.ZodType<Attested> = z.lazy(() =>
  z
    .record(z.string().min(1).max(255), z.union([z.string().min(1).max(1024), z.int(), z.boolean(), attested]))
    .refine((record) => Object.keys(record).length > 0, 'names no claim')
    .refine(...atMost(16, 'claims')),
);

const ClauseSchema = z.strictObject({
  task_types: z.array(capabilityName).min(1).optional().describe('The session has one of these task types.'),
  destination: z
    .enum(['known', 'unknown'])
    .optional()
    .describe('`unknown`: it sends to somewhere that neither `egress` nor the task’s inputs name.'),
  untrusted: z
    .array(z.union([z.literal('destination'), argPath]))
    .min(1)
    .max(16)
    .optional()
    .describe(
      'One of these arguments has a value that appeared in untrusted output of a tool, and in nothing that is trusted.',
    ),
  unvouched: z
    .array(z.union([z.literal('destination'), argPath]))
    .min(1)
    .max(16)
    .optional()
    .describe(
      'One of these arguments has a value that nobody trustworthy said: not the person, the task’s inputs, the manifest or trusted output. Stricter than `untrusted`: a value that the model made up holds too.',
    ),
  unsaid: z
    .array(z.string().regex(/^[^\s\p{Lu}]{1,64}$/u, 'must be one word in lower case'))
    .min(1)
    .max(64)
    .optional()
    .describe(
      'Neither the person nor the task’s inputs used one of these words: for what nobody should do unasked, such as `[delete, remove]`. Holds where the host reports no words of the person.',
    ),
  network: z
    .array(z.string().max(64).refine(isNetwork, 'must be an address or a network, such as 10.0.0.0/8 or 2001:db8::/32'))
    .min(1)
    .max(256)
    .optional()
    .describe(
      'The caller’s address, as the broker sees it behind its trusted proxies, is in one of these networks. Where it is not known, the rule denies.',
    ),
  attested: attested
    .optional()
    .describe(
      'The platform’s token of the session had these claims, such as `{ref: refs/heads/main}`; nested as in the token; `{pattern: …}` is RE2. A session that nobody vouches so much for is denied.',
    ),
  label: className.optional().describe('The session has read something of this label.'),
  uncleared: z
    .literal(true)
    .optional()
    .describe('The session has a label that a destination of this call is not cleared for.'),
  on_behalf_of: z.enum(['vouched', 'declared', 'nobody']).optional().describe('Who says for whom the session acts.'),
  hours: z
    .strictObject({
      zone: z.string().max(64).describe('Such as Europe/Berlin.'),
      from: z
        .string()
        .regex(/^(?:[01]\d|2[0-3]):[0-5]\d$/, 'must be a time such as 08:30')
        .describe('First minute, such as 08:30.'),
      to: z
        .string()
        .regex(/^(?:[01]\d|2[0-3]):[0-5]\d$/, 'must be a time such as 17:00')
        .describe('First minute after; before `from`, it is the next day.'),
      days: z
        .array(z.enum(['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun']))
        .min(1)
        .optional()
        .describe('On these days only.'),
    })
    .optional()
    .describe('It is within these hours.'),
  match: z
    .record(argPath, pattern)
    .refine(...atMost(16, 'arguments'))
    .optional()
    .describe('Arguments of this call match these RE2 patterns as a whole; `.` takes line ends too.'),
  formerly: EventSchema.extend({ within, same }).optional().describe('Such an event was before this call.'),
  since: z
    .strictObject({
      event: EventSchema.describe('What was.'),
      without: EventSchema.describe('What has not been since.'),
      within,
      same,
    })
    .optional()
    .describe('`event` was before this call, and `without` has not been since.'),
  count: z
    .strictObject({
      of: EventSchema.optional().describe('What is counted, or summed up.'),
      more_than: z.int().min(0).describe('How many are fine.'),
      within,
      same,
    })
    .optional()
    .describe('More of them than this, this call included. Default of `of`: what `on` names.'),
  sum: z
    .strictObject({
      of: EventSchema.optional().describe('What is counted, or summed up.'),
      cost_usd_more_than: dollars.describe('How much is fine.'),
      within,
      same,
    })
    .optional()
    .describe('They cost more than this together, this call included.'),
  rate: z
    .strictObject({
      of: EventSchema.optional().describe('What is counted. Default: what `on` names.'),
      over: span.describe('The time in which they are counted, such as 1h: what is usual is learned by that too.'),
      times: z.int().min(2).max(1000).describe('How many times the usual number are fine.'),
      at_least: z
        .int()
        .min(0)
        .describe('So many are fine whatever is usual. Where nothing is known yet of what is, more are not.'),
      same,
    })
    .optional()
    .describe(
      'Far more of them than is usual in the rule’s `scope`, this call included: the mean of the past, of which the last eight stretches of `over` weigh most.',
    ),
  elapsed: span
    .optional()
    .describe('The session, or the one whose sub-agent it is, has been open for longer than this.'),
  first_time: z
    .enum(['tool', 'capability', 'destination', 'entity', 'provider', 'resource_family'])
    .optional()
    .describe(
      'Nobody in the rule’s `scope` called, used or touched it before, in another session. `resource_family`: of an entity, what is before its first colon; of a grant, its provider.',
    ),
});

export const RuleSchema = z.strictObject({
  id: ruleId.describe('Its name, in reasons and on record.'),
  message: text.optional().describe('What the agent and people are told.'),
  on: z.union([z.literal('*'), SelectorSchema]).describe('The calls it looks at; `*` = all of them.'),
  when: z
    .union([ClauseSchema, z.array(ClauseSchema).min(1).max(8)])
    .optional()
    .describe('All of these must hold; of a list, one of its members.'),
  unless: ClauseSchema.optional().describe('It does not count where all of these hold.'),
  scope: z
    .enum(['session', 'agent', 'principal', 'owner'])
    .default('session')
    .describe(
      'Whose history it looks at: the session and its sub-agents, all sessions of the agent, of the agent for the same person, or of all agents of its owner.',
    ),
  effect: z
    .enum(['allow', 'deny', 'approve', 'downgrade', 'suspend', 'terminate', 'flag'])
    .describe(
      '`deny` this call; ask a person to `approve` it; `downgrade`: deny it, and take from the session what `withhold` names; `suspend`: deny it, revoke what the session holds and let it do nothing until a person lifts that; `terminate` the session, and revoke what it holds; `flag` it on record only; `allow`: no rule has a person asked about it.',
    ),
  withhold: z
    .strictObject({
      tools: z.array(toolName).max(512).default([]).describe('Tools that it may not call any more.'),
      capabilities: z
        .array(capabilityName)
        .max(64)
        .default([])
        .describe('Capabilities that it may not ask for any more; what it holds of them is revoked.'),
      classes: z.array(className).max(64).default([]).describe('Tools and capabilities of these classes.'),
    })
    .optional()
    .describe('With `downgrade`, what the session and its sub-agents lose until a person gives it back.'),
  approval: ApprovalSchema.optional().describe(
    'With `approve`, how many of whom must. What it leaves out the capability says, then the agent’s `approval`.',
  ),
});

export const DutySchema = z.strictObject({
  id: ruleId.describe('Its name, in reasons and on record.'),
  duties: z.array(SelectorSchema).min(2).max(8).describe('Whoever did one of these may do none of the others.'),
  same: same.describe('For the same entity, say: `same: [entity]`.'),
  scope: z
    .enum(['session', 'agent', 'principal', 'owner'])
    .default('owner')
    .describe('Who counts as one: see `rules`.'),
  within,
});

/** Members of the manifest itself; absent in manifests that say nothing about tools. */
export const callSections = {
  tools: z
    .record(toolName, ToolSchema)
    .refine(...atMost(512, 'tools'))
    .optional()
    .describe('The tools its sessions may call. A tool that is not here is denied.'),
  classes: z
    .record(
      className,
      z.strictObject({
        tools: z.array(toolName).max(512).default([]).describe('Tools of the class.'),
        capabilities: z.array(capabilityName).max(64).default([]).describe('Capabilities of the class.'),
      }),
    )
    .refine(...atMost(64, 'classes'))
    .optional()
    .describe('Names for tools and capabilities that rules speak of together.'),
  egress: z
    .strictObject({
      known: z
        .array(z.string().min(1).max(256))
        .max(1000)
        .default([])
        .describe(
          `Destinations that are known to be good: a whole value, a domain with all below it (\`*.example.com\`), an address at it (\`*@example.com\`), or \`\${inputs.name}\`.`,
        ),
      inputs: z.boolean().default(true).describe('Whether every input of the task is a known destination.'),
      clearance: z
        .record(z.string().min(1).max(256), z.array(className).max(64))
        .default({})
        .describe('Labels that may go to a destination, written as in `known`. What is not here is cleared for none.'),
    })
    .optional()
    .describe('Where data may go.'),
  canaries: z
    .array(CanarySchema)
    .max(64)
    .optional()
    .describe(
      'Decoys: whoever names one in an argument, of a tool or of a grant and however encoded, ends the session, and people are told.',
    ),
  rules: z.array(RuleSchema).max(100).optional().describe('What may follow on what.'),
  cedar: z
    .string()
    .min(1)
    .max(65_536)
    .optional()
    .describe(
      'Policies in Cedar, beside all of the above. They forbid; `@id`, `@advice`, `@effect` (deny, approve, downgrade with `@withhold`, suspend, terminate) say what comes of it. What they may look at: `writ manifest schema FILE`.',
    ),
  separation_of_duties: z
    .array(DutySchema)
    .max(32)
    .optional()
    .describe('Duties that one hand may not do together, whichever comes first.'),
};

/** More members of `envelope`. */
export const callBounds = {
  max_calls: z.int().min(1).max(1_000_000).optional().describe('Tool calls one session may make; one more ends it.'),
  max_cost_usd: dollars.optional().describe('What the calls of one session may cost; one more ends it.'),
};

export const isToolName = (value: string): boolean => toolNamePattern.test(value);
export type Tool = z.output<typeof ToolSchema>;
export type Argument = z.output<typeof ArgumentSchema>;
export type Selector = z.output<typeof SelectorSchema>;
export type EventSelector = z.output<typeof EventSchema>;
export type Clause = z.output<typeof ClauseSchema>;
export type Rule = z.output<typeof RuleSchema>;
export type Duty = z.output<typeof DutySchema>;
export type EventKind = z.output<typeof kinds>;
export type Scope = Rule['scope'];
export type Canary = z.output<typeof CanarySchema>;
export type Effect = Rule['effect'];
