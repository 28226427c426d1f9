/**
 * Strings in policies: `*` and `?` match, `${…}` stands for a value of the request or, as `${*}`, `${?}`,
 * `${$}`, for the character itself (IAM user guide, "IAM policy elements: variables and tags").
 */

/** Values of the request under lower-case condition keys. A missing key is absent. */
export type Context = Record<string, string[]>;

type Token = { literal: string } | { wildcard: '*' | '?' };

/** @returns null when a variable has no single value: then the element does not match at all */
function tokens(pattern: string, context: Context): Token[] | null {
  const found: Token[] = [];
  for (const [part, variable] of [...pattern.matchAll(/\$\{([^}]*)\}|[\s\S]/g)].map((m) => [m[0], m[1]] as const)) {
    if (variable === undefined) found.push(part === '*' || part === '?' ? { wildcard: part } : { literal: part });
    else if (variable === '*' || variable === '?' || variable === '$') found.push({ literal: variable });
    else {
      const values = context[variable.toLowerCase()];
      if (values?.length !== 1) return null;
      found.push({ literal: values[0] ?? '' });
    }
  }
  return found;
}

/** `first-fit`: a `*` ends where the next character first comes, and is never tried again. */
export type Matcher = 'whole' | 'first-fit';
/** The context's own note of how this store matches: no request has a key of that name. */
export const matcherKey = 'sandbox matcher';

/** Does `value` match `pattern`, wildcards and variables included? Case-sensitive. */
export function like(pattern: string, value: string, context: Context): boolean {
  const parts = tokens(pattern, context);
  if (parts === null) return false;
  if (context[matcherKey]?.[0] === 'first-fit') return firstFit(parts, value);
  const source = parts.map((part) => {
    if ('literal' in part) return part.literal.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
    return part.wildcard === '*' ? '[\\s\\S]*' : '[\\s\\S]';
  });
  return new RegExp(`^(?:${source.join('')})$`).test(value);
}

function firstFit(parts: Token[], value: string): boolean {
  let at = 0;
  for (const [n, part] of parts.entries()) {
    if ('literal' in part) {
      if (!value.startsWith(part.literal, at)) return false;
      at += part.literal.length;
    } else if (part.wildcard === '?') at += 1;
    else {
      const next = parts[n + 1];
      if (next === undefined) return true;
      const found = 'literal' in next ? value.indexOf(next.literal, at) : at;
      if (found < 0) return false;
      at = found;
    }
  }
  return at === value.length;
}

/**
 * The text a pattern stands for where wildcards mean nothing (`StringEquals`); null when a variable has no
 * value.
 */
export function textOf(pattern: string, context: Context): string | null {
  return (
    tokens(pattern, context)
      ?.map((part) => ('literal' in part ? part.literal : part.wildcard))
      .join('') ?? null
  );
}

/** Actions know wildcards but no variables, and ignore case. */
export const actionMatches = (pattern: string, action: string) => like(pattern.toLowerCase(), action.toLowerCase(), {});
