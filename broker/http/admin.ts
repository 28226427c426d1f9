/** `/v1/admin`: manifests, sessions, leases, keys, the record. */

import { z } from 'zod';
import { eventTypes } from '../audit/events.ts';
import { timeline } from '../audit/timeline.ts';
import { verifyAudit } from '../audit/verify.ts';
import { WritError } from '../core/errors.ts';
import { codesOf, storedRevokeReasons } from '../core/reasons.ts';
import type { Clock } from '../core/vocabulary.ts';
import { type RecheckDeps, recheckHeld } from '../grants/recheck.ts';
import type { KeyRing } from '../keys/ring.ts';
import { listLeases } from '../leases/list-leases.ts';
import { revokeByAdmin } from '../leases/order-revocation.ts';
import type { ProviderShapes } from '../manifests/check.ts';
import { manifestAt, manifestHolds, publishManifest } from '../manifests/publish.ts';
import { type EndSessionDeps, endSession } from '../sessions/end-session.ts';
import { type Operation, operation } from './operation.ts';
import { idOf, inDigits, line } from './text.ts';

export interface AdminDeps extends EndSessionDeps, RecheckDeps {
  clock: Clock;
  ring: KeyRing;
  shapes: ProviderShapes;
  keyLeadSeconds: number;
}

const agentName = z.object({ agent: z.string().regex(/^[a-z][a-z0-9-]{0,62}$/) });
const versionTag = (agent: string, version: number) => `"${agent}-${version}"`;
/** PostgreSQL's largest integer, so no version or sequence number is above it. */
const maxInteger = 2_147_483_647;
const page = z.strictObject({
  after: inDigits(z.int().min(0).max(maxInteger).default(0)),
  limit: inDigits(z.int().min(1).max(500).default(500)),
});
const next = z.string().nullable().describe('There is more: `after` of the next page. Null on the last one.');
const manifestSchema = z.object({
  agent: z.string(),
  version: z.int(),
  sha256: z.string(),
  author: z.string(),
  reason: z.string(),
  published_at: z.string(),
  proven: z
    .boolean()
    .describe('False: the row was not written by this broker or was changed, and is never decided on.'),
  source: z.string().describe('The YAML exactly as published.'),
  policies: z.string().describe('The Cedar policies it compiled to.'),
});

