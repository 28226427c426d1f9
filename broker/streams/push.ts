/** One token, pushed to its receiver (RFC 8935). */
import { PrivateAddress } from '../core/global-address.ts';
import { post } from '../core/post.ts';
import { type ReceiverError, readReceiverError } from './receiver-words.ts';

/**
 * `refused`: it would be again, so it is not sent again. `failed`: something else is wrong, which may pass;
 * `code` is ours, never a message that may quote a secret.
 */
export type PushOutcome =
  | { kind: 'taken' }
  | { kind: 'refused'; error: ReceiverError }
  | { kind: 'failed'; code: string; retryAfterSeconds: number };

/** Longest answer that is read. */
const answerBytes = 4_096;

/** About the stream, not about the token: keys and bearer tokens are somebody's to set right. */
const passing = new Set(['authentication_failed', 'access_denied', 'invalid_key']);

export async function pushSet(
  { url, token, anywhere }: { url: string; token: string | null; anywhere: boolean },
  set: string,
  signal: AbortSignal,
): Promise<PushOutcome> {
  const headers = {
    'content-type': 'application/secevent+jwt',
    accept: 'application/json',
    ...(token === null ? {} : { authorization: `Bearer ${token}` }),
  };
  const failed = (code: string, retryAfterSeconds = 0): PushOutcome => ({ kind: 'failed', code, retryAfterSeconds });
  try {
    const answer = await post(url, headers, set, { anywhere, signal, readUpTo: answerBytes });
    if (answer.status >= 200 && answer.status < 300) return { kind: 'taken' };
    const error = answer.status === 400 ? readReceiverError(parsed(answer.text)) : null;
    if (error === null) return failed(`status_${answer.status}`, answer.retryAfterSeconds);
    return passing.has(error.err) ? failed(error.err, answer.retryAfterSeconds) : { kind: 'refused', error };
  } catch (error) {
    if (error instanceof PrivateAddress) return failed('private_address');
    return failed(signal.aborted ? 'timed_out' : 'unavailable');
  }
}

function parsed(text: string | null): unknown {
  try {
    return JSON.parse(text ?? '');
  } catch {
    return null;
  }
}
