/**
 * Which licences are allowed, for what ships with the broker and for what only builds and tests
 * it.
 */

/** All compatible with distributing our work under Apache-2.0. */
const allowed = new Set(
  'MIT MIT-0 ISC Apache-2.0 0BSD BSD-2-Clause BSD-3-Clause BlueOak-1.0.0 Unlicense CC0-1.0 Zlib Python-2.0 PSF-2.0'
    .split(' ')
    .map((id) => id.toLowerCase()),
);

/** Development tools under another licence, each with its reason. Nothing that ships can be excepted. */
export const exceptions: Record<string, string> = {
  'axe-core': 'MPL-2.0: browser tests put it, unchanged, into the pages they look at; it never ships',
  elkjs: 'EPL-2.0: a part of Prisma’s command line, which generates the client and never ships',
  ...Object.fromEntries(
    ['inspector-cli', 'server-everything', 'server-filesystem', 'server-memory'].map((name) => [
      `@modelcontextprotocol/${name}`,
      'MIT and Apache-2.0, as the LICENSE of their project says; tests talk to it, and it never ships',
    ]),
  ),
};

/**
 * Whether an SPDX expression (`MIT`, `(MIT OR GPL-2.0)`, `MIT AND Zlib`; operators in either case) can be
 * satisfied with allowed licences alone: one side of an OR, both sides of an AND. `WITH` exceptions and
 * anything malformed are refused: a person must look.
 */
export function licenceAllowed(expression: string): boolean {
  const tokens = expression.match(/[()]|[^\s()]+/g) ?? [];
  let at = 0;
  const isWord = (word: string) => tokens[at]?.toLowerCase() === word;
  const term = (): boolean => {
    const token = tokens[at++];
    if (token !== '(') return token !== undefined && allowed.has(token.toLowerCase());
    const inner = either();
    return tokens[at++] === ')' && inner;
  };
  const both = (): boolean => {
    let ok = term();
    while (isWord('and')) {
      at += 1;
      ok = term() && ok;
    }
    return ok;
  };
  const either = (): boolean => {
    let ok = both();
    while (isWord('or')) {
      at += 1;
      ok = both() || ok;
    }
    return ok;
  };
  return either() && at === tokens.length;
}
