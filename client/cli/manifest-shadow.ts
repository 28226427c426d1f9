/** `writ manifest shadow`: a candidate that decides beside the manifest in force, without effect. */
import { askAdmin } from './admin.ts';
import { textOf } from './manifest-files.ts';
import { agentOf } from './manifest-replay.ts';

type Environment = { [name: string]: string | undefined };

interface Shown {
  agent: string;
  number: number;
  author: string;
  reason: string;
  published_at: string;
  withdrawn_at: string | null;
  count: number;
  differences: {
    kind: string;
    id: string;
    session: string;
    at: string;
    name: string;
    was: { effect: string };
    now: { effect: string; reasons?: { code: string; policy_id?: string; advice?: string }[] };
    because: string[];
  }[];
}

const pathOf = (agent: string, query: { [name: string]: string } = {}) =>
  `/v1/admin/manifests/${encodeURIComponent(agent)}/candidate?${new URLSearchParams(query)}`;

/** Begins. @returns 0 @throws CommandError where the broker refuses */
export async function beginShadow(env: Environment, file: string, reason: string): Promise<number> {
  const text = await textOf(file);
  const path = pathOf(agentOf(text, file), { reason });
  const { agent, number } = (await askAdmin(env, 'PUT', path, { type: 'application/yaml', text })) as Shown;
  console.log(`✔ candidate ${number} of ${agent} decides beside, without effect`);
  return 0;
}

/** Ends. @returns 0 @throws CommandError where the broker refuses */
export async function endShadow(env: Environment, agent: string): Promise<number> {
  await askAdmin(env, 'DELETE', pathOf(agent));
  console.log(`✔ the candidate of ${agent} decides no more`);
  return 0;
}

/** Shows what it would have decided otherwise. @returns 0 @throws CommandError where the broker refuses */
export async function showShadow(env: Environment, agent: string, json: boolean): Promise<number> {
  const shown = (await askAdmin(env, 'GET', pathOf(agent))) as Shown;
  if (json) console.log(JSON.stringify(shown, null, 2));
  else for (const line of linesOf(shown)) console.log(line);
  return 0;
}

function linesOf({ agent, number, author, reason, published_at, withdrawn_at, count, differences }: Shown): string[] {
  const until = withdrawn_at === null ? '' : ` until ${withdrawn_at}`;
  return [
    `candidate ${number} of ${agent} since ${published_at}${until}, by ${author}: ${reason}`,
    `decided otherwise: ${count}`,
    ...differences.flatMap(({ kind, id, session, at, name, was, now, because }) => {
      const why = (now.reasons ?? []).map(
        ({ code, policy_id, advice }) => `${policy_id ?? code}${advice ? `: ${advice}` : ''}`,
      );
      const head = `  ${at} ${kind} ${name} (${id}, ${session}): ${was.effect} → ${now.effect}`;
      return [head, ...[...because, ...why].map((line) => `      ${line}`)];
    }),
  ];
}
