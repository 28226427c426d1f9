/**
 * Where the identity provider pushes Security Event Tokens (RFC 8935). Its answers are that standard's:
 * 202 without a body, or 400 with `err` and `description`.
 */
import { hash } from 'node:crypto';
import { z } from 'zod';
import { WritError } from '../core/errors.ts';
import { networkOf } from '../core/network.ts';
import type { SignalRefusal } from '../core/reasons.ts';
import { Refusal } from '../identity/refusal.ts';
import { type ReceiveDeps, receiveSet } from '../signals/receive.ts';
import { refusalCodes, refusalOf } from '../signals/refusal.ts';
import { carriesBearer } from './bearer.ts';
import { type Answer, type Operation, operation } from './operation.ts';
import type { Refusals } from './refusals.ts';

export interface SignalDeps extends ReceiveDeps {
  /** What the transmitter must send. */
  pushToken: string;
  refusals: Pick<Refusals, 'note'>;
}

/** @param deps null = nothing is pushed here */
export function signalOperations(deps: SignalDeps | null): Operation[] {
  if (deps === null) return [];
  const refuse = async (
    reason: SignalRefusal,
    { err, description }: { err: string; description: string },
    call: { body: string; requestId: string; address: string | undefined },
  ): Promise<Answer> => {
    await deps.refusals.note(networkOf(call.address), {
      chain: 'system',
      type: 'signal.refused',
      requestId: call.requestId,
      payload: { reason, token_sha256: hash('sha256', call.body, 'hex') },
    });
    return { status: 400, body: { err, description }, headers: { 'Content-Language': 'en' } };
  };
  return [
    operation({
      method: 'post',
      path: '/v1/signals',
      summary: 'Take a signal of the identity provider (RFC 8935)',
      tag: 'Signals',
      access: 'none',
      credentials: ['transmitter'],
      bodyType: 'set',
      body: z.string().describe('A Security Event Token (RFC 8417).'),
      headers: { Authorization: 'The transmitter’s bearer token, `WRIT_SIGNALS_PUSH_TOKEN`.' },
      responses: {
        202: { description: 'Taken, now or before' },
        400: {
          description: 'Refused; sent again it will be refused again',
          schema: z.object({ err: z.enum(refusalCodes), description: z.string() }),
        },
      },
      errors: ['unsupported_media_type', 'body_too_large', 'unavailable'],
      handle: async (call) => {
        const { body, header, requestId } = call;
        if (!carriesBearer(header('authorization'), deps.pushToken)) {
          const description = 'The bearer token is not the transmitter’s.';
          return refuse('wrong_push_token', { err: 'authentication_failed', description }, call);
        }
        try {
          await receiveSet(deps, body, { via: 'push', requestId });
          return { status: 202 };
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          if (error.reason === 'issuer_unavailable')
            throw new WritError('unavailable', {
              detail: 'The keys of the transmitter cannot be had at the moment.',
              retryAfterSeconds: 30,
              cause: error,
            });
          return refuse(error.reason, refusalOf(error), call);
        }
      },
    }),
  ];
}
