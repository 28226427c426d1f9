/** `/v1/admin`: what is on record, decided by another manifest; the narrowest one; who can do what. */
import { z } from 'zod';
import { pathText } from '../manifests/parse.ts';
import type { Question } from '../replay/finding.ts';
import type { Difference, Replay } from '../replay/replay.ts';
import { type ReplayDeps, readCandidate, runReplay } from '../replay/run-replay.ts';
import { runSuggest } from '../replay/run-suggest.ts';
import { runWhoCan } from '../replay/run-who-can.ts';
import { type Operation, operation } from './operation.ts';
import { inDigits } from './text.ts';

const agentName = z.object({ agent: z.string().regex(/^[a-z][a-z0-9-]{0,62}$/) });

const secondsPerUnit: { [unit: string]: number } = { s: 1, m: 60, h: 3600, d: 86_400 };
const since = z
  .union(
    [z.string().regex(/^[1-9][0-9]{0,5}[smhd]$/), z.iso.datetime({ offset: true })],
    'must be a duration such as 7d, or a time such as 2026-11-26T00:00:00Z',
  )
  .default('7d')
  .describe('From when on: a duration before now, such as 7d, or a time.');

/** @param text as `since` takes it */
export function timeOf(text: string, now: Date): Date {
  const unit = secondsPerUnit[text.slice(-1)];
  const at = unit === undefined ? Date.parse(text) : now.getTime() - Number(text.slice(0, -1)) * unit * 1000;
  return new Date(Math.max(0, at));
}

const reasons = z.array(
  z.object({
    code: z.string(),
    policy_id: z.string().optional(),
    path: z.string().optional(),
    advice: z.string().optional(),
  }),
);
const difference = z.object({
  kind: z.enum(['call', 'grant']),
  id: z.string(),
  session: z.string(),
  at: z.string(),
  name: z.string().describe('The tool or the capability.'),
  was: z.object({ effect: z.string(), reasons }),
  now: z.object({
    effects: z.array(z.string()).describe('One; several where nobody can tell which.'),
    reasons,
  }),
  because: z.array(z.string()).describe('What nobody can tell, or how the permission would be another.'),
});
const group = z.object({ count: z.int(), first: z.array(difference) });
const replayed = z.object({
  agent: z.string(),
  since: z.string(),
  decided: z.int().describe('Calls and grants that were decided anew.'),
  unchanged: z.int(),
  newly_denied: group,
  newly_allowed: group,
  other_effect: group,
  undecidable: group,
  by_break_glass: group.describe('Given by a break-glass, whatever the rules say: no difference.'),
});

const json = z.unknown();
const suggestion = z.object({
  agent: z.string(),
  since: z.string(),
  version: z.int().describe('The version in force, which is cut.'),
  decided: z.int().describe('Calls and grants of that time, decided anew under the suggestion.'),
  unchanged: z.int(),
  cuts: z.array(z.object({ path: z.string(), from: json, to: json.describe('null = taken away'), why: z.string() })),
  kept: z.array(z.object({ path: z.string(), why: z.string() })).describe('What was not used, and stays.'),
  manifest: z.string().describe('The YAML that is suggested.'),
  in_force: z.string().describe('The YAML in force.'),
});

const finding = z.object({
  agent: z.string(),
  version: z.int(),
  name: z.string().describe('The capability or the tool.'),
  task_type: z.string(),
  answer: z.enum(['yes', 'no', 'cannot_tell']),
  break_glass: z
    .object({
      needed: z.boolean().describe('No other way leads there. False: it saves people’s approval.'),
      open: z.array(
        z.object({
          id: z.string(),
          session: z.string().nullable().describe('The one that it is open for; null = every session of the agent.'),
          expires_at: z.string(),
        }),
      ),
    })
    .optional()
    .describe('Two people could have it given past the rules, or have done so: those that are open now.'),
  example: z
    .object({
      inputs: z.record(z.string(), json),
      params: z.record(z.string(), json).optional(),
      arguments: z.record(z.string(), json).optional(),
      needs_approval: z.boolean().optional(),
    })
    .optional()
    .describe('A session that could, and what it would ask for.'),
  because: z.array(z.string()).describe('Conditions of a yes; reasons of the rest.'),
});
const pattern = z.string().min(1).max(1024);
const whoCanQuery = z
  .strictObject({
    provider: z
      .string()
      .regex(/^[a-z][a-z0-9-]{0,62}$/)
      .optional(),
    action: pattern.optional().describe('In the provider’s words, with * and ? as wildcards.'),
    resource: pattern.optional().describe('The same; a backslash takes the next character for itself.'),
    tool: z.string().max(128).optional(),
    host: z.string().max(253).optional(),
  })
  .refine(
    ({ provider, action, resource, tool, host }) =>
      [
        provider !== undefined && action !== undefined && resource !== undefined,
        tool !== undefined,
        host !== undefined,
      ].filter((one) => one).length === 1 &&
      (provider === undefined) === (action === undefined) &&
      (action === undefined) === (resource === undefined),
    'must be provider, action and resource, or tool, or host',
  );

