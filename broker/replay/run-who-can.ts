/** Asks every manifest in force which of its sessions could do something. */
import type { ReplayDeps } from './run-replay.ts';
import { type Finding, type Question, whoCan } from './who-can.ts';

/**
 * @throws WritError `unavailable` where a manifest in force cannot be read: an answer without it would be
 *   wrong
 */
export async function runWhoCan(
  { store, catalog, providers, digest, clock }: ReplayDeps,
  question: Question,
): Promise<Finding[]> {
  const agents = await store.prisma.agent.findMany({ orderBy: { name: 'asc' }, select: { name: true } });
  const findings: Finding[] = [];
  for (const { name } of agents) {
    const published = await catalog.current(name);
    if (published !== null) findings.push(...whoCan({ providers, digest, now: clock.now() }, published, question));
  }
  return findings;
}
