/** The values that an input or a choice of a manifest may have. Pure. */
import type { Json } from '../core/vocabulary.ts';
import type { Choice, Input } from '../manifests/manifest.ts';
import { asHole, common, type Language, languageOf } from './pattern-language.ts';

/** What a value that nobody chose yet may be. */
export interface Open {
  /** `inputs.NAME` or `choose.NAME`. */
  name: string;
  kind: 'inputs' | 'choose';
  key: string;
  shape: Input | Choice;
}
/** What no value from outside may have in it (`manifests/unsafe-text.ts`). */
export const neverInValues = ['*', '?', '$', '{', '}', '\\'].join('');
/** Listed values are tried one by one, as long as there are no more combinations than this. */
export const maxCombinations = 2_000;
const maxIntegers = 64;

/** All values, where they are listed or few; else null. */
export function valuesListed(shape: Input | Choice): Json[] | null {
  if (shape.type === 'boolean') return [true, false];
  if (shape.type === 'string') return shape.enum ?? null;
  const { min, max } = shape;
  if (min === undefined || max === undefined || max - min >= maxIntegers) return null;
  return Array.from({ length: max - min + 1 }, (_, n) => min + n);
}

export function combine(lists: readonly { name: string; values: Json[] }[]): Map<string, Json>[] | null {
  if (lists.reduce((count, { values }) => count * values.length, 1) > maxCombinations) return null;
  return lists.reduce<Map<string, Json>[]>(
    (all, { name, values }) => all.flatMap((one) => values.map((value) => new Map([...one, [name, value]]))),
    [new Map()],
  );
}

export const shapeLanguage = (shape: Input | Choice): Language =>
  shape.type === 'string' && shape.pattern !== undefined ? languageOf(shape.pattern) : languageOf('-?[0-9]+');

/** A value of the shape: one that its pattern takes, where one can be found. */
export function exampleOf(shape: Input | Choice): Json {
  const [listed] = valuesListed(shape) ?? [];
  if (listed !== undefined) return listed;
  if (shape.type === 'integer') return shape.min ?? shape.max ?? 0;
  const language = asHole(shapeLanguage(shape), 'value', neverInValues);
  try {
    return common(language, languageOf('.+'))?.text ?? 'a';
  } catch {
    return 'a';
  }
}

export function typed(shape: Input | Choice, text: string | undefined): Json | undefined {
  if (text === undefined || shape.type !== 'integer') return text;
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : undefined;
}
