/**
 * Asks the identity provider, once the broker is up, whether it knows us: a wrong secret is found now, and
 * not by the first person who signs in. A provider that is away keeps no broker from starting.
 */
import type { Logger } from 'pino';
import type { OidcClient } from '../people/oidc.ts';

export interface SignInCheck {
  /** What is wrong, in words; null = nothing, or not known yet. */
  fault(): string | null;
}

export function checkSignIn(signIn: Pick<OidcClient, 'diagnose'> | null, log: Pick<Logger, 'error'>): SignInCheck {
  let fault: string | null = null;
  void signIn?.diagnose().then((findings) => {
    const wrong = findings.find(({ state }) => state === 'fails');
    if (wrong === undefined) return;
    fault = `not so: ${wrong.what} (${wrong.found})`;
    log.error({ found: wrong.found, fix: wrong.fix }, `nobody can sign in: ${fault}. ${wrong.fix}`);
  });
  return { fault: () => fault };
}
