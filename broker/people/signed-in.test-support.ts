/** A browser in which a person is signed in already, without the identity provider. */
import { createHash, randomBytes } from 'node:crypto';
import type { Store } from '../store/open.ts';
import { type Identity, identityRecord } from './identity.ts';
import { type LoginMethod, loginProven } from './login-method.ts';

const seconds = 8 * 3600;

/** @returns its cookie, and what its forms carry */
export async function signedIn(
  { proofs, prisma }: Store,
  identity: Identity,
  now: Date,
  method: LoginMethod = 'oidc',
  /** Issuer and client id of the broker; null = none is configured. */
  idp: string | null = null,
): Promise<{ cookie: string; csrf: string }> {
  const token = randomBytes(32).toString('base64url');
  const row = {
    token_hash: createHash('sha256').update(token).digest('hex'),
    identity: identityRecord(identity),
    csrf: randomBytes(32).toString('base64url'),
    created_at: now,
    checked_at: now,
    sealed: null,
    expires_at: new Date(now.getTime() + seconds * 1000),
  };
  await prisma.login.create({
    data: {
      tokenHash: row.token_hash,
      identity: row.identity,
      csrf: row.csrf,
      createdAt: now,
      checkedAt: now,
      expiresAt: row.expires_at,
      method,
      idp,
      proof: proofs.make('login', loginProven({ ...row, method, idp })),
    },
  });
  return { cookie: `writ_login=${token}`, csrf: row.csrf };
}
