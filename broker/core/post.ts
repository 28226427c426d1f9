/** One POST to an address that somebody else named: no redirect, no answer read, no way into this network. */
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isIP } from 'node:net';
import { isGlobal, lookupGlobal, PrivateAddress } from './global-address.ts';
import { isLoopback } from './loopback.ts';

export interface PostAnswer {
  status: number;
  /** How long the other side wants to be left alone. */
  retryAfterSeconds: number | undefined;
}

/**
 * Whether the address in the URL, where it is one, may be connected to; of a name the look-up says so. Of
 * loopback addresses it is true: whoever takes the URL decides about them.
 */
export function mayConnect(address: string, anywhere: boolean): boolean {
  if (anywhere || isLoopback(address)) return true;
  const host = hostOf(new URL(address));
  return isIP(host) === 0 || isGlobal(host);
}

const hostOf = (url: URL) => url.hostname.replace(/^\[|\]$/g, '');

/**
 * @param anywhere whether private addresses may be connected to
 * @throws PrivateAddress, or whatever the connection throws
 */
export function post(
  address: string,
  headers: { readonly [name: string]: string },
  body: string,
  { anywhere, signal }: { anywhere: boolean; signal: AbortSignal },
): Promise<PostAnswer> {
  if (!mayConnect(address, anywhere)) return Promise.reject(new PrivateAddress('the address is not global'));
  const free = anywhere || isLoopback(address);
  const url = new URL(address);
  const all = { ...headers, 'content-length': String(Buffer.byteLength(body)), 'user-agent': 'writ' };
  return new Promise((resolve, reject) => {
    const send = url.protocol === 'https:' ? requestHttps : requestHttp;
    const sent = send(
      url,
      { method: 'POST', headers: all, signal, agent: false, ...(free ? {} : { lookup: lookupGlobal }) },
      (response) => {
        const after = response.headers['retry-after'];
        resolve({
          status: response.statusCode ?? 0,
          retryAfterSeconds: after !== undefined && /^\d{1,6}$/.test(after) ? Number(after) : undefined,
        });
        // What it says besides is nobody's business here.
        response.destroy();
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}
