/**
 * What no text from outside may be, whatever pattern an admin wrote. A pattern like `.*` must not let an
 * input turn `customers/42/` into a wildcard or climb out of it.
 */

const maxValueLength = 256;

/**
 * Cc: control; Cf: invisible and direction marks that make an approver read something else; Zl, Zp: line
 * breaks; Cs: lone surrogates.
 */
const unreadable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;

/** Wildcards and variables of IAM and CEL, templates of ours, escapes of most. */
const widening = /[*?${}\\]/;

/** Text that people read as it is: well-formed Unicode in normal form C, nothing invisible. */
export function isPlainText(text: string): boolean {
  return text.isWellFormed() && !unreadable.test(text) && text === text.normalize('NFC');
}

/**
 * Why `value` may not be put into a permission, or undefined when it may. An empty value is refused too: it
 * would turn the prefix `${inputs.folder}` into the whole bucket.
 */
export function unsafeText(value: string): string | undefined {
  if (value === '') return 'must not be empty';
  if (value.length > maxValueLength) return `must not be longer than ${maxValueLength} characters`;
  if (!isPlainText(value)) return 'must be Unicode text in normal form C without control or invisible characters';
  if (widening.test(value)) return 'must not contain any of * ? $ { } \\';
  if (value.split('/').some((segment) => segment === '.' || segment === '..')) {
    return 'must not contain the path segments . or ..';
  }
  return undefined;
}
