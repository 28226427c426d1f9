/** The reference's side of the benchmark: its key, its callers' tokens, its requests. */
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import type { LoadRequest } from './load-process.ts';

export const audience = 'reference';
/** As many callers as any run has clients: each locks a row of its own. */
export const callers = 256;

/** A body about as long as that of a grant request. */
const body = JSON.stringify({ capability: 'read-instantly', ttl_seconds: 600, justification: 'to answer a question' });

/** The public key for the handler, and one endless request a caller. */
export async function prepareReference(): Promise<{ key: string; requests: LoadRequest[] }> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  const requests = Array.from({ length: callers }, async (_, n) => {
    const token = await new SignJWT({})
      .setProtectedHeader({ alg: 'ES256' })
      .setIssuer(audience)
      .setAudience(audience)
      .setSubject(`caller-${n}`)
      .setIssuedAt()
      .setExpirationTime('1h')
      .sign(privateKey);
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    return { path: '/request', headers, body, times: Number.MAX_SAFE_INTEGER };
  });
  return { key: JSON.stringify(await exportJWK(publicKey)), requests: await Promise.all(requests) };
}
