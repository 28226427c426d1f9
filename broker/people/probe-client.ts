/**
 * Whether the identity provider takes us for the client that we say we are. A code that nobody was given is
 * sent: who proves to be the client is told that the code is no good, and everybody else that they are not.
 */
import * as oidc from 'openid-client';

/** @returns `taken`, `refused`, or `unclear` with what the provider said. @throws when it does not answer */
export async function probeClient(
  configuration: oidc.Configuration,
  redirectUri: string,
): Promise<{ client: 'taken' | 'refused' | 'unclear'; said: string }> {
  try {
    await oidc.genericGrantRequest(configuration, 'authorization_code', {
      code: `writ-probe-${oidc.randomState()}`,
      redirect_uri: redirectUri,
      code_verifier: oidc.randomPKCECodeVerifier(),
    });
  } catch (error) {
    const said = errorOf(error);
    if (said === null) throw error;
    if (said === 'invalid_grant') return { client: 'taken', said };
    return { client: said === 'invalid_client' || said === 'unauthorized_client' ? 'refused' : 'unclear', said };
  }
  return { client: 'unclear', said: 'a token for a code that it never gave' };
}

/** The provider's own error code, as a word; null when it said none. */
function errorOf(error: unknown): string | null {
  for (let found = error as { error?: unknown; status?: unknown; cause?: unknown } | undefined; found; ) {
    if (typeof found.error === 'string' && /^[a-z_]{1,60}$/.test(found.error)) return found.error;
    // A challenge instead of a body (RFC 6749, section 5.2).
    if (found.status === 401) return 'invalid_client';
    found = found.cause as typeof found;
  }
  return null;
}
