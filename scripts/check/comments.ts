/** Comments fit 110 columns. The formatter leaves them alone, so this part holds them to it. */
import type { Part } from './part.ts';
import { readSources, type Source } from './sources.ts';

const limit = 110;

/** What cannot be broken: an address by itself on its line, and an instruction to the linter. */
const unbreakable = /^\W*\S+:\/\/\S+(?: \*\/)?$|^\/\/ biome-ignore /;

/** @returns one line for each comment line that is too long */
export function commentFaults(sources: Pick<Source, 'path' | 'comments'>[]): string[] {
  return sources.flatMap(({ path, comments }) =>
    comments.flatMap(({ line, column, text }) =>
      text.split('\n').flatMap((one, at) => {
        const width = [...one].length + (at === 0 ? column : 0);
        if (width <= limit || unbreakable.test(one.trim())) return [];
        return [`${path}:${line + at}: the comment has ${width} columns; wrap it at ${limit}`];
      }),
    ),
  );
}

export const comments: Part = {
  name: 'comments fit 110 columns',
  run: async (root) => ({ faults: commentFaults(readSources(root)), notes: [] }),
};
