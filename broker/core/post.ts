/**
 * One POST to an address that somebody else named: no redirect, of the answer no more than is asked for, no
 * way into this network.
 */
import { type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isIP } from 'node:net';
import { isGlobal, lookupGlobal, PrivateAddress } from './global-address.ts';
import { isLoopback } from './loopback.ts';
import { retryAfterSeconds } from './retry-after.ts';

export interface PostAnswer {
  status: number;
  /** How long the other side wants to be left alone. */
  retryAfterSeconds: number | undefined;
  /** Its body, where it was asked for; null = it is longer than allowed, or was cut off. */
  text: string | null;
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
 * @param readUpTo bytes of the answer's body, where it is of interest
 * @throws PrivateAddress, or whatever the connection throws
 */
export function post(
  address: string,
  headers: { readonly [name: string]: string },
  body: string,
  { anywhere, signal, readUpTo }: { anywhere: boolean; signal: AbortSignal; readUpTo?: number },
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
        const answer = (text: string | null) =>
          resolve({
            status: response.statusCode ?? 0,
            retryAfterSeconds: retryAfterSeconds({
              after: response.headers['retry-after'],
              date: response.headers.date,
            }),
            text,
          });
        if (readUpTo === undefined) {
          answer(null);
          // What it says besides is nobody's business here.
          response.destroy();
        } else readText(response, readUpTo).then(answer, reject);
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

async function readText(response: IncomingMessage, most: number): Promise<string | null> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.byteLength;
    if (size > most) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
