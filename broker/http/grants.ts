/** `/v1/grants`: ask, wait, redeem. */

import { z } from 'zod';
import { errorTable } from '../core/errors.ts';
import type { LongPoller } from '../core/long-poller.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import { checkCredentialJwk } from '../grants/deliver.ts';
import { historyReads } from '../grants/history.ts';
import { withdraw } from '../grants/issue-grant.ts';
import { decidedGrants, readGrant, waitForGrant } from '../grants/read-grant.ts';
import { redeemGrant, redemptionReads } from '../grants/redeem-grant.ts';
import { type BatchAnswer, mostTogether, requestBatch } from '../grants/request-batch.ts';
import {
  type GrantAnswer,
  type GrantDeps,
  type GrantRequest,
  grantReads,
  requestGrant,
} from '../grants/request-grant.ts';
import type { GrantView } from '../grants/view.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';
import { sleepBound } from '../sessions/sleep.ts';
import { credentialSchema } from './credential-schema.ts';
import { idempotencyKeyOf } from './idempotency-key.ts';
import { named } from './named-schemas.ts';
import { type Answer, mayNotAct, type Operation, operation } from './operation.ts';
import { problemOf } from './problem.ts';
import { problemSchema, reasonSchema } from './problem-schema.ts';
import { idOf, inDigits, line, prose } from './text.ts';

const jsonObject = z.record(z.string(), z.unknown()) as unknown as z.ZodType<JsonObject>;
const credentialJwk = jsonObject.describe(
  'Public key (EC P-256/P-384/P-521 or X25519): the credential comes back as a JWE to it (ECDH-ES, A256GCM).',
);

export const grantBody = z.strictObject({
  capability: line(63).describe('Name of the capability in the agent’s manifest.'),
  params: jsonObject
    .optional()
    .describe('What the manifest lets the agent choose; what it fixes may be repeated, not changed.'),
  ttl_seconds: z.int().min(1).max(604_800).optional().describe('Lifetime asked for; never more is given. Default 900.'),
  justification: prose(2000).optional().describe('For people and for the record. Decides nothing.'),
  credential_jwk: credentialJwk.optional(),
});

const approvalUrl = z.string().describe('Where an approver signs in and decides. The link alone grants nothing.');
const leaseSchema = z.object({ id: z.string(), status: z.string(), expires_at: z.string() });

export const grantSchema = named(
  'GrantView',
  z
    .object({
      id: z.string(),
      status: z.enum(['pending', 'approved', 'denied', 'issuing', 'issued', 'failed', 'ended']),
      capability: z.string(),
      tier: z.int(),
      ttl_seconds: z.int(),
      plan: z.object({
        provider: z.string(),
        permission: z.record(z.string(), z.unknown()),
        ttl_seconds: z.int(),
        state: z
          .object({ round: z.int(), seen: z.record(z.string(), z.unknown()) })
          .optional()
          .describe(
            'What was read at the target when it was decided on, where the manifest wants that approved as well.',
          ),
        digest: z.string(),
      }),
      narrowed: z
        .literal(true)
        .optional()
        .describe('An approver left something out of what was asked for: `plan` and `summary` say what there is.'),
      summary: z.array(z.string()).describe('The plan in plain words.'),
      revocability: z.object({ kind: z.enum(['immediate', 'eventual', 'expiry']), text: z.string() }),
      reasons: z.array(reasonSchema).optional(),
      decide_by: z.string().optional(),
      approvals: z
        .array(
          z.object({
            needed: z.int(),
            from: z.array(z.string()).optional(),
            given: z.array(z.object({ by: z.string(), at: z.string() })),
          }),
        )
        .optional()
        .describe('Of a grant that waits: how many of whom must approve, and who has. Each must be complete.'),
      approval_url: approvalUrl.optional(),
      batch: z
        .string()
        .optional()
        .describe(
          'People decide on it together with others that were asked for with it: the request that lists them all, read like a grant.',
        ),
      lease: leaseSchema.optional(),
    })
    .describe('A grant. Never a credential.'),
);

const waitingSchema = named(
  'WaitingGrant',
  grantSchema
    .omit({ lease: true })
    .extend({
      status: z.literal('pending'),
      decide_by: z.string(),
      approval_url: approvalUrl,
      needs_approval: z
        .object({
          wait: z
            .string()
            .describe('Ask here, as often as you like: it answers when somebody has decided, or after `wait` seconds.'),
          collect: z.string().describe('`POST` here once it is approved.'),
          until: z
            .string()
            .describe('Undecided by then it is denied; of a session that sleeps, when its sleep is over.'),
          sleep_until: z
            .string()
            .optional()
            .describe(
              'Nobody need wait: the session may sleep (`POST /v1/session/sleep`) until then. Absent = it may not.',
            ),
        })
        .describe('How to go on, now or after hours.'),
    })
    .describe('A grant that waits for a person, and how to go on.'),
);

