/** Invariant 9: one clock, injected. */
import { forTests } from './boundaries.ts';
import type { Part } from './part.ts';
import { readSources, type Source } from './sources.ts';

/**
 * What may read the time: the broker's clock and the client's, what people run by hand, and tests (which
 * still never assert a time).
 */
const mayRead = /^(broker\/core|client)\/clock\.ts$|^scripts\//;

export function clockFaults(sources: Source[]): string[] {
  return sources
    .filter(({ path }) => !mayRead.test(path) && !forTests.test(path))
    .flatMap(({ path, clockReads }) =>
      clockReads.map(
        ({ what, line }) => `${path}:${line}: ${what} reads the time by itself; take a Clock as an argument`,
      ),
    );
}

export const clock: Part = {
  name: 'one clock',
  run: async (root) => ({ faults: clockFaults(readSources(root)), notes: [] }),
};
