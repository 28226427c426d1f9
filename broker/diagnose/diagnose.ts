/**
 * `writ doctor`: asks, on request, everything that the broker leans on whether it is as it should be. Changes
 * nothing, and tells no secret: each part answers in words of its own.
 */
import type { Channel } from '../../approvals/contract.ts';
import type { Provider } from '../../providers/contract.ts';
import type { Clock, Finding } from '../core/vocabulary.ts';
import type { KeyRing } from '../keys/ring.ts';
import type { ProviderShapes } from '../manifests/provider-shapes.ts';
import type { OidcClient } from '../people/oidc.ts';
import type { Store } from '../store/open.ts';
import { diagnoseDatabase } from './database.ts';
import { skewFinding } from './finding.ts';
import { diagnoseOwnAddress } from './own-address.ts';
import { diagnoseRedis } from './redis.ts';
import { usedParams } from './used-params.ts';

/** What was looked at, by part: `database`, `aws`, `slack` … */
export interface PartFinding extends Finding {
  part: string;
}

export interface DiagnoseDeps {
  url: string;
  store: Store;
  ring: Pick<KeyRing, 'published'>;
  clock: Clock;
  providers: ReadonlyMap<string, Provider>;
  /** Those of every provider and channel there is, for what is not set up. */
  known: { providers: readonly string[]; channels: readonly string[] };
  channels: readonly Channel[];
  shapes: ProviderShapes;
  redisUrl: string | null;
  /** Null = nobody signs in. */
  signIn: Pick<OidcClient, 'diagnose'> | null;
  /** How long each part may take. */
  partTimeoutMs: number;
}

/** Every part at once; a part that fails altogether is a finding. */
export async function diagnose(deps: DiagnoseDeps): Promise<PartFinding[]> {
  const { url, store, ring, clock, providers, known, channels, redisUrl, signIn } = deps;
  const used = await usedParams(store, deps.shapes).catch(() => new Map<string, unknown[]>());
  const parts: [part: string, ask: ((signal: AbortSignal) => Promise<Finding[]>) | null][] = [
    ['database', () => diagnoseDatabase(store, () => clock.now())],
    ['redis', redisUrl === null ? null : (signal) => diagnoseRedis(redisUrl, signal)],
    ['issuer', (signal) => diagnoseOwnAddress(url, kidsOf(ring), signal)],
    ['sign-in', signIn === null ? null : () => signIn.diagnose()],
    ...known.providers.map((name): (typeof parts)[number] => {
      const provider = providers.get(name);
      return [name, provider === undefined ? null : (signal) => ofProvider(provider, used.get(name) ?? [], signal)];
    }),
    ...known.channels.map((name): (typeof parts)[number] => {
      const channel = channels.find((one) => one.name === name);
      return [name, channel === undefined ? null : async (signal) => (await channel.diagnose?.(signal)) ?? []];
    }),
  ];
  const found = await Promise.all(
    parts.map(async ([part, ask]) => {
      const findings = ask === null ? [notSetUp] : await inTime(ask, deps.partTimeoutMs);
      return findings.map((finding) => ({ part, ...finding }));
    }),
  );
  return found.flat();
}

const notSetUp: Finding = { what: 'it is set up', state: 'unknown', found: 'none of its variables is set' };

const kidsOf = (ring: Pick<KeyRing, 'published'>): string[] => ring.published().map(({ kid }) => String(kid));

async function ofProvider(provider: Provider, used: unknown[], signal: AbortSignal): Promise<Finding[]> {
  const findings = (await provider.diagnose?.(used, signal)) ?? [
    { what: 'it can be asked', state: 'unknown', found: 'this provider answers no questions' } as const,
  ];
  return [...findings, ...(await ofClock(provider, signal))];
}

async function ofClock({ name, clock }: Provider, signal: AbortSignal): Promise<Finding[]> {
  if (clock === undefined) return [];
  await clock.askNow(signal).catch(() => {});
  const skewMs = clock.skewMs();
  return skewMs === null ? [] : [skewFinding(name, -skewMs)];
}

/** A part that does not give up by itself is given up. */
async function inTime(ask: (signal: AbortSignal) => Promise<Finding[]>, ms: number): Promise<Finding[]> {
  const signal = AbortSignal.timeout(ms);
  const late = new Promise<Finding[]>((resolve) => {
    signal.addEventListener('abort', () => resolve([failed(`it did not answer within ${Math.ceil(ms / 1000)} s`)]), {
      once: true,
    });
  });
  // What went wrong unforeseen is named by its kind alone: its text may quote what was sent.
  const asked = ask(signal).catch((error: unknown) => [
    failed(error instanceof Error ? `it could not be asked (${error.name})` : 'it could not be asked'),
  ]);
  return Promise.race([asked, late]);
}

const failed = (found: string): Finding => ({
  what: 'it can be asked',
  state: 'fails',
  found,
  fix: 'Look at its variables, and whether this machine reaches it.',
});
