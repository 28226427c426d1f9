/**
 * How the broker proves itself at the identity provider's token endpoint: with what it has been given, by a
 * method that the provider announces (`token_endpoint_auth_methods_supported`).
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { importPKCS8 } from 'jose';
import * as oidc from 'openid-client';

/** What the broker was given for it: a secret, or a key whose public half the provider knows. */
export interface ClientCredential {
  secret?: string | undefined;
  key?: ClientKey | undefined;
}

export interface ClientKey {
  key: CryptoKey;
  kid?: string | undefined;
}

/** The provider takes none of the methods that the broker has something for. */
export class NoCommonClientAuthentication extends Error {
  /** For the log: the methods that the provider announces. */
  readonly code: string;

  constructor(announced: readonly string[]) {
    super('the identity provider announces no client authentication that the broker is configured for');
    this.name = 'NoCommonClientAuthentication';
    this.code = `announced: ${announced.join(' ')}`.slice(0, 200);
  }
}

/** Decides at each request, when the provider's metadata are known. */
export function clientAuthentication({ secret, key }: ClientCredential): oidc.ClientAuth {
  if (secret === undefined && key === undefined) return oidc.None();
  const methods: { [method: string]: oidc.ClientAuth } = {
    ...(key === undefined
      ? {}
      : { private_key_jwt: oidc.PrivateKeyJwt(key.kid === undefined ? key.key : { key: key.key, kid: key.kid }) }),
    ...(secret === undefined
      ? {}
      : {
          client_secret_basic: oidc.ClientSecretBasic(secret),
          client_secret_post: oidc.ClientSecretPost(secret),
          client_secret_jwt: oidc.ClientSecretJwt(secret),
        }),
  };
  return (provider, client, body, headers) => {
    // OpenID Connect Discovery 1.0 section 3: where nothing is announced, it is this one.
    const announced = provider.token_endpoint_auth_methods_supported ?? ['client_secret_basic'];
    const ours = Object.keys(methods);
    // A key without an announcement: whoever registered it knows that it is taken.
    const chosen =
      ours.find((method) => announced.includes(method)) ??
      (key !== undefined && provider.token_endpoint_auth_methods_supported === undefined
        ? 'private_key_jwt'
        : undefined);
    const method = chosen === undefined ? undefined : methods[chosen];
    if (method === undefined) throw new NoCommonClientAuthentication(announced);
    // Signing takes its time: the library waits for what is returned, whatever its type says.
    return method(provider, client, body, headers);
  };
}

/**
 * Reads a private key: PEM (PKCS #8, SEC 1, PKCS #1) or a JWK, whose `kid` goes along.
 * @throws Error without the key's text
 */
export async function readClientKey(text: string): Promise<ClientKey> {
  const jwk = text.trimStart().startsWith('{') ? (JSON.parse(text) as { kid?: unknown }) : null;
  const key = createPrivateKey(jwk === null ? text : { key: jwk as never, format: 'jwk' });
  const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString();
  const kid = typeof jwk?.kid === 'string' ? jwk.kid : undefined;
  return { key: (await importPKCS8(pem, algorithmOf(key))) as CryptoKey, kid };
}

function algorithmOf(key: KeyObject): string {
  if (key.asymmetricKeyType === 'rsa') return 'RS256';
  if (key.asymmetricKeyType === 'ed25519') return 'EdDSA';
  const curve = { prime256v1: 'ES256', secp384r1: 'ES384', secp521r1: 'ES512' }[
    key.asymmetricKeyDetails?.namedCurve ?? ''
  ];
  if (curve === undefined) throw new Error('the key must be RSA, Ed25519, P-256, P-384 or P-521');
  return curve;
}
