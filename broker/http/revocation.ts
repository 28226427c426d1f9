/** Token revocation (RFC 7009): ends the token's session. */
import { WritError } from '../core/errors.ts';
import { type EndSessionDeps, endSession } from '../sessions/end-session.ts';
import { clientPrincipal, type ExchangeDeps } from '../sessions/exchange-token.ts';
import { takeShown } from '../sessions/one-time.ts';
import type { IntrospectionDeps } from './introspection.ts';
import { type LiveTokenDeps, liveToken } from './live-token.ts';
import { aboutToken, refuseProof, refuseUntaken } from './oauth-parameters.ts';
import { isBasic, isTokenItself, noSecrets, refuseUnproven, twoMethods } from './oauth-words.ts';
import { type Operation, operation } from './operation.ts';

type RevocationDeps = LiveTokenDeps &
  EndSessionDeps &
  Pick<ExchangeDeps, 'trust' | 'keys' | 'issuer'> &
  Pick<IntrospectionDeps, 'adminOf'>;

export function revocationOperation(deps: RevocationDeps): Operation {
  return operation({
    method: 'post',
    path: '/oauth/revoke',
    summary: 'Revoke a session token: ends its session (RFC 7009)',
    tag: 'Sessions',
    access: 'none',
    bodyType: 'form',
    body: aboutToken('Need not be sent. What is sent must hold: of the client whose agent the token is of (RFC 7523).'),
    responses: { 200: { description: 'The token is not alive now, whatever it was before' } },
    errors: ['invalid_request', 'invalid_client', 'invalid_dpop_proof', 'unauthenticated', 'unavailable'],
    // Revocation needs the token but not its key: it only takes access away, and a leaked token should be
    // easy to revoke. Who says besides which client it is must be that client (RFC 7009 section 2.1).
    handle: async ({ body, header, requestId }) => {
      const authorization = header('authorization');
      if (body.client_secret !== undefined || isBasic(authorization)) throw noSecrets();
      refuseUntaken(body, []);
      refuseProof(header('dpop'), 'whoever has the token may revoke it');
      const client = await sentClient(deps, body);
      if (authorization !== undefined) {
        if (client !== null) throw twoMethods();
        if (!isTokenItself(authorization, body.token) && (await deps.adminOf(authorization)) === null)
          throw new WritError('unauthenticated');
      }
      const live = await liveToken(deps, body.token);
      if (live !== null && client !== null && live.claims.agent !== client.agent)
        throw new WritError('invalid_client', { detail: 'The client assertion is another agent’s than the token.' });
      if (live !== null) {
        await endSession(deps, {
          sessionId: live.claims.sessionId,
          reason: 'token_revoked',
          actor: live.claims.agent,
          requestId,
          now: deps.clock.now(),
        });
      }
      return { status: 200 };
    },
  });
}

/** @throws WritError `invalid_client` when what was sent does not hold */
async function sentClient(
  deps: RevocationDeps,
  sent: {
    client_id?: string | undefined;
    client_assertion_type?: string | undefined;
    client_assertion?: string | undefined;
  },
) {
  if (sent.client_assertion === undefined && sent.client_assertion_type === undefined) {
    refuseUnproven(sent.client_id, deps.trust);
    return null;
  }
  const client = await clientPrincipal(deps, {
    clientAssertionType: sent.client_assertion_type,
    clientAssertion: sent.client_assertion,
    clientId: sent.client_id,
  });
  await takeShown(deps.store, client.shown);
  return client;
}
