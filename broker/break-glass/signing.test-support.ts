/** People with passkeys: real ones, of an authenticator in software. */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../core/vocabulary.ts';
import type { Identity } from '../people/identity.ts';
import { SoftwareAuthenticator } from '../people/passkeys/authenticator.test-support.ts';
import { beginRegistration, finishRegistration, readCreation } from '../people/passkeys/registration.ts';
import { takeOnce } from '../sessions/take-once.ts';
import type { Store } from '../store/open.ts';
import { type ToSign, toBeSigned } from './passkey.ts';

const publicUrl = 'https://writ.example';

export function openSigning(store: Store, clock: Clock) {
  const deps = {
    store,
    clock,
    publicUrl,
    passkeyKey: randomBytes(32),
    once: (key: string, until: Date) => takeOnce(store, key, until),
  };
  const keys = new Map<string, SoftwareAuthenticator>();
  /** Of each person one, made when it is first needed. */
  async function keyOf(identity: Identity): Promise<SoftwareAuthenticator> {
    const name = `${identity.issuer} ${identity.subject}`;
    const known = keys.get(name);
    if (known !== undefined) return known;
    const key = new SoftwareAuthenticator(publicUrl);
    const login = { id: 'login', identity, method: 'fresh_oidc', signedInAt: clock.now(), csrf: 'x' } as const;
    const { creation } = await beginRegistration(deps, login, 'req');
    const made = readCreation(JSON.stringify({ token: creation.token, response: key.create(creation.options) }));
    await finishRegistration(deps, login, 'key', { creation: made!, assertion: null }, 'req');
    keys.set(name, key);
    return key;
  }
  return {
    deps,
    /** @param by whose passkey signs, when it is another's @returns what the browser sends */
    sign: async (toSign: ToSign, by: Identity = toSign.identity): Promise<string> => {
      await keyOf(toSign.identity);
      const key = await keyOf(by);
      const { options, token } = await toBeSigned(deps, toSign);
      return JSON.stringify({ token, response: key.get(options) });
    },
  };
}
