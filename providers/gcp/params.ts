/**
 * A capability's parameters for Google Cloud. Every value has a pattern of its own; unknown keys are refused.
 */
import { z } from 'zod';
import { type Advice, aboutItsEnd, aboutItsShape, lastInput } from '../contract.ts';
import { projectId, serviceAccount } from './settings.ts';

export const cloudPlatform = 'https://www.googleapis.com/auth/cloud-platform';

/** What nearly all scopes of Google begin with. */
export const scopeBeginning = 'https://www.googleapis.com/auth/';

/**
 * What Google calls a scope: a URL of its own, or a word of OpenID Connect. Scopes are sent with spaces
 * between them, so that none may hold what could be read as two.
 */
const scope = z
  .string()
  .max(200)
  .regex(
    /^(?:openid|email|profile|https:\/\/(?:[a-z0-9-]+\.)*(?:google|googleapis)\.com\/[A-Za-z0-9._~/-]*)$/,
    'must be a scope of Google: https://www.googleapis.com/auth/…, another https URL of google.com or googleapis.com, openid, email or profile',
  );

const bucket = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$/, 'must be a bucket name')
  .describe('Cloud Storage bucket.');

/** Predefined storage roles and custom roles: what `inRole:` in a Credential Access Boundary takes. */
const role = z
  .string()
  .regex(
    /^(?:roles\/storage\.[A-Za-z]{3,40}|(?:projects\/(?:[a-z0-9][a-z0-9.-]{0,62}:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|organizations\/[0-9]{1,19})\/roles\/[A-Za-z0-9_.]{3,64})$/,
    'must be a roles/storage.… role or a custom role',
  )
  .describe('Upper bound of what may be done in the bucket, e.g. `roles/storage.objectViewer` (the default).');

/**
 * Object names are free text at Google, so a prefix is too, but never empty (an empty input must not turn
 * into the whole bucket) and free of characters that an approver cannot see: control, format, line and
 * paragraph separators, lone surrogates.
 */
const name = z
  .string()
  .min(1)
  .refine((text) => Buffer.byteLength(text) <= 1024, { error: 'must be at most 1024 bytes' })
  .refine((text) => text.isWellFormed() && !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text), {
    error: 'must not contain invisible characters',
  });

const prefix = name
  .refine((text) => text.endsWith('/'), {
    error: 'must end in "/", or "customers/4" would cover "customers/42/" too',
    params: aboutItsEnd,
  })
  .describe('Only objects whose names start with exactly this text, which ends in `/`.');

/** Which of a bucket's objects: at most one of these; none = all. */
const which = {
  prefix: prefix.optional(),
  object: name.describe('One object, by its name. It cannot be listed.').optional(),
  managed_folder: name
    .refine((text) => text.endsWith('/'), {
      error: 'must end in "/", as names of managed folders do',
      params: aboutItsEnd,
    })
    .describe(
      'A managed folder by its name, which ends in `/`: the objects in it, and the folder itself, as far as the role goes.',
    )
    .optional(),
  name_begins: name
    .describe(
      'Every object whose name begins with exactly this, whatever follows: `customers/4` is `customers/42/a` too. Where that is not meant, use `prefix`.',
    )
    .optional(),
};
const waysToNarrow = Object.keys(which) as (keyof typeof which)[];

/** The most that the approver's one line can show and the boundary's rules can hold. */
const maxRules = 10;

export const params = z
  .strictObject({
    service_account: z
      .string()
      .regex(serviceAccount, 'must be a service account e-mail')
      .optional()
      .describe('Service account to use. Absent: a free member of the pool.'),
    scopes: z
      .array(scope)
      .min(1)
      .max(10)
      .optional()
      .describe('OAuth scopes of the token. Required unless buckets bound it; then `cloud-platform` is the default.'),
    bucket: bucket.optional(),
    role: role.optional(),
    ...which,
    buckets: z
      .array(z.strictObject({ bucket, role: role.optional(), ...which }))
      .min(1)
      .max(maxRules)
      .optional()
      .describe('Several buckets; instead of `bucket`, `role` and which objects.'),
    project: z
      .string()
      .regex(projectId, 'must be a project id, like "reports" or "example.com:reports"')
      .optional()
      .describe('Project id told to the agent with the credential. Grants nothing.'),
  })
  .superRefine((value, context) => {
    const fault = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: [path], message, params: aboutItsShape });
    if (value.bucket !== undefined && value.buckets !== undefined) fault('buckets', 'is given together with bucket');
    if (value.bucket === undefined)
      for (const key of ['role', ...waysToNarrow] as const)
        if (value[key] !== undefined) fault(key, 'needs bucket next to it');
    const tooMany = (one: { [way in keyof typeof which]?: unknown }) =>
      waysToNarrow.filter((way) => one[way] !== undefined).slice(1);
    for (const way of tooMany(value)) fault(way, `give one of ${waysToNarrow.join(', ')}`);
    for (const [index, one] of (value.buckets ?? []).entries())
      for (const way of tooMany(one))
        context.addIssue({
          code: 'custom',
          path: ['buckets', index, way],
          message: `give one of ${waysToNarrow.join(', ')}`,
          params: aboutItsShape,
        });
    if (value.scopes === undefined && value.bucket === undefined && value.buckets === undefined)
      fault('scopes', 'is needed unless buckets bound the token');
  });

/** Scopes that only Google can judge, and beginnings of names that reach an input's neighbours. */
export function advise(given: unknown): Advice[] {
  const asked = (typeof given === 'object' && given !== null ? given : {}) as Record<string, unknown>;
  const scopes = Array.isArray(asked.scopes) ? (asked.scopes as unknown[]) : [];
  const buckets = Array.isArray(asked.buckets) ? (asked.buckets as unknown[]) : [];
  return [
    ...scopes.flatMap((one, index): Advice[] =>
      typeof one !== 'string' || one.startsWith(scopeBeginning) || one.includes('${')
        ? []
        : [
            {
              path: ['scopes', index],
              message: `is no scope of ${scopeBeginning}…: Google says whether it exists and what it opens`,
            },
          ],
    ),
    ...neighbours(asked, []),
    ...buckets.flatMap((one, index) => neighbours(one, ['buckets', index])),
  ];
}

function neighbours(access: unknown, above: Advice['path']): Advice[] {
  const begins = (access as { name_begins?: unknown } | null)?.name_begins;
  const input = lastInput(begins);
  if (input === null) return [];
  return [
    {
      path: [...above, 'name_begins'],
      message: `ends in the input ${input}, so that it reaches the neighbours of each value: of 4, those of 42 too. Where that is not meant, use prefix, which ends in "/"`,
    },
  ];
}

export type GcpParams = z.output<typeof params>;
