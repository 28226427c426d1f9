/**
 * Kill tests: SIGKILL between each pair of steps of issue and of revoke. After a restart the reconciler
 * leaves no live credential that no lease row explains, and in the end none at all. One test file a provider,
 * so that they run side by side.
 *
 * `npm test` tries the steps at GitHub, whose flows are the shortest, that leave something new behind; every
 * step at every provider is tried by `npm run test:deep`, as continuous integration runs it.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { bothBackends } from '../../broker/store/store.test-support.ts';
import type { ProviderName } from './assertions.test-support.ts';
import { type KillEnvironment, openEnvironment } from './environment.test-support.ts';
import { killAfter, steps } from './scenario.test-support.ts';
import { type Flow, table } from './table.test-support.ts';

export interface Killing {
  provider: ProviderName;
  flow: Flow;
  /** 0 = not killed: only the order of steps is looked at. */
  n: number;
}

const flows = ['issue', 'redeem', 'revoke', 'expire'] as const;

/**
 * Each flow of a provider once without a killing, and killed after each of its steps. Steps that leave the
 * same rows and the same upstream at every provider are tried at one, GitHub: its flows are the shortest.
 */
export const everyStepOf = (provider: ProviderName): Killing[] =>
  flows.flatMap((flow) => [
    { provider, flow, n: 0 },
    ...table[provider][flow].flatMap((_, at) =>
      provider !== 'github' && isSameAnywhere(provider, flow, at) ? [] : [{ provider, flow, n: at + 1 }],
    ),
  ]);

/**
 * Whether the step at this place leaves nothing of the provider's own:
 *
 * - The end of a session up to the claim of its leases is in our tables alone, and what goes on from there is
 *   what follows the claim.
 * - A mint is the same whichever intent it stands on: it is tried after that of an issue. After the claim of
 *   an approval itself, which is another intent, it is tried at each provider.
 * - An answer that has gone out changes no row: what is left is what the outcome left.
 */
function isSameAnywhere(provider: ProviderName, flow: Flow, at: number): boolean {
  const steps = table[provider][flow];
  if (flow === 'revoke') return at < steps.indexOf('lease_claim');
  if (flow === 'redeem') return steps[at] !== 'grant_claim';
  return steps[at] === 'answered';
}

async function run(environment: KillEnvironment, { provider, flow, n }: Killing): Promise<void> {
  const names = table[provider][flow];
  if (n > 0) return killAfter(environment, provider, flow, names, n);
  assert.deepEqual(
    await steps(environment, provider, flow),
    names.filter((name) => name !== 'answered'),
  );
}

const title = ({ provider, flow, n }: Killing) => {
  const step = table[provider][flow][n - 1];
  return `${provider} ${flow}: ${step === undefined ? 'its steps' : `killed after ${n}, ${step}`}`;
};

const backends = await bothBackends();

/** One after the other, on one world and one database. */
export function killTests(backend: 'pglite' | 'postgres', killings: Killing[]): void {
  const skip = !backends.includes(backend) && 'needs PostgreSQL';
  suite(`killed between any two steps, on ${backend}`, { skip }, () => {
    let environment: KillEnvironment;
    before(async () => {
      environment = await openEnvironment(backend);
    });
    after(() => environment.close());
    for (const killing of killings) test(title(killing), () => run(environment, killing));
  });
}
