/**
 * Manifest text → typed manifest, or every fault with its line and column. Reads a small, dull YAML: one
 * document, no aliases, no tags, no directives, so that what an admin reviews is what the broker reads.
 */
import {
  isAlias,
  isCollection,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml';
import type { z } from 'zod';
import type { FieldFault } from '../core/errors.ts';
import { readShape } from '../core/shape-faults.ts';
import { type Manifest, ManifestSchema } from './manifest.ts';

export const maxManifestBytes = 256 * 1024;
const maxDepth = 32;
/** Maximum number of faults reported: a hostile file must not cause an answer as long as itself. */
const maxFaults = 100;
const tooDeep: FieldFault = { path: '', message: 'must not be nested so deeply', line: 1, column: 1 };

export type Path = readonly (string | number)[];
/** Line and column (from 1) of the value at `path`, or of its nearest ancestor that is there. */
export type Locate = (path: Path) => { line: number; column: number };

export type ParsedManifest = { ok: true; manifest: Manifest; locate: Locate } | { ok: false; faults: FieldFault[] };
type Parsed<Value> = { ok: true; value: Value; locate: Locate } | { ok: false; faults: FieldFault[] };

/**
 * Reads a manifest. Syntax faults are reported together; where there are none, all faults of shape are. Never
 * throws.
 */
export function parseManifest(text: string): ParsedManifest {
  const parsed = parseStrictly(text, ManifestSchema);
  return parsed.ok ? { ok: true, manifest: parsed.value, locate: parsed.locate } : parsed;
}

/** The same for any file of ours that people write. */
export function parseStrictly<Value>(text: string, schema: z.ZodType<Value>): Parsed<Value> {
  if (Buffer.byteLength(text) > maxManifestBytes) {
    return refused([
      { path: '', message: `must not be larger than ${maxManifestBytes / 1024} KiB`, line: 1, column: 1 },
    ]);
  }
  try {
    return parse(text, schema);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return refused([tooDeep]);
  }
}

function parse<Value>(text: string, schema: z.ZodType<Value>): Parsed<Value> {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    version: '1.2',
    schema: 'core',
    strict: true,
    uniqueKeys: true,
    stringKeys: true,
    merge: false,
    prettyErrors: false,
    lineCounter: lines,
  });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  // The composer recurses: a file of brackets ends its stack, and it then reports every one of them.
  if (document.errors.some(({ code }) => code === 'RESOURCE_EXHAUSTION')) return refused([tooDeep]);
  const faults: FieldFault[] = [...document.errors, ...document.warnings].map((problem) => ({
    path: '',
    message: problem.code === 'MULTIPLE_DOCS' ? 'must be one YAML document' : problem.message,
    ...at(problem.pos[0]),
  }));
  const refuse = (node: Node, message: string) => {
    faults.push({ path: '', message, ...at(node.range?.[0] ?? 0) });
  };
  if (document.directives.yaml.explicit || /^%/m.test(text.split(/^---/m)[0] ?? '')) {
    faults.push({ path: '', message: 'must not have YAML directives', line: 1, column: 1 });
  }
  visit(document, {
    Node: (_, node, ancestors) => {
      if (isAlias(node)) refuse(node, 'must not use aliases: write the value out');
      else if (node.tag !== undefined) refuse(node, 'must not use tags');
      if (ancestors.filter(isCollection).length > maxDepth) {
        refuse(node, 'must not be nested so deeply');
        return visit.BREAK;
      }
      return undefined;
    },
    Pair: (_, pair) => {
      // zod's records pass over this key in silence, so that a fault in it would never be seen.
      if (isScalar(pair.key) && pair.key.value === '__proto__') refuse(pair.key, '__proto__ is not a field');
    },
  });
  if (faults.length > 0) return refused(faults);

  const locate: Locate = (path) => at(offsetOf(document.contents, path));
  const read = readShape(document.toJS({ maxAliasCount: 0 }), schema);
  if (read.ok) return { ok: true, value: read.value, locate };
  return refused(read.faults.map(({ path, message }) => faultAt(path, message, locate)));
}

function refused(faults: FieldFault[]): { ok: false; faults: FieldFault[] } {
  return { ok: false, faults: inReadingOrder(faults).slice(0, maxFaults) };
}

/** A fault at a path, in words and in place. */
export function faultAt(path: Path, message: string, locate: Locate): FieldFault {
  return { path: pathText(path), message, ...locate(path) };
}

/** Orders faults by their place in the file. */
export function inReadingOrder(faults: FieldFault[]): FieldFault[] {
  return faults.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
}

/** `capabilities.read.tasks[0]` */
export function pathText(path: Path): string {
  return path.reduce<string>(
    (text, part) => (typeof part === 'number' ? `${text}[${part}]` : text === '' ? part : `${text}.${part}`),
    '',
  );
}

/** `billing.yaml:12:7 capabilities.read.tier: is required` for logs and terminals. */
export function faultText(fault: FieldFault, file = 'manifest'): string {
  const place = fault.line === undefined ? file : `${file}:${fault.line}:${fault.column ?? 1}`;
  return `${place} ${fault.path === '' ? '' : `${fault.path}: `}${fault.message}`;
}

/**
 * A block collection begins on the line after its key: report the position of the key, where a reader looks.
 */
function offsetOf(contents: unknown, path: Path): number {
  let node = contents;
  let offset = startOf(node);
  for (const part of path) {
    let next: unknown;
    let key: unknown;
    if (isMap(node)) {
      const pair = node.items.find((item) => isPair(item) && isScalar(item.key) && item.key.value === part);
      if (pair === undefined) return offset;
      key = pair.key;
      next = pair.value;
    } else if (isSeq(node) && typeof part === 'number') {
      next = node.items[part];
    }
    if (next === undefined) return offset;
    offset = key !== undefined && !(isScalar(next) && next.value !== null) ? startOf(key) : startOf(next);
    node = next;
  }
  return offset;
}

function startOf(node: unknown): number {
  return (node as Node | null)?.range?.[0] ?? 0;
}
