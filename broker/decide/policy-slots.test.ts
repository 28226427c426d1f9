import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileSource, exampleSource } from '../manifests/example.test-support.ts';
import { decide } from './decide.ts';
import { decideBeside, maxSlots, slotFor } from './policy-slots.ts';
import { factsFor } from './request.test-support.ts';

const compiled = compileSource(exampleSource);
const files = 'read-customer-files';

test('publishing for ever uses no new id, and an unpublished copy is parsed anew', () => {
  const first = slotFor(compiled, files);
  for (let version = 0; version < 20; version += 1) assert.equal(slotFor(structuredClone(compiled), files), first);
  assert.equal(slotFor(compiled, files), first);
  assert.notEqual(slotFor(compiled, 'close-account'), first);
});

test('more agents than slots share a fixed supply of ids, each still under its own policies', () => {
  const ids = new Set<string>();
  const part = compiled.capabilities['close-account'];
  assert.ok(part);
  for (let index = 0; index < maxSlots + 50; index += 1) {
    ids.add(slotFor({ ...compiled, agent: `bot-${index}`, capabilities: { 'close-account': part } }, 'close-account'));
  }
  assert.ok(ids.size <= maxSlots);
  assert.equal(decide(factsFor(compiled, files), compiled).effect, 'allow');
  assert.equal(decide(factsFor(compiled, files, { bucket: 'others' }), compiled).effect, 'deny');
});

test('policies that Cedar does not take leave nothing of the version before', () => {
  const broken = structuredClone(compiled);
  const part = broken.capabilities[files];
  assert.ok(part);
  part.policies = { nonsense: 'permit(' as never };
  slotFor(compiled, files);
  for (let attempt = 0; attempt < 2; attempt += 1) {
    assert.throws(() => slotFor(broken, files));
    assert.equal(decide(factsFor(compiled, files), broken).effect, 'deny');
  }
  assert.equal(decide(factsFor(compiled, files), compiled).effect, 'allow');
});

test('what decides beside takes no slot of what is in force, and uses none anew with each version', () => {
  const inForce = slotFor(compiled, files);
  const beside = new Set<string>();
  for (let version = 0; version < 5; version += 1) {
    const candidate = structuredClone(compiled);
    decideBeside(candidate, 'candidate');
    beside.add(slotFor(candidate, files));
    assert.equal(slotFor(compiled, files), inForce);
  }
  assert.equal(beside.size, 1);
  assert.ok(!beside.has(inForce));
});
