/**
 * The walls in the README of each folder: what its files may import, from the rules that `npm run check`
 * holds them to. They stand between `<!-- walls -->` and `<!-- /walls -->`; the rest of a README is written
 * by hand.
 */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { forTests, type Rule, rules } from '../check/boundaries.ts';
import { readSources } from '../check/sources.ts';
import { deadLinks } from './links.ts';

const [begin, end] = ['<!-- walls -->', '<!-- /walls -->'];

/** Folders that have a README. */
const described = /^(broker|providers|approvals|client|sandbox|scripts)(\/|$)/;

/** @param sources paths of all source files, from the root */
export function foldersOf(sources: readonly string[]): string[] {
  return [...new Set(sources.map((path) => dirname(path)))].filter((folder) => described.test(folder)).sort();
}

/** What a folder's README says about imports, in Markdown. Pure. */
export function wallsOf(folder: string, sources: readonly string[], held: readonly Rule[] = rules): string {
  const lines = held.flatMap((rule) => wallOf(folder, rule, sources));
  const top = topOf(folder);
  const above = held.some((rule) => isWide(rule, top)) && folder !== top;
  const elsewhere = above ? `\`${top}/README.md\` has the rules for all of \`${top}/\`` : '';
  if (lines.length === 0) return `No import rule of its own${above ? `; ${elsewhere}` : ''}.`;
  const intro = 'Import rules, held by `npm run check` (`scripts/check/boundaries.ts`)';
  return [`${intro}${above ? `; ${elsewhere}` : ''}:`, '', ...lines].join('\n');
}

const topOf = (folder: string) => folder.split('/')[0] ?? folder;

/** Whether a rule is about everything below a top folder. It then stands in that folder's README alone. */
const isWide = (rule: Rule, top: string) =>
  rule.about !== 'tests' &&
  rule.files.source !== '.' &&
  rule.files.test(`${top}/any/any.ts`) &&
  !/\$1/.test(`${rule.only} ${rule.never}`);

function wallOf(folder: string, rule: Rule, sources: readonly string[]): string[] {
  // A rule about every file of ours is no wall of this folder.
  if (rule.files.source === '.') return [];
  const wide = isWide(rule, topOf(folder));
  if (wide && folder !== topOf(folder)) return [];
  const tests = rule.about === 'tests';
  const subject = sources.filter(
    (path) => (wide ? path.startsWith(`${folder}/`) : dirname(path) === folder) && forTests.test(path) === tests,
  );
  const held = subject.filter((path) => rule.files.test(path) && rule.except?.test(path) !== true);
  if (held.length === 0) return [];
  const own = rule.files.exec(held[0] ?? '')?.[1] ?? '';
  const targets = sources.filter((path) => !forTests.test(path) || path.endsWith('/conformance.ts'));
  const files = (text: string) => summary(targets, new RegExp(text.replaceAll('$1', own)), folder);
  const said: string[] = [];
  if (rule.only !== undefined) {
    const allowed = files(rule.only);
    said.push(`must import nothing of ours${allowed.length === 0 ? '' : ` but ${allowed.join(', ')}`}`);
  }
  const forbidden = rule.never === undefined ? [] : files(rule.never);
  if (forbidden.length > 0) said.push(`must not import ${forbidden.join(', ')}`);
  if (rule.onlyPackages === '^$') said.push('must import no package');
  else if (rule.onlyPackages !== undefined) said.push(`must import no package but \`${rule.onlyPackages}\``);
  if (rule.neverPackages !== undefined) said.push(`must not import the packages \`${rule.neverPackages}\``);
  if (said.length === 0) return [];
  const left = subject.filter((path) => !held.includes(path));
  const names = (paths: readonly string[]) =>
    summary(subject, { test: (path) => paths.includes(path) }, folder).map((name) => name.replace(`${folder}/`, ''));
  const all = `The ${tests ? 'tests' : 'files'} ${wide ? 'below this folder' : 'here'}`;
  const except = left.length === 0 ? '' : `, except ${names(left).join(', ')},`;
  const who = left.length < held.length ? `${all}${except}` : names(held).join(', ');
  return wrapped(`${who} ${said.join(', and ')}: ${rule.why} (\`${rule.name}\`).`);
}

