/** The Slack channel: a card for each request, answers by button, over the public endpoint or Socket Mode. */
import { z } from 'zod';
import { canonicalEmail } from '../../broker/core/identifier.ts';
import { isLoopback } from '../../broker/core/loopback.ts';
import type { ChannelModule, PagesDeps } from '../contract.ts';
import { hasNextPlace, readRoutes } from '../routes.ts';
import { interactionsRouter } from './endpoint.ts';
import type { AnswerInteraction, InteractionDeps } from './interactions.ts';

const id = (letters: string) => new RegExp(`^[${letters}][A-Z0-9]{2,20}$`);

const people = z.string().transform((text, context) => {
  const map = new Map<string, string>();
  for (const entry of text.split(',').map((one) => one.trim())) {
    const [, user, address] = /^([UW][A-Z0-9]{2,20})=(\S+@\S+)$/.exec(entry) ?? [];
    const email = canonicalEmail(address ?? '');
    if (user === undefined || email === null || map.has(user))
      context.addIssue({ code: 'custom', message: `${entry} must be USER=e-mail, each user once` });
    else map.set(user, email);
  }
  return map as ReadonlyMap<string, string>;
});

const routes = z.string().transform((text, context) => {
  const read = readRoutes(text, (place) => /^[CGUW][A-Z0-9]{2,20}$/.test(place));
  if (typeof read !== 'string') return read;
  context.addIssue({ code: 'custom', message: read });
  return z.NEVER;
});

const settings = z
  .object({
    SLACK_BOT_TOKEN: z
      .string()
      .regex(/^xoxb-\S+$/, 'must be a bot token (xoxb-…)')
      .describe('Bot token of the Slack app (`infra/slack-app-manifest.yaml`). Switches the channel on.'),
    SLACK_TEAM_ID: z
      .string()
      .regex(id('T'), 'must be the id of a workspace (T…)')
      .describe('The workspace whose people may answer; nobody of another one can.'),
    SLACK_SIGNING_SECRET: z
      .string()
      .min(16)
      .optional()
      .describe('Signing secret of the app, for answers at `/slack/interactions`. This, `SLACK_APP_TOKEN`, or both.'),
    SLACK_APP_TOKEN: z
      .string()
      .regex(/^xapp-\S+$/, 'must be an app-level token (xapp-…)')
      .optional()
      .describe('App-level token for Socket Mode: answers reach a broker that Slack cannot.'),
    SLACK_API_URL: z
      .url({ protocol: /^https?$/ })
      .refine((url) => url.startsWith('https:') || isLoopback(url), 'must be https')
      .default('https://slack.com/api/')
      .describe('Slack’s Web API; another one is for GovSlack and tests.'),
    WRIT_SLACK_CHANNEL: z
      .string()
      .regex(id('CGUW'), 'must be the id of a room (C…) or a person (U…)')
      .describe('Room for the requests of owners that have no route. The app must be in it.'),
    WRIT_SLACK_ROUTES: routes
      .default(new Map())
      .describe(
        'Rooms by owner, comma-separated: `team:payments=C0123,user:a@example.com=U0456`. With `>`, the next place that is told after silence: `team:payments=C0123>C0789`.',
      ),
    WRIT_SLACK_PEOPLE: people
      .default(new Map())
      .describe(
        'Who people of the workspace are: `U0123=a@example.com`, comma-separated. Goes before what Slack says.',
      ),
    WRIT_SLACK_VERIFIED_EMAILS: z
      .enum(['0', '1', 'false', 'true'])
      .transform((value) => value === '1' || value === 'true')
      .default(false)
      .describe(
        'Whether the confirmed e-mail of a full member of the workspace says who they are. Whoever administers the workspace can then answer as anybody.',
      ),
  })
  .refine(({ SLACK_SIGNING_SECRET: secret, SLACK_APP_TOKEN: token }) => secret !== undefined || token !== undefined, {
    message: 'is missing, and so is SLACK_APP_TOKEN: one of them, or nobody can answer',
    path: ['SLACK_SIGNING_SECRET'],
  });

export type SlackSettings = z.output<typeof settings>;

/** Slack's libraries are loaded when they are first used: every start would pay for them. */
const answerer =
  (given: InteractionDeps): AnswerInteraction =>
  async (payload, requestId) =>
    (await import('./interactions.ts')).answerInteraction(given)(payload, requestId);

export const slack: ChannelModule<SlackSettings> = {
  name: 'slack',
  switchedOnBy: ['SLACK_BOT_TOKEN', 'SLACK_APP_TOKEN', 'SLACK_SIGNING_SECRET'],
  settings,
  create: (given, { clock, log }) => {
    const { SLACK_SIGNING_SECRET: secret, SLACK_APP_TOKEN: appToken, SLACK_API_URL: apiUrl } = given;
    const answerFor = (deps: PagesDeps) => answerer({ settings: given, channel: slack.name, deps });
    return {
      name: slack.name,
      deliver: async (notice, signal) => (await import('./deliver.ts')).deliverToSlack(given, notice, signal),
      hasNext: (notice) => hasNextPlace(given.WRIT_SLACK_ROUTES, notice),
      diagnose: async (signal) => (await import('./diagnose.ts')).diagnoseSlack(given, signal),
      ...(secret === undefined
        ? {}
        : { router: (deps) => interactionsRouter({ secret, deps, answer: answerFor(deps) }) }),
      ...(appToken === undefined
        ? {}
        : {
            listen: (deps) => {
              const answer = answerFor(deps);
              const opened = import('./socket.ts').then(({ listenOnSocket }) =>
                listenOnSocket({ appToken, apiUrl, clock, log, answer }),
              );
              return { stop: async () => (await opened).stop() };
            },
          }),
    };
  },
};
