/** What every role of a broker uses once its address is known: providers, channels, manifests, metrics. */
import { Counter, collectDefaultMetrics, Registry } from 'prom-client';
import type { Channel } from '../../approvals/contract.ts';
import { lifetimesOf, type Provider } from '../../providers/contract.ts';
import { planFault } from '../../providers/plan-fault.ts';
import type { ClockGuard } from '../core/clock-guard.ts';
import { type EventStream, streamsFor } from '../core/event-stream.ts';
import { lostLogLines } from '../core/log.ts';
import { createSideChannelMetrics, type SideChannelMetrics } from '../core/side-channel.ts';
import { mintDeadlineSeconds } from '../grants/issue-grant.ts';
import { identityTokens } from '../keys/identity-token.ts';
import { createLeaseMetrics, type LeaseMetrics } from '../leases/metrics.ts';
import { type Catalog, createCatalog } from '../manifests/catalog.ts';
import type { ProviderShapes } from '../manifests/check.ts';
import type { OnCall } from '../people/on-call.ts';
import { measureClocks } from './clocks.ts';
import type { Foundation } from './foundation.ts';
import { openOnCall } from './on-call.ts';

export interface Parts extends Foundation {
  /** Issuer and base of every link. */
  url: string;
  providers: ReadonlyMap<string, Provider>;
  /** Those that are switched on, in the registry's order. */
  channels: readonly Channel[];
  /** What manifests are checked against. */
  shapes: ProviderShapes;
  catalog: Catalog;
  registry: Registry;
  clockGuard: ClockGuard;
  metrics: LeaseMetrics;
  sideChannels: SideChannelMetrics;
  onCall: OnCall;
  providerTimeoutSeconds: number;
  mintDeadlineSeconds: number;
  streams: readonly EventStream[];
  toldOfEnds: readonly string[];
}

export function createParts(foundation: Foundation, url: string, clockGuard: ClockGuard): Parts {
  const { settings, clock, ring, store } = foundation;
  const deps = { clock, signIdentityToken: identityTokens(ring, clock, url, settings.WRIT_IDENTITY_TOKEN_ALGORITHM) };
  const providers = new Map(
    foundation.modules
      .filter((module) => settings.providers.has(module.name))
      .map((module) => [module.name, module.create(settings.providers.get(module.name), deps)]),
  );
  const channels = foundation.channelModules
    .filter((module) => settings.channels.has(module.name))
    .map((module) => module.create(settings.channels.get(module.name), { clock, log: foundation.log }));
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  countLostLogLines(registry);
  measureClocks(registry, clockGuard, providers);
  const sideChannels = createSideChannelMetrics(registry);
  return {
    ...foundation,
    url,
    providers,
    channels,
    shapes: Object.fromEntries([...providers].map(([name, provider]) => [name, shapeOf(provider)])),
    catalog: createCatalog(store),
    registry,
    clockGuard,
    metrics: createLeaseMetrics(registry),
    sideChannels,
    onCall: openOnCall(foundation, sideChannels),
    providerTimeoutSeconds: settings.WRIT_PROVIDER_TIMEOUT_SECONDS,
    mintDeadlineSeconds: mintDeadlineSeconds(settings.WRIT_PROVIDER_TIMEOUT_SECONDS),
    streams: settings.streams,
    toldOfEnds: streamsFor(settings.streams, 'session-revoked'),
  };
}

/** A provider as manifests are checked against it, with this broker's settings. */
const shapeOf = (provider: Provider): ProviderShapes[string] => ({
  params: provider.params,
  readsState: provider.state !== undefined,
  ...(provider.advise === undefined ? {} : { advise: provider.advise }),
  planFault: (params, ttlSeconds) => planFault(() => provider.plan(params, ttlSeconds)),
  lifetimes: (params) => lifetimesOf(provider, params),
});

function countLostLogLines(registry: Registry): void {
  new Counter({
    name: 'writ_log_lines_lost_total',
    help: 'Lines of the log that nobody took: the reader was too slow, or the disk full.',
    registers: [registry],
    collect() {
      this.reset();
      this.inc(lostLogLines());
    },
  });
}
