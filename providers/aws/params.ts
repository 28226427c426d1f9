/**
 * What a capability on AWS is made of: a role and one service's typed permission, or a list of actions ×
 * ARNs. Values are literals: `*`, `?` and `$` in them stand for themselves (see literal.ts). What matches
 * more than one thing does so by its structure (`prefix`, `resource_prefixes`, `resource_beginnings`) only.
 */
import { z } from 'zod';
import { aboutItsEnd } from '../contract.ts';

const region = z.string().regex(/^[a-z]{2}(?:-[a-z]+)+-\d$|^default$/, 'not a region');
const common = {
  role: z.string().min(20).max(2048).describe('ARN of the role to assume; one of WRIT_AWS_ROLES.'),
  region: region
    .optional()
    .describe('Handed to the agent with the credential; part of the ARN where a service is regional.'),
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
      .describe('`read` is get and list; `read_write` is get, list and put. Deleting is only in `delete`.'),
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
  })
  .refine((params) => params.key === undefined || params.prefix === undefined, {
    path: ['key'],
    message: 'give either prefix or key',
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

const arn = z
  .string()
  .max(1024)
  .regex(/^arn:aws[a-z-]*:[a-z0-9-]+:[a-z0-9-]*:(?:\d{12})?:[^\p{C}\p{Zl}\p{Zp}]+$/u, 'not an ARN')
  .refine(
    (value) => !/[*?]/.test(value),
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
            .describe('Actions, or beginnings of their names such as `s3:Get*`; never a whole service.'),
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
        })
        .refine(
          ({ resources, resource_prefixes, resource_beginnings }) =>
            [resources, resource_prefixes, resource_beginnings].some((named) => (named?.length ?? 0) > 0),
          { path: ['resources'], message: 'name at least one resource' },
        ),
    )
    .min(1)
    .max(10)
    .describe('What is allowed; each statement its actions on its resources.'),
});

export const awsParams = z.discriminatedUnion('service', [s3, dynamodb, sqs, secretsmanager, custom]);
export type AwsParams = z.infer<typeof awsParams>;
