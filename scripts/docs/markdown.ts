/** Markdown from data. Pure. */

/** First lines of every generated page, so that nobody corrects it by hand. */
export const generatedFrom = (source: string): string =>
  `<!-- Written by \`npm run docs\` from ${source}. Change that, not this. -->\n`;

export const code = (text: string): string => (text.includes('`') ? `\`\` ${text} \`\`` : `\`${text}\``);

/**
 * Text for people in which `<name>` stays text: outside code, a code host would take it for HTML and drop it.
 */
export const prose = (text: string): string =>
  text.replaceAll(/`[^`]*`|</g, (found) => (found === '<' ? '&lt;' : found));

/** A pipe table. A bar or a line break in a cell would end it. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return [line(head), `|${head.map(() => '---|').join('')}`, ...rows.map(line)].join('\n');
}

/** A fenced block. */
export const fence = (language: string, text: string): string => `\`\`\`${language}\n${text.trimEnd()}\n\`\`\``;

/** Paragraphs, headings and tables → one page that ends in a line break. */
export const page = (...parts: readonly string[]): string => `${parts.map((part) => part.trimEnd()).join('\n\n')}\n`;
