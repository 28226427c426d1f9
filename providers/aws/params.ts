/**
 * What a capability on AWS is made of: a role and one service's typed permission, or a list of actions ×
 * ARNs. Values are literals: `*`, `?` and `$` in them stand for themselves (see literal.ts). What matches
 * more than one thing does so by its structure (`prefix`, `resource_prefixes`, `resource_beginnings`,
 * `every_region`, `patterns`) only.
 */
import { z } from 'zod';
import { type Advice, aboutItsEnd, aboutItsShape, lastInput } from '../contract.ts';
import { isOperator, operatorName, operators, takesPatterns } from './conditions.ts';
import { regionName } from './partition.ts';

const region = z
  .string()
  .refine((name) => regionName.test(name) || name === 'default', 'not how AWS or a store of your own spells a region');

/** Tags of STS: letters of any script, digits, space and these. None of IAM's patterns is among them. */
const tagText = (min: number, max: number) =>
  z
    .string()
    .min(min)
    .max(max)
    .regex(/^[\p{L}\p{Zs}\p{N}_.:/=+\-@]*$/u, 'has a character that AWS takes in no tag');

const sessionTags = z.record(tagText(1, 128), tagText(1, 256)).superRefine((tags, context) => {
  const seen = new Set<string>();
  const fault = (path: string[], message: string) =>
    context.addIssue({ code: 'custom', path, message, params: aboutItsShape });
  for (const key of Object.keys(tags)) {
    const folded = key.toLowerCase();
    if (/^(?:aws:|writ-)/.test(folded)) fault([key], 'is a name that AWS or Writ itself gives');
    // AWS takes no two keys that differ in case alone.
    if (seen.has(folded)) fault([key], 'is named twice');
    seen.add(folded);
  }
  // AWS takes 50, and three are Writ's own.
  if (seen.size === 0 || seen.size > 47) fault([], 'must be between 1 and 47 tags');
});

const common = {
  role: z.string().min(20).max(2048).describe('ARN of the role to assume; one of WRIT_AWS_ROLES.'),
  region: region
    .optional()
    .describe('Handed to the agent with the credential; part of the ARN where a service is regional.'),
  session_tags: sessionTags
    .optional()
    .describe(
      'Tags of the session besides Writ’s own, key → value: what the role’s policies say of `aws:PrincipalTag/KEY` then holds. A value may be an input.',
    ),
  external_id: z
    .string()
    .min(2)
    .max(1224)
    .regex(/^[\w+=,.@:/-]*$/, 'has a character that AWS takes in no external id')
    .optional()
    .describe('External id that the role’s trust policy asks for. With WRIT_AWS_AUTH=ambient only.'),
};

/** Printable text: what is shown to an approver is what is asked for. */
const text = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .regex(/^[^\p{C}\p{Zl}\p{Zp}]+$/u, 'must not hold control or invisible characters');

/** S3 itself treats `..` as a name, but stores and proxies before it may not. */
const noDotSegments = (key: string) => !key.split('/').some((segment) => segment === '.' || segment === '..');

const s3 = z
  .strictObject({
    ...common,
    service: z.literal('s3').describe('Objects in one bucket.'),
    access: z
      .enum(['get', 'list', 'read', 'write', 'delete', 'read_write'])
      .describe(
        '`read` is get and list; `read_write` is get, list and put. To put is to upload in parts too, and to abort that. Deleting is only in `delete`.',
      ),
    bucket: z
      .string()
      .regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'not a bucket name')
      .describe('The bucket.'),
    prefix: text(512)
      .refine((prefix) => prefix.endsWith('/'), {
        error: 'must end in "/", or "customers/42" would cover "customers/421/" too',
        params: aboutItsEnd,
      })
      .refine(noDotSegments, 'must not hold "." or ".." as a segment')
      .optional()
      .describe('Objects whose key begins with this. Without prefix and key: the whole bucket.'),
    key: text(1024).refine(noDotSegments, 'must not hold "." or ".." as a segment').optional().describe('One object.'),
    kms_key: z
      .string()
      .regex(/^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key\/[A-Za-z0-9-]{1,128}$/, 'not the ARN of a key (no alias)')
      .optional()
      .describe('Key that the bucket is encrypted with: used through S3, for these objects alone.'),
  })
  .refine((params) => params.key === undefined || params.prefix === undefined, {
    path: ['key'],
    message: 'give either prefix or key',
    params: aboutItsShape,
  })
  .refine((params) => params.key === undefined || params.access !== 'list', {
    path: ['key'],
    message: 'one object cannot be listed',
  });

