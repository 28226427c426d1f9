/** `/v1/logins`: who is signed in to the console. An admin ends logins. */
import { z } from 'zod';
import { endLogins, findAccount, liveLogins } from '../people/live-logins.ts';
import type { LoginDeps } from '../people/login.ts';
import { type Operation, operation } from './operation.ts';
import { inDigits, line } from './text.ts';

export interface LoginOperationDeps extends LoginDeps {
  /** Where people sign in; null = nowhere. */
  signInIssuer: string | null;
}

const person = line(300).describe('An e-mail address, or `kind:name`.');
const loginId = z.string().regex(/^[0-9a-f]{64}$/, 'must be the id of a login');

const loginSchema = z.object({
  id: z.string().describe('Names it, and opens nothing.'),
  person: z.string(),
  method: z.enum(['oidc', 'fresh_oidc', 'passkey']).describe('How the person signed in.'),
  since: z.string(),
  last_seen: z.string().describe('When its browser last asked for something, to the minute.'),
  until: z.string(),
  stands: z
    .boolean()
    .describe(
      'False while it is idle, or when it was made under another issuer or client id: it lets nobody do anything.',
    ),
});

export function loginOperations(deps: LoginOperationDeps): Operation[] {
  return [
    operation({
      method: 'get',
      path: '/v1/logins',
      summary: 'Who is signed in to the console',
      tag: 'Admin',
      access: 'admin',
      query: z.strictObject({
        person: person.optional(),
        limit: inDigits(z.int().min(1).max(200).default(50)),
      }),
      responses: {
        200: { description: 'Youngest first', schema: z.object({ logins: z.array(loginSchema) }) },
      },
      errors: ['bad_request', 'unauthenticated', 'forbidden', 'not_found'],
      handle: async ({ query }) => {
        const { person: name, limit } = query;
        const account = name === undefined ? null : await findAccount(deps.store, name, deps.signInIssuer);
        return { status: 200, body: { logins: await liveLogins(deps, account, limit) } };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/logins/end',
      summary: 'End one login, or all logins of a person',
      tag: 'Admin',
      access: 'admin',
      body: z
        .strictObject({
          login: loginId.optional().describe('Of one; else all of `person`.'),
          person: person.optional(),
          reason: line(500).describe('Why; on record.'),
        })
        .refine((body) => (body.login === undefined) !== (body.person === undefined), 'name a login or a person'),
      responses: {
        200: { description: 'Those browsers are signed out', schema: z.object({ ended: z.int().min(0) }) },
      },
      errors: ['bad_request', 'unauthenticated', 'forbidden', 'not_found'],
      handle: async ({ body: { login, person: name, reason }, requestId }, _name, admin) => {
        const which =
          login === undefined ? { account: await findAccount(deps.store, name, deps.signInIssuer) } : { login };
        return { status: 200, body: { ended: await endLogins(deps, which, { reason, admin, requestId }) } };
      },
    }),
  ];
}
