/**
 * Whether a JSON text names a member twice. Readers differ in which of the two they take (RFC 8259, section
 * 4): what was decided on might not be what the tool is called with.
 */

/** Each string of a text in turn, with the colon after it where it names a member. */
const strings = /"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?/g;

/** @param value that the text was parsed to, where the last of two members stands for both */
export function namesTwice(text: string, value: unknown): boolean {
  let written = 0;
  for (const [, colon] of text.matchAll(strings)) if (colon !== undefined) written += 1;
  return written !== namesIn(value);
}

function namesIn(value: unknown): number {
  let names = 0;
  const open = [value];
  while (open.length > 0) {
    const one = open.pop();
    if (typeof one !== 'object' || one === null) continue;
    const members = Object.values(one);
    if (!Array.isArray(one)) names += members.length;
    for (const member of members) open.push(member);
  }
  return names;
}
