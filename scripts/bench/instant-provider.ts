/** A provider that answers at once: what is left of a grant's cost is the broker's own. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { ProviderModule } from '../../providers/contract.ts';

const params = z.strictObject({ bucket: z.string(), access: z.enum(['read', 'write']), prefix: z.string() });
type Params = z.output<typeof params>;

export const instantModule: ProviderModule<{ WRIT_BENCH_INSTANT: string }> = {
  name: 'instant',
  switchedOnBy: ['WRIT_BENCH_INSTANT'],
  params,
  settings: z.object({
    WRIT_BENCH_INSTANT: z.string().describe('Any value switches the provider of the benchmark on.'),
  }),
  create: (_settings, { clock }) => ({
    name: 'instant',
    limits: { minTtlSeconds: 1, maxTtlSeconds: 3600, longestProviderLifetimeSeconds: 3600 },
    params,
    plan: (asked, ttlSeconds) => ({
      provider: 'instant',
      permission: { ...(asked as Params) },
      ttl_seconds: ttlSeconds,
    }),
    describe: ({ permission }) => ({
      summary: [`${permission.access} what is under ${permission.prefix} in ${permission.bucket}`],
      revocability: { kind: 'immediate', text: 'Ends at once.' },
    }),
    issue: async ({ plan }) => {
      const expiresAt = new Date(clock.now().getTime() + plan.ttl_seconds * 1000);
      return {
        credential: { type: 'instant', token: randomUUID() },
        expiresAt,
        providerExpiresAt: expiresAt,
        handle: {},
      };
    },
    revoke: async (due) => due.map(() => ({ state: 'revoked', evidence: {} })),
  }),
};