const dynamodb = z.strictObject({
  ...common,
  service: z.literal('dynamodb').describe('Items in one table.'),
  region: region.describe('Region of the table.'),
  account: z
    .string()
    .regex(/^\d{12}$/)
    .optional()
    .describe('Account of the table; default the role’s.'),
  access: z.enum(['read', 'write', 'read_write']).describe('What may be done with the items.'),
  table: z
    .string()
    .regex(/^[a-zA-Z0-9_.-]{3,255}$/, 'not a table name')
    .describe('The table. Its indexes are not included.'),
  leading_key: text(1024).optional().describe('Only items with this partition key. Scans and indexes are then out.'),
});

const sqs = z.strictObject({
  ...common,
  service: z.literal('sqs').describe('Messages of one queue.'),
  access: z
    .enum(['send', 'receive', 'send_receive'])
    .describe('`receive` may delete messages too: that is how they are taken.'),
  queue: z
    .string()
    .regex(/^arn:aws[a-z-]*:sqs:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,80}(?:\.fifo)?$/, 'not a queue ARN')
    .describe('ARN of the queue.'),
});

const secretsmanager = z.strictObject({
  ...common,
  service: z.literal('secretsmanager').describe('The value of one secret.'),
  access: z.literal('read').default('read').describe('Secrets are only read.'),
  secret: z
    .string()
    .regex(/^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[A-Za-z0-9/_+=.@-]{1,519}$/, 'not a secret ARN')
    .describe('Full ARN of the secret, its six random characters included.'),
});

/** The beginning of an ARN that is for every region. */
export const anyRegion = /^arn:[a-z-]+:[a-z0-9-]+:\*:/;

/** The lists of ARNs in a statement. */
export const namedLists = ['resources', 'resource_prefixes', 'resource_beginnings'] as const;

/** What is AWS's own has no number for an account: `aws`, `cloudfront`. A region may be every one. */
const arn = z
  .string()
  .max(1024)
  .regex(
    /^arn:aws[a-z-]*:[a-z0-9-]+:(?:[a-z0-9-]*|\*):(?:\d{12}|[a-z][a-z0-9-]*)?:[^\p{C}\p{Zl}\p{Zp}]+$/u,
    'not an ARN',
  )
  .refine(
    (value) => !/[*?]/.test(value.replace(anyRegion, '')),
    'must not hold "*" or "?": use resource_prefixes for everything that begins alike',
  );

/** What ARNs are made of ends in one of these; a dash or a dot may as well go on. */
const arnPrefix = arn.refine((prefix) => /[/:]$/.test(prefix), {
  error:
    'must end in "/" or ":", or "customers/4" would cover "customers/42" too; where that is meant, use resource_beginnings',
  params: aboutItsEnd,
});

/**
 * Actions are named one by one, or by the beginning of their name (`s3:Get*`), never a whole service. What
 * could undo a revocation or leave the session's bounds is out: sts and organizations altogether, iam but for
 * exact Get and List actions.
 */
const action = z
  .string()
  .max(128)
  .regex(/^[a-z0-9-]+:[A-Za-z][A-Za-z0-9]*\*?$/, 'must name an action, like "s3:GetObject" or "s3:Get*"')
  .refine(
    (value) => !/^(?:sts|organizations|sso|sso-directory|identitystore):/.test(value),
    'this service is never delegated',
  )
  .refine(
    (value) => !value.startsWith('iam:') || /^iam:(?:Get|List)[A-Za-z]+$/.test(value),
    'of iam, only exact Get and List actions',
  );

