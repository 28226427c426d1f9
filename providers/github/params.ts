/** The capability's parameters: which repositories of one owner, and what may be done there. */
import { z } from 'zod';
import { type PermissionLevel, permissions } from './permissions.ts';

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
    if (names.length === 0) context.addIssue({ code: 'custom', message: 'must name at least one permission' });
    for (const name of names) {
      const levels = permissions[name]?.levels;
      if (levels === undefined)
        context.addIssue({ code: 'custom', path: [name], message: 'is not a permission of installation tokens' });
      else if (!levels.includes(asked[name] as PermissionLevel))
        context.addIssue({ code: 'custom', path: [name], message: `must be ${levels.join(' or ')}` });
    }
  })
  .describe('Permission → level (read, write, for a few admin), as in GitHub’s REST API: {contents: read}.');

export const params = z
  .strictObject({
    owner,
    repositories: z
      .array(repository)
      .min(1)
      // GitHub takes at most 500 repositories in one token.
      .max(500)
      .describe('Repositories the token is for; at least one.'),
    permissions: permissionSet,
    installation_id: z
      .int()
      .positive()
      .optional()
      .describe('Installation of the App; looked up from the owner when absent.'),
  })
  .superRefine(({ repositories }, context) => {
    const seen = new Set<string>();
    for (const [index, name] of repositories.entries()) {
      // Names are case-insensitive at GitHub: the same repository twice would give one permission two
      // digests.
      if (seen.has(name.toLowerCase()))
        context.addIssue({ code: 'custom', path: ['repositories', index], message: 'is named twice' });
      seen.add(name.toLowerCase());
    }
  });

export type GithubParams = z.infer<typeof params>;
