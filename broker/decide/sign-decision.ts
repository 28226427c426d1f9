/**
 * Signs and verifies decisions, so that the delivering side need not trust its caller (invariant 2). A
 * compact JWS (RFC 7515), ES256, good for a minute at most. Header and payload are read strictly: nothing
 * unknown, nothing missing.
 */
import type { KeyObject } from 'node:crypto';
import { z } from 'zod';
import { signEs256, verifyEs256 } from '../keys/es256.ts';
import type { OwnSignatures } from '../keys/own-signatures.ts';

const decisionType = 'writ-decision+jwt';
const maxDecisionSeconds = 60;
/** How far ahead of ours the clock of the process that signed may be. */
const clockSkewSeconds = 5;
const maxJwsLength = 16_384;

/** A P-256 key that signs; a member of the key ring fits. */
export interface DecisionKey {
  kid: string;
  privateKey: KeyObject;
  own?: OwnSignatures;
}

export interface VerifyingKey {
  kid: string;
  publicKey: KeyObject;
  /** Absent: whatever this key signed is verified by computing. */
  own?: OwnSignatures;
}

const text = z.string().min(1);
const count = z.int().min(0);

const HeaderSchema = z.strictObject({ alg: z.literal('ES256'), typ: z.literal(decisionType), kid: text });

const PayloadSchema = z.strictObject({
  grant_id: text,
  /** The one credential it allows: the same decision delivers no second one. */
  lease_id: text,
  session_id: text,
  agent: text,
  capability: text,
  plan_digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  tier: z.literal([1, 2, 3]),
  effect: z.enum(['allow', 'deny', 'approve']),
  ttl_seconds: z.int().min(1),
  manifest_version: count,
  policy_ids: z.array(text),
  /** Who approved, e.g. `user:a@example.com`: required from tier 2 on. */
  approved_by: z.array(text).min(1).optional(),
  /** The break-glass that gave it; `approved_by` are the two. */
  break_glass: text.optional(),
  iat: count,
  exp: count,
});

/** What is signed; `iat` and `exp` are added. */
export type DecisionPayload = Omit<z.output<typeof PayloadSchema>, 'iat' | 'exp'>;
export type SignedDecision = z.output<typeof PayloadSchema>;

export type DecisionRefusal =
  | 'malformed'
  | 'unknown_key'
  | 'bad_signature'
  | 'not_yet_valid'
  | 'expired'
  | 'not_an_allow';

/** A decision that must not be acted on. Holds no part of the token. */
export class DecisionRefused extends Error {
  readonly reason: DecisionRefusal;
  constructor(reason: DecisionRefusal) {
    super(`the signed decision does not hold: ${reason}`);
    this.name = 'DecisionRefused';
    this.reason = reason;
  }
}

/** Signs a decision, valid from `now` for `maxDecisionSeconds`. */
export function signDecision(payload: DecisionPayload, key: DecisionKey, now: Date): string {
  const iat = seconds(now);
  const whole: SignedDecision = PayloadSchema.parse({ ...payload, iat, exp: iat + maxDecisionSeconds });
  const input = `${encode({ alg: 'ES256', typ: decisionType, kid: key.kid })}.${encode(whole)}`;
  const jws = `${input}.${signEs256(input, key.privateKey).toString('base64url')}`;
  key.own?.add(jws);
  return jws;
}

/**
 * Verifies a decision for delivery: a signature by one of `keys`, current, an allow, and with an approver
 * from tier 2 on. The caller still compares grant, lease, session and the plan digest it recomputed. Throws
 * DecisionRefused.
 */
export function verifyDecision(jws: string, keys: readonly VerifyingKey[], now: Date): SignedDecision {
  const parts = typeof jws === 'string' && jws.length <= maxJwsLength ? jws.split('.') : [];
  const [header, payload, signature] = parts;
  if (parts.length !== 3 || header === undefined || payload === undefined || signature === undefined) {
    throw new DecisionRefused('malformed');
  }
  const { kid } = read(HeaderSchema, header);
  const key = keys.find((candidate) => candidate.kid === kid);
  if (key === undefined) throw new DecisionRefused('unknown_key');
  if (key.own?.take(jws) !== true && !verifyEs256(`${header}.${payload}`, decode(signature), key.publicKey)) {
    throw new DecisionRefused('bad_signature');
  }
  const decision = read(PayloadSchema, payload);
  const at = seconds(now);
  if (decision.exp - decision.iat > maxDecisionSeconds || decision.exp <= decision.iat)
    throw new DecisionRefused('malformed');
  if (decision.iat > at + clockSkewSeconds) throw new DecisionRefused('not_yet_valid');
  if (decision.exp <= at) throw new DecisionRefused('expired');
  if (decision.effect !== 'allow') throw new DecisionRefused('not_an_allow');
  if (decision.tier >= 2 && decision.approved_by === undefined) throw new DecisionRefused('not_an_allow');
  return decision;
}

function seconds(at: Date): number {
  return Math.floor(at.getTime() / 1000);
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

/** Node decodes base64url leniently; one token must have one spelling. */
function decode(part: string): Buffer {
  const bytes = Buffer.from(part, 'base64url');
  if (bytes.toString('base64url') !== part) throw new DecisionRefused('malformed');
  return bytes;
}

function read<T>(schema: z.ZodType<T>, part: string): T {
  const bytes = decode(part);
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw new DecisionRefused('malformed');
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new DecisionRefused('malformed');
  return parsed.data;
}