/** Services whose actions could undo a revocation or leave the session's bounds. */
const neverDelegated = ['sts', 'iam', 'organizations', 'sso', 'sso-directory', 'identitystore'];

const wholeService = z
  .string()
  .max(64)
  .regex(/^[a-z0-9-]+$/, 'must be the prefix of a service, like "dynamodb"')
  .refine((service) => !neverDelegated.includes(service), 'this service is never delegated');

/**
 * A text with gaps. What is written in it is literal, whatever inputs hold: only a gap matches more than
 * itself.
 */
const pattern = z
  .array(
    z.union([
      text(512),
      z.strictObject({
        any: z.enum(['text', 'character']).describe('`text` is what IAM writes `*`, `character` is `?`.'),
      }),
    ]),
  )
  .min(1)
  .max(20);

const condition = z
  .strictObject({
    test: z
      .string()
      .regex(operatorName, 'not how IAM spells an operator of conditions')
      .describe(
        'How IAM compares: any of its operators, such as `StringEquals`, `ArnLike`, `IpAddress`, `ForAllValues:StringEquals` or `BoolIfExists`. The plan says which hold where the key is absent, too.',
      ),
    key: z
      .string()
      .max(256)
      .regex(/^[A-Za-z0-9.-]+:[A-Za-z0-9/_.:=+@-]+$/, 'not a condition key, like "aws:ResourceTag/team"')
      .describe('Condition key, such as `aws:ResourceTag/team`.'),
    values: z
      .array(text(512))
      .min(1)
      .max(20)
      .optional()
      .describe('Literals, `*` and `?` too. One of them, or of the patterns, must match.'),
    patterns: z
      .array(pattern)
      .min(1)
      .max(20)
      .optional()
      .describe(
        'For `StringLike`, `ArnLike` and their negations: texts with gaps. `[team-, {any: text}]` is `team-*` of IAM.',
      ),
  })
  .refine(({ values, patterns }) => (values ?? patterns) !== undefined, {
    path: ['values'],
    message: 'name at least one value or pattern',
  })
  .refine(({ test, patterns }) => patterns === undefined || takesPatterns(test), {
    path: ['patterns'],
    message: 'only StringLike, ArnLike, ArnEquals and their negations take patterns',
  });

const managed = z.strictObject({
  ...common,
  service: z
    .literal('managed')
    .describe('Whatever some managed policies allow, of what the role may do. Writ does not read them.'),
  policies: z
    .array(
      z
        .string()
        .max(2048)
        .regex(/^arn:aws[a-z-]*:iam::(?:aws|\d{12}):policy\/[\w+=,.@/-]{1,512}$/, 'not the ARN of a managed policy'),
    )
    .min(1)
    .max(10)
    .refine((arns) => new Set(arns).size === arns.length, {
      error: 'names a policy twice',
      params: aboutItsShape,
    })
    .describe('ARNs of managed policies. What any of them allows is allowed, as it stands when AWS is asked.'),
});

