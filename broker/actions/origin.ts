/**
 * Where a value comes from. Of what tools returned, and of what the person said, no text is kept, only the
 * digests of its words: enough to tell whether a value that is used now was seen there first.
 */

/** Words of one text that are looked at; more are told as too many. */
export const maxWords = 512;

/** Shorter ones are everywhere in what tools return, and name no destination. */
const shortest = 3;

/** Line breaks as JSON writes them are some too: what came back is often a text within a text. */
const separators = /(?:\\[nrtfb]|[\s"'`()<>[\]{},;|*\\])+/u;

/**
 * The words of a text as they are compared: lower case, without the marks around them. A URL is a word
 * without its scheme, which people leave out, and so is its host; an address is one.
 * @param least length of a word that is looked at
 * @returns each once, and whether there were more than are looked at
 */
export function wordsOf(text: string, least = shortest): { words: string[]; more: boolean } {
  const words = new Set<string>();
  for (const raw of text.normalize('NFKC').toLowerCase().split(separators)) {
    const word = trimmed(raw).replace(/^[a-z][a-z0-9+.-]*:\/\//u, '');
    if (word.length < least) continue;
    if (words.size >= maxWords) return { words: [...words], more: true };
    words.add(word);
    const host = /^(?:[^/?#]*@)?([^/?#:@]+\.[^/?#:@]+)(?::\d+(?:[/?#]|$)|[/?#])/u.exec(word)?.[1];
    if (host !== undefined) words.add(host);
    const afterSign = /^[^=:]{1,64}[=:]([^/].*)$/u.exec(word)?.[1];
    if (afterSign !== undefined && afterSign.length >= least) words.add(afterSign);
  }
  return { words: [...words], more: false };
}

const trimmed = (word: string) => word.replace(/^[.:!?=&/-]+|[.:!?=&/-]+$/gu, '');

/** The words of one value: a short one is its only word. */
export function wordsOfValue(value: string): string[] {
  const { words } = wordsOf(value);
  return words.length > 0 ? words : [value.normalize('NFKC').toLowerCase()];
}
