/** Where in a YAML text a fault is. */
import { isMap, isPair, isScalar, type LineCounter, type Node, type Range } from 'yaml';

/** Keys and indexes from the top of the file down. */
export type FaultPath = readonly PropertyKey[];
export type Report = (path: FaultPath, message: string) => void;

/** `bindings[0].claims.sub` */
export function pathText(path: FaultPath): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    return text === '' ? String(step) : `${text}.${String(step)}`;
  }, '');
}

/** Line and column of the path's key or, for what is missing, of the nearest thing around it. */
export function positionOf(
  root: Node | null,
  path: FaultPath,
  lines: LineCounter,
): { line: number; column: number } | object {
  let node: unknown = root;
  let range: Range | null | undefined = root?.range;
  for (const step of path) {
    if (isMap(node)) {
      const pair = node.items.find(
        (item) => isPair(item) && isScalar(item.key) && String(item.key.value) === String(step),
      );
      if (pair === undefined) break;
      range = isScalar(pair.key) ? pair.key.range : range;
      node = pair.value;
    } else {
      const items: unknown = (node as { items?: unknown } | null)?.items;
      const item: unknown = Array.isArray(items) ? items[Number(step)] : undefined;
      if (item === undefined) break;
      node = item;
      range = (item as Node).range ?? range;
    }
  }
  if (!range) return {};
  const { line, col } = lines.linePos(range[0]);
  return { line, column: col };
}
