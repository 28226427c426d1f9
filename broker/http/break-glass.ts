/** `/v1/break-glass`: two people give what policy refuses, for a short time; a third reviews it. */
import { z } from 'zod';
import { agreeToBreakGlass, toAgreeTo } from '../break-glass/agree.ts';
import { askToBreakGlass, type BreakGlassDeps, termsOf, toAskFor } from '../break-glass/ask.ts';
import { closeBreakGlass } from '../break-glass/end.ts';
import { toBeSigned } from '../break-glass/passkey.ts';
import { type ReadDeps, readBreakGlass, readBreakGlasses } from '../break-glass/read-break-glasses.ts';
import { reviewBreakGlass } from '../break-glass/review.ts';
import { type Operation, operation } from './operation.ts';
import { idOf, inDigits, line } from './text.ts';

export type BreakGlassOperationDeps = BreakGlassDeps & ReadDeps;

const text = z.string();
const time = text.nullable();
const breakGlassSchema = z.object({
  id: text,
  agent: text,
  session: text.nullable().describe('The one session it is for; null = any of the agent.'),
  capabilities: z.array(text),
  reason: text,
  incident: text,
  seconds: z.int(),
  state: z
    .enum(['waiting', 'open', 'to_review', 'reviewed', 'lapsed'])
    .describe('`waiting` for another person; `open`; over and `to_review`; `reviewed`; `lapsed`: it never began.'),
  proven: z.boolean().describe('False: its row was not written by this broker. It gives nothing.'),
  asked_by: text,
  asked_at: text,
  agree_by: text.describe('Until when another may agree.'),
  agreed_by: time,
  agreed_at: time,
  expires_at: time,
  ended_at: time,
  ended_how: text
    .nullable()
    .describe(
      '`expired`, `closed`, `signed_off` (the identity provider signed one of the two off); `lapsed` or `refused` where it never began.',
    ),
  ended_by: time,
  end_words: time,
  review_due_at: time,
  overdue: z.boolean(),
  reviewed_by: time,
  reviewed_at: time,
  review: time,
  uses: z
    .array(
      z.object({
        grant: text,
        session: text,
        capability: text,
        at: text,
        lease: text.nullable(),
        lease_status: text.nullable(),
      }),
    )
    .describe('What was given by it.'),
});

const asked = {
  agent: line(63).optional().describe('The agent, by its name. Or `session`.'),
  session: idOf('ses').optional().describe('One session of an agent, by its id.'),
  capabilities: z
    .array(line(63))
    .min(1)
    .max(64)
    .describe('Capabilities that the manifest in force marks with `break_glass`.'),
  reason: line(500).describe('Why; on record, and told to everybody on the alert list.'),
  incident: line(200).describe('The incident it is for, as your other systems name it.'),
  seconds: z
    .int()
    .min(60)
    .max(14_400)
    .optional()
    .describe('For how long, at most `WRIT_BREAK_GLASS_SECONDS`, which is the default.'),
};
const assertion = z
  .looseObject({})
  .describe('What the browser sent back for the options that were asked for: `token`, and `response` of WebAuthn.');
const toSign = z.object({
  digest: text.describe('Of all that is agreed to.'),
  assertion: z.looseObject({}).describe('`options` for `navigator.credentials.get`, and the `token` to send back.'),
});
const params = z.object({ id: idOf('bgl') });
const described = (description: string) => ({ 200: { description, schema: breakGlassSchema } });
const tag = 'Break-glass';

/** @param body as zod has it: members that are left out may be there as undefined */
const requestOf = ({
  agent,
  session,
  capabilities,
  reason,
  incident,
  seconds,
}: z.output<z.ZodObject<typeof asked>>) => ({
  agent,
  session,
  capabilities,
  reason,
  incident,
  seconds,
});

