/** The capability's parameters: which repositories of one owner, and what may be done there. */
import { z } from 'zod';
import { type Advice, aboutItsShape } from '../contract.ts';
import { isKnown, isKnownLevel, levelsOf, levelWords, permissionName, permissions } from './permissions.ts';

/** GitHub logins: letters, digits, single hyphens; managed users also have an underscore. */
const owner = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,38}$/, 'must be the login of an organization or user')
  .describe('Organization or user that owns the repositories.');

const repository = z
  .string()
  .regex(/^(?!\.{1,2}$)(?!.*\.git$)[A-Za-z0-9._-]{1,100}$/i, 'must be the name of one repository, without its owner')
  .describe('Name of a repository, without its owner. No patterns.');

const permissionSet = z
  .record(z.string(), z.string())
  .superRefine((asked, context) => {
    const names = Object.keys(asked);
    if (names.length === 0)
      context.addIssue({ code: 'custom', message: 'must name at least one permission', params: aboutItsShape });
    for (const name of names) {
      if (!permissionName.test(name) || name.length > 100)
        context.addIssue({
          code: 'custom',
          path: [name],
          message: 'is not how GitHub spells a permission',
          params: aboutItsShape,
        });
      else if (!levelWords.some((level) => level === asked[name]))
        context.addIssue({ code: 'custom', path: [name], message: `must be ${levelWords.join(' or ')}` });
    }
  })
  .describe(
    'Permission → level (read, write, for a few admin), as in GitHub’s REST API: {contents: read}. One that Writ does not know, or not at that level, is GitHub’s to judge: a check warns, and the plan says that it may reach the whole organization.',
  );

const all = z
  .literal('all')
  .describe('Every repository of the owner that the App is installed on, those added later too.');

export const params = z
  .strictObject({
    owner,
    repositories: z
      // GitHub takes at most 500 repositories in one token.
      .union([z.array(repository).min(1).max(500), all])
      .describe('Repositories the token is for, at least one; or `all` that the App is installed on.'),
    permissions: permissionSet,
    installation_id: z
      .int()
      .positive()
      .optional()
      .describe('Installation of the App; looked up from the owner when absent.'),
  })
  .superRefine(({ repositories }, context) => {
    const seen = new Set<string>();
    if (repositories === 'all') return;
    for (const [index, name] of repositories.entries()) {
      // Names are case-insensitive at GitHub: the same repository twice would give one permission two
      // digests.
      if (seen.has(name.toLowerCase()))
        context.addIssue({
          code: 'custom',
          path: ['repositories', index],
          message: 'is named twice',
          params: aboutItsShape,
        });
      seen.add(name.toLowerCase());
    }
  });

export type GithubParams = z.infer<typeof params>;

/** A warning for each permission, and each level of one, that only GitHub can judge. */
export function advise(given: unknown): Advice[] {
  const asked = (given as { permissions?: unknown } | null)?.permissions;
  if (typeof asked !== 'object' || asked === null) return [];
  const andSo = 'GitHub says whether it exists, and the plan reads as wide as it may be';
  return Object.entries(asked).flatMap(([name, level]): Advice[] => {
    const path = ['permissions', name];
    if (!isKnown(name))
      return [
        {
          path,
          message: `is a permission Writ does not know: ${andSo}`,
          near: { written: name, known: Object.keys(permissions) },
        },
      ];
    // An input's value is known when a task is there.
    if (typeof level !== 'string' || level.includes('${') || isKnownLevel(name, level)) return [];
    const known = levelsOf(name).join(' or ');
    return [{ path, message: `is ${level}, and Writ knows of ${name} only ${known}: ${andSo}` }];
  });
}
