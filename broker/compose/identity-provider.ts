/** The identity provider of people, made from the settings. */
import { readFile } from 'node:fs/promises';
import { ConfigurationError, type Settings } from '../config/settings.ts';
import { isLoopback } from '../core/loopback.ts';
import type { Clock } from '../core/vocabulary.ts';
import { readClientKey } from '../people/client-authentication.ts';
import { type OidcClient, oidcClient } from '../people/oidc.ts';

/**
 * Where people sign in; null when nobody does.
 * @throws ConfigurationError when the client's key cannot be read
 */
export async function identityProvider(settings: Settings, url: string, clock: Clock): Promise<OidcClient | null> {
  const { WRIT_OIDC_ISSUER: issuer, WRIT_OIDC_CLIENT_ID: clientId, WRIT_OIDC_CLIENT_KEY_FILE: keyFile } = settings;
  if (issuer === undefined || clientId === undefined) return null;
  const clientKey =
    keyFile === undefined
      ? undefined
      : await readFile(keyFile, 'utf8')
          .then(readClientKey)
          .catch(() => {
            throw new ConfigurationError([`WRIT_OIDC_CLIENT_KEY_FILE: ${keyFile} is no private key that can be read`]);
          });
  return oidcClient(
    {
      issuer,
      clientId,
      ...(settings.WRIT_OIDC_CLIENT_SECRET === undefined ? {} : { clientSecret: settings.WRIT_OIDC_CLIENT_SECRET }),
      ...(clientKey === undefined ? {} : { clientKey }),
      ...(settings.WRIT_OIDC_JWKS_URI === undefined ? {} : { jwksUri: settings.WRIT_OIDC_JWKS_URI }),
      ...(settings.WRIT_OIDC_SCOPE === undefined ? {} : { scope: settings.WRIT_OIDC_SCOPE }),
      push: settings.WRIT_OIDC_PAR,
      groupsClaim: settings.WRIT_OIDC_GROUPS_CLAIM,
      groupsSeparator: settings.WRIT_OIDC_GROUPS_SEPARATOR,
      emailVerifiedClaim: settings.WRIT_OIDC_EMAIL_VERIFIED_CLAIM,
      aliasClaims: settings.WRIT_OIDC_ALIAS_CLAIMS,
      allowInsecureLoopback: isLoopback(url),
    },
    url,
    clock,
  );
}
