/** How the GitHub provider is switched on: environment variables → typed settings. */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { z } from 'zod';

/** Compose files and CI pass variables that are set but empty: those count as absent. */
const optional = <Output>(schema: z.ZodType<Output, string>) =>
  z.preprocess((value) => (value === '' ? undefined : value), schema.optional()).optional();

/** PEM → key. A KeyObject in the settings prints as nothing, a PEM would print itself. */
const pem = z.string().transform((text, context): KeyObject => {
  try {
    // Many secret stores keep a PEM on one line with \n written out.
    const key = createPrivateKey(text.replaceAll('\\n', '\n'));
    const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
    if (key.asymmetricKeyType === 'rsa' && bits >= 2048) return key;
  } catch {
    // The reason would quote the key.
  }
  context.addIssue({ code: 'custom', message: 'must be the App’s RSA private key in PEM form (2048 bits or more)' });
  return z.NEVER;
});

const pemFile = z
  .string()
  .transform((path, context): string => {
    try {
      return readFileSync(path, 'utf8');
    } catch (error) {
      const reason = (error as NodeJS.ErrnoException).code ?? 'unknown error';
      context.addIssue({ code: 'custom', message: `names a file that cannot be read (${reason})` });
      return z.NEVER;
    }
  })
  .pipe(pem);

const loopback = new Set(['127.0.0.1', 'localhost', '[::1]']);

const apiUrl = z.string().transform((text, context): string => {
  const url = URL.canParse(text) ? new URL(text) : null;
  const plain = url !== null && url.username + url.password + url.search + url.hash === '';
  // The App's JWT and every token travel there: plain HTTP only where it does not leave the machine.
  if (plain && (url.protocol === 'https:' || (url.protocol === 'http:' && loopback.has(url.hostname))))
    return url.origin + url.pathname.replace(/\/+$/, '');
  context.addIssue({ code: 'custom', message: 'must be an https URL without user, query or fragment' });
  return z.NEVER;
});

const owners = z.string().transform((text, context): ReadonlySet<string> => {
  const names = text.split(/[\s,]+/).filter((name) => name !== '');
  for (const name of names)
    if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,38}$/.test(name))
      context.addIssue({ code: 'custom', message: `${JSON.stringify(name)} is not a login` });
  return new Set(names.map((name) => name.toLowerCase()));
});

export const settings = z
  .object({
    GITHUB_APP_ID: z
      .string({ error: 'is required: the App’s id or client id' })
      .regex(/^(?:[1-9][0-9]{0,14}|Iv[A-Za-z0-9.]{4,60})$/, 'must be the App’s id or client id')
      .describe('Id (or client id) of the GitHub App that Writ mints installation tokens with.'),
    GITHUB_APP_PRIVATE_KEY: optional(pem).describe(
      'The App’s private key, PEM; line breaks may be written as \\n. Either this or GITHUB_APP_PRIVATE_KEY_FILE.',
    ),
    GITHUB_APP_PRIVATE_KEY_FILE: optional(pemFile).describe('Path of a file with the App’s private key, PEM.'),
    GITHUB_INSTALLATION_ID: optional(
      z
        .string()
        .regex(/^[1-9][0-9]{0,14}$/, 'must be the number of an installation')
        .transform(Number),
    ).describe('Installation to use when a capability names none; absent = looked up from the owner.'),
    GITHUB_API_URL: optional(apiUrl).describe(
      'Base of the REST API; default https://api.github.com. GitHub Enterprise Server: https://HOST/api/v3.',
    ),
    WRIT_GITHUB_OWNERS: optional(owners).describe(
      'Organizations and users whose repositories capabilities may name, separated by commas; absent = all that the App is installed on.',
    ),
  })
  .refine((value) => keysIn(value) === 1, {
    path: ['GITHUB_APP_PRIVATE_KEY'],
    error: 'exactly one of GITHUB_APP_PRIVATE_KEY and GITHUB_APP_PRIVATE_KEY_FILE must be set',
    // Also beside faults of other variables, so that one start reports them all; a faulty key has its own
    // message.
    when: ({ issues }) => !issues.some(({ path }) => String(path?.[0]).startsWith('GITHUB_APP_PRIVATE_KEY')),
  });

const keysIn = (value: { GITHUB_APP_PRIVATE_KEY?: unknown; GITHUB_APP_PRIVATE_KEY_FILE?: unknown }) =>
  [value.GITHUB_APP_PRIVATE_KEY, value.GITHUB_APP_PRIVATE_KEY_FILE].filter((key) => key !== undefined).length;

export type GithubSettings = z.infer<typeof settings>;
