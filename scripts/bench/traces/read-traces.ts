/** Recorded runs of agents: a folder of `NAME.jsonl.gz`, one suite each, one run a line. */
import { hash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { z } from 'zod';
import type { JsonObject } from '../../../broker/core/vocabulary.ts';
import type { Options, Part } from './options.ts';

const call = z.object({
  tool: z.string().min(1),
  arguments: z.record(z.string(), z.json()).default({}),
  output: z.string().nullish(),
  error: z.string().nullish(),
});
/** The person's own words in the middle of a run. */
const said = z.object({ user: z.string() });

const run = z.object({
  id: z.string(),
  suite: z.string().optional(),
  userTask: z.string(),
  injectionTask: z.string().nullish(),
  attackSucceeded: z.boolean().nullish(),
  prompt: z.string().default(''),
  steps: z.array(z.union([said, call])),
});

export type Trace = z.output<typeof run>;
export type RecordedCall = z.output<typeof call>;

export interface Suite {
  name: string;
  /** Source of its manifest. */
  manifest: string;
  traces: Trace[];
}

export const callsOf = ({ steps }: Trace): (RecordedCall & { arguments: JsonObject })[] =>
  steps.filter((step): step is RecordedCall => 'tool' in step);

export const isBenign = ({ injectionTask }: Trace): boolean => injectionTask == null;
export const isAttack = (trace: Trace): boolean => !isBenign(trace) && trace.attackSucceeded === true;

/** @throws Error that names the file and the line that cannot be read, or the suite without a manifest */
export async function readSuites({ traces: folder, manifests }: Options): Promise<Suite[]> {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.jsonl.gz')).sort();
  if (files.length === 0) throw new Error(`no file of ${folder} ends in .jsonl.gz`);
  return Promise.all(
    files.map(async (file) => {
      const name = file.slice(0, -'.jsonl.gz'.length);
      const lines = gunzipSync(await readFile(join(folder, file)))
        .toString('utf8')
        .split('\n');
      const traces = lines.flatMap((line, index) =>
        line.trim() === '' ? [] : [readTrace(line, `${file}:${index + 1}`)],
      );
      return { name, manifest: await readManifestOf(name, manifests), traces };
    }),
  );
}

function readTrace(line: string, where: string): Trace {
  try {
    return run.parse(JSON.parse(line));
  } catch (error) {
    throw new Error(`${where}: ${(error as Error).message}`);
  }
}

async function readManifestOf(name: string, folders: string[]): Promise<string> {
  for (const folder of folders) {
    const source = await readFile(join(folder, `${name}.yaml`), 'utf8').catch(() => null);
    if (source !== null) return source;
  }
  throw new Error(`no manifest ${name}.yaml in ${folders.join(', ')}`);
}

/** Tasks to develop with, and tasks to report on: a hash of suite and task decides, and nothing else. */
export function isPartOf(part: Part, file: string, { suite, userTask }: Trace): boolean {
  if (part === 'all') return true;
  const odd = Number.parseInt(hash('sha256', `${suite ?? file}/${userTask}`, 'hex').slice(-1), 16) % 2 === 1;
  return odd === (part === 'report');
}
