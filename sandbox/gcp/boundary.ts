/**
 * Credential Access Boundaries: read from the `options` of a token exchange, and asked at every storage
 * request.
 */
import { z } from 'zod';
import { type CelCondition, type CelFacts, compileCel } from './cel.ts';
import { StsError } from './errors.ts';
import { permissionsOf, type StoragePermission } from './roles.ts';

export interface Boundary {
  rules: { bucket: string; permissions: ReadonlySet<StoragePermission>; condition: CelCondition }[];
}

/**
 * As documented for `sts.token`: at most 10 rules, each with a bucket and at least one role; an expression
 * has at most 2,048 characters.
 */
const optionsSchema = z.strictObject({
  accessBoundary: z.strictObject({
    accessBoundaryRules: z
      .array(
        z.strictObject({
          availableResource: z.string(),
          availablePermissions: z.array(z.string()).min(1),
          availabilityCondition: z
            .strictObject({
              expression: z.string().max(2048),
              title: z.string().optional(),
              description: z.string().optional(),
            })
            .optional(),
        }),
      )
      .min(1)
      .max(10),
  }),
});

const bucketResource = /^\/\/storage\.googleapis\.com\/projects\/_\/buckets\/([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])$/;

/** Parses the JSON text of `options`. Throws StsError for whatever Google would not take. */
export function parseBoundary(options: string): Boundary {
  const parsed = optionsSchema.safeParse(parseJson(options));
  if (!parsed.success)
    throw new StsError('invalid_request', `Invalid access boundary: ${parsed.error.issues[0]?.path.join('.')}`);
  return {
    rules: parsed.data.accessBoundary.accessBoundaryRules.map((rule, index) => {
      const bucket = bucketResource.exec(rule.availableResource)?.[1];
      if (bucket === undefined) throw new StsError('invalid_request', `Rule ${index}: the resource is not a bucket`);
      return {
        bucket,
        permissions: new Set(rule.availablePermissions.flatMap((entry) => permissionsOfEntry(entry, index))),
        condition: compileCondition(rule.availabilityCondition?.expression, index),
      };
    }),
  };
}

/**
 * The union of the rules: allowed when any of them covers the bucket and the permission and its condition
 * holds.
 */
export function boundaryAllows(
  boundary: Boundary,
  bucket: string,
  permission: StoragePermission,
  facts: CelFacts,
): boolean {
  return boundary.rules.some(
    (rule) => rule.bucket === bucket && rule.permissions.has(permission) && rule.condition(facts),
  );
}

function permissionsOfEntry(entry: string, index: number): readonly StoragePermission[] {
  const role = /^inRole:(.+)$/.exec(entry)?.[1];
  const permissions = role === undefined ? null : permissionsOf(role);
  if (permissions === null) throw new StsError('invalid_request', `Rule ${index}: unknown permission entry`);
  return permissions;
}

function compileCondition(expression: string | undefined, index: number): CelCondition {
  if (expression === undefined) return () => true;
  try {
    return compileCel(expression);
  } catch (error) {
    throw new StsError('invalid_request', `Rule ${index}: the condition is not valid: ${(error as Error).message}`);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new StsError('invalid_request', 'options is not JSON');
  }
}
