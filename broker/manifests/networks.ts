/** Networks as a manifest writes them: `10.0.0.0/8`, `2001:db8::/32`, one address. */
import { BlockList, isIP } from 'node:net';
import { plainAddress } from '../core/network.ts';
import { memoize } from './memoize.ts';

/** @returns null when the text is no network */
function readNetwork(text: string): { address: string; bits: number; family: 'ipv4' | 'ipv6' } | null {
  const [, address = '', digits] = /^([0-9a-fA-F.:]+)(?:\/([0-9]{1,3}))?$/.exec(text) ?? [];
  const version = isIP(address);
  if (version === 0) return null;
  const most = version === 4 ? 32 : 128;
  const bits = digits === undefined ? most : Number(digits);
  return bits <= most ? { address, bits, family: version === 4 ? 'ipv4' : 'ipv6' } : null;
}

export const isNetwork = (text: string): boolean => readNetwork(text) !== null;

const blockOf = memoize((networks: readonly string[]) => {
  const block = new BlockList();
  for (const one of networks) {
    const network = readNetwork(one);
    if (network !== null) block.addSubnet(network.address, network.bits, network.family);
  }
  return block;
});

/** @returns null when it is no address: then nobody can say */
export function isWithinNetworks(address: string, networks: readonly string[]): boolean | null {
  const plain = plainAddress(address);
  return plain === null ? null : blockOf(networks).check(plain, isIP(plain) === 4 ? 'ipv4' : 'ipv6');
}
