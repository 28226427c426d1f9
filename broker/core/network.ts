/** Who is counted as one source: limits and records are by network, not by what a caller can choose. */
import { isIP } from 'node:net';

/**
 * The unit that one party controls: an IPv4 address, or an IPv6 /64, in which it can choose any address.
 * @param address as the socket or a proxy says it: with a port, in brackets, with a zone, IPv4 within IPv6.
 *   What is no address at all is one source, whatever it says: a proxy that passes on its caller's text must
 *   not give each text a count of its own
 */
export function networkOf(address: string | undefined): string {
  const bare = bareOf(address ?? '');
  if (isIP(bare) === 4) return bare;
  if (isIP(bare) !== 6) return 'unknown';
  const groups = groupsOf(bare);
  const v4 = within(groups, mapped) ?? within(groups, translated);
  if (v4 !== null) return v4;
  return `${groups
    .slice(0, 4)
    .map((group) => group.toString(16))
    .join(':')}::/64`;
}

/**
 * One address in one spelling, without what a proxy adds to it: an IPv4 address within an IPv6 one is that.
 * @returns null when it is none
 */
export function plainAddress(address: string): string | null {
  const bare = bareOf(address);
  if (isIP(bare) !== 6) return isIP(bare) === 4 ? bare : null;
  return within(groupsOf(bare), mapped) ?? bare;
}

/** Without port, brackets and zone. */
const bareOf = (address: string): string => withoutPort(address.trim()).split('%')[0]!;

/** `192.0.2.7:443` and `[2001:db8::1]:443`; an IPv6 address without brackets has no port. */
function withoutPort(address: string): string {
  const bracketed = /^\[([^\]]*)\](?::\d{1,5})?$/.exec(address);
  if (bracketed !== null) return bracketed[1]!;
  return /^(\d+\.\d+\.\d+\.\d+):\d{1,5}$/.exec(address)?.[1] ?? address;
}

/** The eight numbers of an IPv6 address. */
function groupsOf(address: string): number[] {
  // The last 32 bits may be written as IPv4.
  const [, start = '', dotted] = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address) ?? [];
  const [a = 0, b = 0, c = 0, d = 0] = dotted?.split('.').map(Number) ?? [];
  const hex = dotted === undefined ? address : `${start}${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
  const [head = '', tail] = hex.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0');
  return [...left, ...zeros, ...right].map((group) => Number.parseInt(group, 16));
}

/** `::ffff:0:0/96`, and `64:ff9b::/96` (RFC 6052). */
const mapped = '0:0:0:0:0:ffff';
const translated = '64:ff9b:0:0:0:0';

/** The IPv4 address in an IPv6 one that begins so. */
function within(groups: readonly number[], begins: string): string | null {
  const prefix = groups
    .slice(0, 6)
    .map((group) => group.toString(16))
    .join(':');
  if (prefix !== begins) return null;
  const [high = 0, low = 0] = groups.slice(6);
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}
