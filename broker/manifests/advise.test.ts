import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exampleProviders, exampleSource } from './example.test-support.ts';
import { readManifest } from './read.ts';

const known = ['contents', 'issues'];
const store = {
  ...exampleProviders.store!,
  advise: (params: unknown) =>
    Object.keys(params as object)
      .filter((name) => name === 'service')
      .map((name) => ({ path: [name], message: 'is not known here', near: { written: 'contens', known } })),
};

test('what a provider says of parameters that it takes is a warning, in its place, with the near name', () => {
  const read = readManifest(exampleSource, { ...exampleProviders, store });
  assert.ok(read.ok, 'a warning keeps nothing from being published');
  const [first] = read.warnings;
  assert.equal(first?.path, 'capabilities.read-customer-files.params.service');
  assert.equal(first?.message, 'is not known here. Did you mean contents?');
  const { line = 0 } = first ?? {};
  assert.match(exampleSource.split('\n')[line - 1] ?? '', /service: files/);
});

test('where nothing is near, or nothing is said, there is nothing more', () => {
  const far = { ...store, advise: () => [{ path: [], message: 'is odd', near: { written: 'zzz', known } }] };
  const odd = readManifest(exampleSource, { ...exampleProviders, store: far });
  assert.ok(odd.ok && odd.warnings.length > 0);
  assert.ok(odd.warnings.every(({ message }) => message === 'is odd'));
  const plain = readManifest(exampleSource, exampleProviders);
  assert.ok(plain.ok);
  assert.deepEqual(plain.warnings, []);
});

test('a group that is nearly another of the same text is told, and one that differs as names do is not', () => {
  const warned = (owner: string) => {
    const read = readManifest(exampleSource.replace('owner: team:storage', `owner: ${owner}`), exampleProviders);
    assert.ok(read.ok);
    return read.warnings.map(({ path, message }) => `${path}: ${message}`);
  };
  const words = (group: string) => [
    `capabilities.read-customer-files.owner: ${group} is nearly team:billing, which stands in this manifest too. Is it another group?`,
  ];
  assert.deepEqual(warned('team:biling'), words('team:biling'));
  assert.deepEqual(warned('team:billnig'), words('team:billnig'));
  assert.deepEqual(warned('team:billing'), []);
  assert.deepEqual(warned('team:killing'), []);
  assert.deepEqual(warned('user:biling@example.com'), []);
});
