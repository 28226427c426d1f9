// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references of manifests, not JavaScript’s
/** The manifest and the cases of docs/manifests.md hold, and fail when the manifest is another. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readManifest } from '../manifests/read.ts';
import { readCases } from './read-cases.ts';
import { runCases } from './run-cases.ts';

const page = await readFile(join(import.meta.dirname, '../../docs/manifests.md'), 'utf8');
const [manifest = '', written = ''] = [...page.matchAll(/```yaml\n(apiVersion[\s\S]*?)```/g)].map(([, yaml]) => yaml);

function failed(source: string): string[] {
  const [read, cases] = [readManifest(source, {}), readCases(written)];
  assert.ok(read.ok && cases.ok, JSON.stringify([read, cases]));
  const results = runCases({ ...cases, manifest: read.compiled, others: {}, shapes: {} });
  return results.filter(({ failures }) => failures.length > 0).map(({ name }) => name);
}

test('each case of the page holds', () => {
  assert.deepEqual(failed(manifest), []);
});

test('each fails without what it is about', () => {
  assert.deepEqual(failed(manifest.replace('{ customer_id: "${inputs.customer_id}" }', '{}')), [
    'Orders of this customer are read, and of nobody else.',
  ]);
  assert.deepEqual(failed(manifest.replace('effect: deny', 'effect: flag')), [
    'What was read goes to the customer, not elsewhere.',
  ]);
  assert.deepEqual(
    failed(manifest.replace('when: { label: customer-data, destination: unknown }', 'when: { destination: unknown }')),
    ['What was read goes to the customer, not elsewhere.', 'It begins anew with a session of its own.'],
  );
});
