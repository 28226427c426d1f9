/**
 * HTTPS_PROXY, HTTP_PROXY and NO_PROXY for whatever this process asks of others: set once, for Node's own
 * agents and its `fetch`, so that no client has to know. What must not be seen by a proxy never is: this
 * machine, and the metadata services of clouds, which tell credentials to whoever asks.
 *
 * Requests to addresses that somebody else named (`post.ts`, `get-json.ts`) go past it: a proxy would look
 * their names up itself, and nobody here could keep them out of a private network.
 */
import { setGlobalProxyFromEnv } from 'node:http';
import { BlockList, isIPv4, isIPv6 } from 'node:net';

type Environment = { readonly [name: string]: string | undefined };

/** As Node and its `fetch` read them. */
export interface ProxyEnvironment {
  https_proxy?: string;
  http_proxy?: string;
  no_proxy: string;
}

const never = [
  'localhost',
  '127.0.0.1',
  '127.0.0.0-127.255.255.255',
  '::1',
  '[::1]',
  '169.254.169.254',
  '169.254.170.2',
  'metadata.google.internal',
  'fd00:ec2::254',
  '[fd00:ec2::254]',
];

/**
 * What the environment says of proxies; null = nothing. Lower case comes first, as everywhere. A name in
 * NO_PROXY means itself and whatever is below it, with or without a dot before it; `10.0.0.0/8` a network. A
 * proxy without a scheme is spoken to in http, as curl does.
 * @throws Error for a proxy that is no http or https URL, and for a network that is none
 */
export function proxyEnvironment(env: Environment): ProxyEnvironment | null {
  const https_proxy = proxyUrl(env, 'https_proxy');
  const http_proxy = proxyUrl(env, 'http_proxy');
  if (https_proxy === undefined && http_proxy === undefined) return null;
  const entries = entriesOf(env).flatMap(asNodeReads);
  return {
    ...(https_proxy === undefined ? {} : { https_proxy }),
    ...(http_proxy === undefined ? {} : { http_proxy }),
    no_proxy: [...new Set([...entries, ...never])].join(','),
  };
}

/** Sends by these proxies from now on. @returns how to undo that */
export function useProxies(env: Environment): () => void {
  const proxies = proxyEnvironment(env);
  if (proxies === null) return () => {};
  // Libraries that read the environment by themselves must leave out the same.
  if (env === process.env)
    for (const [name, value] of Object.entries(proxies))
      Object.assign(process.env, { [name]: value, [name.toUpperCase()]: value });
  return setGlobalProxyFromEnv({ ...proxies });
}

function proxyUrl(env: Environment, name: 'https_proxy' | 'http_proxy'): string | undefined {
  const given = env[name] || env[name.toUpperCase()];
  if (given === undefined || given === '') return undefined;
  const text = given.includes('://') ? given : `http://${given}`;
  const url = URL.canParse(text) ? new URL(text) : null;
  // The value may hold a password.
  if (url === null || !/^https?:$/.test(url.protocol) || url.hostname === '')
    throw new Error(`${name.toUpperCase()} must be the http or https URL of a proxy`);
  return text;
}

function asNodeReads(entry: string): string[] {
  if (entry === '*') return [entry];
  if (entry.includes('/')) return rangeOf(entry);
  const name = entry.replace(/^\*?\.+/, '').toLowerCase();
  if (isIPv4(name) || name.includes('[') || name.split(':').length > 2) return [name];
  return [name, `.${name}`];
}

/** Networks of IPv6 beside a proxy that nothing matches: Node compares addresses of IPv6 one by one. */
export const unmatchedNetworks = (env: Environment): string[] =>
  proxyEnvironment(env) === null
    ? []
    : entriesOf(env).filter((entry) => entry.includes('/') && rangeOf(entry).length === 0);

const entriesOf = (env: Environment): string[] =>
  (env.no_proxy || env.NO_PROXY || '').split(/[\s,]+/).filter((entry) => entry !== '');

/** Node has ranges of addresses, and no networks; of IPv6, single addresses alone. */
function rangeOf(network: string): string[] {
  const [, longAddress = '', longBits = ''] = /^([\da-f:.]*:[\da-f:.]*)\/(\d{1,3})$/i.exec(network) ?? [];
  if (isIPv6(longAddress) && Number(longBits) <= 128) {
    const host = new URL(`http://[${longAddress}]`).hostname;
    return Number(longBits) === 128 ? [host.slice(1, -1), host] : [];
  }
  const [, address = '', bits = ''] = /^([\d.]+)\/(\d{1,2})$/.exec(network) ?? [];
  try {
    new BlockList().addSubnet(address, Number(bits), 'ipv4');
  } catch {
    throw new Error(`NO_PROXY: ${JSON.stringify(network)} is no network of addresses, like 10.0.0.0/8`);
  }
  const number = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  const size = 2 ** (32 - Number(bits));
  const first = Math.floor(number / size) * size;
  return [`${dotted(first)}-${dotted(first + size - 1)}`];
}

const dotted = (number: number): string =>
  [24, 16, 8, 0].map((shift) => Math.floor(number / 2 ** shift) % 256).join('.');
