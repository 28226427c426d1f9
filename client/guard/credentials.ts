/**
 * Credentials in what a server says: whatever looks like one of those that Writ hands out, or of their kin,
 * is cut out before a model sees it. The shapes are the issuers' own; a secret without a shape (a password of
 * 43 letters, AWS's secret key) is known by the name that it stands under.
 */

/** Found wherever they stand. Every repetition has a limit, so that no text takes long. */
const shapes: readonly { what: string; pattern: RegExp }[] = [
  { what: 'AWS access key', pattern: /\b(?:ASIA|AKIA)[A-Z0-9]{16}\b/g },
  // The first bytes of every session token of STS, in base64.
  { what: 'AWS session token', pattern: /\b(?:IQoJb3JpZ2lu|F[QwA]oGZXIvYXdz)[A-Za-z0-9/+=%_-]{40,4096}/g },
  { what: 'GitHub token', pattern: /\b(?:gh[pousr]_[A-Za-z0-9_.-]{20,1024}|github_pat_[A-Za-z0-9_]{20,255})/g },
  { what: 'Google access token', pattern: /\bya29\.[A-Za-z0-9_.-]{16,2048}/g },
  { what: 'Google API key', pattern: /\bAIza[A-Za-z0-9_-]{35}/g },
  { what: 'Slack token', pattern: /\bxox[abeoprs]-[A-Za-z0-9-]{10,255}/g },
  // Signed tokens, Writ's own among them, and sealed ones.
  { what: 'token', pattern: /\beyJ[\w-]{8,8192}(?:\.[\w-]{0,8192}){2,4}(?![\w-])/g },
  {
    what: 'private key',
    pattern: /-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----[\s\S]{0,16384}?(?:-----END [A-Z ]{0,32}PRIVATE KEY-----|$)/g,
  },
];

/** The password of a URL. */
const inUrl = /\b([a-z][a-z0-9+.-]{1,20}:\/\/[^\s:/@"']{1,256}:)[^\s/@"']{1,512}(?=@)/gi;

/** By the name before it: the name, what joins them, and the value. */
const named: readonly { what: string; name: string; value: string }[] = [
  { what: 'AWS secret key', name: 'secret_?access_?key', value: '[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])' },
  { what: 'AWS session token', name: '(?:session|security)_?token', value: '[A-Za-z0-9/+=]{64,4096}' },
  { what: 'password', name: '(?:pg)?password', value: '[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])' },
];
const joint = `["']?\\s{0,8}[:=]\\s{0,8}["']?`;
const namedInText = named.map(({ what, name, value }) => ({
  what,
  pattern: new RegExp(`(${name}${joint})${value}`, 'gi'),
}));
const namedMember = named.map(({ what, name, value }) => ({
  what,
  name: new RegExp(`${name}$`, 'i'),
  value: new RegExp(`^${value}$`),
}));

const mark = (what: string) => `[${what}, cut out by Writ]`;

export interface Cut<T> {
  value: T;
  /** How many were cut out. */
  count: number;
}

/** The same value without credentials, in its texts and in the names of its members. */
export function cutCredentials<T>(value: T): Cut<T> {
  let count = 0;
  const cutText = (given: string): string => {
    let text = given;
    const put = (replacement: string) => {
      count += 1;
      return replacement;
    };
    for (const { what, pattern } of shapes) text = text.replace(pattern, () => put(mark(what)));
    text = text.replace(inUrl, (_all, before: string) => put(before + mark('password')));
    for (const { what, pattern } of namedInText)
      text = text.replace(pattern, (_all, before: string) => put(before + mark(what)));
    return text;
  };
  const cutMember = (name: string, member: unknown): unknown => {
    if (typeof member === 'string')
      for (const one of namedMember)
        if (one.name.test(name) && one.value.test(member)) {
          count += 1;
          return mark(one.what);
        }
    return cut(member);
  };
  const cut = (one: unknown): unknown => {
    if (typeof one === 'string') return cutText(one);
    if (Array.isArray(one)) return one.map(cut);
    if (typeof one !== 'object' || one === null) return one;
    return Object.fromEntries(Object.entries(one).map(([name, member]) => [cutText(name), cutMember(name, member)]));
  };
  return { value: cut(value) as T, count };
}
