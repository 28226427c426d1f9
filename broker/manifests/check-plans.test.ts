// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references of the manifest, not JavaScript’s
/** What a provider would refuse to plan is a fault of the manifest; the provider is the test's own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ProviderShapes } from './check.ts';
import { exampleProviders, exampleSource } from './example.test-support.ts';
import { readManifest } from './read.ts';

interface Asked {
  bucket?: string;
  prefix?: string;
  label?: string;
  parts?: number;
}
const asked: { params: Asked; ttl: number }[] = [];
function provider(faultOf: (params: Asked) => { path?: string; message: string } | null): ProviderShapes {
  asked.length = 0;
  return {
    store: {
      params: exampleProviders.store!.params,
      planFault: (params, ttl) => {
        asked.push({ params: params as Asked, ttl });
        return faultOf(params as Asked);
      },
      lifetimes: () => ({ minTtlSeconds: 60, maxTtlSeconds: 3600 }),
    },
  };
}
function faults(shapes: ProviderShapes, ...changes: [from: string, to: string][]): string[] {
  let source = exampleSource;
  for (const [from, to] of changes) {
    assert.ok(source.includes(from), from);
    source = source.replace(from, () => to);
  }
  const read = readManifest(source, shapes);
  return read.ok ? [] : read.faults.map(({ path, message }) => `${path}: ${message}`);
}
const files = 'capabilities.read-customer-files';
const no = 'the provider store does not take this';

test('constant parameters are planned as they are, with the lifetime they get', () => {
  assert.deepEqual(faults(provider(() => null)), []);
  assert.ok(asked.some(({ params, ttl }) => params.bucket === 'orders' && ttl === 900));
  const told = faults(
    provider(({ bucket }) => (bucket === 'orders' ? { path: 'bucket', message: 'is unknown' } : null)),
  );
  assert.deepEqual(told, [
    `${files}.params.bucket: ${no}: is unknown`,
    `capabilities.read-anything.params.bucket: ${no}: is unknown`,
  ]);
});

test('a value that is given is tried at its longest, and each listed one by itself', () => {
  const long = faults(
    provider(({ prefix = '' }) => (prefix.length > 20 ? { path: 'prefix', message: 'is too long' } : null)),
  );
  assert.deepEqual(long, [
    `${files}.params.prefix: with the longest values that it may get (inputs.customer_id: 12 characters, inputs.year: 2100, access: 4 characters, label: 8 characters, parts: 4), ${no}: is too long`,
    `capabilities.read-anything.params.prefix: with the longest values that it may get (inputs.customer_id: 256 characters), ${no}: is too long`,
  ]);
  const listed: [string, string] = [
    'access: { type: string, enum: [read, list], default: read }',
    'access: { type: string, enum: [read, list, write] }',
  ];
  const member = faults(
    provider((params) =>
      (params as { access?: string }).access === 'write' ? { path: 'access', message: 'is not given' } : null,
    ),
    listed,
  );
  assert.deepEqual(member, [`${files}.choose.access.enum[2]: with access "write", ${no}: is not given`]);
  assert.deepEqual(faults(provider(({ parts }) => (parts === 4 ? { path: 'parts', message: 'too many' } : null))), [
    `${files}.choose.parts: with parts 4, ${no}: too many`,
  ]);
});

test('a fault is told once, however many values have it', () => {
  const told = faults(provider(() => ({ message: 'there is no pool' })));
  assert.equal(told.filter((line) => line.startsWith(files)).length, 1, told.join('\n'));
  assert.equal(told[0], `${files}.params: ${no}: there is no pool`);
});

test('lifetimes that the provider cannot give are faults; what was not tried yet is none', () => {
  const shapes = provider(() => null);
  assert.deepEqual(faults(shapes, ['max_ttl: 1h', 'max_ttl: 61m'], ['max_ttl: 15m', 'max_ttl: 59s']), [
    `${files}.max_ttl: must not be shorter than 1 min: the provider store gives no less`,
    'capabilities.close-account.max_ttl: must not be longer than 1 h: the provider store gives no more',
  ]);
  const untried: ProviderShapes = {
    store: { ...shapes.store!, lifetimes: () => ({ minTtlSeconds: 60, maxTtlSeconds: 3600, untried: true }) },
  };
  assert.deepEqual(faults(untried, ['max_ttl: 1h', 'max_ttl: 61m']), []);
});
