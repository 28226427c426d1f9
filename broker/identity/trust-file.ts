/** Whom the broker trusts to say who is asking: the file that WRIT_TRUST_FILE names. */
import { readFile } from 'node:fs/promises';
import { ConfigurationError, type Settings } from '../config/settings.ts';
import { isLoopback } from '../core/loopback.ts';
import { emptyTrust, parseTrust, type Trust } from './trust.ts';

/**
 * @returns nobody, when there is no file
 * @throws ConfigurationError with every fault of the file, each with its line and column
 */
export async function readTrustFile(settings: Settings): Promise<Trust> {
  const file = settings.WRIT_TRUST_FILE;
  if (file === undefined) return emptyTrust;
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new ConfigurationError([`WRIT_TRUST_FILE: ${file} cannot be read (${error.code})`]);
  });
  const local = settings.WRIT_ISSUER_URL === undefined || isLoopback(settings.WRIT_ISSUER_URL);
  const parsed = parseTrust(text, { allowInsecureLoopback: local });
  if (parsed.ok) return parsed.trust;
  throw new ConfigurationError(
    parsed.faults.map(
      (fault) => `WRIT_TRUST_FILE: ${file}:${fault.line ?? 1}:${fault.column ?? 1}: ${fault.path}: ${fault.message}`,
    ),
  );
}
