/**
 * Addresses that a name must not lead to, so that what is posted or fetched cannot be turned against the
 * broker’s own network.
 */
import { type LookupAddress, lookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

/** https://www.iana.org/assignments/iana-ipv4-special-registry and its IPv6 sibling: what is not global. */
const notGlobal = new BlockList();
for (const [network, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const)
  notGlobal.addSubnet(network, prefix, 'ipv4');
for (const [network, prefix] of [
  ['::', 128],
  ['::1', 128],
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['100::', 64],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['fc00::', 7],
  ['fe80::', 10],
  ['ff00::', 8],
] as const)
  notGlobal.addSubnet(network, prefix, 'ipv6');

/** Thrown in place of a connection. */
export class PrivateAddress extends Error {
  override name = 'PrivateAddress';
}

/** An IPv4 address within an IPv6 one is judged as what it is. */
export function isGlobal(address: string): boolean {
  const family = isIP(address);
  return family !== 0 && !notGlobal.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

/**
 * Looks a name up for a connection, and refuses when any of its addresses is not global. What was looked at
 * is what is connected to: there is no second look-up that could say something else.
 */
export const lookupGlobal: LookupFunction = (name, options, done) => {
  lookup(name, { ...options, all: true }, (error, found) => {
    const addresses = (found ?? []) as LookupAddress[];
    const [first] = addresses;
    if (error !== null || first === undefined) return done(error ?? new Error('no address'), [], 0);
    if (!addresses.every(({ address }) => isGlobal(address)))
      return done(new PrivateAddress('the name leads to an address that is not global'), [], 0);
    if (options.all === true) return done(null, addresses);
    done(null, first.address, first.family);
  });
};