function questionOf({ provider, action, resource, tool, host }: z.output<typeof whoCanQuery>): Question {
  if (tool !== undefined) return { tool };
  if (host !== undefined) return { host: host.toLowerCase().replace(/\.$/, '') };
  return { provider: provider!, action: action!, resource: resource! };
}

const shown = ({ at, ...rest }: Difference) => ({ ...rest, at: at.toISOString() });

export function replayBody(agent: string, from: Date, replay: Replay, limit: number) {
  const { decided, unchanged, by_break_glass } = replay;
  const counted = Object.entries({ ...replay.groups, by_break_glass }).map(([name, found]) => {
    const first = found.slice(0, limit).map(shown);
    return [name, { count: found.length, first }] as const;
  });
  return { agent, since: from.toISOString(), decided, unchanged, ...Object.fromEntries(counted) };
}

export function replayOperations(deps: ReplayDeps): Operation[] {
  return [
    operation({
      method: 'post',
      path: '/v1/admin/manifests/:agent/replay',
      summary: 'Decide anew what is on record, by a manifest that is not in force; changes nothing',
      tag: 'Admin',
      access: 'admin',
      params: agentName,
      bodyType: 'yaml',
      body: z.string().max(1_048_576),
      query: z.strictObject({
        since,
        limit: inDigits(z.int().min(0).max(1000).default(20)).describe('How many of each kind are listed.'),
      }),
      responses: { 200: { description: 'What would change', schema: replayed } },
      errors: [
        'unauthenticated',
        'forbidden',
        'not_found',
        'bad_request',
        'invalid_manifest',
        'unsupported_media_type',
      ],
      handle: async ({ params: { agent }, query, body }) => {
        const from = timeOf(query.since, deps.clock.now());
        const candidate = await readCandidate(deps, agent, body);
        return { status: 200, body: replayBody(agent, from, await runReplay(deps, candidate, from), query.limit) };
      },
    }),
    operation({
      method: 'get',
      path: '/v1/admin/manifests/:agent/suggestion',
      summary: 'The narrowest manifest that covers what the agent really used, as cuts of the one in force',
      tag: 'Admin',
      access: 'admin',
      params: agentName,
      query: z.strictObject({ since }),
      responses: { 200: { description: 'What may go, and the manifest without it', schema: suggestion } },
      errors: ['unauthenticated', 'forbidden', 'not_found', 'bad_request', 'conflict', 'unavailable'],
      handle: async ({ params: { agent }, query }) => {
        const from = timeOf(query.since, deps.clock.now());
        const { inForce, source, suggested, cuts, kept, replay } = await runSuggest(deps, agent, from);
        return {
          status: 200,
          body: {
            agent,
            since: from.toISOString(),
            version: inForce.version,
            decided: replay.decided,
            unchanged: replay.unchanged,
            cuts: cuts.map(({ path, from: before, to, why }) => ({ path: pathText(path), from: before, to, why })),
            kept: kept.map(({ path, why }) => ({ path: pathText(path), why })),
            manifest: suggested,
            in_force: source,
          },
        };
      },
    }),
    operation({
      method: 'get',
      path: '/v1/admin/who-can',
      summary: 'Which sessions could ever do something, over all manifests in force',
      tag: 'Admin',
      access: 'admin',
      query: whoCanQuery,
      responses: {
        200: {
          description: 'A finding for each capability or tool and task type that it may concern',
          schema: z.object({ findings: z.array(finding) }),
        },
      },
      errors: ['unauthenticated', 'forbidden', 'bad_request', 'unavailable'],
      handle: async ({ query }) => ({
        status: 200,
        body: { findings: await runWhoCan(deps, questionOf(query)) },
      }),
    }),
  ];
}
