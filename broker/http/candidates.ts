/** `/v1/admin/manifests/AGENT/candidate`: a manifest that decides beside the one in force, without effect. */
import { z } from 'zod';
import { WritError } from '../core/errors.ts';
import { type Candidates, publishCandidate, withdrawCandidate } from '../replay/candidates.ts';
import { type ReplayDeps, readCandidate } from '../replay/run-replay.ts';
import { type Operation, operation } from './operation.ts';
import { inDigits, line } from './text.ts';

export interface CandidateDeps extends ReplayDeps {
  candidates: Candidates;
}

const agentName = z.object({ agent: z.string().regex(/^[a-z][a-z0-9-]{0,62}$/) });
const decided = z.looseObject({ effect: z.string() });
const path = '/v1/admin/manifests/:agent/candidate';

export function candidateOperations(deps: CandidateDeps): Operation[] {
  const { store, clock, candidates } = deps;
  /** This process knows at once; the others within seconds. */
  const known = () => candidates.refresh();
  return [
    operation({
      method: 'put',
      path,
      summary: 'Let a manifest decide beside the one in force, without effect; replaces an earlier candidate',
      tag: 'Admin',
      access: 'admin',
      params: agentName,
      bodyType: 'yaml',
      body: z.string().max(1_048_576),
      query: z.strictObject({ reason: line(500).describe('Why; kept with it.') }),
      responses: {
        200: {
          description: 'It decides beside',
          schema: z.object({ agent: z.string(), number: z.int(), sha256: z.string() }),
        },
      },
      errors: [
        'unauthenticated',
        'forbidden',
        'not_found',
        'invalid_manifest',
        'bad_request',
        'unsupported_media_type',
      ],
      handle: async ({ params: { agent }, query: { reason }, body, requestId }, author) => {
        const candidate = await readCandidate(deps, agent, body);
        const number = await publishCandidate(store, clock, candidate, { source: body, author, reason, requestId });
        await known();
        return { status: 200, body: { agent, number, sha256: candidate.sha256 } };
      },
    }),
    operation({
      method: 'get',
      path,
      summary: 'The candidate, and what it would have decided otherwise, the newest first',
      tag: 'Admin',
      access: 'admin',
      params: agentName,
      query: z.strictObject({ limit: inDigits(z.int().min(0).max(1000).default(100)) }),
      responses: {
        200: {
          description: 'Also of one that was withdrawn',
          schema: z.object({
            agent: z.string(),
            number: z.int(),
            sha256: z.string(),
            author: z.string(),
            reason: z.string(),
            published_at: z.string(),
            withdrawn_at: z.string().nullable(),
            source: z.string(),
            count: z.int().describe('Differences that are kept: the newest thousand.'),
            differences: z.array(
              z.object({
                kind: z.string(),
                id: z.string(),
                session: z.string(),
                at: z.string(),
                name: z.string().describe('The tool or the capability.'),
                was: decided,
                now: decided,
                because: z
                  .array(z.string())
                  .describe('What the candidate cannot know yet, and how a permission differs.'),
              }),
            ),
          }),
        },
      },
      errors: ['unauthenticated', 'forbidden', 'not_found', 'bad_request'],
      handle: async ({ params: { agent }, query: { limit } }) => {
        const candidate = await store.prisma.manifestCandidate.findUnique({ where: { agent } });
        if (candidate === null) throw new WritError('not_found');
        const where = { agent, candidate: candidate.number };
        const [count, rows] = await Promise.all([
          store.prisma.shadowDifference.count({ where }),
          store.prisma.shadowDifference.findMany({ where, orderBy: [{ at: 'desc' }, { id: 'desc' }], take: limit }),
        ]);
        const { number, sha256, author, reason, publishedAt, withdrawnAt, source } = candidate;
        return {
          status: 200,
          body: {
            agent,
            number,
            sha256,
            author,
            reason,
            published_at: publishedAt.toISOString(),
            withdrawn_at: withdrawnAt?.toISOString() ?? null,
            source,
            count,
            differences: rows.map(({ kind, id, sessionId, at, name, was, now, because }) => ({
              kind,
              id,
              session: sessionId,
              at: at.toISOString(),
              name,
              was,
              now,
              because,
            })),
          },
        };
      },
    }),
    operation({
      method: 'delete',
      path,
      summary: 'Withdraw the candidate; what it remembered is deleted, what it said stays',
      tag: 'Admin',
      access: 'admin',
      params: agentName,
      responses: { 200: { description: 'It decides no more', schema: z.object({ agent: z.string() }) } },
      errors: ['unauthenticated', 'forbidden', 'not_found'],
      handle: async ({ params: { agent }, requestId }, author) => {
        await withdrawCandidate(store, clock, agent, { author, requestId });
        await known();
        return { status: 200, body: { agent } };
      },
    }),
  ];
}
