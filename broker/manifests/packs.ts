/**
 * Rule packs: rules for what many agents have in common, which a manifest includes by name. What a pack
 * speaks of are classes of the manifest; which those are, `with` says. A pack is expanded when the manifest
 * is read, and what it became stands in the published version: a later broker changes none.
 */
import { z } from 'zod';
import { argPath, className, DutySchema, dollars, RuleSchema, span } from './tool-schema.ts';

type RuleInput = z.input<typeof RuleSchema>;
type DutyInput = z.input<typeof DutySchema>;

interface Pack<Shape extends z.ZodRawShape> {
  /** For people: what it is against. */
  about: string;
  with: z.ZodObject<Shape>;
  rules(bound: z.output<z.ZodObject<Shape>>): RuleInput[];
  duties?(bound: z.output<z.ZodObject<Shape>>): DutyInput[];
}

const pack = <Shape extends z.ZodRawShape>(one: Pack<Shape>): Pack<Shape> => one;

const bindsClass = (name: string, what: string) =>
  className.default(name).describe(`Class of ${what}. Default: \`${name}\`.`);
const argument = (name: string, what: string) => argPath.default(name).describe(`Argument that holds ${what}.`);
/** As it is written: it is read once more when it becomes a part of a rule. */
const time = (value: string, what: string) =>
  z
    .string()
    .default(value)
    .refine((text) => span.safeParse(text).success, 'must be a duration such as 90s, 15m, 2h or 30d')
    .describe(what);
const count = (value: number, what: string) => z.int().min(1).max(100_000).default(value).describe(what);
const money = (value: number, what: string) =>
  z
    .number()
    .default(value)
    .refine((amount) => dollars.safeParse(amount).success, 'must be an amount in US dollars, such as 0.50')
    .describe(what);

/** A command that wants to be somebody else, wherever in the line it stands. */
const asRoot = '(?:.*[\\s;&|(`$/])?(?:sudo|su|doas|pkexec|runas)(?:\\s.*)?';
/** Files that hold credentials, in a path or in a command. */
const credentialFile =
  '(?i)(?:.*[\\s/=\'"])?(?:\\.env(?:\\.[a-z]+)?|\\.netrc|\\.pgpass|\\.git-credentials|\\.npmrc|\\.pypirc|id_(?:rsa|ed25519|ecdsa)|\\.aws/credentials|\\.kube/config|\\.docker/config\\.json)(?:[\\s\'";|&].*)?';

