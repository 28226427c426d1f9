/**
 * Reads a JSON document of a place that an admin configured: no redirect is followed, no more is read than
 * allowed, and the name must not lead into a private network unless the admin says so.
 */
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isIP } from 'node:net';
import { isGlobal, lookupGlobal, PrivateAddress } from './global-address.ts';
import { isLoopback } from './loopback.ts';
import { AskedToWait } from './retry-after.ts';

export interface JsonPlace {
  /** https, or http on loopback. */
  url: string;
  /** Bearer token; null = none is sent. */
  token: string | null;
  /** Whether the name may lead to an address that is not global. */
  allowPrivate: boolean;
  maxBytes: number;
}

/** @throws Error whose message quotes nothing of the answer; AskedToWait; PrivateAddress */
export async function getJson({ url: address, token, allowPrivate, maxBytes }: JsonPlace, signal: AbortSignal) {
  const url = new URL(address);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const free = allowPrivate || isLoopback(address);
  if (url.protocol !== 'https:' && !isLoopback(address)) throw new Error('not https');
  // An address in the URL is connected to without a look-up.
  if (!free && isIP(host) !== 0 && !isGlobal(host)) throw new PrivateAddress('the address is not global');
  const headers = {
    accept: 'application/json',
    'user-agent': 'writ',
    ...(token === null ? {} : { authorization: `Bearer ${token}` }),
  };
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const send = url.protocol === 'https:' ? requestHttps : requestHttp;
  const sent = send(url, { headers, signal, agent: false, ...(free ? {} : { lookup: lookupGlobal }) }, (response) => {
    const refuse = (why: Error) => {
      reject(why);
      response.destroy();
    };
    const { 'retry-after': after, date } = response.headers;
    if (response.statusCode !== 200) return refuse(AskedToWait.by(`status ${response.statusCode}`, { after, date }));
    const chunks: Buffer[] = [];
    let size = 0;
    response.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxBytes) return refuse(new Error(`more than ${maxBytes} bytes`));
      chunks.push(chunk);
    });
    // An answer that is cut off is none.
    response.on('error', () => reject(new Error('the answer was cut off')));
    response.on('end', () => {
      try {
        resolve(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))));
      } catch {
        reject(new Error('no JSON'));
      }
    });
  });
  sent.on('error', reject);
  sent.end();
  return promise;
}
