/** The command line of `npm run bench:traces`. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Backend, backends } from '../options.ts';

const root = join(import.meta.dirname, '../../..');
/** Recorded runs that are kept beside the repository, not in it. */
const ownTraces = join(root, '../shared/data/agentdojo');
const ownManifests = join(import.meta.dirname, 'manifests');

/** `both`: one table for each half. */
const parts = ['report', 'develop', 'both', 'all'] as const;
export type Part = Exclude<(typeof parts)[number], 'both'>;

export interface Options {
  traces: string;
  /** Where a suite's manifest is looked for, in this order. */
  manifests: string[];
  parts: Part[];
  /** null = PostgreSQL where it answers. */
  backend: Backend | null;
  json: string | null;
  /** Every run that is counted against the manifest, with the reason. */
  list: boolean;
}

export const usage = `npm run bench:traces -- [options]

  --traces DIR      NAME.jsonl.gz, one suite each (../shared/data/agentdojo beside the repository)
  --manifests DIR   NAME.yaml for each suite; default: beside the traces, then the repository's own
  --tasks PART      report, develop, both halves, or all tasks (report; with --traces: all)
  --backend NAME    postgres (TEST_DATABASE_URL) or pglite (PostgreSQL where it answers)
  --list            name the attacks that passed and the harmless runs that were stopped, and why
  --json FILE       write the figures there`;

/** @throws Error that says what is wrong with the arguments */
export function readOptions(args: string[]): Options {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    args,
    options: {
      traces: text,
      manifests: text,
      tasks: text,
      backend: text,
      json: text,
      list: { type: 'boolean', default: false },
    },
  });
  const traces = values.traces ?? ownTraces;
  for (const folder of [traces, values.manifests ?? '.'])
    if (!existsSync(folder)) throw new Error(`there is no folder ${folder}`);
  const tasks = values.tasks ?? (values.traces === undefined ? 'report' : 'all');
  const part = parts.find((known) => known === tasks);
  if (part === undefined) throw new Error(`--tasks: ${tasks} is none of ${parts.join(', ')}`);
  const backend = backends.find((known) => known === values.backend);
  if (values.backend !== undefined && backend === undefined)
    throw new Error(`--backend: ${values.backend} is none of ${backends.join(', ')}`);
  return {
    traces,
    manifests: values.manifests === undefined ? [traces, ownManifests] : [values.manifests],
    parts: part === 'both' ? ['develop', 'report'] : [part],
    backend: backend ?? null,
    json: values.json ?? null,
    list: values.list,
  };
}
