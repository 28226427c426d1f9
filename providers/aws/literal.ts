/**
 * Values in policies. Inside `Resource` and string conditions IAM gives `*`, `?` and `${…}` a meaning;
 * `${*}`, `${?}` and `${$}` are the characters themselves (IAM user guide, "IAM policy elements: variables
 * and tags"; needs Version 2012-10-17).
 */
import type { JsonObject } from '../contract.ts';

/** The value as a pattern that matches nothing but itself. */
export const literal = (value: string) => value.replace(/[*?$]/g, (char) => `\${${char}}`);

/** The document as STS and IAM take it: their character set ends at U+00FF, JSON's escapes carry the rest. */
export const policyText = (document: JsonObject) =>
  JSON.stringify(document).replace(
    /[\u007f-\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