/** A list item of at most 120 columns a line. */
function wrapped(text: string): string[] {
  const lines = ['-'];
  for (const word of text.split(' ')) {
    const last = lines.at(-1) ?? '';
    if (last.length + 1 + word.length <= 120) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(`  ${word}`);
  }
  return lines;
}

/** The folders and files that a pattern matches, as few names as say it. */
function summary(sources: readonly string[], pattern: { test(path: string): boolean }, self: string): string[] {
  const names: string[] = [];
  const walk = (folder: string): void => {
    const inside = sources.filter((path) => folder === '' || path.startsWith(`${folder}/`));
    const matched = inside.filter((path) => pattern.test(path));
    if (matched.length === 0) return;
    const childOf = (path: string) => {
      const rest = folder === '' ? path : path.slice(folder.length + 1);
      return rest.includes('/') ? `${rest.split('/')[0]}/` : rest;
    };
    const children = [...new Set(inside.map(childOf))].sort();
    const missed = children.filter((child) => !matched.some((path) => childOf(path) === child));
    const whole = children.every(
      (child) => missed.includes(child) || inside.every((path) => childOf(path) !== child || pattern.test(path)),
    );
    if (folder !== '' && whole && missed.length <= 2 && (missed.length === 0 || matched.length > 4)) {
      const name = folder === self && missed.length === 0 ? 'files of this folder' : `\`${folder}/\``;
      names.push(missed.length === 0 ? name : `${name} (not ${missed.map((child) => `\`${child}\``).join(', ')})`);
      return;
    }
    for (const child of children) {
      const path = `${folder === '' ? '' : `${folder}/`}${child}`;
      if (child.endsWith('/')) walk(path.slice(0, -1));
      else if (pattern.test(path)) names.push(`\`${path}\``);
    }
  };
  walk('');
  return names;
}

/** Puts the walls into a README. @returns null when it has no place for them */
export function withWalls(readme: string, walls: string): string | null {
  const [from, to] = [readme.indexOf(begin), readme.indexOf(end)];
  if (from === -1 || to < from) return null;
  return `${readme.slice(0, from + begin.length)}\n${walls}\n${readme.slice(to)}`;
}

/** What is wrong with one folder's README; `text` is null where there is none. */
export function readmeFaults(folder: string, text: string | null, walls: string): string[] {
  const path = `${folder}/README.md`;
  if (text === null) return [`${path}: is missing; it says what the folder is for`];
  const faults = /^# .+\n\n[\w`]/.test(text) ? [] : [`${path}: does not begin with a heading and what it is for`];
  const wanted = withWalls(text, walls);
  if (wanted === null) faults.push(`${path}: has no place for the walls (${begin} and ${end})`);
  else if (wanted !== text) faults.push(`${path}: the walls differ from the rules; run \`npm run docs\``);
  return faults;
}

/**
 * Names of source files in a README that lead to no file: looked for in the folder, its parent and the root.
 */
export function unknownFiles(folder: string, text: string, exists: (path: string) => boolean): string[] {
  const written = withWalls(text, '') === null ? text : text.slice(0, text.indexOf(begin));
  return written.split('\n').flatMap((line, at) =>
    [...line.matchAll(/`((?:\.\.\/)*[\w][\w./-]*\.tsx?)`/g)]
      .map((match) => match[1] as string)
      .filter((name) => ![folder, dirname(folder), '.'].some((base) => exists(posix.join(base, name))))
      .map((name) => `${folder}/README.md:${at + 1}: ${name} does not exist`),
  );
}

/**
 * Writes the walls, unless only a check is wanted.
 * @returns one line for each README that is missing, differs from the rules, or names or links to
 *   what is not there
 */
export async function walls(root: string, check: boolean): Promise<string[]> {
  const sources = readSources(root).map(({ path }) => path);
  const faults = await Promise.all(
    foldersOf(sources).map(async (folder) => {
      const path = join(root, folder, 'README.md');
      const found = await readFile(path, 'utf8').catch(() => null);
      const wanted = wallsOf(folder, sources);
      const text = found === null || check ? found : (withWalls(found, wanted) ?? found);
      if (text !== null && text !== found) await writeFile(path, text);
      const named = unknownFiles(folder, text ?? '', (name) => existsSync(join(root, name)));
      const dead = text === null ? [] : await deadLinks(root, [`${folder}/README.md`]);
      return [...readmeFaults(folder, text, wanted), ...named, ...dead];
    }),
  );
  return faults.flat();
}