export function breakGlassOperations(deps: BreakGlassOperationDeps): Operation[] {
  return [
    operation({
      method: 'post',
      path: '/v1/break-glass/options',
      summary: 'What the passkey of whoever asks must sign',
      tag,
      access: 'person',
      body: z.strictObject(asked),
      responses: { 200: { description: 'For the browser', schema: toSign } },
      errors: ['bad_request', 'unauthenticated', 'forbidden', 'conflict'],
      handle: async ({ body }, person) => {
        const { terms, digest } = await termsOf(deps, requestOf(body), person.identity);
        const begun = await toBeSigned(deps, { ...person, ...toAskFor(terms), digest });
        return { status: 200, body: { digest, assertion: begun } };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/break-glass',
      summary: 'Ask to break the glass, signed by a passkey',
      tag,
      access: 'person',
      needsClock: true,
      body: z.strictObject({ ...asked, assertion }),
      responses: {
        201: {
          description: 'It waits for another person; everybody on the alert list is told. Nothing is given yet',
          schema: breakGlassSchema,
        },
      },
      errors: ['bad_request', 'unauthenticated', 'forbidden', 'conflict', 'unavailable'],
      handle: async ({ body, requestId }, person) => {
        const signed = JSON.stringify(body.assertion);
        const id = await askToBreakGlass(deps, requestOf(body), person, signed, requestId);
        return { status: 201, body: await readBreakGlass(deps, id, person.identity) };
      },
    }),
    operation({
      method: 'get',
      path: '/v1/break-glass',
      summary: 'The latest break-glasses',
      tag,
      access: 'person',
      query: z.strictObject({ limit: inDigits(z.int().min(1).max(100).default(20)) }),
      responses: {
        200: {
          description:
            'Of those that you may see: all that wait, are open or are to be reviewed, and the latest of the others; youngest first',
          schema: z.object({ break_glasses: z.array(breakGlassSchema) }),
        },
      },
      errors: ['bad_request', 'unauthenticated'],
      handle: async ({ query: { limit } }, { identity }) => ({
        status: 200,
        body: { break_glasses: await readBreakGlasses(deps, limit, identity) },
      }),
    }),
    operation({
      method: 'get',
      path: '/v1/break-glass/:id',
      summary: 'A break-glass, and what was given by it',
      tag,
      access: 'person',
      params,
      responses: described('The break-glass'),
      errors: ['unauthenticated', 'not_found'],
      handle: async ({ params: { id } }, { identity }) => ({
        status: 200,
        body: await readBreakGlass(deps, id, identity),
      }),
    }),
    operation({
      method: 'post',
      path: '/v1/break-glass/:id/options',
      summary: 'What the passkey of the second person must sign',
      tag,
      access: 'person',
      params,
      responses: { 200: { description: 'For the browser', schema: toSign } },
      errors: ['unauthenticated', 'forbidden', 'not_found', 'conflict'],
      handle: async ({ params: { id } }, person) => {
        const { digest } = await toAgreeTo(deps, id, person.identity);
        return {
          status: 200,
          body: { digest, assertion: await toBeSigned(deps, { ...person, about: id, digest }) },
        };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/break-glass/:id/agree',
      summary: 'Agree, as another person than the one who asked, signed by a passkey',
      tag,
      access: 'person',
      needsClock: true,
      params,
      body: z.strictObject({ assertion }),
      responses: described('The glass is broken, until `expires_at` or until somebody closes it'),
      errors: ['bad_request', 'unauthenticated', 'forbidden', 'not_found', 'conflict', 'unavailable'],
      handle: async ({ params: { id }, body, requestId }, person) => {
        await agreeToBreakGlass(deps, id, person, JSON.stringify(body.assertion), requestId);
        return { status: 200, body: await readBreakGlass(deps, id, person.identity) };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/break-glass/:id/close',
      summary: 'Close it, or refuse it while it waits',
      tag,
      access: 'person',
      params,
      body: z.strictObject({ reason: line(500).describe('Why; on record.') }),
      responses: described('It gives nothing any more; what was given by it is being revoked'),
      errors: ['bad_request', 'unauthenticated', 'forbidden', 'not_found', 'conflict'],
      handle: async ({ params: { id }, body: { reason }, requestId }, { identity }) => {
        await closeBreakGlass(deps, { id, person: identity, words: reason, requestId });
        return { status: 200, body: await readBreakGlass(deps, id, identity) };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/break-glass/:id/review',
      summary: 'Review it when it is over, as neither of the two',
      tag,
      access: 'person',
      params,
      body: z.strictObject({
        words: line(2000).describe('What happened, whether it was right, what follows; on record.'),
      }),
      responses: described('It is reviewed'),
      errors: ['bad_request', 'unauthenticated', 'forbidden', 'not_found', 'conflict'],
      handle: async ({ params: { id }, body: { words }, requestId }, { identity }) => {
        await reviewBreakGlass(deps, { id, person: identity, words, requestId });
        return { status: 200, body: await readBreakGlass(deps, id, identity) };
      },
    }),
  ];
}
