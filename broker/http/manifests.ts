/**
 * `/v1/admin/manifests`: what agents may ever do, their versions, and proposals of versions that allow more.
 */
import { z } from 'zod';
import { WritError } from '../core/errors.ts';
import type { Clock } from '../core/vocabulary.ts';
import { type RecheckDeps, recheckPublished } from '../grants/recheck.ts';
import { agreeToProposal, proposalHolds, refuseProposal, type StoredProposal } from '../manifests/agree.ts';
import type { ProviderShapes } from '../manifests/check.ts';
import type { CompiledManifest } from '../manifests/compile.ts';
import { diffManifests, isWidening } from '../manifests/diff.ts';
import type { Manifest } from '../manifests/manifest.ts';
import type { Proposer } from '../manifests/propose.ts';
import {
  manifestAt,
  manifestHolds,
  newestManifest,
  type Publication,
  publishManifest,
  readOrRefuse,
} from '../manifests/publish.ts';
import { readManifest } from '../manifests/read.ts';
import type { Admin } from '../people/identity.ts';
import type { Prisma } from '../store/prisma/client.ts';
import { type Operation, operation } from './operation.ts';
import { idOf, inDigits, line, maxInteger, next, page } from './text.ts';

export interface ManifestDeps extends RecheckDeps {
  clock: Clock;
  shapes: ProviderShapes;
  /** What allows more waits for another admin (WRIT_MANIFEST_REVIEW). */
  review: boolean;
}

const agentName = z.object({ agent: z.string().regex(/^[a-z][a-z0-9-]{0,62}$/) });
const versionTag = (agent: string, version: number) => `"${agent}-${version}"`;
const versionNumber = inDigits(z.int().min(1).max(maxInteger));
const moment = z.iso.datetime({ offset: true }).refine((text) => Date.parse(text) >= 0, 'must not be before 1970');
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in hex');

const described = {
  agent: z.string(),
  version: z.int(),
  sha256: z.string(),
  author: z.string(),
  reason: z.string(),
  published_at: z.string().describe('When it came into force.'),
  proven: z
    .boolean()
    .describe('False: the row was not written by this broker or was changed, and is never decided on.'),
};
const manifestSchema = z.object({
  ...described,
  source: z.string().describe('The YAML exactly as published.'),
  policies: z.string().describe('The Cedar policies it compiled to.'),
});
const changesSchema = z.array(
  z.object({
    path: z.string().describe('Where: `capabilities.read.tier`.'),
    verdict: z
      .enum(['widens', 'narrows', 'neither', 'unknown'])
      .describe('Whether more passes by it. `unknown`: nobody can tell; it counts as wider.'),
    text: z.string().describe('The change in words.'),
  }),
);
const publicationSchema = z.object({
  agent: z.string(),
  version: z.int().describe('The version in force.'),
  sha256: z.string(),
  outcome: z
    .enum(['published', 'unchanged', 'proposed'])
    .describe('`proposed`: it allows more than the version in force, and waits for another admin.'),
  proposal: z.string().optional().describe('The proposal that waits.'),
  warnings: z
    .array(z.object({ path: z.string(), message: z.string(), line: z.int().optional(), column: z.int().optional() }))
    .optional()
    .describe(
      'What the text may say and its author should know, such as a permission that only the provider can judge.',
    ),
});
const proposalSchema = z.object({
  id: z.string(),
  agent: z.string(),
  base_version: z.int().describe('The version that it is to replace; 0 = none.'),
  sha256: z.string(),
  author: z.string(),
  reason: z.string(),
  proposed_at: z.string(),
  status: z.enum(['proposed', 'published', 'refused']),
  stale: z.boolean().describe('Another version has come into force since: it must be proposed again.'),
  decided_by: z.string().nullable(),
  decided_at: z.string().nullable(),
  decision_reason: z.string().nullable(),
  version: z.int().nullable().describe('The version that it became.'),
  proven: z.boolean().describe('False: the row was not written by this broker or was changed; nobody can agree to it.'),
});
const versionHeaders = {
  'If-Match': 'The `ETag` of the version that is replaced.',
  'If-None-Match': '`*` for the first version.',
};
const published = {
  200: { description: 'In force', schema: publicationSchema },
  202: { description: 'It waits for another admin; the version in force stays', schema: publicationSchema },
};

