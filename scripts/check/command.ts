/** Parts of the check that are somebody else's program. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Finding, Part } from './part.ts';

export interface Answer {
  /** Exit status; null when the program could not be started at all. */
  status: number | null;
  output: string;
}

/**
 * Runs a program without a shell and waits for it. Never rejects: that it cannot be started is an answer too.
 */
export function run(file: string, args: string[], cwd: string): Promise<Answer> {
  return new Promise((resolve) => {
    execFile(file, args, { cwd, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      const output = `${stdout}${stderr}`.trim();
      if (error === null) resolve({ status: 0, output });
      else resolve({ status: typeof error.code === 'number' ? error.code : null, output: output || error.message });
    });
  });
}

const verdict = ({ status, output }: Answer): Finding => ({
  faults: status === 0 ? [] : output.split('\n'),
  notes: [],
});

/** A tool of ours, started from `node_modules/.bin` so that it is the pinned one. */
const tool = (root: string, name: string, args: string[]) => run(join(root, 'node_modules/.bin', name), args, root);

export const types: Part = {
  name: 'types (tsc)',
  run: async (root) => verdict(await tool(root, 'tsc', ['-p', root, '--pretty', 'false'])),
};

export const style: Part = {
  name: 'format and lint (biome)',
  run: async (root) => verdict(await tool(root, 'biome', ['ci', '--error-on-warnings', '--colors=off', root])),
};

export const generatedDocs: Part = {
  name: 'generated docs',
  run: async (root) => {
    if (existsSync(join(root, 'scripts/docs.ts'))) {
      return verdict(
        await run(process.execPath, ['--disable-warning=ExperimentalWarning', 'scripts/docs.ts', '--check'], root),
      );
    }
    return existsSync(join(root, 'docs/reference'))
      ? { faults: ['docs/reference is there, but scripts/docs.ts, which would write it, is not'], notes: [] }
      : { faults: [], notes: ['no docs/reference and no scripts/docs.ts yet'] };
  },
};

/**
 * @param terraform the program to run; a name is looked up in PATH
 * @param ci whether a missing program is a fault: on a developer's machine it is only said
 */
export function terraformFormat(terraform = 'terraform', ci = process.env.CI === 'true'): Part {
  return {
    name: 'terraform fmt',
    run: async (root) => {
      const version = await run(terraform, ['version'], root);
      if (version.status === null) {
        const missing =
          'terraform is not installed, so infra/terraform was not checked (any 1.x from hashicorp.com will do)';
        return ci ? { faults: [missing], notes: [] } : { faults: [], notes: [missing] };
      }
      return verdict(await run(terraform, ['fmt', '-check', '-recursive', '-diff', 'infra/terraform'], root));
    },
  };
}
