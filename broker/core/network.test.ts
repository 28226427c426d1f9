import assert from 'node:assert/strict';
import { test } from 'node:test';
import { networkOf, plainAddress } from './network.ts';

test('one party of IPv6 is one, whichever of its addresses it uses', () => {
  assert.equal(networkOf('192.0.2.7'), '192.0.2.7');
  assert.equal(networkOf('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2::/64');
  assert.equal(networkOf('2001:0db8:1:2::9'), '2001:db8:1:2::/64');
  assert.equal(networkOf('2001:DB8:1:2:ffff::'), '2001:db8:1:2::/64');
  assert.equal(networkOf('2001:db8::1'), '2001:db8:0:0::/64');
  assert.equal(networkOf('fe80::1%eth0'), 'fe80:0:0:0::/64');
  assert.equal(networkOf('::1'), '0:0:0:0::/64');
});

test('an IPv4 address is one source, however it is written', () => {
  for (const same of [
    '::ffff:192.0.2.7',
    '::FFFF:192.0.2.7',
    '::ffff:c000:207',
    '0:0:0:0:0:ffff:c000:0207',
    '64:ff9b::192.0.2.7',
  ]) {
    assert.equal(networkOf(same), '192.0.2.7', same);
  }
});

test('a port that a proxy appended is no part of the address', () => {
  assert.equal(networkOf('192.0.2.7:51234'), '192.0.2.7');
  assert.equal(networkOf('[2001:db8:1:2::9]:443'), '2001:db8:1:2::/64');
  assert.equal(networkOf('[2001:db8:1:2::9]'), '2001:db8:1:2::/64');
  assert.equal(networkOf('[::ffff:192.0.2.7]:443'), '192.0.2.7');
  assert.equal(networkOf(' 192.0.2.7 '), '192.0.2.7');
});

test('whatever is no address is one source together', () => {
  for (const text of [undefined, '', 'unknown', '_hidden', 'a'.repeat(5000), '1.2.3', '999.1.1.1', '2001:db8::1::2']) {
    assert.equal(networkOf(text), 'unknown');
  }
});

test('one address has one spelling for rules, whichever way it came', () => {
  for (const text of ['192.0.2.7', '192.0.2.7:443', '::ffff:192.0.2.7', '[::ffff:c000:207]:443', '::FFFF:C000:0207'])
    assert.equal(plainAddress(text), '192.0.2.7', text);
  assert.equal(plainAddress('[2001:db8::9]:443'), '2001:db8::9');
  assert.equal(plainAddress('fe80::1%eth0'), 'fe80::1');
  // Through a translator it is not the address itself.
  assert.equal(plainAddress('64:ff9b::192.0.2.7'), '64:ff9b::192.0.2.7');
  for (const text of ['', 'unknown', '10.1.2.3/8', '10.1.2.3, 10.1.2.4', '192.0.2.7:443:1'])
    assert.equal(plainAddress(text), null);
});