export const packs = {
  exfiltration: pack({
    about: 'Data that was read does not go where nobody said that it may.',
    with: z.strictObject({
      reads: bindsClass('read.sensitive', 'tools that return sensitive data'),
      egress: bindsClass('egress', 'tools that send something out'),
      sends_per_hour: count(50, 'So many calls that send, by one agent in an hour, are fine.'),
    }),
    rules: ({ reads, egress, sends_per_hour }) => [
      {
        id: 'after-reading',
        message: 'Sensitive data was read: nothing goes to a destination that nobody named.',
        on: { class: egress },
        when: { formerly: { class: reads, within: 'session' }, destination: 'unknown' },
        effect: 'suspend',
      },
      {
        id: 'uncleared',
        message: 'What this session has read has a label that the destination is not cleared for.',
        on: { class: egress },
        when: { uncleared: true, destination: 'unknown' },
        effect: 'deny',
      },
      {
        id: 'injected-destination',
        message: 'The destination first appeared in what a tool returned.',
        on: { class: egress },
        when: { untrusted: ['destination'] },
        effect: 'deny',
      },
      {
        id: 'many-sends',
        message: 'That is more than this agent may send in an hour.',
        on: { class: egress },
        scope: 'agent',
        when: { count: { more_than: sends_per_hour, within: '1h' } },
        effect: 'deny',
      },
      {
        id: 'new-destination',
        on: { class: egress },
        scope: 'agent',
        when: { first_time: 'destination' },
        effect: 'flag',
      },
    ],
  }),
  privilege: pack({
    about: 'Attempts to gain rights are refused, and so is what follows on them.',
    with: z.strictObject({
      exec: bindsClass('exec', 'tools that run commands'),
      command: argument('command', 'the command'),
      within: time('1h', 'How long an attempt is remembered.'),
      denials: count(10, 'So many denied calls within ten minutes are fine.'),
    }),
    rules: ({ exec, command, within, denials }) => [
      {
        id: 'attempt',
        message: 'Commands run without other rights than the session has.',
        on: { class: exec, match: { [command]: asRoot } },
        effect: 'deny',
      },
      {
        id: 'after-attempt',
        message: 'A command with other rights was tried before.',
        on: { class: exec },
        when: { formerly: { class: exec, match: { [command]: asRoot }, kind: 'attempt', within } },
        effect: 'deny',
      },
      {
        id: 'no-wider-credential',
        message: 'After such an attempt no credential is given that a person would have to approve.',
        on: { tier: 2 },
        when: { formerly: { class: exec, match: { [command]: asRoot }, kind: 'attempt', within } },
        effect: 'deny',
      },
      {
        id: 'probing',
        message: 'Too many calls were denied within ten minutes.',
        on: '*',
        when: { count: { of: { kind: 'denied' }, more_than: denials, within: '10m' } },
        effect: 'suspend',
      },
    ],
  }),
  'separation-of-duties': pack({
    about:
      'Whoever did one of the duties does not do another for the same thing: in no session, and by no agent of the owner.',
    with: z.strictObject({
      duties: z
        .array(className)
        .min(2)
        .max(8)
        .default(['duty.propose', 'duty.approve'])
        .describe('Classes of tools, of which one hand does one. Default: `duty.propose` and `duty.approve`.'),
      same: z
        .string()
        .regex(/^(?:entity|arg:[A-Za-z0-9_.-]{1,128})$/)
        .default('entity')
        .describe('What makes two calls be about the same: `entity`, or `arg:PATH`.'),
      within: time('30d', 'How long a duty is remembered.'),
    }),
    rules: () => [],
    duties: ({ duties, same, within }) => [
      { id: 'duties', duties: duties.map((name) => ({ class: name })), same: [same as 'entity'], within },
    ],
  }),
  spend: pack({
    about: 'Money is spent within bounds, over all sessions of the agent.',
    with: z.strictObject({
      spends: bindsClass('spend', 'tools that cost money (`cost_usd`, or as the host reports)'),
      per_hour_usd: money(10, 'What may be spent in an hour.'),
      per_day_usd: money(50, 'What may be spent in a day.'),
      times: count(5, 'How many times the usual number of calls in an hour are fine.'),
      at_least: count(20, 'So many calls in an hour are fine whatever is usual.'),
    }),
    rules: ({ spends, per_hour_usd, per_day_usd, times, at_least }) => [
      {
        id: 'hour',
        message: 'That is more than may be spent in an hour.',
        on: { class: spends },
        scope: 'agent',
        when: { sum: { cost_usd_more_than: per_hour_usd, within: '1h' } },
        effect: 'deny',
      },
      {
        id: 'day',
        message: 'That is more than may be spent in a day.',
        on: { class: spends },
        scope: 'agent',
        when: { sum: { cost_usd_more_than: per_day_usd, within: '1d' } },
        effect: 'deny',
      },
      {
        id: 'unusual',
        message: 'That is far more often than usual.',
        on: { class: spends },
        scope: 'agent',
        when: { rate: { over: '1h', times: Math.max(times, 2), at_least } },
        effect: 'suspend',
      },
    ],
  }),
  secrets: pack({
    about: 'Secrets that are read stay where they are.',
    with: z.strictObject({
      secrets: bindsClass('read.secret', 'tools that return secrets'),
      files: bindsClass('files', 'tools that read files'),
      path: argument('path', 'the file'),
      egress: bindsClass('egress', 'tools that send something out'),
      reads_per_hour: count(5, 'So many secrets, read by one agent in an hour, are fine.'),
    }),
    rules: ({ secrets, files, path, egress, reads_per_hour }) => [
      {
        id: 'stay',
        message: 'A secret was read: nothing is sent any more in this session.',
        on: { class: egress },
        when: [
          { formerly: { class: secrets, within: 'session' } },
          { formerly: { class: files, match: { [path]: credentialFile }, kind: 'attempt', within: 'session' } },
        ],
        effect: 'suspend',
      },
      {
        id: 'credential-files',
        message: 'Files that hold credentials are not read.',
        on: { class: files, match: { [path]: credentialFile } },
        effect: 'deny',
      },
      {
        id: 'harvest',
        message: 'That is more secrets than this agent may read in an hour.',
        on: { class: secrets },
        scope: 'agent',
        when: { count: { more_than: reads_per_hour, within: '1h' } },
        effect: 'suspend',
      },
    ],
  }),
  'coding-agent': pack({
    about: 'An agent that edits and runs code keeps to its work tree, its rules and its remote.',
    with: z.strictObject({
      exec: bindsClass('exec', 'tools that run commands'),
      command: argument('command', 'the command'),
      edits: bindsClass('edit', 'tools that write files'),
      path: argument('path', 'the file'),
    }),
    rules: ({ exec, command, edits, path }) => [
      {
        id: 'other-rights',
        message: 'Commands run without other rights than the session has.',
        on: { class: exec, match: { [command]: asRoot } },
        effect: 'deny',
      },
      {
        id: 'destroys',
        message: 'What cannot be taken back is not done without a person.',
        on: {
          class: exec,
          match: {
            [command]:
              '(?:.*[\\s;&|(])?(?:rm\\s+-\\S*(?:r\\S*f|f\\S*r)\\S*\\s+["\']?(?:/|~|\\$HOME|\\.\\.?/?(?:\\s|$)|\\*).*|mkfs\\S*.*|dd\\s.*of=/dev/.*|git\\s.*push\\s.*(?:--force|-f|--mirror|--delete)(?:\\s.*|-.*)?|git\\s.*push\\s(?:.*\\s)?\\+\\S+.*)',
          },
        },
        effect: 'approve',
      },
      {
        id: 'runs-what-it-fetched',
        message: 'What was fetched is not run unread.',
        on: {
          class: exec,
          match: {
            [command]:
              '.*(?:curl|wget)\\s.*\\|\\s*(?:\\S*/)?(?:sudo\\s+)?(?:\\S*/)?(?:ba|z|da|k)?sh\\b.*|.*(?:ba|z|da|k)?sh\\s+(?:-c\\s+)?["\']?(?:<\\(|\\$\\(|`)\\s*(?:curl|wget)\\s.*|.*(?:curl|wget)\\s.*\\|\\s*(?:python3?|node|perl|ruby)\\b.*',
          },
        },
        effect: 'deny',
      },
      {
        id: 'own-rules',
        message: 'What tells agents and builds what to do is changed by people.',
        on: {
          class: edits,
          match: {
            [path]:
              '(?i)(?:.*/)?(?:\\.git/.*|\\.github/workflows/.*|\\.gitlab-ci\\.yml|\\.claude/.*|\\.codex/.*|\\.cursor/.*|\\.mcp\\.json|AGENTS\\.md|CLAUDE\\.md|\\.vscode/(?:tasks|settings)\\.json|\\.envrc|\\.(?:bash|zsh)(?:rc|_profile)|\\.profile)',
          },
        },
        effect: 'approve',
      },
      {
        id: 'credential-files',
        message: 'Files that hold credentials are neither shown nor written.',
        on: { class: [exec, edits] },
        when: [{ match: { [command]: credentialFile } }, { match: { [path]: credentialFile } }],
        effect: 'deny',
      },
    ],
  }),
  'support-agent': pack({
    about: 'An agent that answers customers tells each of them about himself, and pays nothing that nobody asked for.',
    with: z.strictObject({
      lookups: bindsClass('read.customer', 'tools that return data of a customer'),
      replies: bindsClass('egress', 'tools that write to somebody'),
      refunds: bindsClass('spend', 'tools that pay something back'),
      lookups_per_hour: count(60, 'So many lookups by one agent in an hour are fine.'),
      asked_by: z
        .array(z.string().regex(/^[^\s\p{Lu}]{1,64}$/u))
        .min(1)
        .max(16)
        .default(['refund', 'refunded', 'money', 'credit'])
        .describe('Words by which a person asks for a refund.'),
    }),
    rules: ({ lookups, replies, refunds, lookups_per_hour, asked_by }) => [
      {
        id: 'to-the-customer',
        message: 'Data of a customer goes to an address that the task or the manifest names.',
        on: { class: replies },
        when: { formerly: { class: lookups, within: 'session' }, destination: 'unknown' },
        effect: 'deny',
      },
      {
        id: 'injected-address',
        message: 'The address first appeared in what a tool returned.',
        on: { class: replies },
        when: { untrusted: ['destination'] },
        effect: 'deny',
      },
      {
        id: 'harvest',
        message: 'That is more customers than this agent looks up in an hour.',
        on: { class: lookups },
        scope: 'agent',
        when: { count: { more_than: lookups_per_hour, within: '1h' } },
        effect: 'suspend',
      },
      {
        id: 'unasked-refund',
        message: 'Nobody asked for a refund.',
        on: { class: refunds },
        when: { unsaid: asked_by },
        effect: 'approve',
      },
    ],
  }),
};
export type PackName = keyof typeof packs;
export const packNames = Object.keys(packs) as PackName[];

