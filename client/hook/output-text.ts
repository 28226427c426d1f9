/** What a tool gave back, as the text in which its words are looked for. */

/** Characters that are reported at most; of what is longer, the report says that it is cut. */
const maxCharacters = 64 * 1024;
/** A text of this length without a space is an image or an archive rather than something to read. */
const unbroken = 4096;

/**
 * The texts and numbers within a result, a line each: as JSON, a line end would glue two words together.
 * What looks like no text stands last, so that it takes no room from what does.
 */
export function outputText(output: unknown): string {
  const leaves = leavesOf(output);
  const readable = (text: string) => text.length < unbroken || /\s/.test(text.slice(0, unbroken));
  const ordered = [...leaves.filter(readable), ...leaves.filter((text) => !readable(text))];
  return ordered.join('\n').slice(0, maxCharacters);
}

/** Without recursion: how deep a result nests is not ours to say. */
function leavesOf(output: unknown): string[] {
  const found: string[] = [];
  const left = [output];
  while (left.length > 0) {
    const value = left.pop();
    if (typeof value === 'string') found.push(value);
    else if (typeof value === 'number' || typeof value === 'boolean') found.push(String(value));
    else if (typeof value === 'object' && value !== null) {
      const members = Array.isArray(value) ? value : Object.entries(value).flat();
      for (let at = members.length - 1; at >= 0; at -= 1) left.push(members[at]);
    }
  }
  return found;
}
