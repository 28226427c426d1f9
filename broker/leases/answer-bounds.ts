/**
 * What a provider's answer to a mint must be, whichever the provider: each checks what only it can know
 * (scope, identity), and this what is the same for all. Outside the bounds nothing is delivered.
 */

import { hash } from 'node:crypto';
import type { Issued, Minted, Plan, Provider } from '../../providers/contract.ts';
import type { JsonObject } from '../core/vocabulary.ts';

/** Providers count whole seconds, and an answer takes a while. */
const toleranceMs = 60_000;

/** How much longer than the lease a credential may seem to live and still count as ended by its provider. */
const sameEndMs = 5_000;

/**
 * No credential of any provider lives longer; a told end beyond is no reason to keep a row busy for years.
 */
const longestBelievedMs = 48 * 3600_000;

const largestJson = 64 * 1024;

export interface AnswerContext {
  provider: Pick<Provider, 'limits' | 'clock'>;
  plan: Plan;
  /** Our time when the answer was there. */
  now: Date;
}

/** Null when the answer is within bounds; else what is wrong with it, without quoting it. */
export function faultInAnswer(issued: Issued, { provider, plan, now }: AnswerContext): string | null {
  const { credential, handle, secret, expiresAt, providerExpiresAt } = (issued ?? {}) as Partial<Issued>;
  if (!isPlain(credential) || typeof credential.type !== 'string' || credential.type === '')
    return 'the answer holds no credential';
  if (!isPlain(handle)) return 'the answer holds nothing to revoke the credential by';
  if (secret !== undefined && (typeof secret !== 'string' || secret === ''))
    return 'the secret to revoke by is no text';
  if (JSON.stringify([credential, handle]).length > largestJson) return 'the answer is too large';
  if (!isDate(expiresAt) || !isDate(providerExpiresAt)) return 'the answer does not say when the credential ends';
  if (expiresAt <= now || providerExpiresAt.getTime() <= theirTime(provider, now))
    return 'the credential ends in the past';
  if (expiresAt.getTime() > now.getTime() + plan.ttl_seconds * 1000 + sameEndMs)
    return 'the credential ends later than the plan';
  if (providerExpiresAt > latestEnd({ provider, plan, now }))
    return 'the credential lives longer than its provider gives';
  return null;
}

/**
 * What is kept of an answer out of bounds, to end it: with an end that is believable, and surely not too
 * early.
 */
export function keptOf(issued: Issued, context: AnswerContext): Minted {
  const { handle, secret, providerExpiresAt: told } = (issued ?? {}) as Partial<Issued>;
  const latest = latestEnd(context).getTime();
  const end = isDate(told) ? Math.min(told.getTime(), context.now.getTime() + longestBelievedMs) : latest;
  return {
    handle: isPlain(handle) ? handle : null,
    providerExpiresAt: new Date(Math.max(end, latest)),
    ...(typeof secret === 'string' && secret !== '' ? { secret } : {}),
  };
}

/** Does the provider itself end the credential when the lease is over? Else our timer must. */
export function endsByItself({ expiresAt, providerExpiresAt }: Issued, { provider }: Pick<AnswerContext, 'provider'>) {
  const byOurs = providerExpiresAt.getTime() - (provider.clock?.skewMs() ?? 0);
  return byOurs <= expiresAt.getTime() + sameEndMs;
}

/**
 * A digest of what makes the credential one: its secret parts, however many. Two leases that have the same
 * could not be ended apart.
 */
export function credentialDigest(credential: JsonObject): string {
  const secrets = secretsOf(credential);
  const text = JSON.stringify(secrets.length > 0 ? secrets.sort() : credential);
  return `sha256:${hash('sha256', text, 'hex')}`;
}

/**
 * The texts of a credential that are secret, by their names.
 * @param idsToo also what only names a key: other keys of the same account begin alike
 */
export function secretsOf(credential: JsonObject, idsToo = true): string[] {
  const secrets: string[] = [];
  const walk = (value: unknown, name: string) => {
    if (typeof value === 'string') {
      if (
        /token|secret|password|private|key/.test(name) &&
        !/type|expir|url|uri/.test(name) &&
        (idsToo || !/id$/.test(name))
      )
        secrets.push(value);
    } else if (typeof value === 'object' && value !== null)
      for (const [key, inner] of Object.entries(value)) walk(inner, key.toLowerCase());
  };
  walk(credential, '');
  return secrets;
}

function latestEnd({ provider, plan, now }: AnswerContext): Date {
  const longest = Math.max(plan.ttl_seconds, provider.limits.longestProviderLifetimeSeconds);
  return new Date(theirTime(provider, now) + longest * 1000 + toleranceMs);
}

const theirTime = ({ clock }: AnswerContext['provider'], now: Date) => now.getTime() + (clock?.skewMs() ?? 0);

const isDate = (value: unknown): value is Date => value instanceof Date && !Number.isNaN(value.getTime());

const isPlain = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
