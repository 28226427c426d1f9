/** `docs/reference/openapi.json` holds what a linter of OpenAPI 3.1 asks of it. */
import { join } from 'node:path';
import { createConfig, lint } from '@redocly/openapi-core';
import type { Part } from './part.ts';

/** One line for each fault of the document. */
export async function openApiFaults(path: string): Promise<string[]> {
  const config = await createConfig({
    extends: ['recommended-strict'],
    // The reference is written for no broker in particular.
    rules: { 'no-server-example.com': 'off' },
  });
  const problems = await lint({ ref: path, config });
  return problems.map(({ ruleId, message, location }) => `${location[0]?.pointer ?? ''}: ${message} (${ruleId})`);
}

export const openapi: Part = {
  name: 'openapi.json (redocly)',
  run: async (root) => ({ faults: await openApiFaults(join(root, 'docs/reference/openapi.json')), notes: [] }),
};
