/** Installation tokens: one per POST, dead after an hour or after DELETE /installation/token. */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../broker/core/vocabulary.ts';
import type { Installation, Permissions, Repository } from './seed.ts';

export type TokenFormat = 'short' | 'stateless';

export interface Token {
  value: string;
  installation: Installation;
  permissions: Permissions;
  repositories: Repository[];
  expiresAt: Date;
  revoked: boolean;
}

export interface Ledger {
  mint(installation: Installation, permissions: Permissions, repositories: Repository[], format: TokenFormat): Token;
  /** The token if GitHub would still accept it: known, not expired, not revoked. */
  live(value: string): Token | null;
  /** Every token that still works: what is left over after a test that should have left nothing. */
  allLive(): Token[];
}

export function openLedger(clock: Clock, appId: number): Ledger {
  const tokens = new Map<string, Token>();
  const isLive = (token: Token) => !token.revoked && clock.now() < token.expiresAt;
  return {
    mint(installation, permissions, repositories, format) {
      // GitHub shows whole seconds; rounding down keeps what it says within its hour.
      const expiresAt = new Date(Math.floor(clock.now().getTime() / 1000) * 1000 + 3_600_000);
      const value = format === 'short' ? shortToken() : statelessToken(appId, installation.id, expiresAt);
      const token = { value, installation, permissions, repositories, expiresAt, revoked: false };
      tokens.set(value, token);
      return token;
    },
    live(value) {
      const token = tokens.get(value);
      return token !== undefined && isLive(token) ? token : null;
    },
    allLive: () => [...tokens.values()].filter(isLive),
  };
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const shortToken = () => `ghs_${[...randomBytes(36)].map((byte) => alphabet[byte % alphabet.length]).join('')}`;

/**
 * The shape of `ghs_APPID_JWT`, about 520 characters. Clients must treat it as opaque, so its signature is
 * random bytes.
 */
function statelessToken(appId: number, installationId: number, expiresAt: Date): string {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const payload = {
    iss: appId,
    sub: installationId,
    exp: expiresAt.getTime() / 1000,
    jti: randomBytes(16).toString('hex'),
  };
  return `ghs_${appId}_${encode({ alg: 'RS256', typ: 'JWT' })}.${encode(payload)}.${randomBytes(256).toString('base64url')}`;
}
