/**
 * The shape of the trust file: what `z.toJSONSchema(trustFileSchema)` publishes. What a shape cannot say is
 * checked in trust.ts.
 */
import { z } from 'zod';
import { isKind, isOwnerName } from '../core/identifier.ts';

/** Asymmetric only: a shared secret or `none` can never be listed. */
export const signingAlgorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
] as const;
export type SigningAlgorithm = (typeof signingAlgorithms)[number];

const issuerKinds = [
  'github_actions',
  'gitlab',
  'buildkite',
  'terraform',
  'vercel',
  'entra',
  'kubernetes',
  'gcp',
  'spiffe',
  'circleci',
  'bitbucket',
  'generic',
] as const;
export type IssuerKind = (typeof issuerKinds)[number];

const defaultAlgorithms: SigningAlgorithm[] = ['RS256', 'ES256'];

const name = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'Lower-case letters, digits and dashes, 63 at most')
  .describe('A short name: lower-case letters, digits and dashes.');

const address = z.string().min(1).max(255);

const algorithmsBut = (byDefault: SigningAlgorithm[]) =>
  z
    .array(z.enum(signingAlgorithms))
    .min(1)
    .default(byDefault)
    .describe(
      'Signature algorithms accepted from here; anything else is refused before a key is looked up. `EdDSA` and `Ed25519` (RFC 9864) are two names of one.',
    );
const algorithms = algorithmsBut(defaultAlgorithms);
/** Whoever signs for itself chooses by its library. */
const clientAlgorithms = algorithmsBut(['RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519']);

const jwks = z
  .strictObject({ keys: z.array(z.record(z.string(), z.json())).min(1).max(100) })
  .describe('Public keys, written down here instead of fetched (RFC 7517).');

const ca = z
  .string()
  .max(65_536)
  .regex(
    /^\s*(-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*)+$/,
    'Must be certificates in PEM',
  )
  .optional()
  .describe(
    'Certificates (PEM) of the authority that signs its keys’ address, where that is a private one: then no other is trusted for it.',
  );

/** One claim's rule: a value, one of several, or a mapping, which descends into a nested claim. */
export type ClaimRule = Literal | Literal[] | { [claim: string]: ClaimRule };
type Literal = string | number | boolean;
const literal = z.union([z.string().min(1).max(1024), z.int(), z.boolean()]);

const claimRule: z.ZodType<ClaimRule> = z.lazy(() =>
  z.union([literal, z.array(literal).min(1).max(100), z.record(z.string().min(1).max(255), claimRule)]),
);

const issuer = z.strictObject({
  name,
  issuer: address.describe(
    'The exact `iss` of its tokens, an https URL; `spiffe://<trust domain>` for JWT-SVIDs without `iss`, then with `jwks` or `jwks_uri`.',
  ),
  jwks_uri: address
    .optional()
    .describe(
      'Where its keys are; left out, found through its discovery document. Needed when they are on another host than the issuer.',
    ),
  jwks: jwks.optional(),
  ca,
  audience: z
    .union([address, z.array(address).min(1).max(20)])
    .optional()
    .describe(
      'The `aud` its tokens carry for this broker, when it cannot be the broker’s own; one or a list. Unique to this broker.',
    ),
  other_audiences: z
    .boolean()
    .default(false)
    .describe(
      'Take tokens that are for others as well. Each of them could open a session here with the token it was sent.',
    ),
  algorithms,
  kind: z
    .enum(issuerKinds)
    .optional()
    .describe(
      'Which claims pin an owner there: a binding must hold one of them. Left out, what is known of the address, else `generic`; an address that is known has no other.',
    ),
  max_token_age: z
    .string()
    .regex(/^[1-9][0-9]{0,5}[smh]$/, 'A duration such as 90s, 10m or 1h')
    .default('1h')
    .describe('Tokens issued longer ago are refused, whatever their `exp`.'),
  single_use: z
    .boolean()
    .default(false)
    .describe(
      'A token opens one session. Left out, a token opens sessions for the DPoP key that showed it first, as long as it holds: platforms such as Kubernetes hand out one for an hour. Without a DPoP key a token always counts once.',
    ),
});

const personClaim = z.string().min(1).max(255);

const personKind = z
  .string()
  .refine(isKind, 'A kind is lower-case letters, digits and underscores, 63 at most; not `team`, `user` or `agent`');

const responsible = z
  .string()
  .refine(isOwnerName, 'Must be team:<group>, user:<e-mail> or user:<kind>:<value>')
  .optional()
  .describe(
    'Who answers for these runs, `team:<group>`, `user:<e-mail>` or `user:<kind>:<value>`: counts as their starter, so none of them approves. Where nothing says who started a run and nobody is named here, two people must approve.',
  );

const binding = z.strictObject({
  issuer: name.describe('Name of an issuer above.'),
  claims: z
    .record(z.string().min(1).max(255), claimRule)
    .describe(
      'Every one must hold, and one must pin whose the workload is. A text, number or boolean is compared literally, of a list any one; `{pattern: …}` is an RE2 expression that must match the whole value; any other mapping descends into a nested claim.',
    ),
  agent: name,
  started_by_claim: personClaim
    .optional()
    .describe('Claim that names the person who started the run, who can never approve it. Dots descend.'),
  started_by_kind: personKind
    .optional()
    .describe(
      'Kind of that name: `email`, `subject`, `oid`, `username`, or one of `WRIT_OIDC_ALIAS_CLAIMS`. Left out where the claim says it (`email`, `sub`, `oid`), or where there is one alias claim.',
    ),
  on_behalf_of_claim: personClaim
    .optional()
    .describe('Claim that names the person the run acts for, who can never approve it. Dots descend.'),
  on_behalf_of_kind: personKind.optional().describe('Kind of that name, as for `started_by_kind`.'),
  responsible,
});

const clientId = z.string().regex(/^[\x21-\x7e]{1,255}$/, 'Printable ASCII without spaces, 255 at most');

const client = z.strictObject({
  agent: name,
  client_id: clientId,
  jwks_uri: address.optional(),
  jwks: jwks.optional(),
  ca,
  algorithms: clientAlgorithms,
  responsible,
});

const resourceServer = z.strictObject({
  client_id: clientId,
  jwks_uri: address.optional(),
  jwks: jwks.optional(),
  ca,
  algorithms: clientAlgorithms,
});

export const trustFileSchema = z.strictObject({
  issuers: z.array(issuer).max(200).default([]).describe('Who may vouch for agents. Nobody else is ever asked.'),
  bindings: z.array(binding).max(10_000).default([]).describe('From a token of an issuer to the agent it stands for.'),
  clients: z
    .array(client)
    .max(10_000)
    .default([])
    .describe('Agents that sign for themselves: `private_key_jwt`, RFC 7523.'),
  resource_servers: z
    .array(resourceServer)
    .max(1_000)
    .default([])
    .describe(
      'Services that take session tokens and ask about them (`POST /oauth/introspect`, RFC 7662), with a key of their own (`private_key_jwt`). They may ask, and nothing else.',
    ),
});

export type TrustFile = z.output<typeof trustFileSchema>;
