import assert from 'node:assert/strict';
import { test } from 'node:test';
import { domainToASCII } from 'node:url';
import fc from 'fast-check';
import { canonicalEmail } from './identifier.ts';

test('an e-mail address has one spelling: the domain in ASCII, ASCII letters in lower case', () => {
  for (const [text, right] of [
    ['Ann.Lee+x@Example.COM', 'ann.lee+x@example.com'],
    ['a@example.com.', 'a@example.com'],
    ['a@bücher.example', 'a@xn--bcher-kva.example'],
    ['a@XN--BCHER-KVA.example', 'a@xn--bcher-kva.example'],
    ["o'brien@mail.example-org.com", "o'brien@mail.example-org.com"],
    // Addresses of machines have more than one spelling too.
    ['a@127.1', 'a@127.0.0.1'],
    ['a@0x7f.1', 'a@127.0.0.1'],
    // No domain, though each label is made of letters, digits and hyphens.
    ['a@1.2.3.4.5', null],
    ['a@example.0x', null],
    ['a@-example.com', null],
    ['a@example..com', null],
    ['@example.com', null],
    ['a b@example.com', null],
  ] as [string, string | null][])
    assert.equal(canonicalEmail(text), right, text);
});

test('of a domain in ASCII it says what the URL standard says, whether it is asked or not', () => {
  const label = fc.oneof(
    fc.string({ unit: fc.constantFrom(...'abxn019-'), minLength: 1, maxLength: 6 }),
    fc.constantFrom('com', 'example', 'xn--a', 'xn--bcher-kva', '0x1f', '255', '1e1', 'a--b', 'A', 'a_b'),
  );
  const domain = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));
  fc.assert(
    fc.property(domain, (text) => {
      const ascii = domainToASCII(text);
      const right = /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(ascii) ? `a@${ascii}` : null;
      assert.equal(canonicalEmail(`a@${text}`), right);
    }),
    { seed: 5321, numRuns: 3000 },
  );
});
