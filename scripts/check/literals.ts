/**
 * The texts that a source file gives as values: not what it compares with, imports, names members by, or puts
 * into types.
 */
import type {
  BinaryExpression,
  CallExpression,
  LiteralLikeNode,
  Node,
  PropertyAssignment,
  SourceFile,
} from 'typescript/unstable/ast';
import { SyntaxKind } from 'typescript/unstable/ast';

export interface Literal {
  /** A plain text's value; of a template with substitutions, its source. */
  text: string;
  line: number;
  /** The function whose argument it is (or is in), by its plain name. */
  call: string | null;
  /** The member whose value it is. */
  member: string | null;
}

const comparisons = new Set([
  SyntaxKind.EqualsEqualsEqualsToken,
  SyntaxKind.ExclamationEqualsEqualsToken,
  SyntaxKind.InKeyword,
]);
const elsewhere = new Set([SyntaxKind.LiteralType, SyntaxKind.ImportDeclaration, SyntaxKind.ExportDeclaration]);

interface Place {
  call: string | null;
  member: string | null;
}

export function readLiterals(source: SourceFile, lineOf: (node: Node) => number): Literal[] {
  const found: Literal[] = [];
  const visit = (node: Node, place: Place): void => {
    switch (node.kind) {
      case SyntaxKind.StringLiteral:
      case SyntaxKind.NoSubstitutionTemplateLiteral:
        found.push({ text: (node as LiteralLikeNode).text, line: lineOf(node), ...place });
        return;
      case SyntaxKind.TemplateExpression:
        found.push({ text: node.getText(source), line: lineOf(node), ...place });
        break;
      case SyntaxKind.CallExpression: {
        const { expression, arguments: given } = node as CallExpression;
        visit(expression, place);
        const call = expression.kind === SyntaxKind.Identifier ? expression.getText(source) : null;
        for (const argument of given) visit(argument, { call, member: null });
        return;
      }
      case SyntaxKind.PropertyAssignment: {
        const { name, initializer } = node as PropertyAssignment;
        visit(initializer, { call: place.call, member: name.getText(source) });
        return;
      }
      case SyntaxKind.BinaryExpression: {
        const { left, right, operatorToken } = node as BinaryExpression;
        if (!comparisons.has(operatorToken.kind)) break;
        for (const side of [left, right]) if (!isText(side)) visit(side, place);
        return;
      }
      default:
        if (elsewhere.has(node.kind)) return;
    }
    node.forEachChild((child) => {
      if (node.kind === SyntaxKind.CaseClause && isText(child)) return;
      visit(child, place);
    });
  };
  visit(source, { call: null, member: null });
  return found;
}

const isText = ({ kind }: Node) =>
  kind === SyntaxKind.StringLiteral || kind === SyntaxKind.NoSubstitutionTemplateLiteral;
