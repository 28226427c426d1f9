/**
 * Well-known documents: OAuth metadata (RFC 8414), OpenID discovery for clouds that trust the broker's keys,
 * and the JWKS itself.
 */
import { z } from 'zod';
import { dpopAlgorithms } from '../identity/dpop.ts';
import { signingAlgorithms } from '../identity/trust-schema.ts';
import { type KeyRing, ringAlgorithms } from '../keys/ring.ts';
import { type Operation, operation } from './operation.ts';
import { resourceMetadataPath } from './resource-metadata-path.ts';
import { grantTypes } from './token-endpoint.ts';

/** How long verifiers may keep the JWKS; a rotated-in key is published longer than this before it signs. */
const jwksSeconds = 300;

export function discoveryOperations(issuer: string, ring: KeyRing, requireDpop: boolean): Operation[] {
  const metadata = {
    issuer,
    token_endpoint: `${issuer}/oauth/token`,
    introspection_endpoint: `${issuer}/oauth/introspect`,
    revocation_endpoint: `${issuer}/oauth/revoke`,
    jwks_uri: `${issuer}/.well-known/jwks.json`,
    backchannel_authentication_endpoint: `${issuer}/oauth/bc-authorize`,
    backchannel_token_delivery_modes_supported: ['poll'],
    backchannel_user_code_parameter_supported: false,
    grant_types_supported: grantTypes,
    // Required (RFC 8414 section 2), though nobody gets anything from an authorization endpoint here.
    response_types_supported: ['none'],
    token_endpoint_auth_methods_supported: ['none', 'private_key_jwt'],
    token_endpoint_auth_signing_alg_values_supported: signingAlgorithms,
    introspection_endpoint_auth_methods_supported: ['private_key_jwt', 'Bearer', 'DPoP'],
    introspection_endpoint_auth_signing_alg_values_supported: signingAlgorithms,
    revocation_endpoint_auth_methods_supported: ['none', 'private_key_jwt'],
    revocation_endpoint_auth_signing_alg_values_supported: signingAlgorithms,
    dpop_signing_alg_values_supported: dpopAlgorithms,
    protected_resources: [issuer],
    authorization_details_types_supported: ['task', 'grant'],
    service_documentation: `${issuer}/openapi.json`,
  };
  const document = (path: string, summary: string, body: () => unknown, cache: number): Operation =>
    operation({
      method: 'get',
      path,
      summary,
      tag: 'Discovery',
      access: 'none',
      responses: { 200: { description: summary, schema: z.looseObject({}) } },
      errors: [],
      handle: async () => ({ status: 200, body: body(), headers: { 'Cache-Control': `public, max-age=${cache}` } }),
    });
  return [
    document('/.well-known/oauth-authorization-server', 'OAuth server metadata (RFC 8414)', () => metadata, 3600),
    document(
      '/.well-known/openid-configuration',
      'OpenID discovery: what AWS and Google need to trust the broker’s identity tokens',
      () => ({
        ...metadata,
        // Required members of OpenID discovery; the broker signs identity tokens for its own federation only;
        // nobody signs in with it.
        authorization_endpoint: `${issuer}/login`,
        response_types_supported: ['id_token'],
        subject_types_supported: ['public'],
        id_token_signing_alg_values_supported: ringAlgorithms,
        claims_supported: ['iss', 'sub', 'aud', 'iat', 'exp', 'jti'],
      }),
      3600,
    ),
    document(
      resourceMetadataPath,
      'Protected resource metadata (RFC 9728): whose tokens the API takes, and how',
      () => ({
        resource: issuer,
        authorization_servers: [issuer],
        bearer_methods_supported: ['header'],
        dpop_signing_alg_values_supported: dpopAlgorithms,
        dpop_bound_access_tokens_required: requireDpop,
        authorization_details_types_supported: ['task'],
        resource_name: 'Writ',
        resource_documentation: `${issuer}/openapi.json`,
      }),
      3600,
    ),
    document('/.well-known/jwks.json', 'The keys that verify what the broker signs', () => ring.jwks(), jwksSeconds),
  ];
}
