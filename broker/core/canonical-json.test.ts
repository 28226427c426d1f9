import assert from 'node:assert/strict';
import { test } from 'node:test';
import canonicalize from 'canonicalize';
import fc from 'fast-check';
import { canonicalJson } from './canonical-json.ts';

test('it writes what another implementation of RFC 8785 writes, whatever the order of members', () => {
  const json = fc.oneof(
    fc.object({ withNullPrototype: false }),
    fc.array(fc.jsonValue()),
    fc.dictionary(fc.string(), fc.jsonValue()),
  );
  fc.assert(
    fc.property(json, (value) => {
      const plain = JSON.parse(JSON.stringify(value)) as object;
      assert.equal(canonicalJson(plain), canonicalize(plain));
      const other = Object.fromEntries(Object.entries(plain).toReversed());
      if (!Array.isArray(plain)) assert.equal(canonicalJson(other), canonicalJson(plain));
    }),
    { seed: 8785, numRuns: 500 },
  );
});

test('members are in the order of UTF-16 units, at every depth, numbers in ECMAScript’s form', () => {
  for (const [value, text] of [
    [{ b: 1, a: 2 }, '{"a":2,"b":1}'],
    [{ a: { d: 1, c: [{ f: 1, e: 2 }] } }, '{"a":{"c":[{"e":2,"f":1}],"d":1}}'],
    // Engines enumerate these as 9, 10.
    [{ 10: 'x', 9: 'y' }, '{"10":"x","9":"y"}'],
    [{ '\u{1F600}': 1, '\uFB33': 2 }, '{"\u{1F600}":1,"\uFB33":2}'],
    [{ a: undefined, b: 1e21, c: -0, d: 0.000001 }, '{"b":1e+21,"c":0,"d":0.000001}'],
    [[undefined, new Date(0)], '[null,"1970-01-01T00:00:00.000Z"]'],
    [{ constructor: 1, __proto: 2 }, '{"__proto":2,"constructor":1}'],
    [{}, '{}'],
  ] as [object, string][])
    assert.equal(canonicalJson(value), text);
});

test('what no JSON text can say is refused', () => {
  for (const value of [{ a: Number.NaN }, [Number.POSITIVE_INFINITY], { a: '\ud800' }, { '\udc00': 1 }])
    assert.throws(() => canonicalJson(value), /not allowed/);
});
