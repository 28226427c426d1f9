/**
 * Whether the broker is found where it says that it is: clouds fetch the discovery document and the keys from
 * there. From here only a part can be told: that the public name leads to this broker.
 */
import { isLoopback } from '../core/loopback.ts';
import type { Finding } from '../core/vocabulary.ts';

const fix =
  'Have the name of WRIT_ISSUER_URL lead to the TLS proxy in front of this broker, with a certificate that is trusted, and /.well-known/openid-configuration and /.well-known/jwks.json through it.';

/**
 * @param kids of the keys that this broker publishes
 * @param fetched tests replace it
 */
export async function diagnoseOwnAddress(
  issuer: string,
  kids: readonly string[],
  signal: AbortSignal,
  fetched: typeof fetch = fetch,
): Promise<Finding[]> {
  const found = `this broker is found at ${issuer}`;
  const outside: Finding = isLoopback(issuer)
    ? {
        what: 'clouds can fetch the keys from outside',
        state: 'unknown',
        found: 'WRIT_ISSUER_URL is on this machine alone: no cloud can',
      }
    : {
        what: 'clouds can fetch the keys from outside',
        state: 'unknown',
        found: 'from here the name leads to this broker; what AWS or Google say of a role or a pool tells the rest',
      };
  try {
    const discovery = await readJson(`${issuer}/.well-known/openid-configuration`, signal, fetched);
    if (discovery.issuer !== issuer)
      return [{ what: found, state: 'fails', found: 'the discovery document there is of another issuer', fix }];
    const published = await readJson(`${issuer}/.well-known/jwks.json`, signal, fetched);
    const theirs = Array.isArray(published.keys) ? published.keys.map((key) => (key as { kid?: unknown })?.kid) : [];
    if (!kids.some((kid) => theirs.includes(kid)))
      return [{ what: found, state: 'fails', found: 'the keys there are of another broker', fix }];
    return [{ what: found, state: 'holds' }, outside];
  } catch (error) {
    const words = signal.aborted ? 'nothing answered in time' : wordsOf(error);
    return [{ what: found, state: 'fails', found: words, fix }];
  }
}

async function readJson(url: string, signal: AbortSignal, fetched: typeof fetch): Promise<{ [name: string]: unknown }> {
  const response = await fetched(url, { signal, redirect: 'error', headers: { accept: 'application/json' } });
  if (response.status !== 200) throw new Error(`${new URL(url).pathname} answered ${response.status}`);
  const text = await response.text();
  const parsed: unknown = JSON.parse(text.slice(0, 1_000_000));
  return typeof parsed === 'object' && parsed !== null ? (parsed as { [name: string]: unknown }) : {};
}

function wordsOf(error: unknown): string {
  const { message, cause } = error as { message?: unknown; cause?: { code?: unknown } };
  if (error instanceof SyntaxError) return 'what answered there is no JSON';
  return typeof cause?.code === 'string' ? `nothing of ours answered (${cause.code})` : String(message).slice(0, 200);
}
