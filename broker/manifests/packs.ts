/**
 * Rule packs: rules for what many agents have in common, which a manifest includes by name
 * (`include-packs.ts`). What a pack speaks of are classes of the manifest; which those are, `with` says.
 */
import { z } from 'zod';
import { argPath, className, type DutySchema, dollars, type RuleSchema, span } from './tool-schema.ts';

type RuleInput = z.input<typeof RuleSchema>;
type DutyInput = z.input<typeof DutySchema>;
type Effect = RuleInput['effect'];

export interface Pack<Shape extends z.ZodRawShape = z.ZodRawShape> {
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

/** What cannot be taken back: whole trees removed, a disk written over, a remote forced. */
const destroys =
  '(?:.*[\\s;&|(])?(?:rm\\s+-\\S*(?:r\\S*f|f\\S*r)\\S*\\s+["\']?(?:/|~|\\$HOME|\\.\\.?/?(?:\\s|$)|\\*).*|mkfs\\S*.*|dd\\s.*of=/dev/.*|git\\s.*push\\s.*(?:--force|-f|--mirror|--delete)(?:\\s.*|-.*)?|git\\s.*push\\s(?:.*\\s)?\\+\\S+.*)';
/** What was fetched, handed to an interpreter. */
const runsFetched =
  '.*(?:curl|wget)\\s.*\\|\\s*(?:\\S*/)?(?:sudo\\s+)?(?:\\S*/)?(?:ba|z|da|k)?sh\\b.*|.*(?:ba|z|da|k)?sh\\s+(?:-c\\s+)?["\']?(?:<\\(|\\$\\(|`)\\s*(?:curl|wget)\\s.*|.*(?:curl|wget)\\s.*\\|\\s*(?:python3?|node|perl|ruby)\\b.*';
/** Files that tell agents, builds and shells what to do. */
const ownRules =
  '(?i)(?:.*/)?(?:\\.git/.*|\\.github/workflows/.*|\\.gitlab-ci\\.yml|\\.claude/.*|\\.codex/.*|\\.cursor/.*|\\.mcp\\.json|AGENTS\\.md|CLAUDE\\.md|\\.vscode/(?:tasks|settings)\\.json|\\.envrc|\\.(?:bash|zsh)(?:rc|_profile)|\\.profile)';

/** A rule about tools of a class, or about what `on` selects. */
function rule(
  id: string,
  effect: Effect,
  on: string | Exclude<RuleInput['on'], string>,
  message: string | null,
  when?: RuleInput['when'],
  scope?: RuleInput['scope'],
): RuleInput {
  return {
    id,
    ...(message === null ? {} : { message }),
    on: typeof on === 'string' && on !== everything ? { class: on } : (on as RuleInput['on']),
    ...(scope === undefined ? {} : { scope }),
    ...(when === undefined ? {} : { when }),
    effect,
  };
}
const everything = '*';

/** So many calls of the class by one agent in an hour are fine. */
const hourly = (id: string, effect: Effect, on: string, message: string, more_than: number): RuleInput =>
  rule(id, effect, on, message, { count: { more_than, within: '1h' } }, 'agent');
/** What it may cost, over all sessions of the agent. */
const bounded = (id: string, on: string, within: string, cost_usd_more_than: number): RuleInput =>
  rule(
    id,
    'deny',
    on,
    `That is more than may be spent in ${within === '1h' ? 'an hour' : 'a day'}.`,
    { sum: { cost_usd_more_than, within } },
    'agent',
  );
/** The class was read in this session. */
const read = (name: string) => ({ formerly: { class: name, within: 'session' } as const });
const unknown = { destination: 'unknown' } as const;
const injected = { untrusted: ['destination'] as ['destination'] };

export const packs = {
  exfiltration: pack({
    about: 'Data that was read does not go where nobody said that it may.',
    with: z.strictObject({
      reads: bindsClass('read.sensitive', 'tools that return sensitive data'),
      egress: bindsClass('egress', 'tools that send something out'),
      sends_per_hour: count(50, 'So many calls that send, by one agent in an hour, are fine.'),
    }),
    rules: ({ reads, egress, sends_per_hour }) => [
      rule(
        'after-reading',
        'suspend',
        egress,
        'Sensitive data was read: nothing goes to a destination that nobody named.',
        { ...read(reads), ...unknown },
      ),
      rule(
        'uncleared',
        'deny',
        egress,
        'What this session has read has a label that the destination is not cleared for.',
        { uncleared: true, ...unknown },
      ),
      rule('injected-destination', 'deny', egress, 'The destination first appeared in what a tool returned.', injected),
      hourly('many-sends', 'deny', egress, 'That is more than this agent may send in an hour.', sends_per_hour),
      rule('new-destination', 'flag', egress, null, { first_time: 'destination' }, 'agent'),
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
    rules: ({ exec, command, within, denials }) => {
      const attempt = { class: exec, match: { [command]: asRoot } };
      const after = { formerly: { ...attempt, kind: 'attempt', within } } as const;
      return [
        rule('attempt', 'deny', attempt, 'Commands run without other rights than the session has.'),
        rule('after-attempt', 'deny', exec, 'A command with other rights was tried before.', after),
        rule(
          'no-wider-credential',
          'deny',
          { tier: 2 },
          'After such an attempt no credential is given that a person would have to approve.',
          after,
        ),
        rule('probing', 'suspend', everything, 'Too many calls were denied within ten minutes.', {
          count: { of: { kind: 'denied' }, more_than: denials, within: '10m' },
        }),
      ];
    },
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
      bounded('hour', spends, '1h', per_hour_usd),
      bounded('day', spends, '1d', per_day_usd),
      rule(
        'unusual',
        'suspend',
        spends,
        'That is far more often than usual.',
        { rate: { over: '1h', times: Math.max(times, 2), at_least } },
        'agent',
      ),
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
    rules: ({ secrets, files, path, egress, reads_per_hour }) => {
      const credentials = { class: files, match: { [path]: credentialFile } };
      return [
        rule('stay', 'suspend', egress, 'A secret was read: nothing is sent any more in this session.', [
          read(secrets),
          { formerly: { ...credentials, kind: 'attempt', within: 'session' } },
        ]),
        rule('credential-files', 'deny', credentials, 'Files that hold credentials are not read.'),
        hourly(
          'harvest',
          'suspend',
          secrets,
          'That is more secrets than this agent may read in an hour.',
          reads_per_hour,
        ),
      ];
    },
  }),
  'coding-agent': pack({
    about: 'An agent that edits and runs code keeps to its work tree, its rules and its remote.',
    with: z.strictObject({
      exec: bindsClass('exec', 'tools that run commands'),
      command: argument('command', 'the command'),
      edits: bindsClass('edit', 'tools that write files'),
      path: argument('path', 'the file'),
    }),
    rules: ({ exec, command, edits, path }) => {
      const runs = (pattern: string) => ({ class: exec, match: { [command]: pattern } });
      return [
        rule('other-rights', 'deny', runs(asRoot), 'Commands run without other rights than the session has.'),
        rule('destroys', 'approve', runs(destroys), 'What cannot be taken back is not done without a person.'),
        rule('runs-what-it-fetched', 'deny', runs(runsFetched), 'What was fetched is not run unread.'),
        rule(
          'own-rules',
          'approve',
          { class: edits, match: { [path]: ownRules } },
          'What tells agents and builds what to do is changed by people.',
        ),
        rule(
          'credential-files',
          'deny',
          { class: [exec, edits] },
          'Files that hold credentials are neither shown nor written.',
          [{ match: { [command]: credentialFile } }, { match: { [path]: credentialFile } }],
        ),
      ];
    },
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
      rule(
        'to-the-customer',
        'deny',
        replies,
        'Data of a customer goes to an address that the task or the manifest names.',
        { ...read(lookups), ...unknown },
      ),
      rule('injected-address', 'deny', replies, 'The address first appeared in what a tool returned.', injected),
      hourly(
        'harvest',
        'suspend',
        lookups,
        'That is more customers than this agent looks up in an hour.',
        lookups_per_hour,
      ),
      rule('unasked-refund', 'approve', refunds, 'Nobody asked for a refund.', { unsaid: asked_by }),
    ],
  }),
};
export type PackName = keyof typeof packs;
export const packNames = Object.keys(packs) as PackName[];
