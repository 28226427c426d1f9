import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bindParams } from '../manifests/bind.ts';
import { compileSource, exampleSource } from '../manifests/example.test-support.ts';
import type { Capability } from '../manifests/manifest.ts';
import { decide } from './decide.ts';
import type { DecisionFacts } from './facts.ts';
import { nearest } from './nearest.ts';
import { factsFor, freshSession, planOf } from './request.test-support.ts';

// Every run the same; another seed looks elsewhere.
fc.configureGlobal({ seed: 20261121 });

const compiled = compileSource(exampleSource);
const files = 'read-customer-files';

test('bound values come back, choices come within their limits, the TTL is shortened', () => {
  const given = { bucket: 'others', access: 'write', parts: 9, label: 'UPPER', verbose: true };
  const facts = factsFor(compiled, files, given, { plan: planOf({}, 86_400) });
  const found = nearest(facts, compiled, planOf);
  const right = factsFor(compiled, files, { access: 'read', parts: 4, label: 'none', verbose: true }).params;
  assert.deepEqual(found, { capability: files, params: right, ttl_seconds: 900 });
});

test('nothing is offered that policy alone would not allow', () => {
  const spent = { ...freshSession, grants: 20 };
  const none = (facts: DecisionFacts, planFor = planOf as Parameters<typeof nearest>[2]) =>
    assert.equal(nearest(facts, compiled, planFor), undefined);
  none(factsFor(compiled, files, { bucket: 'others' }, { session: spent }));
  none(factsFor(compiled, 'close-account', { account: '43' }));
  none({ ...factsFor(compiled, 'close-account', { account: '43' }), approved: true });
  none({ ...factsFor(compiled, files), capability: 'no-such' });
  none(factsFor(compiled, files, { bucket: 'others' }), () => undefined);
  none(factsFor(compiled, files, { bucket: 'others' }), () => {
    throw new Error('the provider cannot');
  });
  none(factsFor(compiled, files, { bucket: 'others' }), (params) => planOf(params, 901));
});

test('a choice with several members and no default has no nearest', () => {
  const source = exampleSource.replace('enum: [read, list], default: read', 'enum: [read, list]');
  const several = compileSource(source);
  assert.equal(nearest(factsFor(several, files, { access: 'write' }), several, planOf), undefined);
  const sole = compileSource(source.replace('enum: [read, list]', 'enum: [list]'));
  assert.equal(nearest(factsFor(sole, files, { access: 'write' }), sole, planOf)?.params.access, 'list');
});

test('what is offered passes when it is asked for', () => {
  const shape = compiled.manifest.capabilities[files] as Capability;
  const given = fc.record(
    {
      bucket: fc.constantFrom('orders', 'others', '*'),
      prefix: fc.constantFrom('customers/42/', 'customers/', ''),
      access: fc.constantFrom('read', 'list', 'write', '*'),
      parts: fc.integer(),
      label: fc.stringMatching(/^[a-zA-Z]{1,10}$/),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(given, fc.integer({ min: -5, max: 100_000 }), (asked, ttl) => {
      const facts = factsFor(compiled, files, asked, { plan: planOf({}, ttl) });
      const found = nearest(facts, compiled, planOf);
      assert.ok(found);
      const bound = bindParams(shape, facts.task, found.params);
      assert.ok(bound.ok);
      const again = factsFor(compiled, found.capability, found.params, {
        plan: planOf(bound.params, found.ttl_seconds),
      });
      assert.equal(decide(again, compiled).effect, 'allow');
    }),
    { numRuns: 200 },
  );
});
