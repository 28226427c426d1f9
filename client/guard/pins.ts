/**
 * Descriptions of tools, remembered as they were first seen. A description is text that a model believes: a
 * server that changes it after people have agreed to it has made another tool, and it is held back until
 * somebody agrees to that one.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Members } from '../coaz.ts';
import { WritError } from '../errors.ts';
import { canonical } from './canonical.ts';
import { writePrivateFile } from './private-file.ts';

interface Seen {
  /** Of all that a model may be shown of it. */
  digest: string;
  description: string;
}

/** The file: what one server's tools are. */
export interface PinFile {
  version: 1;
  /** The server, as it was named on the command line; for people. */
  server: string;
  pinned: { [tool: string]: Seen };
  /** What waits for somebody's consent. */
  held: { [tool: string]: Seen };
}

export interface Pins {
  /**
   * Compares one listing with what is remembered, and remembers what is new.
   * @returns the names that may be shown and called
   */
  admit(tools: readonly Members[]): Promise<Set<string>>;
}

/** `WRIT_STATE_DIR`, else the user's state folder (XDG base directories). */
export const stateFolder = (env: { [name: string]: string | undefined }): string =>
  env.WRIT_STATE_DIR || join(env.XDG_STATE_HOME || join(homedir(), '.local/state'), 'writ');

/** Where pins are kept. */
export const pinFolder = (env: { [name: string]: string | undefined }): string => join(stateFolder(env), 'pins');

/** The file of a server in that folder: one command line, or one URL, is one server. */
export const pinFileOf = (folder: string, server: readonly string[]): string =>
  join(folder, `${createHash('sha256').update(JSON.stringify(server)).digest('hex').slice(0, 32)}.json`);

/**
 * @param only a tool that is not remembered is held back as well
 * @param tell says what was held back, and why it cannot be written down
 * @throws WritError `bad_pins` when the file is there and is none
 */
export async function openPins(
  path: string,
  { server, only, tell }: { server: string; only: boolean; tell: (line: string) => void },
): Promise<Pins> {
  await readPins(path);
  // One listing after another: of two at once, the second must find what the first has pinned.
  let before: Promise<unknown> = Promise.resolve();
  return {
    admit: (tools) => {
      const admitted = before.then(() => compare(tools));
      before = admitted.catch(() => {});
      return admitted;
    },
  };

  async function compare(tools: readonly Members[]): Promise<Set<string>> {
    const file = (await readPins(path)) ?? { version: 1, server, pinned: {}, held: {} };
    const was = canonical(file);
    const admitted = new Set<string>();
    const refused = new Set<string>();
    const fresh = new Set<string>();
    for (const tool of tools) {
      const { name } = tool;
      if (typeof name !== 'string') continue;
      const seen = { digest: digestOf(tool), description: String(tool.description ?? '').slice(0, 4096) };
      const known = Object.hasOwn(file.pinned, name) ? file.pinned[name] : undefined;
      if (known === undefined && !only) {
        put(file.pinned, name, seen);
        fresh.add(name);
        admitted.add(name);
      } else if (known?.digest === seen.digest) {
        delete file.held[name];
        admitted.add(name);
      } else {
        put(file.held, name, seen);
        refused.add(name);
      }
    }
    for (const name of refused) {
      // Of two tools with one name, whoever calls cannot say which is meant.
      admitted.delete(name);
      tell(`the tool ${name} is not what it was, and is held back: see \`writ guard pins\``);
    }
    if (canonical(file) !== was)
      await writePins(path, file).catch((error: Error) => {
        tell(`pins cannot be written (${error.message}); tools seen for the first time are held back`);
        for (const name of fresh) admitted.delete(name);
      });
    return admitted;
  }
}

/** A tool may be called `__proto__`. */
function put(table: { [tool: string]: Seen }, name: string, value: Seen): void {
  Object.defineProperty(table, name, { value, enumerable: true, configurable: true, writable: true });
}

/** Icons and private notes aside, everything that a server says of a tool is shown to somebody. */
function digestOf({ icons: _icons, _meta, ...tool }: Members): string {
  return `sha256:${createHash('sha256').update(canonical(tool)).digest('hex')}`;
}

/** @returns null when there is none yet. @throws WritError `bad_pins` */
export async function readPins(path: string): Promise<PinFile | null> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw new WritError('bad_pins', `${path} cannot be read: ${error.message}`);
  });
  if (text === null) return null;
  let value: Partial<PinFile> | null = null;
  try {
    value = JSON.parse(text);
  } catch {}
  const isTable = (table: unknown) => typeof table === 'object' && table !== null && !Array.isArray(table);
  if (value?.version !== 1 || !isTable(value.pinned) || !isTable(value.held))
    throw new WritError('bad_pins', `${path} holds no pins; put it right, or remove it to pin what is there now`);
  return value as PinFile;
}

export const writePins = (path: string, file: PinFile): Promise<void> =>
  writePrivateFile(path, `${JSON.stringify(file, null, 2)}\n`);

/** Agrees to what is held back: from now on that is the tool. @returns the names it was done for */
export function acceptHeld(file: PinFile, names: readonly string[] | null): { file: PinFile; accepted: string[] } {
  const accepted = Object.keys(file.held).filter((name) => names === null || names.includes(name));
  const pinned = Object.entries(file.held).filter(([name]) => accepted.includes(name));
  const left = Object.entries(file.held).filter(([name]) => !accepted.includes(name));
  return {
    file: {
      ...file,
      pinned: Object.fromEntries([...Object.entries(file.pinned), ...pinned]),
      held: Object.fromEntries(left),
    },
    accepted,
  };
}
