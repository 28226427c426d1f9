/**
 * Cedar expressions as data (the EST of Cedar's JSON policy format). Policies are built from these and never
 * from text, so that no value of a manifest can become syntax.
 */
import type { Expr } from '@cedar-policy/cedar-wasm/nodejs';

export const literal = (value: string | number | boolean): Expr => ({ Value: value });

/** `context.a.b` */
export const fact = (...path: string[]): Expr =>
  path.reduce<Expr>((left, attr) => ({ '.': { left, attr } }), { Var: 'context' });

/** `context.a has b` */
export const hasFact = (...path: string[]): Expr => ({
  has: { left: fact(...path.slice(0, -1)), attr: path.at(-1) as string },
});

export const equal = (left: Expr, right: Expr): Expr => ({ '==': { left, right } });
export const less = (left: Expr, right: Expr): Expr => ({ '<': { left, right } });
export const greater = (left: Expr, right: Expr): Expr => ({ '>': { left, right } });
export const atLeast = (left: Expr, right: Expr): Expr => ({ '>=': { left, right } });
export const both = (left: Expr, right: Expr): Expr => ({ '&&': { left, right } });
export const either = (left: Expr, right: Expr): Expr => ({ '||': { left, right } });
export const allOf = (parts: readonly Expr[]): Expr => parts.reduce(both);
export const not = (arg: Expr): Expr => ({ '!': { arg } });

/** `set.contains(element)` */
export const contains = (set: Expr, element: Expr): Expr => ({ contains: { left: set, right: element } });
export const oneOf = (values: readonly string[], element: Expr): Expr =>
  contains({ Set: values.map(literal) }, element);
