/** The webhook channel: tells a server of yours, signed by Standard Webhooks. It leads to the page. */
import { z } from 'zod';
import { isLoopback } from '../../broker/core/loopback.ts';
import type { ChannelModule } from '../contract.ts';
import { postNotice } from './deliver.ts';

const settings = z.object({
  WRIT_WEBHOOK_URL: z
    .url({ protocol: /^https?$/ })
    .refine((url) => url.startsWith('https:') || isLoopback(url), 'must be https (http on loopback alone)')
    .refine((url) => new URL(url).username === '' && new URL(url).password === '', 'must hold no user and password')
    .describe(
      'Where notices of requests are posted, by [Standard Webhooks](https://www.standardwebhooks.com). No redirect is followed.',
    ),
  WRIT_WEBHOOK_SECRET: z
    .string()
    .regex(/^whsec_[A-Za-z0-9+/]+={0,2}$/, 'must be whsec_ and base64')
    .transform((text) => Buffer.from(text.slice('whsec_'.length), 'base64'))
    .refine(({ length }) => length >= 24 && length <= 64, 'must be 24 to 64 bytes')
    .describe('Signs them: `whsec_` and 24 to 64 bytes in base64.'),
  WRIT_WEBHOOK_ALLOW_PRIVATE: z
    .enum(['0', '1', 'false', 'true'])
    .transform((value) => value === '1' || value === 'true')
    .default(false)
    .describe('Whether the name may lead to a private address (10.0.0.0/8, fc00::/7 and the like).'),
});

export type WebhookSettings = z.output<typeof settings>;

export const webhook: ChannelModule<WebhookSettings> = {
  name: 'webhook',
  switchedOnBy: ['WRIT_WEBHOOK_URL', 'WRIT_WEBHOOK_SECRET'],
  settings,
  create: (given, { clock }) => ({
    name: webhook.name,
    deliver: async (notice, signal) => {
      await postNotice(given, notice, clock.now(), signal);
      return null;
    },
    diagnose: async () => [
      {
        what: 'the webhook takes notices',
        state: 'unknown',
        found: 'nothing can be asked of it without telling it something: look at the next notice',
      },
    ],
  }),
};
