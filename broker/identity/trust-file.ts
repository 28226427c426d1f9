/** Whom the broker trusts to say who is asking: the file that WRIT_TRUST_FILE names. */
import { readFile } from 'node:fs/promises';
import { ConfigurationError, type Settings } from '../config/settings.ts';
import { isLoopback } from '../core/loopback.ts';
import type { SignInNames } from './person-claim.ts';
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
  const parsed = parseTrust(text, { allowInsecureLoopback: local, signIn: signInNames(settings) });
  if (parsed.ok) return parsed.trust;
  throw new ConfigurationError(
    parsed.faults.map(({ line, column, path, message }) => {
      const place = `WRIT_TRUST_FILE: ${file}:${line ?? 1}:${column ?? 1}: `;
      return `${place}${path === '' ? '' : `${path}: `}${message}`;
    }),
  );
}

/** The kinds of name that sign-in gives of a person, as far as the settings tell. */
function signInNames(settings: Settings): SignInNames | null {
  const { WRIT_OIDC_ISSUER: issuer, WRIT_OIDC_SCOPE: scope } = settings;
  if (issuer === undefined) return null;
  const email = scope === undefined || scope.split(/\s+/).includes('email') ? ['email'] : [];
  const added = [...new Set(settings.WRIT_OIDC_ALIAS_CLAIMS.map(({ kind }) => kind))];
  return { issuer, kinds: [...new Set([...email, 'username', 'oid', ...added])], added };
}
