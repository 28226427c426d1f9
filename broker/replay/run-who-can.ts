/** Asks every manifest in force which of its sessions could do something. */
import { isOpen, latestBreakGlasses } from '../break-glass/stored-break-glass.ts';
import { WritError } from '../core/errors.ts';
import type { Finding, Question } from './finding.ts';
import type { ReplayDeps } from './run-replay.ts';
import { whoCan } from './who-can.ts';

/**
 * @throws WritError `bad_request` for a provider that nothing here knows: "nobody" would be the answer to a
 *   slip of the pen; `unavailable` where a manifest in force cannot be read: an answer without it would be
 *   wrong
 */
export async function runWhoCan(
  { store, catalog, providers, digest, clock }: ReplayDeps,
  question: Question,
): Promise<Finding[]> {
  const agents = await store.prisma.agent.findMany({ orderBy: { name: 'asc' }, select: { name: true } });
  const findings: Finding[] = [];
  const now = clock.now();
  const open = (await latestBreakGlasses(store, 0))
    .filter((row) => isOpen(store, row, now))
    .map(({ id, agent, session_id, capabilities, expires_at }) => ({
      id,
      agent,
      session: session_id,
      capabilities,
      expiresAt: expires_at!,
    }));
  for (const { name } of agents) {
    const published = await catalog.current(name);
    if (published !== null) findings.push(...whoCan({ providers, digest, now, open }, published, question));
  }
  if (findings.length === 0 && 'provider' in question && !providers.has(question.provider)) {
    const message = 'is no provider that is switched on here, or that a manifest in force names';
    throw new WritError('bad_request', { errors: [{ path: 'provider', message }] });
  }
  return findings;
}