const custom = z.strictObject({
  ...common,
  service: z.literal('custom').describe('Named actions on named resources of any service.'),
  statements: z
    .array(
      z
        .strictObject({
          actions: z
            .array(action)
            .min(1)
            .max(50)
            .optional()
            .describe('Actions, or beginnings of their names such as `s3:Get*`; never a whole service.'),
          every_action_of: z
            .array(wholeService)
            .min(1)
            .max(10)
            .optional()
            .describe('Services of which every action is meant, those that AWS adds later too: `[dynamodb]`.'),
          resources: z.array(arn).max(50).optional().describe('Exact ARNs.'),
          resource_prefixes: z
            .array(arnPrefix)
            .max(50)
            .optional()
            .describe('Everything below one of these, which ends in `/` or `:`.'),
          resource_beginnings: z
            .array(arn)
            .max(50)
            .optional()
            .describe(
              'Everything whose ARN begins with one of these, whatever follows: `…/customers/4` is `…/customers/42` too.',
            ),
          every_region: z
            .literal(true)
            .optional()
            .describe('The ARNs may have `*` for their region, and the plan reads so: `arn:aws:ec2:*:…`.'),
          every_resource: z
            .literal(true)
            .optional()
            .describe(
              'Every resource there is, instead of named ones: for actions that AWS knows no resources for, such as `ecr:GetAuthorizationToken`.',
            ),
          only_if: z.array(condition).min(1).max(10).optional().describe('Conditions that must all hold besides.'),
        })
        .refine(({ actions, every_action_of }) => (actions ?? every_action_of) !== undefined, {
          path: ['actions'],
          message: 'name at least one action',
        })
        .refine(
          ({ resources, resource_prefixes, resource_beginnings, every_resource }) =>
            every_resource === true ||
            [resources, resource_prefixes, resource_beginnings].some((named) => (named?.length ?? 0) > 0),
          { path: ['resources'], message: 'name at least one resource' },
        )
        .refine(
          ({ resources, resource_prefixes, resource_beginnings, every_resource }) =>
            every_resource !== true || (resources ?? resource_prefixes ?? resource_beginnings) === undefined,
          { path: ['every_resource'], message: 'give either named resources or every_resource' },
        )
        .superRefine((statement, context) => {
          if (statement.every_region === true) return;
          for (const list of namedLists)
            for (const [index, value] of (statement[list] ?? []).entries())
              if (anyRegion.test(value))
                context.addIssue({
                  code: 'custom',
                  path: [list, index],
                  message: 'has "*" for its region, which needs every_region: true next to it',
                });
        })
        .refine(
          ({ only_if = [] }) =>
            new Set(only_if.map(({ test, key }) => `${test} ${key}`.toLowerCase())).size === only_if.length,
          {
            path: ['only_if'],
            message: 'has one key twice under one test: give it all its values there',
            params: aboutItsShape,
          },
        ),
    )
    .min(1)
    .max(10)
    .describe('What is allowed; each statement its actions on its resources.'),
});

export const awsParams = z.discriminatedUnion('service', [s3, dynamodb, sqs, secretsmanager, managed, custom]);
export type AwsParams = z.infer<typeof awsParams>;

/** Operators that only AWS can judge, and beginnings and patterns that reach an input's neighbours. */
export function advise(given: unknown): Advice[] {
  return listOf(given, 'statements').flatMap((statement, index) => {
    const at = ['statements', index];
    const begins = listOf(statement, 'resource_beginnings').flatMap((arn, place): Advice[] =>
      neighbours(
        lastInput(arn),
        [...at, 'resource_beginnings', place],
        'use resource_prefixes, which end in "/" or ":"',
      ),
    );
    const tests = listOf(statement, 'only_if').flatMap((one, place) => {
      const test = (one as { test?: unknown } | null | undefined)?.test;
      const path = [...at, 'only_if', place];
      const patterns = listOf(one, 'patterns').flatMap((given, nth) => {
        const pieces: unknown[] = Array.isArray(given) ? given : [];
        return pieces.flatMap((piece, at) =>
          isGap(pieces[at + 1])
            ? neighbours(lastInput(piece), [...path, 'patterns', nth, at], 'put a delimiter after the input')
            : [],
        );
      });
      if (typeof test !== 'string' || test.includes('${') || isOperator(test)) return patterns;
      const message = 'is an operator Writ does not know: AWS says whether it exists';
      return [{ path: [...path, 'test'], message, near: { written: test, known: operators } }, ...patterns];
    });
    return [...begins, ...tests];
  });
}

const neighbours = (input: string | null, path: Advice['path'], instead: string): Advice[] =>
  input === null
    ? []
    : [
        {
          path,
          message: `ends in the input ${input}, so that it reaches the neighbours of each value: of 4, those of 42 too. Where that is not meant, ${instead}`,
        },
      ];

const isGap = (piece: unknown): boolean => (piece as { any?: unknown } | null | undefined)?.any === 'text';

/** Parameters that are advised on may be of any shape. */
function listOf(value: unknown, key: string): unknown[] {
  const list = (value as { [key: string]: unknown } | null | undefined)?.[key];
  return Array.isArray(list) ? list : [];
}
