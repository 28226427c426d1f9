/** What a diagnosis asks, of this broker's parts. */
import { channelModules } from '../../approvals/registry.ts';
import { providerModules } from '../../providers/registry.ts';
import type { DiagnoseDeps } from '../diagnose/diagnose.ts';
import type { OidcClient } from '../people/oidc.ts';
import type { Parts } from './parts.ts';

export function diagnoseDeps(parts: Parts, signIn: OidcClient | null): DiagnoseDeps {
  const { settings, modules, channelModules: channels } = parts;
  // The approval pages are always there, and lead nowhere but here.
  const names = (all: readonly { name: string }[]) => [...new Set(all.map(({ name }) => name))];
  return {
    ...parts,
    known: {
      providers: names([...providerModules, ...modules]),
      channels: names([...channelModules, ...channels]).filter((name) => name !== 'web'),
    },
    redisUrl: settings.REDIS_URL ?? null,
    signIn,
    partTimeoutMs: Math.max(30, settings.WRIT_PROVIDER_TIMEOUT_SECONDS * 2) * 1000,
  };
}
