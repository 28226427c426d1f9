/**
 * Signs what a session may call without asking: a compact JWS (RFC 7515), ES256, of a type of its own, so
 * that it is taken for no token. Good for a minute at most.
 */
import { compactVerify, decodeProtectedHeader } from 'jose';
import { z } from 'zod';
import type { Clock } from '../core/vocabulary.ts';
import { signEs256Aside } from '../keys/es256.ts';
import type { KeyRing } from '../keys/ring.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';
import type { SnapshotTool } from './snapshot.ts';

export const snapshotType = 'writ-snapshot+jwt';

export interface SnapshotSigning {
  ring: KeyRing;
  clock: Clock;
  /** The broker's. */
  issuer: string;
  /** 0 = none is given. */
  snapshotSeconds: number;
}

const text = z.string().min(1);
const scalar = z.union([z.string(), z.number(), z.boolean()]);
/** Of what is signed, what a report is held against. */
const SnapshotSchema = z.strictObject({
  iss: text,
  aud: text,
  sub: text,
  sid: text,
  jti: text,
  manifest_version: z.int().min(0),
  iat: z.int().min(0),
  exp: z.int().min(0),
  tools: z.array(
    z.strictObject({
      name: text,
      args: z.array(
        z.strictObject({
          path: text,
          optional: z.boolean(),
          values: z.array(scalar).optional(),
          min: z.number().optional(),
          max: z.number().optional(),
          pattern: z.unknown().optional(),
        }),
      ),
      only: z.array(text).nullable(),
    }),
  ),
});
export type SignedSnapshot = z.output<typeof SnapshotSchema>;

/** @returns null when none is given, or the session is about to end: then every call is asked for */
export async function signSnapshot(
  { ring, clock, issuer, snapshotSeconds }: SnapshotSigning,
  session: SessionFacts,
  manifestVersion: number,
  tools: readonly SnapshotTool[],
): Promise<{ snapshot: string; expiresIn: number } | null> {
  const now = Math.floor(clock.now().getTime() / 1000);
  const lives = Math.min(session.expiresAt.getTime(), session.heartbeatDeadline.getTime());
  const exp = Math.min(now + snapshotSeconds, Math.floor(lives / 1000));
  if (exp <= now) return null;
  const key = ring.current();
  const input = [
    { alg: 'ES256', typ: snapshotType, kid: key.kid },
    {
      iss: issuer,
      aud: issuer,
      sub: session.agent,
      sid: session.id,
      jti: crypto.randomUUID(),
      manifest_version: manifestVersion,
      iat: now,
      exp,
      tools,
    },
  ]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  const signature = await signEs256Aside(input, key.privateKey);
  return { snapshot: `${input}.${signature.toString('base64url')}`, expiresIn: exp - now };
}

/** A snapshot of this session's as it was signed, expired or not; null for anything else. */
export async function readSnapshot(
  { ring, issuer }: SnapshotSigning,
  session: SessionFacts,
  jws: string,
): Promise<SignedSnapshot | null> {
  try {
    const { kid, typ } = decodeProtectedHeader(jws);
    const key = kid === undefined ? undefined : ring.find(kid);
    if (key === undefined || typ !== snapshotType) return null;
    const { payload } = await compactVerify(jws, key.publicKey, { algorithms: ['ES256'] });
    const read = SnapshotSchema.parse(JSON.parse(Buffer.from(payload).toString('utf8')));
    const ours = read.iss === issuer && read.aud === issuer && read.sid === session.id && read.sub === session.agent;
    return ours ? read : null;
  } catch {
    return null;
  }
}
