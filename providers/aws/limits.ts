/**
 * What a store that speaks AWS's protocols does not hold. Tried where an endpoint of one's own is set: at AWS
 * itself a session whose policy denies everything can open no other.
 */
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { ProviderError } from '../contract.ts';
import { agents } from './agents.ts';
import type { AwsClients } from './clients.ts';
import { toProviderError } from './errors.ts';
import type { AwsSettings } from './settings.ts';

export interface StoreLimits {
  /**
   * Tries each role once. Throws ProviderError where it could not be told.
   * @returns what does not hold, in words for an admin
   */
  find(signal: AbortSignal): Promise<string[]>;
  /** In words for an approver; empty while nothing was found. */
  words(role: string): string[];
}

/** The policy of a session that may do nothing. */
export const denyAll = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Deny', Action: '*', Resource: '*' }],
});

export function storeLimits(settings: AwsSettings, clients: AwsClients): StoreLimits {
  const endpoint = settings.AWS_ENDPOINT_URL_STS ?? settings.AWS_ENDPOINT_URL;
  const chains = new Map<string, boolean>();
  return {
    find: async (signal) => {
      if (endpoint === undefined || settings.WRIT_AWS_TRY_STORE === 'off') return [];
      for (const role of settings.WRIT_AWS_ROLES)
        if (!chains.has(role)) chains.set(role, await canChain(role, settings, clients, signal));
      return [...chains].filter(([, chained]) => chained).map(([role]) => `${role}: ${chainWords}`);
    },
    words: (role) => (chains.get(role) === true ? [`Warning: ${chainWords}`] : []),
  };
}

const chainWords =
  'this store lets a session open another one, without the limits of the first, which no revocation of the first ends';

/** Opens a session that may do nothing, and from it another that may do nothing either. */
export async function canChain(
  role: string,
  settings: AwsSettings,
  clients: AwsClients,
  signal: AbortSignal,
): Promise<boolean> {
  const request = { RoleArn: role, RoleSessionName: 'writ-limits', DurationSeconds: 900, Policy: denyAll };
  const { Credentials: given } = await clients.assume(request, 'agent:writ-limits', signal);
  if (!given?.AccessKeyId || !given.SecretAccessKey || !given.SessionToken)
    throw new ProviderError('upstream_mismatch', 'STS answered without a complete credential');
  const credentials = {
    accessKeyId: given.AccessKeyId,
    secretAccessKey: given.SecretAccessKey,
    sessionToken: given.SessionToken,
  };
  const endpoint = settings.AWS_ENDPOINT_URL_STS ?? settings.AWS_ENDPOINT_URL;
  const sts = new STSClient({
    ...(endpoint === undefined ? {} : { endpoint }),
    region: settings.AWS_REGION,
    credentials,
    maxAttempts: 1,
    requestHandler: agents(),
  });
  try {
    await sts.send(new AssumeRoleCommand({ ...request, RoleSessionName: 'writ-limits-chained' }), {
      abortSignal: signal,
    });
    return true;
  } catch (error) {
    const failure = toProviderError(error, 'sts:AssumeRole from a session', signal);
    if (failure.code === 'upstream_refused') return false;
    throw failure;
  } finally {
    sts.destroy();
  }
}
