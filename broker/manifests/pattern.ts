/**
 * Patterns of manifests: RE2, so that no pattern and no value can make the broker spin; always matched
 * against the whole value.
 */
import { RE2JS } from 're2js';

/** Compiled patterns, bounded: manifests are few, but they change for as long as the process lives. */
const maxCompiled = 1024;
const compiled = new Map<string, RE2JS>();

function compile(pattern: string, flags = 0): RE2JS {
  const key = `${flags} ${pattern}`;
  let found = compiled.get(key);
  if (found === undefined) {
    found = RE2JS.compile(pattern, flags);
    if (compiled.size >= maxCompiled) compiled.clear();
    compiled.set(key, found);
  }
  return found;
}

/** Why the pattern does not compile, or undefined when it does. */
export function patternFault(pattern: string): string | undefined {
  try {
    compile(pattern);
    return undefined;
  } catch {
    return 'must be a pattern in RE2 syntax (no look-around, no back-references)';
  }
}

/**
 * True when the whole of `value` matches, as if written `^(?:pattern)$`.
 * @param dot `lines too`: `.` takes line ends as well, so that `sudo .*` holds for a command of two lines
 */
export function matchesWhole(pattern: string, value: string, dot?: 'lines too'): boolean {
  return compile(pattern, dot === undefined ? 0 : RE2JS.DOTALL).matches(value);
}
