/**
 * An authenticator in software, for what a browser's virtual one cannot be made to do, and where no browser
 * runs. Like a browser it signs for the page's own origin alone, unless a test tells it to lie.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import type {
  AuthenticationResponseJSON,
  PublicKeyCredentialCreationOptionsJSON,
  PublicKeyCredentialRequestOptionsJSON,
  RegistrationResponseJSON,
} from '@simplewebauthn/server';
import type { Identity } from '../identity.ts';
import type { Login } from '../login.ts';
import { beginRegistration, finishRegistration } from './registration.ts';
import type { PasskeyDeps } from './relying-party.ts';

/** Somebody who has a passkey, registered as they would, in a login of their own. */
export async function holderOf(deps: PasskeyDeps, identity: Identity, counts = true) {
  const key = new SoftwareAuthenticator(new URL(deps.publicUrl).origin, counts);
  const signedInAt = deps.clock.now();
  const login: Login = { id: `login of ${identity.subject}`, identity, method: 'fresh_oidc', signedInAt, csrf: 'x' };
  const { creation } = await beginRegistration(deps, login, 'req');
  const signed = { creation: { token: creation.token, response: key.create(creation.options) }, assertion: null };
  const id = await finishRegistration(deps, login, 'a passkey', signed, 'req');
  return { id, key, login };
}

/** What an honest authenticator in an honest browser would not do. */
export interface Lies {
  origin?: string;
  rpId?: string;
  crossOrigin?: boolean;
  /** Without user verification. */
  unverified?: boolean;
  /** The counter it shows, in place of the next one. */
  count?: number;
  type?: string;
}

const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest();
const base64url = (data: Uint8Array | string) => Buffer.from(data).toString('base64url');

/** CBOR of what a key and an attestation are made of. */
function cbor(value: unknown): Buffer {
  const head = (major: number, length: number) => {
    if (length < 24) return Buffer.from([(major << 5) | length]);
    if (length < 256) return Buffer.from([(major << 5) | 24, length]);
    return Buffer.from([(major << 5) | 25, length >> 8, length & 255]);
  };
  if (typeof value === 'number') return value >= 0 ? head(0, value) : head(1, -1 - value);
  if (typeof value === 'string') return Buffer.concat([head(3, Buffer.byteLength(value)), Buffer.from(value)]);
  if (value instanceof Uint8Array) return Buffer.concat([head(2, value.length), value]);
  const entries = [...(value as Map<unknown, unknown>)];
  return Buffer.concat([head(5, entries.length), ...entries.flatMap(([key, member]) => [cbor(key), cbor(member)])]);
}

export class SoftwareAuthenticator {
  readonly credentialId = randomBytes(32);
  readonly #origin: string;
  readonly #counts: boolean;
  readonly #privateKey: KeyObject;
  readonly #cose: Buffer;
  #count = 0;

  /** @param counts whether it has a signature counter; those that sync keys have none */
  constructor(origin: string, counts = true) {
    this.#origin = origin;
    this.#counts = counts;
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#privateKey = privateKey;
    const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
    const coordinate = (text: string) => Buffer.from(text, 'base64url');
    const key: [number, unknown][] = [
      [1, 2],
      [3, -7],
      [-1, 1],
      [-2, coordinate(x)],
      [-3, coordinate(y)],
    ];
    this.#cose = cbor(new Map(key));
  }

  #clientData(type: string, challenge: string, { origin = this.#origin, crossOrigin = false, ...lies }: Lies): Buffer {
    return Buffer.from(JSON.stringify({ type: lies.type ?? type, challenge, origin, crossOrigin }));
  }

  #data(rpId: string, lies: Lies, attested?: Buffer): Buffer {
    if (lies.count !== undefined) this.#count = lies.count;
    else if (this.#counts) this.#count += 1;
    const flags = 0x01 | (lies.unverified === true ? 0 : 0x04) | (attested === undefined ? 0 : 0x40);
    const count = Buffer.alloc(4);
    count.writeUInt32BE(this.#count);
    return Buffer.concat([sha256(lies.rpId ?? rpId), Buffer.from([flags]), count, attested ?? Buffer.alloc(0)]);
  }

  #checkHost(rpId: string | undefined, lies: Lies): string {
    const host = new URL(lies.origin ?? this.#origin).hostname;
    if (rpId === undefined || (lies.origin === undefined && host !== rpId)) throw new Error(`${host} is not ${rpId}`);
    return rpId;
  }

  create(options: PublicKeyCredentialCreationOptionsJSON, lies: Lies = {}): RegistrationResponseJSON {
    const rpId = this.#checkHost(options.rp.id, lies);
    if (
      options.excludeCredentials?.some(({ id }) => id === base64url(this.credentialId)) === true &&
      lies.count === undefined
    )
      throw new Error('InvalidStateError');
    const attested = Buffer.concat([
      Buffer.alloc(16),
      Buffer.from([0, this.credentialId.length]),
      this.credentialId,
      this.#cose,
    ]);
    const attestation = new Map<string, unknown>([
      ['fmt', 'none'],
      ['attStmt', new Map()],
      ['authData', this.#data(rpId, lies, attested)],
    ]);
    const id = base64url(this.credentialId);
    return {
      id,
      rawId: id,
      type: 'public-key',
      clientExtensionResults: {},
      response: {
        clientDataJSON: base64url(this.#clientData('webauthn.create', options.challenge, lies)),
        attestationObject: base64url(cbor(attestation)),
        transports: ['internal'],
      },
    };
  }

  get(options: PublicKeyCredentialRequestOptionsJSON, lies: Lies = {}): AuthenticationResponseJSON {
    const rpId = this.#checkHost(options.rpId, lies);
    const clientData = this.#clientData('webauthn.get', options.challenge, lies);
    const data = this.#data(rpId, lies);
    const id = base64url(this.credentialId);
    return {
      id,
      rawId: id,
      type: 'public-key',
      clientExtensionResults: {},
      response: {
        clientDataJSON: base64url(clientData),
        authenticatorData: base64url(data),
        signature: base64url(sign('sha256', Buffer.concat([data, sha256(clientData)]), this.#privateKey)),
      },
    };
  }
}
