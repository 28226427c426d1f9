/** Authenticates the broker at Google: a federated identity without any key, or the machine's ambient one. */
import type { ObservedClock } from '../answer-date.ts';
import { type Clock, type ProviderDeps, ProviderError } from '../contract.ts';
import { connectionFailure, gaveUp, httpFailure } from './errors.ts';
import { cloudPlatform } from './params.ts';
import { endpointOf, type GcpSettings } from './settings.ts';
import { federate } from './sts.ts';

export interface Caller {
  /** The broker's own access token at Google. `fresh`: not the one kept from before. */
  token(signal: AbortSignal, fresh?: boolean): Promise<string>;
}

export function callerFor(config: GcpSettings, deps: ProviderDeps, clock: ObservedClock): Caller {
  const provider = config.WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER;
  if (provider === undefined) return ambientCaller(config);
  const audience = config.WRIT_GCP_AUDIENCE ?? `//iam.googleapis.com/${provider}`;
  const identityToken = () =>
    // Google's default audience for a provider: its full name with the https: prefix.
    deps.signIdentityToken({ sub: config.WRIT_GCP_BROKER_SUBJECT, aud: `https:${audience}` }, 300, clock.now());
  const obtain = async (signal: AbortSignal) =>
    federate(endpointOf(config, 'WRIT_GCP_STS_ENDPOINT'), audience, await identityToken(), clock, signal);
  return federatedCaller(deps.clock, async (signal) => {
    const before = clock.skewMs();
    try {
      return await obtain(signal);
    } catch (error) {
      // Once more: with a token by Google's own time, which the refusal has just told; or because Google
      // could not fetch our keys just now. Nothing of a grant can have been minted here.
      const refused = error instanceof ProviderError && /^invalid_/.test(error.providerCode ?? '');
      const otherTime = Math.abs((clock.skewMs() ?? 0) - (before ?? 0)) > 5_000;
      if (!refused || !(otherTime || (error.retryable && error.retryAfterSeconds === null))) throw error;
      return obtain(signal);
    }
  });
}

/**
 * Runs a call as the broker, once more with a fresh token when Google does not know the kept one any longer:
 * such a refusal has no effect.
 */
export async function asCaller<T>(
  caller: Caller,
  signal: AbortSignal,
  call: (token: string) => Promise<T>,
): Promise<T> {
  try {
    return await call(await caller.token(signal));
  } catch (error) {
    const unknown = error instanceof ProviderError && ['UNAUTHENTICATED', '401'].includes(error.providerCode ?? '');
    if (!unknown) throw error;
    return call(await caller.token(signal, true));
  }
}

/**
 * Keeps one token until five minutes before its end. It is the broker's own, for calling IAM; no grant ever
 * sees it.
 */
function federatedCaller(
  clock: Clock,
  obtain: (signal: AbortSignal) => Promise<{ token: string; lifetimeSeconds: number }>,
): Caller {
  let kept = { token: '', until: 0 };
  return {
    token: async (signal, fresh = false) => {
      const now = clock.now().getTime();
      if (!fresh && now < kept.until) return kept.token;
      const { token, lifetimeSeconds } = await obtain(signal);
      kept = { token, until: now + (lifetimeSeconds - 300) * 1000 };
      return token;
    },
  };
}

/**
 * Application Default Credentials through Google's own library, loaded only here. It keeps and renews its
 * token itself.
 */
function ambientCaller({ GOOGLE_CLOUD_PROJECT: project, GOOGLE_CLOUD_UNIVERSE_DOMAIN: universe }: GcpSettings): Caller {
  const step = { doing: 'reading the ambient credentials', mints: false };
  const open = async () => {
    const { GoogleAuth } = await import('google-auth-library');
    // Without a project the library goes looking for one (gcloud, metadata server, Resource Manager), though
    // tokens need none.
    return new GoogleAuth({ scopes: [cloudPlatform], projectId: project ?? '-' });
  };
  let auth: ReturnType<typeof open> | undefined;
  return {
    token: async (signal, fresh = false) => {
      if (fresh) auth = undefined;
      auth ??= open();
      try {
        const client = await unlessAborted((await auth).getClient(), signal);
        // A token of one universe would be sent to the services of another.
        if (client.universeDomain !== universe)
          throw new ProviderError(
            'upstream_refused',
            `The ambient credentials are of the universe ${client.universeDomain}, but GOOGLE_CLOUD_UNIVERSE_DOMAIN is ${universe}.`,
            { providerCode: 'OTHER_UNIVERSE' },
          );
        const token = await unlessAborted((await auth).getAccessToken(), signal);
        if (typeof token === 'string' && token !== '') return token;
      } catch (error) {
        if (signal.aborted) throw gaveUp(step);
        if (error instanceof ProviderError) throw error;
        const { status, code } = error as { status?: number; code?: string | number };
        if (typeof status === 'number') throw httpFailure(step, status, null, null, null);
        if (typeof code === 'string') throw connectionFailure(step, { code });
      }
      // The library's own messages may quote files and answers, so only the fact is passed on.
      throw new ProviderError('upstream_refused', 'There are no usable ambient credentials.', {
        providerCode: 'NO_CREDENTIALS',
      });
    },
  };
}

async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const stop = () => aborted.reject(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
