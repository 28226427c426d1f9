/** The comments of a source file, and where each begins. */
import type { Node, SourceFile } from 'typescript/unstable/ast';
import { SyntaxKind } from 'typescript/unstable/ast';

export interface Comment {
  line: number;
  /** Columns before its first character. */
  column: number;
  /** With its markers; a block comment has several lines. */
  text: string;
}

const literals = new Set([
  SyntaxKind.StringLiteral,
  SyntaxKind.NoSubstitutionTemplateLiteral,
  SyntaxKind.TemplateHead,
  SyntaxKind.TemplateMiddle,
  SyntaxKind.TemplateTail,
  SyntaxKind.RegularExpressionLiteral,
]);

/** Every comment of a file: what begins with `//` or `/*` and lies in no string, template or pattern. */
export function readComments(source: SourceFile): Comment[] {
  const { text } = source;
  const skipped: [start: number, end: number][] = [];
  const visit = (node: Node): void => {
    if (literals.has(node.kind)) skipped.push([node.getStart(source), node.getEnd()]);
    node.forEachChild(visit);
  };
  visit(source);
  skipped.sort(([a], [b]) => a - b);
  const found: Comment[] = [];
  const marker = /\/\/.*|\/\*[\s\S]*?\*\//g;
  for (let match = marker.exec(text); match !== null; match = marker.exec(text)) {
    const { index } = match;
    while (skipped[0] !== undefined && skipped[0][1] <= index) skipped.shift();
    if (skipped[0] !== undefined && skipped[0][0] <= index) {
      marker.lastIndex = skipped[0][1];
      continue;
    }
    const { line, character } = source.getLineAndCharacterOfPosition(index);
    found.push({ line: line + 1, column: character, text: match[0] });
  }
  return found;
}