/** @param credential shape of what the providers in use mint */
const issuedSchemaWith = (credential: z.ZodType) =>
  named(
    'IssuedGrant',
    grantSchema
      .extend({
        credential: credential.optional().describe('Delivered once, unless it was sealed.'),
        credential_jwe: z.string().optional().describe('The credential sealed to `credential_jwk`.'),
        decision: z.string().describe('The signed decision (JWS) that the delivering side acted on.'),
        lease: leaseSchema,
      })
      .describe('A grant with its credential.'),
  );

const batchSchemaOf = (issued: z.ZodType) =>
  z.object({
    answers: z
      .array(z.object({ status: z.int(), body: z.union([issued, waitingSchema, grantSchema, problemSchema]) }))
      .describe('Status and body that `POST /v1/grants` would have answered each with.'),
  });

const requestOf = (body: z.output<typeof grantBody>, address: string | undefined): GrantRequest => ({
  capability: body.capability,
  params: body.params,
  ttlSeconds: body.ttl_seconds,
  justification: body.justification ?? null,
  credentialJwk: body.credential_jwk ?? null,
  address: address ?? null,
});

export function grantOperations(deps: GrantDeps & { poller: LongPoller; maxSleepSeconds: number }): Operation[] {
  const decided = decidedGrants(deps.store);
  const params = z.object({ id: idOf('gnt') });
  const issuedSchema = issuedSchemaWith(credentialSchema(deps.providers.values()));

  /** Everything to go on with after a person's decision, without waiting for it. */
  const howToGoOn = async (grant: GrantView, session: SessionFacts) => {
    const asleepUntil = await sleepBound(deps, session, deps.clock.now());
    const at = `${deps.publicUrl}/v1/grants/${grant.id}`;
    return {
      ...grant,
      needs_approval: {
        wait: `${at}?wait=60`,
        collect: `${at}/redeem`,
        until: grant.decide_by,
        ...(asleepUntil === null ? {} : { sleep_until: asleepUntil.toISOString() }),
      },
    };
  };

  const answerOf = async (answer: GrantAnswer, session: SessionFacts, requestId: string): Promise<Answer> => {
    switch (answer.outcome) {
      case 'issued':
        return {
          status: 201,
          body: { ...answer.grant, ...answer.delivery, decision: answer.decision },
          headers: { Location: `/v1/grants/${answer.grant.id}` },
          undelivered: () => withdraw(deps, answer.grant.lease!.id, requestId),
        };
      case 'pending':
        return {
          status: 202,
          body: await howToGoOn(answer.grant, session),
          headers: { Location: `/v1/grants/${answer.grant.id}`, 'Retry-After': '2' },
        };
      case 'repeated': {
        const grant = await readGrant(deps, session.id, answer.grantId);
        const pending = grant.status === 'pending';
        return {
          status: pending ? 202 : 200,
          body: pending ? await howToGoOn(grant, session) : grant,
          headers: { Location: `/v1/grants/${grant.id}`, ...(pending ? { 'Retry-After': '2' } : {}) },
        };
      }
    }
  };

  const eachOf = async (answer: BatchAnswer, session: SessionFacts, requestId: string): Promise<Answer> =>
    answer.outcome === 'refused'
      ? { status: errorTable[answer.error.code].status, body: problemOf(answer.error, deps.publicUrl, requestId) }
      : answerOf(answer, session, requestId);

  const undeliver = async (answers: readonly BatchAnswer[], requestId: string) => {
    for (const answer of answers)
      if (answer.outcome === 'issued') await withdraw(deps, answer.grant.lease!.id, requestId);
  };

  return [
    operation({
      method: 'post',
      path: '/v1/grants',
      needsClock: true,
      busy: true,
      summary: 'Ask for a capability',
      tag: 'Grants',
      access: 'session',
      body: grantBody,
      headers: { 'Idempotency-Key': 'The same key and body again is the same grant, without a second credential.' },
      responses: {
        200: {
          description: 'The same Idempotency-Key and body as before: the grant as it stands, without its credential',
          schema: grantSchema,
        },
        201: { description: 'Issued, with the credential', schema: issuedSchema },
        202: { description: 'A person must approve; see `Location` and `approval_url`', schema: waitingSchema },
      },
      errors: [
        'bad_request',
        ...mayNotAct,
        'denied',
        'idempotency_mismatch',
        'rate_limited',
        'provider_refused',
        'provider_unavailable',
        'conflict',
        'unavailable',
      ],
      reads: async ({ body, header, address }, { agent }) => ({
        ...grantReads(deps, body.capability, idempotencyKeyOf(header)),
        ...(await historyReads(deps, agent, body.capability, body.params, address ?? null)),
      }),
      handle: async ({ body, header, address, requestId }, session) => {
        const key = idempotencyKeyOf(header);
        if (body.credential_jwk !== undefined) await checkCredentialJwk(body.credential_jwk);
        const answer = await requestGrant(deps, session, requestOf(body, address), key, requestId);
        return answerOf(answer, session, requestId);
      },
    }),
    operation({
      method: 'post',
      path: '/v1/grants/batch',
      needsClock: true,
      summary: 'Ask for several capabilities of one task at once',
      tag: 'Grants',
      access: 'session',
      body: z.strictObject({
        requests: z
          .array(grantBody)
          .min(1)
          .max(mostTogether)
          .describe('Each as in `POST /v1/grants`. All that people must decide on is put to them at once.'),
      }),
      headers: { 'Idempotency-Key': 'The same key and body again are the same grants, without second credentials.' },
      responses: {
        200: {
          description:
            'What each came to, in their order: allowed, denied, or waiting. Those that wait and need the same people have the same `batch`: one decision is on all of them, and an approver may take single ones out. Each is collected by itself.',
          schema: batchSchemaOf(issuedSchema),
        },
      },
      errors: ['bad_request', ...mayNotAct, 'unavailable'],
      handle: async ({ body, header, address, requestId }, session) => {
        const key = idempotencyKeyOf(header);
        for (const { credential_jwk } of body.requests)
          if (credential_jwk !== undefined) await checkCredentialJwk(credential_jwk);
        const requests = body.requests.map((one) => requestOf(one, address));
        const answers = await requestBatch(deps, session, requests, key, requestId);
        const each = await Promise.all(answers.map((answer) => eachOf(answer, session, requestId))).catch(
          async (error: unknown) => {
            await undeliver(answers, requestId);
            throw error;
          },
        );
        return {
          status: 200,
          body: { answers: each.map(({ status, body }) => ({ status, body })) },
          undelivered: () => undeliver(answers, requestId),
        };
      },
    }),
    operation({
      method: 'get',
      path: '/v1/grants/:id',
      summary: 'Read a grant, or wait for its decision',
      tag: 'Grants',
      access: 'session',
      params,
      query: z.strictObject({
        wait: inDigits(z.int().min(0).max(60).default(0)).describe(
          'Seconds to wait, at most, while the grant is pending.',
        ),
      }),
      responses: { 200: { description: 'The grant', schema: grantSchema } },
      errors: [...mayNotAct, 'not_found', 'rate_limited'],
      liveness: 'ended_too',
      handle: async ({ params: { id }, query, signal }, session) => {
        const grant = await waitForGrant(deps, session.id, id, {
          seconds: query.wait,
          signal,
          poller: deps.poller,
          decided,
        });
        return { status: 200, body: grant, headers: grant.status === 'pending' ? { 'Retry-After': '2' } : {} };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/grants/:id/redeem',
      needsClock: true,
      summary: 'Collect the credential of an approved grant, once',
      tag: 'Grants',
      access: 'session',
      params,
      body: z.strictObject({ credential_jwk: credentialJwk.optional() }),
      bodyOptional: true,
      responses: { 201: { description: 'Issued, with the credential', schema: issuedSchema } },
      errors: [
        ...mayNotAct,
        'not_found',
        'not_approved',
        'already_redeemed',
        'conflict',
        'grant_failed',
        'denied',
        'provider_refused',
        'provider_unavailable',
      ],
      reads: ({ params: { id } }, caller) => redemptionReads(deps, caller.sessionId, id),
      handle: async ({ params: { id }, body, address, requestId }, session) => {
        if (body.credential_jwk !== undefined) await checkCredentialJwk(body.credential_jwk);
        const answer = await redeemGrant(deps, session, id, body.credential_jwk ?? null, address ?? null, requestId);
        return answerOf(answer, session, requestId);
      },
    }),
  ];
}
