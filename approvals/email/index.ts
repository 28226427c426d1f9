/** The e-mail channel: tells people by plain text, over SMTP. It leads to the page. */
import { z } from 'zod';
import { canonicalEmail, readUser } from '../../broker/core/identifier.ts';
import { isLoopbackHost } from '../../broker/core/loopback.ts';
import type { ChannelModule } from '../contract.ts';
import { hasNextPlace, readRoutes } from '../routes.ts';

const isAddress = (text: string) => canonicalEmail(text) !== null && /^[\x21-\x7e]{3,254}$/.test(text);
const address = z.string().refine(isAddress, 'must be one e-mail address in ASCII, without a name');

const routes = z.string().transform((text, context) => {
  const read = readRoutes(text, isAddress);
  if (typeof read !== 'string') return read;
  context.addIssue({ code: 'custom', message: read });
  return z.NEVER;
});

const settings = z
  .object({
    SMTP_HOST: z
      .string()
      .regex(/^[A-Za-z0-9.:-]{1,253}$/, 'must be a host name or an address')
      .describe('Mail server that takes notices of requests.'),
    SMTP_PORT: z
      .string()
      .regex(/^\d{1,5}$/, 'must be a port')
      .transform(Number)
      .pipe(z.number().min(1).max(65_535))
      .default(587)
      .describe('Its port.'),
    SMTP_USER: z.string().min(1).optional().describe('Login there, with `SMTP_PASSWORD`.'),
    SMTP_PASSWORD: z.string().min(1).optional().describe('Password of `SMTP_USER`.'),
    WRIT_SMTP_TLS: z
      .enum(['starttls', 'tls', 'none'])
      .default('starttls')
      .describe(
        '`starttls`: nothing is sent before it; `tls`: from the first byte (port 465); `none`: for loopback alone.',
      ),
    WRIT_EMAIL_FROM: address.describe('Sender of the mails. Switches e-mail on.'),
    WRIT_EMAIL_TO: address.describe('Who is told of the requests of teams that have no route.'),
    WRIT_EMAIL_ROUTES: routes
      .default(new Map())
      .describe(
        'Addresses by owner, comma-separated: `team:payments=a@example.com`. With `>`, the next one that is told after silence. An owner `user:a@example.com` is told at that address unless it says otherwise.',
      ),
  })
  .refine(({ WRIT_SMTP_TLS, SMTP_HOST }) => WRIT_SMTP_TLS !== 'none' || isLoopbackHost(SMTP_HOST), {
    message: '`none` is for a server on loopback',
    path: ['WRIT_SMTP_TLS'],
  })
  .refine(({ SMTP_USER, SMTP_PASSWORD }) => (SMTP_USER === undefined) === (SMTP_PASSWORD === undefined), {
    message: 'SMTP_USER and SMTP_PASSWORD go together',
    path: ['SMTP_PASSWORD'],
  });

export type EmailSettings = z.output<typeof settings>;

/** Where an owner without a route is told. */
export function ownAddress(owner: string, standard: string): string {
  const person = readUser(owner);
  return person?.kind === 'email' && isAddress(person.value) ? person.value : standard;
}

export const email: ChannelModule<EmailSettings> = {
  name: 'email',
  switchedOnBy: ['WRIT_EMAIL_FROM', 'WRIT_EMAIL_TO'],
  settings,
  create: (given) => ({
    name: email.name,
    // The library is loaded when it is first used: every start would pay for it.
    deliver: async (notice, signal) => {
      const { mailNotice } = await import('./deliver.ts');
      await mailNotice(given, notice, signal, (owner) => ownAddress(owner, given.WRIT_EMAIL_TO));
      return null;
    },
    hasNext: (notice) => hasNextPlace(given.WRIT_EMAIL_ROUTES, notice),
    diagnose: async (signal) => {
      const { greetServer } = await import('./deliver.ts');
      const what = `the mail server ${given.SMTP_HOST}:${given.SMTP_PORT} is there and takes the login`;
      const fix = 'Look at SMTP_HOST, SMTP_PORT, WRIT_SMTP_TLS, SMTP_USER and SMTP_PASSWORD.';
      return greetServer(given, signal).then(
        () => [{ what, state: 'holds' }],
        (error: Error) => [
          { what, state: 'fails', found: signal.aborted ? 'it did not answer in time' : error.message, fix },
        ],
      );
    },
  }),
};
