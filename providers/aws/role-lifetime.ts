/**
 * How long a session of each role may be. Every role allows an hour, and so does a session opened from
 * another one; whether a role allows WRIT_AWS_MAX_TTL_SECONDS is tried, because nobody must be asked about
 * what STS then refuses.
 */
import { type Lifetimes, ProviderError } from '../contract.ts';
import type { AwsClients } from './clients.ts';
import { toProviderError } from './errors.ts';
import { denyAll } from './limits.ts';
import type { AwsSettings } from './settings.ts';

/** What every role allows, whatever its maximum session duration. */
const everyRoleSeconds = 3600;

export interface RoleLifetimes {
  /** Longest session of the role, as far as is known: an hour until more was tried. */
  longest(role: string): Pick<Lifetimes, 'maxTtlSeconds' | 'untried'>;
  /**
   * Tries each role once. Throws ProviderError where it could not be told.
   * @returns roles that allow less than the setting says, in words for an admin
   */
  find(signal: AbortSignal): Promise<string[]>;
  /** STS gave no session of the role for so long: it allows less than it did when it was tried. */
  refused(role: string, error: unknown): void;
}

export function roleLifetimes(settings: AwsSettings, clients: AwsClients): RoleLifetimes {
  const wanted = settings.WRIT_AWS_MAX_TTL_SECONDS;
  const known = new Map<string, number>();
  const tooLong = new Map<string, string>();
  return {
    longest: (role) => {
      if (wanted <= everyRoleSeconds) return { maxTtlSeconds: wanted };
      const maxTtlSeconds = known.get(role);
      return maxTtlSeconds === undefined ? { maxTtlSeconds: everyRoleSeconds, untried: true } : { maxTtlSeconds };
    },
    find: async (signal) => {
      if (wanted <= everyRoleSeconds) return [];
      for (const role of settings.WRIT_AWS_ROLES) {
        if (known.has(role)) continue;
        const why = await whyNotSoLong(role, wanted, clients, signal);
        known.set(role, why === null ? wanted : everyRoleSeconds);
        if (why !== null) tooLong.set(role, why);
      }
      return [...tooLong].map(
        ([role, why]) =>
          `${role}: it gives no session of WRIT_AWS_MAX_TTL_SECONDS=${wanted} (${why}); until it does, its credentials live an hour at most`,
      );
    },
    refused: (role, error) => {
      if (error instanceof ProviderError && isAboutDuration(error) && known.has(role))
        known.set(role, everyRoleSeconds);
    },
  };
}

const isAboutDuration = ({ code, providerText }: ProviderError) =>
  code === 'upstream_refused' && /DurationSeconds/i.test(providerText ?? '');

/**
 * Opens a session that may do nothing for so long.
 * @returns null when STS gave it
 * @throws ProviderError where it was refused for another reason
 */
export async function whyNotSoLong(
  role: string,
  seconds: number,
  clients: AwsClients,
  signal: AbortSignal,
): Promise<string | null> {
  const request = { RoleArn: role, RoleSessionName: 'writ-limits', DurationSeconds: seconds, Policy: denyAll };
  try {
    await clients.assume(request, 'agent:writ-limits', signal);
    return null;
  } catch (error) {
    const failure = toProviderError(error, 'sts:AssumeRole', signal);
    const words = failure.providerText ?? '';
    if (!isAboutDuration(failure)) throw failure;
    return /chain/i.test(words) ? 'role chaining allows one hour' : 'its maximum session duration is shorter';
  }
}
