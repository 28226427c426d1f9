/** Failures of the driver and of the server, in the broker's terms. */
import { answerText } from '../answer-text.ts';
import { ProviderError, type ProviderErrorOptions } from '../contract.ts';
import { CommitFailed } from './connection.ts';

/** PostgreSQL says of nothing how long to wait. A connection is free as soon as somebody ends theirs. */
export const tooManyConnectionsSeconds = 5;

/** What passes: the server is away or busy, another transaction was in the way, this is no primary. */
const passing = /^(?:08|53|57P0|40001$|40P01$|55P03$|57014$|25006$|25P0[34]$)/;

/** What the network says. */
const network = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
]);

export interface FailureContext {
  signal: AbortSignal;
  /** What was done, to stand after "while". */
  doing: string;
}

/** Whatever was thrown, as a ProviderError without the statement and without what was in it. */
export function asProviderError(thrown: unknown, { signal, doing }: FailureContext): ProviderError {
  const committing = thrown instanceof CommitFailed;
  // Without a commit, what was begun ends with its connection. The broker's reason for giving up knows
  // nothing of that.
  if (signal.aborted && (committing || thrown === signal.reason || !(thrown instanceof ProviderError)))
    return new ProviderError('upstream_timeout', `PostgreSQL did not answer in time while ${doing}`, {
      mayHaveMinted: committing,
    });
  if (thrown instanceof ProviderError) return thrown;
  const cause = committing ? thrown.cause : thrown;
  const { code, message, severity } = (cause ?? {}) as { code?: unknown; message?: unknown; severity?: unknown };
  const known = typeof code === 'string' ? code : '';
  // To a commit, an ERROR is the server's no; after a FATAL it is as lost as its connection.
  const mayHaveMinted = committing && severity !== 'ERROR';
  const options: ProviderErrorOptions = { providerCode: known || 'connection_lost', mayHaveMinted };
  // The server's own words; the driver's and the network's name addresses and are said by their code.
  if (typeof severity === 'string') options.providerText = answerText(message);
  const fails = (codeOf: 'upstream_unavailable' | 'upstream_refused', what: string) =>
    new ProviderError(codeOf, `${what} while ${doing}`, options);
  if (known === '53300') {
    options.retryAfterSeconds = tooManyConnectionsSeconds;
    return fails('upstream_unavailable', 'PostgreSQL has no connection left');
  }
  if (typeof severity === 'string') {
    // Two grants on one table at one moment: the server has no code of its own for it.
    const collided = known === 'XX000' && /tuple concurrently/.test(String(message));
    return passing.test(known) || collided
      ? fails('upstream_unavailable', 'PostgreSQL could not just now')
      : fails('upstream_refused', 'PostgreSQL refused');
  }
  if (network.has(known) || (known === '' && /terminated|ended|not queryable/i.test(String(message))))
    return fails('upstream_unavailable', 'PostgreSQL was not reached');
  // The rest is TLS: a certificate that is not believed, a server that speaks none.
  if (/SSL|TLS|CERT|certificate/i.test(`${known} ${String(message)}`)) {
    options.providerCode = known || 'tls';
    return fails('upstream_refused', 'the TLS connection to PostgreSQL failed');
  }
  return fails('upstream_unavailable', 'the connection to PostgreSQL failed');
}