const included = <Name extends PackName>(name: Name) =>
  z.strictObject({
    name: z.literal(name).describe(packs[name].about),
    with: (packs[name].with as z.ZodObject).prefault({}).describe('What it speaks of in this manifest.'),
    without: z.array(z.string().max(64)).max(16).default([]).describe('Rules of it that are left out.'),
    effects: z
      .record(z.string().max(64), RuleSchema.shape.effect.exclude(['allow', 'downgrade']))
      .default({})
      .describe('Other effects of its rules.'),
  });

/** The member `packs` of a manifest. */
export const packsSchema = z
  .array(z.union([z.enum(packNames), z.discriminatedUnion('name', packNames.map(included) as never)]))
  .max(16)
  .describe('Rule packs, by name; what is in them: rule-packs.md.');

interface Included {
  name: PackName;
  with: { [name: string]: unknown };
  without: string[];
  effects: { [rule: string]: string };
}

/** A manifest whose packs are among its rules: what is compiled, and what a published version keeps. */
export function withPacks<M extends WithRules>(manifest: M): M {
  if (manifest.packs === undefined) return manifest;
  const expanded = manifest.packs.map(expandPack);
  return {
    ...manifest,
    rules: [...(manifest.rules ?? []), ...expanded.flatMap(({ rules }) => rules)],
    separation_of_duties: [...(manifest.separation_of_duties ?? []), ...expanded.flatMap(({ duties }) => duties)],
  };
}

