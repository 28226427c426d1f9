/**
 * Credential Access Boundary: https://cloud.google.com/iam/docs/downscoping-short-lived-credentials. Cloud
 * Storage only.
 */

export interface BucketAccess {
  bucket: string;
  role: string;
  /** null = none; without any of the members below, the whole bucket. At most one of the four is given. */
  prefix: string | null;
  /** The one object of this name. */
  object?: string;
  /** A managed folder, and what is in it. */
  managed_folder?: string;
  /** Whatever is called so or longer, neighbours too. */
  name_begins?: string;
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
      accessBoundaryRules: buckets.map((access) => {
        const expression = conditionOf(access);
        return {
          availableResource: `//storage.googleapis.com/projects/_/buckets/${access.bucket}`,
          availablePermissions: [`inRole:${access.role}`],
          ...(expression === null ? {} : { availabilityCondition: { expression } }),
        };
      }),
    },
  };
}

/** Null: the whole bucket. */
function conditionOf({ bucket, prefix, object, managed_folder, name_begins }: BucketAccess): string | null {
  // Without a clause about listing there is none: names of others are nobody's business who reads one.
  if (object !== undefined) return `resource.name == ${celString(`projects/_/buckets/${bucket}/objects/${object}`)}`;
  if (managed_folder !== undefined) {
    const folders = celString(`projects/_/buckets/${bucket}/managedFolders/${managed_folder}`);
    return `${prefixCondition(bucket, managed_folder)} || resource.name.startsWith(${folders})`;
  }
  const begins = prefix ?? name_begins ?? null;
  return begins === null ? null : prefixCondition(bucket, begins);
}

/** What all names of objects that it reaches begin with; empty = the whole bucket. */
export const beginningOf = ({ prefix, object, managed_folder, name_begins }: BucketAccess): string =>
  object ?? managed_folder ?? name_begins ?? prefix ?? '';

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
