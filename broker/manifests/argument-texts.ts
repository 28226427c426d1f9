/**
 * The texts in the arguments of a call, in every spelling that the tool may read them in: encoded once or
 * several times, nested however deep. What is looked for in arguments is looked for in all of them. How much
 * there is to look at is bounded by the size of a request: every decoding is shorter than what it is made of.
 */
import type { Json } from '../core/vocabulary.ts';
import { memoize } from './memoize.ts';

/** Encodings within each other. */
const deepest = 3;

export interface Texts {
  /** As written, by Unicode's NFKC and without characters that nobody sees; then what each holds, decoded. */
  texts: string[];
  /** The values as written, in order. */
  values: string[];
  /** The same one after another, as a tool may put them together again. */
  joined: string;
}

/** Every text and number of a value, the names of members too: they may carry as much. */
export const textsOf: (args: { readonly [name: string]: Json }) => Texts = memoize((args) => {
  const values: string[] = [];
  const names: string[] = [];
  const walk = (one: Json) => {
    if (typeof one === 'string' || typeof one === 'number') values.push(plainText(String(one)));
    else if (Array.isArray(one)) for (const member of one) walk(member);
    else if (typeof one === 'object' && one !== null)
      for (const [name, member] of Object.entries(one)) {
        names.push(plainText(name));
        walk(member);
      }
  };
  walk(args);
  const texts = new Set<string>();
  const add = (text: string, depth: number) => {
    if (texts.has(text)) return;
    texts.add(text);
    if (depth < deepest) for (const decoded of decodedOf(text)) add(plainText(decoded), depth + 1);
  };
  for (const text of [...values, ...names]) add(text, 0);
  return { texts: [...texts], values, joined: values.join('') };
});

const plainText = (text: string) => text.normalize('NFKC').replace(/\p{Default_Ignorable_Code_Point}/gu, '');

/** What is written in it by another alphabet: percent signs, JSON's escapes, base64, hexadecimal digits. */
function decodedOf(text: string): string[] {
  const decoded: string[] = [];
  if (/%[0-9a-f]{2}/i.test(text)) decoded.push(percentDecoded(text));
  if (/\\u[0-9a-f]{4}|\\x[0-9a-f]{2}|\\\//i.test(text)) decoded.push(unescaped(text));
  for (const [word] of text.matchAll(/[A-Za-z0-9+/_-]{16,}={0,2}/g)) {
    const read = /^(?:[0-9a-f]{2})+$/i.test(word) ? readable(Buffer.from(word, 'hex')) : undefined;
    const plain = read ?? readable(Buffer.from(word, 'base64'));
    if (plain !== undefined) decoded.push(plain);
  }
  return decoded;
}

const percentDecoded = (text: string) =>
  text.replace(/(?:%[0-9a-f]{2})+/gi, (bytes) => Buffer.from(bytes.replaceAll('%', ''), 'hex').toString('utf8'));

const unescaped = (text: string) =>
  text
    .replace(/\\u([0-9a-f]{4})|\\x([0-9a-f]{2})/gi, (_, four?: string, two?: string) =>
      String.fromCharCode(Number.parseInt(four ?? two ?? '', 16)),
    )
    .replaceAll('\\/', '/');

/** Bytes as a text, where they are one: what is not was no encoded text. */
function readable(bytes: Buffer): string | undefined {
  const text = bytes.toString('utf8');
  return text !== '' && !/[\p{Cc}\uFFFD]/u.test(text.replace(/[\t\r\n]/g, '')) ? text : undefined;
}
