/**
 * Relative links and anchors in Markdown, and files of ours that are named in it: do they exist? Addresses
 * elsewhere are not asked.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join, normalize, relative } from 'node:path';

interface Link {
  line: number;
  target: string;
}

/** Links of a page, those in code left out. */
export function linksOf(markdown: string): Link[] {
  return prose(markdown).flatMap((text, at) =>
    [...text.matchAll(/\]\(([^()\s]+)\)/g)].map((match) => ({ line: at + 1, target: match[1] as string })),
  );
}

/** Anchors that a code host gives the headings of a page. */
export function anchorsOf(markdown: string): Set<string> {
  const seen = new Map<string, number>();
  const anchors = new Set<string>();
  for (const heading of prose(markdown, true)) {
    const title = /^#{1,6} (.+)$/.exec(heading)?.[1];
    if (title === undefined) continue;
    const slug = title
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(/\s/g, '-');
    const before = seen.get(slug) ?? 0;
    seen.set(slug, before + 1);
    anchors.add(before === 0 ? slug : `${slug}-${before}`);
  }
  return anchors;
}

/** The lines of a page with fenced blocks blanked, and code within a line too unless it is wanted. */
function prose(markdown: string, keepCode = false): string[] {
  let fenced = false;
  return markdown.split('\n').map((line) => {
    const fence = /^\s*```/.test(line);
    if (fence) fenced = !fenced;
    if (fence || fenced) return '';
    return keepCode ? line : line.replaceAll(/`[^`]*`/g, '');
  });
}

/** @returns one line for each link of these pages that leads nowhere */
export async function deadLinks(root: string, pages: readonly string[]): Promise<string[]> {
  const found = await Promise.all(
    pages.map(async (page) => {
      const text = await readFile(join(root, page), 'utf8');
      return Promise.all(
        linksOf(text).map(async (link) => [link, await fault(root, page, text, link.target)] as const),
      ).then((checked) =>
        checked.flatMap(([link, why]) => (why === null ? [] : [`${page}:${link.line}: ${link.target} ${why}`])),
      );
    }),
  );
  return found.flat();
}

/** A file of ours as pages name it, and what follows it: `(*planned*…` says that it is not there yet. */
const named =
  /`(?!providers\/NAME\/)((?:approvals|broker|client|docs|infra|prisma|providers|sandbox|scripts)\/[\w./-]+\.[a-z]+)`(?! \(\*planned\*)/g;

/** @returns one line for each file named in these pages that does not exist */
export async function missingFiles(root: string, pages: readonly string[]): Promise<string[]> {
  const found = await Promise.all(
    pages.map(async (page) => {
      const lines = prose(await readFile(join(root, page), 'utf8'), true);
      const names = lines.flatMap((text, at) =>
        [...text.matchAll(named)].map((match) => ({ at, path: match[1] ?? '' })),
      );
      const there = await Promise.all(names.map(({ path }) => stat(join(root, path)).catch(() => null)));
      return names
        .filter((_, i) => there[i] === null)
        .map(({ at, path }) => `${page}:${at + 1}: ${path} does not exist`);
    }),
  );
  return found.flat();
}

async function fault(root: string, page: string, text: string, target: string): Promise<string | null> {
  if (/^[a-z]+:/.test(target)) return null;
  const [path = '', anchor] = target.split('#');
  const file = path === '' ? page : normalize(join(dirname(page), path));
  if (file.startsWith('..')) return 'leads out of the repository';
  const there = await stat(join(root, file)).catch(() => null);
  if (there === null) return 'does not exist';
  if (anchor === undefined || !file.endsWith('.md')) return null;
  const body = path === '' ? text : await readFile(join(root, file), 'utf8');
  return anchorsOf(body).has(anchor) ? null : 'has no such heading';
}

/** Paths, from the root, of README.md and every page under docs. */
export async function markdownPages(root: string): Promise<string[]> {
  const entries = await readdir(join(root, 'docs'), { recursive: true, withFileTypes: true });
  const pages = entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.md'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
  return ['README.md', ...pages.sort()];
}
