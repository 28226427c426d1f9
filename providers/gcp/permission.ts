/** The exact permission of a plan: what is asked of Google, and nothing else decides. */
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { type JsonObject, type Plan, ProviderError } from '../contract.ts';
import { type AccessBoundary, boundaryFor, maxExpressionLength } from './boundary.ts';
import { cloudPlatform, type GcpParams } from './params.ts';
import type { GcpSettings } from './settings.ts';

const permissionSchema = z.strictObject({
  /** null: whichever member of the pool the broker reserves. */
  service_account: z.string().nullable(),
  /** True: the account serves this grant alone, so disabling it revokes exactly this grant. */
  exclusive: z.boolean(),
  scopes: z.array(z.string()).min(1),
  project: z.string().nullable(),
  /**
   * The same bound twice: readable, and as it is sent. `readPermission` refuses a plan in which they differ.
   */
  buckets: z.array(
    z.strictObject({
      bucket: z.string(),
      role: z.string(),
      prefix: z.string().nullable(),
      object: z.string().exactOptional(),
      managed_folder: z.string().exactOptional(),
      name_begins: z.string().exactOptional(),
    }),
  ),
  access_boundary: z.custom<AccessBoundary>().nullable(),
});

export type GcpPermission = z.output<typeof permissionSchema>;

/**
 * Parameters → permission. Pure.
 * @throws ProviderError `bad_params` for accounts that are not allowed and conditions too long for Google.
 */
export function planPermission(config: GcpSettings, params: GcpParams): GcpPermission {
  const listed = params.buckets ?? (params.bucket === undefined ? [] : [params as { bucket: string } & GcpParams]);
  const buckets = listed.map(({ bucket, role, prefix, object, managed_folder, name_begins }) => ({
    bucket,
    role: role ?? 'roles/storage.objectViewer',
    prefix: prefix ?? null,
    ...(object === undefined ? {} : { object }),
    ...(managed_folder === undefined ? {} : { managed_folder }),
    ...(name_begins === undefined ? {} : { name_begins }),
  }));
  const boundary = buckets.length === 0 ? null : boundaryFor(buckets);
  boundary?.accessBoundary.accessBoundaryRules.forEach((rule, index) => {
    if ((rule.availabilityCondition?.expression.length ?? 0) <= maxExpressionLength) return;
    const ways = ['object', 'managed_folder', 'name_begins'] as const;
    const way = ways.find((one) => buckets[index]?.[one] !== undefined) ?? 'prefix';
    const path = params.buckets === undefined ? way : `buckets.${index}.${way}`;
    throw new ProviderError('bad_params', `The ${way.replace('_', ' ')} makes a condition longer than Google takes.`, {
      path,
    });
  });
  return {
    ...accountFor(config, params.service_account),
    // A boundary is applied to a token of full scope (as Google's guide does): the boundary itself shuts
    // everything but these buckets.
    scopes: [...new Set(params.scopes ?? [cloudPlatform])].sort(),
    project: params.project ?? config.GOOGLE_CLOUD_PROJECT ?? null,
    buckets,
    access_boundary: boundary,
  };
}

/**
 * Reads the permission back out of a plan. Throws when its readable and its exact form differ: nobody
 * approved such a plan.
 */
export function readPermission(plan: Plan): GcpPermission {
  const permission = permissionSchema.parse(plan.permission);
  const exact = permission.buckets.length === 0 ? null : boundaryFor(permission.buckets);
  if (!isDeepStrictEqual(exact, permission.access_boundary))
    throw new ProviderError('bad_params', 'The access boundary is not the one its buckets describe.', {
      path: 'access_boundary',
    });
  return permission;
}

/** The permission as the plain data that a plan carries. */
export function asJson(permission: GcpPermission): JsonObject {
  return permission as unknown as JsonObject;
}

function accountFor(
  config: GcpSettings,
  asked: string | undefined,
): Pick<GcpPermission, 'service_account' | 'exclusive'> {
  const refuse = (message: string): never => {
    throw new ProviderError('bad_params', message, { path: 'service_account' });
  };
  if (asked === undefined) {
    if (config.WRIT_GCP_SERVICE_ACCOUNTS.length === 0) refuse('There is no pool, so a shared account must be named.');
    return { service_account: null, exclusive: true };
  }
  if (config.WRIT_GCP_SERVICE_ACCOUNTS.includes(asked)) return { service_account: asked, exclusive: true };
  if (config.WRIT_GCP_SHARED_SERVICE_ACCOUNTS.includes(asked)) return { service_account: asked, exclusive: false };
  return refuse('The service account is neither in the pool nor on the list of shared ones.');
}
