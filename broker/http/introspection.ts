/**
 * Token introspection (RFC 7662): for resource servers that the trust file lists, for admins, and for whoever
 * holds the very token. Whoever has a bound token without its key may have stolen it, and learns nothing of
 * the session.
 */
import { z } from 'zod';
import { WritError } from '../core/errors.ts';
import { userText } from '../core/identifier.ts';
import { type ClientAssertionDeps, verifyClientAssertion } from '../identity/client-assertion.ts';
import { checkDpopProof } from '../identity/dpop.ts';
import type { Trust } from '../identity/trust.ts';
import { authenticate } from '../sessions/authenticate.ts';
import { assertionOnce, proofOnce, takeShown } from '../sessions/one-time.ts';
import { type LiveTokenDeps, liveToken } from './live-token.ts';
import { aboutToken, refuseProof, refuseUntaken } from './oauth-parameters.ts';
import { isBasic, isTokenItself, noSecrets, refuseUnproven, twoMethods } from './oauth-words.ts';
import { type Operation, operation } from './operation.ts';

export interface IntrospectionDeps extends LiveTokenDeps, Pick<ClientAssertionDeps, 'keys'> {
  issuer: string;
  trust: Trust;
  /** Null when the request carries no admin credential. */
  adminOf(authorization: string | undefined): Promise<string | null>;
}

export function introspectionOperation(deps: IntrospectionDeps): Operation {
  const url = `${deps.issuer}/oauth/introspect`;
  return operation({
    method: 'post',
    path: '/oauth/introspect',
    needsClock: true,
    summary: 'Is this session token alive? (RFC 7662)',
    tag: 'Sessions',
    access: 'none',
    credentials: ['admin', 'person', 'session', 'session_bearer', null],
    bodyType: 'form',
    body: aboutToken(
      'Of a resource server that the trust file lists (`resource_servers`): `private_key_jwt`, RFC 7523.',
    ),
    headers: {
      Authorization:
        'An admin’s bearer token, or the very token that is asked about; of one that is bound to a key with a DPoP proof, else the answer is `active` alone.',
      DPoP: 'The proof (RFC 9449) of whoever asks about their own token.',
    },
    responses: {
      200: {
        description: '`active` and, when it is, the token’s claims',
        schema: z.looseObject({ active: z.boolean() }),
      },
    },
    errors: ['invalid_request', 'invalid_client', 'invalid_dpop_proof', 'unauthenticated', 'unavailable'],
    handle: async ({ body, header }) => {
      const whole = await mayReadAll(deps, url, body, header);
      const answer = await described(deps, body.token);
      return { status: 200, body: whole || answer.cnf === undefined ? answer : { active: true } };
    },
  });
}

/**
 * Whether the caller is told everything; false for whoever has the token, and not its key.
 * @throws WritError for whoever may ask nothing
 */
async function mayReadAll(
  deps: IntrospectionDeps,
  url: string,
  asked: {
    token: string;
    client_id?: string | undefined;
    client_assertion_type?: string | undefined;
    client_assertion?: string | undefined;
    client_secret?: string | undefined;
  },
  header: (name: string) => string | undefined,
): Promise<boolean> {
  const authorization = header('authorization');
  if (asked.client_secret !== undefined || isBasic(authorization)) throw noSecrets();
  refuseUntaken(asked, []);
  const dpop = header('dpop');
  if (asked.client_assertion !== undefined || asked.client_assertion_type !== undefined) {
    if (authorization !== undefined) throw twoMethods();
    refuseProof(dpop, 'it belongs to whoever asks about their own token');
    const server = await verifyClientAssertion(
      { type: asked.client_assertion_type, assertion: asked.client_assertion, clientId: asked.client_id },
      deps.trust.resourceServers,
      { clock: deps.clock, keys: deps.keys, audiences: [deps.issuer, url, `${deps.issuer}/oauth/token`] },
    );
    await takeShown(deps.store, [assertionOnce(server)]);
    return true;
  }
  refuseUnproven(asked.client_id, deps.trust);
  if ((await deps.adminOf(authorization)) !== null) {
    refuseProof(dpop, 'it belongs to whoever asks about their own token');
    return true;
  }
  if (!isTokenItself(authorization, asked.token)) throw new WritError('unauthenticated');
  if (dpop === undefined) return false;
  const sent = { authorization, dpop, method: 'POST', url };
  const { replay } = await authenticate(sent, deps.tokens, checkDpopProof, deps.clock);
  if (replay === null) return false;
  await takeShown(deps.store, proofOnce({ replayKey: replay.key, replayExpiresAt: replay.expiresAt }));
  return true;
}

async function described(deps: IntrospectionDeps, presented: string): Promise<Record<string, unknown>> {
  const live = await liveToken(deps, presented);
  if (live === null) return { active: false };
  const { claims, session } = live;
  return {
    active: true,
    iss: deps.issuer,
    aud: deps.issuer,
    sub: session.agent,
    client_id: session.agent,
    token_type: session.jkt === null ? 'Bearer' : 'DPoP',
    exp: Math.floor(claims.expiresAt.getTime() / 1000),
    sid: session.id,
    authorization_details: [{ type: 'task', ...session.task }],
    ...(session.onBehalfOf === null ? {} : { on_behalf_of: userText(session.onBehalfOf) }),
    ...(session.declaredOnBehalfOf === null ? {} : { declared_on_behalf_of: session.declaredOnBehalfOf }),
    ...(session.subject.act === undefined ? {} : { act: session.subject.act }),
    ...(session.jkt === null ? {} : { cnf: { jkt: session.jkt } }),
  };
}
