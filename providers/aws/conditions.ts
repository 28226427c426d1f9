/** Operators of IAM's conditions (IAM user guide, "IAM JSON policy elements: Condition operators"). Pure. */

const strings = ['Equals', 'NotEquals', 'EqualsIgnoreCase', 'NotEqualsIgnoreCase', 'Like', 'NotLike'];
const ordered = ['Equals', 'NotEquals', 'LessThan', 'LessThanEquals', 'GreaterThan', 'GreaterThanEquals'];
const comparing = [
  ...strings.map((end) => `String${end}`),
  ...['Numeric', 'Date'].flatMap((kind) => ordered.map((end) => `${kind}${end}`)),
  ...['Equals', 'NotEquals', 'Like', 'NotLike'].map((end) => `Arn${end}`),
  'Bool',
  'BinaryEquals',
  'IpAddress',
  'NotIpAddress',
];

/** How an operator is spelt, today's and those to come: AWS says which there are. */
export const operatorName = /^(?:(?:ForAllValues|ForAnyValue):)?[A-Z][A-Za-z]{1,60}$/;

const known = new Set([
  'Null',
  ...['', 'ForAllValues:', 'ForAnyValue:'].flatMap((set) =>
    comparing.flatMap((name) => [`${set}${name}`, `${set}${name}IfExists`]),
  ),
]);
export const operators: readonly string[] = [...known];
export const isOperator = (test: string): boolean => known.has(test);

/** Those for which `*` and `?` in a value are patterns; ArnEquals is the same as ArnLike. */
export const takesPatterns = (test: string): boolean =>
  known.has(test) && /(?:String(?:Not)?Like|Arn(?:Not)?(?:Like|Equals))(?:IfExists)?$/.test(test);

/** What a reader of the operator's name alone may not see: that it holds of requests without the key. */
export function caveatOf(test: string, values: readonly string[]): string {
  if (!known.has(test)) return ' (an operator Writ does not know: what it holds of is for AWS to say)';
  if (test === 'Null') return values.some((value) => value !== 'false') ? ' (where the key is absent)' : '';
  if (test.startsWith('ForAllValues:')) return ' (of each value there is; holds too where the key is absent)';
  const negated = /^(?:StringNot|NumericNot|DateNot|ArnNot|NotIpAddress)/.test(test);
  return test.endsWith('IfExists') || negated ? ' (holds too where the key is absent)' : '';
}
