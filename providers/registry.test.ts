import assert from 'node:assert/strict';
import { test } from 'node:test';
import { providerParams } from './params.ts';
import { providerModules } from './registry.ts';

test('manifests are checked against the very parameters that the provider itself takes', () => {
  assert.deepEqual(providerModules.map(({ name }) => name).sort(), Object.keys(providerParams).sort());
  for (const { name, params } of providerModules)
    assert.equal(params, providerParams[name as keyof typeof providerParams], name);
});