interface WithRules {
  packs?: readonly unknown[] | undefined;
  rules?: z.output<typeof RuleSchema>[] | undefined;
  separation_of_duties?: z.output<typeof DutySchema>[] | undefined;
}

/** One inclusion as rules and duties with ids `pack/rule`, and what of it names no rule of the pack. */
export function expandPack(member: unknown): {
  name: PackName;
  rules: z.output<typeof RuleSchema>[];
  duties: z.output<typeof DutySchema>[];
  strangers: string[];
} {
  const {
    name,
    with: bound,
    without,
    effects,
  } = (typeof member === 'string' ? included(member as PackName).parse({ name: member }) : member) as Included;
  const { rules, duties } = packs[name] as unknown as Pack<z.ZodRawShape>;
  const all = rules(bound);
  const ids = all.map(({ id }) => id);
  return {
    name,
    rules: all
      .filter(({ id }) => !without.includes(id))
      .map((rule) => ({
        ...RuleSchema.parse({ ...rule, effect: effects[rule.id] ?? rule.effect }),
        id: `${name}/${rule.id}`,
      })),
    duties: (duties?.(bound) ?? []).map((duty) => ({ ...DutySchema.parse(duty), id: `${name}/${duty.id}` })),
    strangers: [...without, ...Object.keys(effects)].filter((id) => !ids.includes(id)),
  };
}
