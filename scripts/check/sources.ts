/**
 * Reads our TypeScript with the compiler's own parser, so that a rule about code sees what the compiler sees:
 * type-only imports, re-exports and dynamic imports included, comments and strings left out.
 * (dependency-cruiser 17 cannot read TypeScript 7: it finds no file at all.)
 */
import { join, posix, relative } from 'node:path';
import type {
  CallExpression,
  NewExpression,
  Node,
  PropertyAccessExpression,
  SourceFile,
} from 'typescript/unstable/ast';
import { SyntaxKind } from 'typescript/unstable/ast';
import type { FileSystem } from 'typescript/unstable/fs';
import { API } from 'typescript/unstable/sync';
import { type Literal, readLiterals } from './literals.ts';
import { type Comment, readComments } from './read-comments.ts';

export interface Import {
  /** As written; null for a dynamic import whose name is computed. */
  specifier: string | null;
  /** Path from the root when the specifier is relative, else null (a package or a `node:` module). */
  target: string | null;
  line: number;
}

export interface Source {
  /** From the root, with forward slashes. */
  path: string;
  imports: Import[];
  /** Places that read the time by themselves: `Date.now` and the like. */
  clockReads: { what: string; line: number }[];
  /** Texts that the file gives as values. */
  literals: Literal[];
  comments: Comment[];
}

/** The generated Prisma client is not ours to rule over. */
const generated = /^broker\/store\/prisma\//;

/**
 * Every source file of the project that `tsconfig.json` in `root` describes.
 * @param fs a file system in memory, for the tests of the rules
 */
export function readSources(root: string, fs?: FileSystem): Source[] {
  const api = new API(fs === undefined ? { cwd: root } : { cwd: root, fs });
  try {
    const project = api.updateSnapshot({ openProjects: [join(root, 'tsconfig.json')] }).getProjects()[0];
    if (project === undefined) throw new Error(`no TypeScript project in ${root}`);
    return project.rootFiles
      .map((file) => ({ file, path: relative(root, file) }))
      .filter(({ path }) => !generated.test(path))
      .map(({ file, path }) => {
        const source = project.program.getSourceFile(file);
        if (source === undefined) throw new Error(`the compiler did not read ${path}`);
        return readSource(path, source);
      });
  } finally {
    api.close();
  }
}

function readSource(path: string, source: SourceFile): Source {
  const lineOf = (node: Node) => source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
  const imports: Import[] = source.imports.map((node) => {
    const specifier = (node as Node & { text: string }).text;
    const target = specifier.startsWith('.') ? posix.join(posix.dirname(path), specifier) : null;
    return { specifier, target, line: lineOf(node) };
  });
  const clockReads: Source['clockReads'] = [];
  const visit = (node: Node): void => {
    const what = clockRead(node, source);
    if (what !== null) clockReads.push({ what, line: lineOf(node) });
    if (isComputedImport(node)) imports.push({ specifier: null, target: null, line: lineOf(node) });
    node.forEachChild(visit);
  };
  visit(source);
  return { path, imports, clockReads, literals: readLiterals(source, lineOf), comments: readComments(source) };
}

const clocks = /^(globalThis\.)?(Date\.now|performance\.now|process\.hrtime|Temporal\.Now)$/;

function clockRead(node: Node, source: SourceFile): string | null {
  if (node.kind === SyntaxKind.PropertyAccessExpression) {
    const text = (node as PropertyAccessExpression).getText(source).replace(/\s|\?/g, '');
    return clocks.test(text) ? text : null;
  }
  if (node.kind !== SyntaxKind.NewExpression && node.kind !== SyntaxKind.CallExpression) return null;
  const { expression, arguments: given } = node as NewExpression | CallExpression;
  if (!/^(globalThis\.)?Date$/.test(expression.getText(source))) return null;
  // `Date(anything)` without `new` ignores its arguments and answers the present time.
  if (node.kind === SyntaxKind.CallExpression) return 'Date()';
  return given === undefined || given.length === 0 ? 'new Date()' : null;
}

function isComputedImport(node: Node): boolean {
  if (node.kind !== SyntaxKind.CallExpression) return false;
  const { expression, arguments: given } = node as CallExpression;
  const literal = [SyntaxKind.StringLiteral, SyntaxKind.NoSubstitutionTemplateLiteral];
  return expression.kind === SyntaxKind.ImportKeyword && !literal.some((kind) => kind === given[0]?.kind);
}