export function manifestOperations(deps: ManifestDeps): Operation[] {
  const { store } = deps;

  async function answer(agent: string, publication: Publication) {
    if (publication.outcome === 'published') await recheckPublished(deps, agent);
    const headers = publication.version === 0 ? {} : { ETag: versionTag(agent, publication.version) };
    return { status: publication.outcome === 'proposed' ? 202 : 200, headers, body: publication };
  }

  const reviewFor = ({ identity }: Admin): { reviewFor?: Proposer } => {
    if (!deps.review) return {};
    return { reviewFor: identity === null ? { kind: 'bootstrap_token' } : { kind: 'person', identity } };
  };

  /** @throws WritError `not_found` when there is no such version, or its row does not hold */
  async function versionOf(agent: string, version: number): Promise<Prisma.ManifestGetPayload<object>> {
    const row = await store.prisma.manifest.findUnique({ where: { agent_version: { agent, version } } });
    if (row === null || !manifestHolds(store, row)) throw new WritError('not_found');
    return row;
  }
  const readVersion = async (agent: string, version: number): Promise<Manifest> =>
    ((await versionOf(agent, version)).compiled as unknown as CompiledManifest).manifest;

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
        at: moment.optional().describe('What was in force at that moment.'),
        version: versionNumber.optional(),
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
        const { source } = row;
        const { policiesText: policies } = row.compiled as unknown as CompiledManifest;
        const body = { ...viewVersion(row), proven: manifestHolds(store, row), source, policies };
        return { status: 200, headers: { ETag: versionTag(agent, row.version) }, body };
      },
    }),
    operation({
      method: 'get',
      path: '/v1/admin/manifests/:agent/versions',
      summary: 'The history of a manifest: every version, newest first',
      tag: 'Admin',
      access: 'admin',
      params: agentName,
      query: z.strictObject({
        before: versionNumber.optional().describe('`next` of the page before.'),
        limit: page.shape.limit,
      }),
      responses: {
        200: {
          description: 'Newest first',
          schema: z.object({
            versions: z.array(
              z.object({
                ...described,
                in_force: z.boolean(),
                agreed_by: z.string().nullable().describe('The other admin, where it took two.'),
              }),
            ),
            next: z.int().nullable().describe('There is more: `before` of the next page.'),
          }),
        },
      },
      errors: ['unauthenticated', 'forbidden', 'not_found', 'bad_request'],
      handle: async ({ params: { agent }, query: { before = maxInteger, limit } }) => {
        const current = await store.prisma.agent.findUnique({ where: { name: agent } });
        if (current === null) throw new WritError('not_found');
        const found = await store.prisma.manifest.findMany({
          where: { agent, version: { lt: before } },
          orderBy: { version: 'desc' },
          take: limit + 1,
        });
        const rows = found.slice(0, limit);
        const agreed = await store.prisma.manifestProposal.findMany({
          where: { agent, version: { in: rows.map(({ version }) => version) } },
        });
        const versions = rows.map((row) => ({
          ...viewVersion(row),
          proven: manifestHolds(store, row),
          in_force: row.version === current.version,
          agreed_by: agreed.find(({ version }) => version === row.version)?.decidedBy ?? null,
        }));
        return { status: 200, body: { versions, next: found.length > limit ? rows.at(-1)!.version : null } };
      },
    }),
    operation({
      method: 'get',
      path: '/v1/admin/manifests/:agent/diff',
      summary: 'Two versions compared, in words, and in what the later one widens',
      tag: 'Admin',
      access: 'admin',
      params: agentName,
      query: z.strictObject({
        from: versionNumber.describe('The version before.'),
        to: versionNumber.optional().describe('The version after. Default: the one in force.'),
      }),
      responses: {
        200: {
          description: 'Every change',
          schema: z.object({ from: z.int(), to: z.int(), widens: z.boolean(), changes: changesSchema }),
        },
      },
      errors: ['unauthenticated', 'forbidden', 'not_found', 'bad_request'],
      handle: async ({ params: { agent }, query: { from, to } }) => {
        const current = await store.prisma.agent.findUnique({ where: { name: agent } });
        if (current === null) throw new WritError('not_found');
        const after = to ?? current.version;
        const changes = diffManifests(await readVersion(agent, from), await readVersion(agent, after));
        return { status: 200, body: { from, to: after, widens: isWidening(changes), changes } };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/admin/manifest-checks',
      summary: 'Check a manifest against this broker’s settings, and publish nothing',
      tag: 'Admin',
      access: 'admin',
      bodyType: 'yaml',
      body: z.string().max(1_048_576),
      responses: {
        200: {
          description: 'It could be published; compared with the newest version that was',
          schema: z.object({
            agent: z.string(),
            sha256: z.string(),
            widens: z.boolean(),
            changes: changesSchema,
            warnings: publicationSchema.shape.warnings,
          }),
        },
      },
      errors: ['unauthenticated', 'forbidden', 'invalid_manifest', 'unsupported_media_type'],
      handle: async ({ body }) => {
        const { compiled, warnings } = readOrRefuse(body, deps.shapes);
        const { agent, sha256, manifest } = compiled;
        const changes = diffManifests(await newestManifest(store, agent), manifest);
        const warned = warnings.length === 0 ? {} : { warnings };
        return { status: 200, body: { agent, sha256, widens: isWidening(changes), changes, ...warned } };
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
      headers: versionHeaders,
      responses: published,
      errors: [
        'unauthenticated',
        'forbidden',
        'invalid_manifest',
        'precondition_required',
        'precondition_failed',
        'unsupported_media_type',
      ],
      handle: async ({ params: { agent }, query, body, header, requestId }, author, who) => {
        const expectedVersion = expected(agent, header('if-match'), header('if-none-match'));
        const input = { source: body, author, reason: query.reason, agent, expectedVersion, requestId };
        return answer(agent, await publishManifest(store, deps.clock, deps.shapes, { ...input, ...reviewFor(who) }));
      },
    }),
    operation({
      method: 'post',
      path: '/v1/admin/manifests/:agent/rollback',
      summary: 'Publish the content of an older version as the next one',
      tag: 'Admin',
      access: 'admin',
      params: agentName,
      body: z.strictObject({
        version: z.int().min(1).max(maxInteger).describe('The version to go back to.'),
        reason: line(500).describe('Why; kept with the new version.'),
      }),
      headers: { 'If-Match': versionHeaders['If-Match'] },
      responses: published,
      errors: [
        'unauthenticated',
        'forbidden',
        'bad_request',
        'not_found',
        'invalid_manifest',
        'precondition_required',
        'precondition_failed',
      ],
      handle: async ({ params: { agent }, body: { version, reason }, header, requestId }, author, who) => {
        const expectedVersion = expected(agent, header('if-match'), undefined);
        const { source } = await versionOf(agent, version);
        const input = { source, author, reason, agent, expectedVersion, requestId };
        return answer(agent, await publishManifest(store, deps.clock, deps.shapes, { ...input, ...reviewFor(who) }));
      },
    }),
    operation({
      method: 'get',
      path: '/v1/admin/manifest-proposals',
      summary: 'Versions that allow more, and wait for another admin',
      tag: 'Admin',
      access: 'admin',
      query: z.strictObject({
        status: z.enum(['proposed', 'published', 'refused']).default('proposed'),
        agent: agentName.shape.agent.optional(),
        after: idOf('mpr').optional().describe('`next` of the page before.'),
        limit: page.shape.limit,
      }),
      responses: {
        200: { description: 'Oldest first', schema: z.object({ proposals: z.array(proposalSchema), next }) },
      },
      errors: ['unauthenticated', 'forbidden', 'bad_request'],
      handle: async ({ query: { status, agent, after, limit } }) => {
        const rows = await store.prisma.manifestProposal.findMany({
          where: {
            status,
            ...(agent === undefined ? {} : { agent }),
            ...(after === undefined ? {} : { id: { gt: after } }),
          },
          orderBy: { id: 'asc' },
          take: limit + 1,
        });
        const proposals = await Promise.all(rows.slice(0, limit).map(viewProposal));
        return { status: 200, body: { proposals, next: rows.length > limit ? proposals.at(-1)!.id : null } };
      },
    }),
    operation({
      method: 'get',
      path: '/v1/admin/manifest-proposals/:id',
      summary: 'A proposed version, and what it changes',
      tag: 'Admin',
      access: 'admin',
      params: z.object({ id: idOf('mpr') }),
      responses: {
        200: {
          description: 'Compared with the newest version that was published',
          schema: proposalSchema.extend({ source: z.string(), changes: changesSchema }),
        },
      },
      errors: ['unauthenticated', 'forbidden', 'not_found'],
      handle: async ({ params: { id } }) => {
        const row = await store.prisma.manifestProposal.findUnique({ where: { id } });
        if (row === null) throw new WritError('not_found');
        const read = readManifest(row.source, deps.shapes);
        const changes = read.ok ? diffManifests(await newestManifest(store, row.agent), read.compiled.manifest) : [];
        return { status: 200, body: { ...(await viewProposal(row)), source: row.source, changes } };
      },
    }),
    operation({
      method: 'post',
      path: '/v1/admin/manifest-proposals/:id/agree',
      summary: 'Agree to a proposed version: it comes into force',
      tag: 'Admin',
      access: 'admin',
      params: z.object({ id: idOf('mpr') }),
      body: z.strictObject({ sha256: sha256.describe('Of the text that you read.') }),
      responses: { 200: published[200] },
      errors: [
        'unauthenticated',
        'forbidden',
        'bad_request',
        'not_found',
        'conflict',
        'invalid_manifest',
        'precondition_failed',
      ],
      handle: async ({ params: { id }, body, requestId }, _name, admin) => {
        const agreed = await agreeToProposal(store, deps.clock, deps.shapes, { id, ...body, admin, requestId });
        return answer(agreed.agent, agreed);
      },
    }),
    operation({
      method: 'post',
      path: '/v1/admin/manifest-proposals/:id/refuse',
      summary: 'Refuse a proposed version',
      tag: 'Admin',
      access: 'admin',
      params: z.object({ id: idOf('mpr') }),
      body: z.strictObject({ reason: line(500).describe('Why; on record.') }),
      responses: {
        200: { description: 'Refused', schema: z.object({ id: z.string(), status: z.literal('refused') }) },
      },
      errors: ['unauthenticated', 'forbidden', 'bad_request', 'not_found', 'conflict'],
      handle: async ({ params: { id }, body: { reason }, requestId }, _name, admin) => {
        await refuseProposal(store, deps.clock, { id, reason, admin, requestId });
        return { status: 200, body: { id, status: 'refused' } };
      },
    }),
  ];

  async function viewProposal(row: StoredProposal) {
    const { id, agent, author, reason, status, version } = row;
    const current = await store.prisma.agent.findUnique({ where: { name: agent } });
    return {
      id,
      agent,
      base_version: row.baseVersion,
      sha256: row.sha256,
      author,
      reason,
      proposed_at: row.proposedAt.toISOString(),
      status,
      stale: status === 'proposed' && (current?.version ?? 0) !== row.baseVersion,
      decided_by: row.decidedBy,
      decided_at: row.decidedAt?.toISOString() ?? null,
      decision_reason: row.decisionReason,
      version,
      proven: proposalHolds(store, row),
    };
  }
}

const viewVersion = ({
  agent,
  version,
  sha256: hash,
  author,
  reason,
  publishedAt,
}: Prisma.ManifestGetPayload<object>) => ({
  agent,
  version,
  sha256: hash,
  author,
  reason,
  published_at: publishedAt.toISOString(),
});

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
