/**
 * `${inputs.name}` in the values of a manifest. Substitution walks typed values, never text that is parsed
 * again: what an input holds stays one string, number or boolean where it was put.
 */
import type { Json, Task } from '../core/vocabulary.ts';

const referencePattern = /\$\{inputs\.([a-z][a-z0-9_]{0,62})\}/g;
const wholeReferencePattern = /^\$\{inputs\.([a-z][a-z0-9_]{0,62})\}$/;

/** The input a text consists of entirely, or undefined. */
export function wholeReference(text: string): string | undefined {
  return wholeReferencePattern.exec(text)?.[1];
}

/** Every text in a value, with its path below the value. */
export function textsOf(value: Json, path: (string | number)[] = []): { text: string; path: (string | number)[] }[] {
  if (typeof value === 'string') return [{ text: value, path }];
  if (Array.isArray(value)) return value.flatMap((item, index) => textsOf(item, [...path, index]));
  if (typeof value === 'object' && value !== null) {
    return Object.entries(value).flatMap(([key, item]) => textsOf(item, [...path, key]));
  }
  return [];
}

/**
 * The inputs a value refers to, whether it has a `${` that is none of them, and the first that was written
 * without its braces.
 */
export function referencesOf(text: string): { inputs: string[]; stray: boolean; bare?: string } {
  const bare = /\$inputs\.[A-Za-z0-9_]+/.exec(text)?.[0];
  return {
    ...(bare === undefined ? {} : { bare }),
    inputs: [...text.matchAll(referencePattern)].map((match) => match[1] as string),
    stray: text.replaceAll(referencePattern, '').includes('${'),
  };
}

/** The input that a text ends in, or undefined. */
export function lastReference(text: string): string | undefined {
  return /\$\{inputs\.([a-z][a-z0-9_]{0,62})\}$/.exec(text)?.[1];
}

/** True when no input decides any part of the value. */
export function isConstant(value: Json): boolean {
  return textsOf(value).every(({ text }) => referencesOf(text).inputs.length === 0);
}

/**
 * The value with every reference replaced, once: what comes out is not looked at again. A text that is one
 * reference becomes the input itself, with its type; within a longer text the input is written out. Throws
 * when an input is missing, which `check.ts` rules out.
 */
export function substitute(value: Json, inputs: Task['inputs']): Json {
  if (typeof value === 'string') {
    const whole = wholeReference(value);
    if (whole !== undefined) return inputOf(inputs, whole);
    return value.replaceAll(referencePattern, (_, name: string) => String(inputOf(inputs, name)));
  }
  if (Array.isArray(value)) return value.map((item) => substitute(item, inputs));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, substitute(item, inputs)]));
  }
  return value;
}

function inputOf(inputs: Task['inputs'], name: string): string | number | boolean {
  const value = Object.hasOwn(inputs, name) ? inputs[name] : undefined;
  if (value === undefined) throw new TypeError(`the task has no input named ${name}`);
  return value;
}
