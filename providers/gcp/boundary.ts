/**
 * Credential Access Boundary: https://cloud.google.com/iam/docs/downscoping-short-lived-credentials. Cloud
 * Storage only.
 */

export interface BucketAccess {
  bucket: string;
  role: string;
  /** null = the whole bucket. */
  prefix: string | null;
}

export type AccessBoundary = {
  accessBoundary: {
    accessBoundaryRules: {
      availableResource: string;
      availablePermissions: string[];
      availabilityCondition?: { expression: string };
    }[];
  };
};

/** Longest condition expression that the Security Token Service takes (reference of AccessBoundaryRule). */
export const maxExpressionLength = 2048;

/** The boundary that allows exactly these buckets: one rule each. Pure. */
export function boundaryFor(buckets: readonly BucketAccess[]): AccessBoundary {
  return {
    accessBoundary: {
      accessBoundaryRules: buckets.map(({ bucket, role, prefix }) => ({
        availableResource: `//storage.googleapis.com/projects/_/buckets/${bucket}`,
        availablePermissions: [`inRole:${role}`],
        ...(prefix === null ? {} : { availabilityCondition: { expression: prefixCondition(bucket, prefix) } }),
      })),
    },
  };
}

/**
 * Objects by their resource name. Listing is a request on the bucket and carries no object name; Google
 * offers the requested prefix as an attribute for it, so that the holder may list inside the prefix and
 * nowhere else.
 */
export function prefixCondition(bucket: string, prefix: string): string {
  const objects = celString(`projects/_/buckets/${bucket}/objects/${prefix}`);
  const listed = celString(prefix);
  return (
    `resource.name.startsWith(${objects}) || ` +
    `api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith(${listed})`
  );
}

/**
 * A CEL string literal. A quote or backslash in the text must not end the literal: that would let a prefix
 * add conditions of its own.
 */
export function celString(text: string): string {
  if (/\p{Cc}/u.test(text) || !text.isWellFormed()) throw new TypeError('control characters cannot be quoted');
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}
