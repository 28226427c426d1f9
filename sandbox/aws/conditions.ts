/**
 * The condition operators Writ's and everyday policies use. An operator that is not here makes a policy
 * malformed, never ignored.
 */
import { type Context, like, textOf } from './patterns.ts';

export type ConditionBlock = Record<string, Record<string, string | boolean | number | (string | boolean | number)[]>>;

type Compare = (wanted: string, actual: string, context: Context) => boolean;

const equals: Compare = (wanted, actual, context) => textOf(wanted, context) === actual;
const equalsIgnoringCase: Compare = (wanted, actual, context) =>
  textOf(wanted, context)?.toLowerCase() === actual.toLowerCase();
const dates =
  (holds: (actual: number, wanted: number) => boolean): Compare =>
  (wanted, actual) =>
    holds(Date.parse(actual), Date.parse(wanted));
const numbers =
  (holds: (actual: number, wanted: number) => boolean): Compare =>
  (wanted, actual) =>
    holds(Number(actual), Number(wanted));

/** Each positive comparison; its negation is derived from `not`. */
const operators: Record<string, { compare: Compare; negated?: true }> = {
  StringEquals: { compare: equals },
  StringNotEquals: { compare: equals, negated: true },
  StringEqualsIgnoreCase: { compare: equalsIgnoringCase },
  StringNotEqualsIgnoreCase: { compare: equalsIgnoringCase, negated: true },
  StringLike: { compare: like },
  StringNotLike: { compare: like, negated: true },
  ArnEquals: { compare: like },
  ArnLike: { compare: like },
  ArnNotEquals: { compare: like, negated: true },
  ArnNotLike: { compare: like, negated: true },
  Bool: { compare: equalsIgnoringCase },
  DateEquals: { compare: dates((a, w) => a === w) },
  DateNotEquals: { compare: dates((a, w) => a === w), negated: true },
  DateLessThan: { compare: dates((a, w) => a < w) },
  DateLessThanEquals: { compare: dates((a, w) => a <= w) },
  DateGreaterThan: { compare: dates((a, w) => a > w) },
  DateGreaterThanEquals: { compare: dates((a, w) => a >= w) },
  NumericEquals: { compare: numbers((a, w) => a === w) },
  NumericNotEquals: { compare: numbers((a, w) => a === w), negated: true },
  NumericLessThan: { compare: numbers((a, w) => a < w) },
  NumericLessThanEquals: { compare: numbers((a, w) => a <= w) },
  NumericGreaterThan: { compare: numbers((a, w) => a > w) },
  NumericGreaterThanEquals: { compare: numbers((a, w) => a >= w) },
};

interface Operator {
  set: 'ForAllValues' | 'ForAnyValue' | null;
  name: string;
  ifExists: boolean;
}

function parseOperator(text: string): Operator | null {
  const match = /^(?:(ForAllValues|ForAnyValue):)?([A-Za-z]+?)(IfExists)?$/.exec(text);
  if (match === null || match[2] === undefined) return null;
  return { set: (match[1] as Operator['set']) ?? null, name: match[2], ifExists: match[3] !== undefined };
}

/** Every operator is known and every date is one. */
export function conditionIsWellFormed(block: ConditionBlock): boolean {
  return Object.entries(block).every(([text, keys]) => {
    const operator = parseOperator(text);
    if (operator === null || typeof keys !== 'object') return false;
    if (operator.name === 'Null') return operator.set === null && !operator.ifExists;
    if (operators[operator.name] === undefined) return false;
    const values = Object.values(keys).flat().map(String);
    return !operator.name.startsWith('Date') || values.every((value) => !Number.isNaN(Date.parse(value)));
  });
}

/** All keys of all operators must hold. */
export function conditionHolds(block: ConditionBlock, context: Context): boolean {
  return Object.entries(block).every(([text, keys]) =>
    Object.entries(keys).every(([key, wanted]) => {
      const operator = parseOperator(text);
      return operator !== null && keyHolds(operator, context[key.toLowerCase()], [wanted].flat().map(String), context);
    }),
  );
}

function keyHolds(operator: Operator, actual: string[] | undefined, wanted: string[], context: Context): boolean {
  const missing = actual === undefined || actual.length === 0;
  if (operator.name === 'Null') return wanted.some((value) => (value.toLowerCase() === 'true') === missing);
  const definition = operators[operator.name];
  if (definition === undefined) return false;
  const { compare, negated } = definition;
  if (missing) {
    if (operator.set !== null) return operator.set === 'ForAllValues';
    return negated === true || operator.ifExists;
  }
  const one = (value: string) => wanted.some((each) => compare(each, value, context)) !== (negated === true);
  // Without a set qualifier a negated operator means "none of them", a positive one "this one".
  if (operator.set === 'ForAllValues' || (operator.set === null && negated)) return actual.every(one);
  return actual.some(one);
}
