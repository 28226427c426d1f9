/**
 * What Google Cloud makes of parameters where the settings allow whatever they can: nothing of a broker is
 * known here.
 */
import type { Plan } from '../contract.ts';
import type { GcpParams } from './params.ts';
import { asJson, planPermission } from './permission.ts';
import { settings } from './settings.ts';

export const limits = { minTtlSeconds: 10, maxTtlSeconds: 3600 };

/** Some pool, and the account that is named on the list of shared ones. */
export function plan(params: GcpParams, ttlSeconds: number): Plan | null {
  const config = settings.safeParse({
    WRIT_GCP_AMBIENT_CREDENTIALS: '1',
    ...(params.service_account === undefined
      ? { WRIT_GCP_SERVICE_ACCOUNTS: 'writ@any-project.iam.gserviceaccount.com' }
      : { WRIT_GCP_SHARED_SERVICE_ACCOUNTS: params.service_account }),
  }).data;
  if (config === undefined) return null;
  return { provider: 'gcp', permission: asJson(planPermission(config, params)), ttl_seconds: ttlSeconds };
}
