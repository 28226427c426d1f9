/** Token revocation (RFC 7009): ends the token's session. */
import { z } from 'zod';
import { type EndSessionDeps, endSession } from '../sessions/end-session.ts';
import { type LiveTokenDeps, liveToken } from './live-token.ts';
import { type Operation, operation } from './operation.ts';

export function revocationOperation(deps: LiveTokenDeps & EndSessionDeps): Operation {
  return operation({
    method: 'post',
    path: '/oauth/revoke',
    summary: 'Revoke a session token: ends its session (RFC 7009)',
    tag: 'Sessions',
    access: 'none',
    bodyType: 'form',
    body: z.object({ token: z.string().min(1).max(20_000), token_type_hint: z.string().max(200).optional() }),
    responses: { 200: { description: 'The token is not alive now, whatever it was before' } },
    errors: ['invalid_request', 'unavailable'],
    // Revocation needs the token but not its key: it only takes access away, and a leaked token should be
    // easy to revoke.
    handle: async ({ body, requestId }) => {
      const live = await liveToken(deps, body.token);
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
