// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references of the manifest, not JavaScript’s
/** Manifests against the providers' own parameters: prefixes that end in an input. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readManifest } from '../../broker/manifests/read.ts';
import { shapes } from './manifest-files.ts';

const role = 'arn:aws:iam::111122223333:role/writ-orders';
const list = (name: string, prefix: string) =>
  `{ role: "${role}", service: custom, statements: [{ actions: ["s3:GetObject"], ${name}: ["${prefix}"] }] }`;

function faultsOf(provider: string, params: string): string[] {
  const read = readManifest(
    `apiVersion: writ/v1
agent: invoice-bot
owner: team:billing
description: Reads one customer's files.
envelope: { wall_time: 30m }
task_types:
  read:
    description: Reads.
    inputs: { id: { type: string, pattern: "[0-9]{1,12}" } }
capabilities:
  files:
    description: One customer's files.
    provider: ${provider}
    tasks: [read]
    tier: 1
    max_ttl: 15m
    params: ${params}
`,
    shapes,
  );
  return read.ok ? [] : read.faults.map(({ path, message }) => `${path}: ${message}`);
}

test('at every provider, a prefix that ends in an input is refused with what to write instead', () => {
  const open = 'customers/${inputs.id}';
  const closed = `${open}/`;
  const places: [provider: string, path: string, params: (prefix: string) => string][] = [
    [
      'aws',
      'prefix',
      (prefix) => `{ role: "${role}", service: s3, access: read, bucket: orders, prefix: "${prefix}" }`,
    ],
    [
      'aws',
      'statements[0].resource_prefixes[0]',
      (prefix) => list('resource_prefixes', `arn:aws:s3:::orders/${prefix}`),
    ],
    ['gcp', 'prefix', (prefix) => `{ bucket: orders, prefix: "${prefix}" }`],
    ['gcp', 'buckets[0].prefix', (prefix) => `{ buckets: [{ bucket: orders, prefix: "${prefix}" }] }`],
  ];
  for (const [provider, path, params] of places) {
    const [fault, ...more] = faultsOf(provider, params(open));
    assert.deepEqual(more, []);
    const start = `capabilities.files.params.${path}: ends in the input id; the provider ${provider} does not take this: must end in "/"`;
    assert.ok(fault?.startsWith(start), `${provider} ${path}: ${fault}`);
    assert.deepEqual(faultsOf(provider, params(closed)), [], `${provider} ${path}`);
  }
});

test('what reaches neighbours is said by its own name', () => {
  assert.deepEqual(faultsOf('aws', list('resource_beginnings', 'arn:aws:s3:::orders/customers/${inputs.id}')), []);
});