export function adminOperations(deps: AdminDeps): Operation[] {
  const { store } = deps;
  return [
    operation({
      method: 'get',
      path: '/v1/admin/manifests',
      summary: 'Agents and the version in force',
      tag: 'Admin',
      access: 'admin',
      responses: {
        200: {
          description: 'In the order of their names',
          schema: z.object({ agents: z.array(z.object({ agent: z.string(), version: z.int() })), next }),
        },
      },
      query: z.strictObject({
        after: agentName.shape.agent.optional().describe('`next` of the page before.'),
        limit: page.shape.limit,
      }),
      errors: ['bad_request', 'unauthenticated', 'forbidden'],
      handle: async ({ query: { after, limit } }) => {
        const rows = await store.prisma.agent.findMany({
          where: after === undefined ? {} : { name: { gt: after } },
          orderBy: { name: 'asc' },
          take: limit + 1,
        });
        const agents = rows.slice(0, limit).map(({ name, version }) => ({ agent: name, version }));
        return { status: 200, body: { agents, next: rows.length > limit ? agents.at(-1)!.agent : null } };
      },
    }),
    operation({
      method: 'get',
      path: '/v1/admin/manifests/:agent',
      summary: 'What an agent may ever do: now, at a time, or in a version',
      tag: 'Admin',
      access: 'admin',
      params: agentName,
      query: z.strictObject({
        at: z.iso
          .datetime({ offset: true })
          .refine((text) => Date.parse(text) >= 0, 'must not be before 1970')
          .optional()
          .describe('What was in force at that moment.'),
        version: inDigits(z.int().min(1).max(maxInteger)).optional(),
      }),
      responses: {
        200: {
          description: 'A published version; `ETag` goes into `If-Match` when it is replaced',
          schema: manifestSchema,
        },
      },
      errors: ['unauthenticated', 'forbidden', 'not_found', 'bad_request'],
      handle: async ({ params: { agent }, query }) => {
        const row =
          query.version === undefined
            ? await manifestAt(store, agent, query.at === undefined ? deps.clock.now() : new Date(query.at))
            : await store.prisma.manifest.findUnique({ where: { agent_version: { agent, version: query.version } } });
        if (row === null) throw new WritError('not_found');
        return {
          status: 200,
          headers: { ETag: versionTag(agent, row.version) },
          body: {
            agent,
            version: row.version,
            sha256: row.sha256,
            author: row.author,
            reason: row.reason,
            published_at: row.publishedAt.toISOString(),
            proven: manifestHolds(store, row),
            source: row.source,
            policies: (row.compiled as { policiesText: string }).policiesText,
          },
        };
      },
    }),
    operation({
      method: 'put',
      path: '/v1/admin/manifests/:agent',
      summary: 'Publish the next version of a manifest',
      tag: 'Admin',
      access: 'admin',
      params: agentName,
      bodyType: 'yaml',
      body: z.string().max(1_048_576),
      query: z.strictObject({ reason: line(500).describe('Why; kept with the version.') }),
      headers: {
        'If-Match': 'The `ETag` of the version that is replaced.',
        'If-None-Match': '`*` for the first version.',
      },
      responses: {
        200: {
          description: 'In force',
          schema: z.object({
            agent: z.string(),
            version: z.int(),
            sha256: z.string(),
            outcome: z.enum(['published', 'unchanged']),
          }),
        },
      },
      errors: [
        'unauthenticated',
        'forbidden',
        'invalid_manifest',
        'precondition_required',
        'precondition_failed',
        'unsupported_media_type',
      ],
      handle: async ({ params: { agent }, query, body, header, requestId }, admin) => {
        const expectedVersion = expected(agent, header('if-match'), header('if-none-match'));
        const input = { source: body, author: admin, reason: query.reason, agent, expectedVersion, requestId };
        const published = await publishManifest(store, deps.clock, deps.shapes, input);
        // It is in force, whatever comes of this: a worker looks again.
        await recheckHeld(deps, agent).catch((error) =>
          deps.log.error({ err: error, agent }, 'what the agent holds could not be rechecked yet'),
        );
        return { status: 200, headers: { ETag: versionTag(agent, published.version) }, body: published };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/admin/sessions/:id/end',
      summary: 'End a session and revoke all it holds',
      tag: 'Admin',
      access: 'admin',
      params: z.object({ id: idOf('ses') }),
      responses: {
        200: {
          description: 'Ended; `leases` are on their way to revocation',
          schema: z.object({ ended: z.boolean(), leases: z.array(z.string()) }),
        },
      },
      errors: ['unauthenticated', 'forbidden', 'not_found'],
      handle: async ({ params: { id }, requestId }, admin) => {
        if ((await store.prisma.session.findUnique({ where: { id }, select: { id: true } })) === null)
          throw new WritError('not_found');
        const now = deps.clock.now();
        return {
          status: 200,
          body: await endSession(deps, { sessionId: id, reason: 'ended_by_admin', actor: admin, requestId, now }),
        };
      },
    }),
    operation({
      method: 'get',
      path: '/v1/admin/sessions/:id/events',
      summary: 'The record of a session',
      tag: 'Admin',
      access: 'admin',
      params: z.object({ id: idOf('ses') }),
      query: page,
      responses: {
        200: {
          description: 'Events in order',
          schema: z.object({
            events: z.array(z.looseObject({ seq: z.int(), at: z.string(), type: z.enum(eventTypes) })),
          }),
        },
      },
      errors: ['unauthenticated', 'forbidden'],
      handle: async ({ params: { id }, query }) => ({
        status: 200,
        body: { events: await timeline(store, id, query.after, query.limit) },
      }),
    }),
    operation({
      method: 'get',
      path: '/v1/admin/leases',
      summary: 'Leases by state',
      tag: 'Admin',
      access: 'admin',
      query: z.strictObject({
        status: z.enum(['issuing', 'active', 'revoking', 'revoked', 'expired', 'failed']).default('revoking'),
        after: idOf('lse').optional().describe('`next` of the page before.'),
        limit: page.shape.limit,
      }),
      responses: {
        200: {
          description: 'Oldest first',
          schema: z.object({
            leases: z.array(
              z.looseObject({ id: z.string(), revoke_reason: z.enum(codesOf(storedRevokeReasons)).nullable() }),
            ),
            next,
          }),
        },
      },
      errors: ['bad_request', 'unauthenticated', 'forbidden'],
      handle: async ({ query: { status, after, limit } }) => {
        const rows = await listLeases(store, status, after ?? '', limit + 1);
        const leases = rows.slice(0, limit);
        return { status: 200, body: { leases, next: rows.length > limit ? leases.at(-1)!.id : null } };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/admin/leases/:id/revoke',
      summary: 'Revoke one lease',
      tag: 'Admin',
      access: 'admin',
      params: z.object({ id: idOf('lse') }),
      responses: { 202: { description: 'On its way', schema: z.object({ id: z.string(), status: z.string() }) } },
      errors: ['unauthenticated', 'forbidden', 'not_found'],
      handle: async ({ params: { id }, requestId }, admin) => {
        const status = await revokeByAdmin(deps, { leaseId: id, actor: admin, requestId, now: deps.clock.now() });
        return { status: 202, body: { id, status } };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/admin/keys/rotate',
      summary: 'Bring in a new signing key',
      tag: 'Admin',
      access: 'admin',
      responses: {
        200: { description: 'Published now; signs after the lead time', schema: z.object({ kid: z.string() }) },
      },
      errors: ['unauthenticated', 'forbidden'],
      handle: async (_call, admin) => ({
        status: 200,
        body: { kid: await deps.ring.rotate(deps.keyLeadSeconds, admin) },
      }),
    }),
    operation({
      method: 'post',
      path: '/v1/admin/keys/:kid/withdraw',
      summary: 'Withdraw a signing key at once',
      tag: 'Admin',
      access: 'admin',
      params: z.object({ kid: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/) }),
      responses: {
        200: {
          description: 'Out of the JWKS; whatever it signed is refused. `signs` is the key that signs now',
          schema: z.object({ kid: z.string(), signs: z.string() }),
        },
      },
      errors: ['unauthenticated', 'forbidden', 'not_found'],
      handle: async ({ params: { kid }, requestId }, admin) => {
        const signs = await deps.ring.withdraw(kid, admin, requestId);
        if (signs === null) throw new WritError('not_found');
        return { status: 200, body: { kid, signs } };
      },
    }),
    operation({
      method: 'get',
      path: '/v1/admin/audit/verify',
      summary: 'Recompute every chain of the record',
      tag: 'Admin',
      access: 'admin',
      responses: {
        200: {
          description: '`broken` names the first row that does not hold',
          schema: z.object({
            chains: z.int(),
            rows: z.int(),
            broken: z.looseObject({ chain: z.string(), seq: z.int(), what: z.string() }).nullable(),
          }),
        },
      },
      errors: ['unauthenticated', 'forbidden'],
      handle: async () => ({ status: 200, body: await verifyAudit(store) }),
    }),
  ];
}

/**
 * The version the caller means to replace (0 = none).
 * @throws WritError `precondition_required`, `precondition_failed`
 */
function expected(agent: string, ifMatch: string | undefined, ifNoneMatch: string | undefined): number {
  if (ifNoneMatch === '*') return 0;
  if (ifMatch === undefined) throw new WritError('precondition_required');
  const version = /^"([a-z0-9-]+)-(\d{1,9})"$/.exec(ifMatch.trim());
  if (version === null || version[1] !== agent) throw new WritError('precondition_failed');
  return Number(version[2]);
}
