/** `writ manifest replay`: what would change, had a manifest been in force. */
import { askAdmin } from './admin.ts';
import { textOf } from './manifest-files.ts';

type Environment = { [name: string]: string | undefined };

interface Difference {
  kind: string;
  id: string;
  session: string;
  at: string;
  name: string;
  was: { effect: string };
  now: { effects: string[]; reasons: { code: string; policy_id?: string; advice?: string }[] };
  because: string[];
}
interface Group {
  count: number;
  first: Difference[];
}
export interface Replayed {
  agent: string;
  since: string;
  decided: number;
  unchanged: number;
  newly_denied: Group;
  newly_allowed: Group;
  other_effect: Group;
  undecidable: Group;
  by_break_glass: Group;
}

const titles = {
  newly_denied: 'newly denied',
  newly_allowed: 'newly allowed',
  other_effect: 'other effect',
  undecidable: 'undecidable',
  by_break_glass: 'given by a break-glass, which no manifest decides',
} as const;

/**
 * @param since a duration such as 7d, or a time
 * @returns 0: whatever would change, it was told
 * @throws CommandError where the broker refuses, also a file that names no agent it knows
 */
export async function replayManifest(
  env: Environment,
  file: string,
  { since, json, first }: { since: string; json: boolean; first: number },
): Promise<number> {
  const text = await textOf(file);
  const query = new URLSearchParams({ since, limit: String(json ? 1000 : first) });
  const path = `/v1/admin/manifests/${agentOf(text, file)}/replay?${query}`;
  const replayed = (await askAdmin(env, 'POST', path, { type: 'application/yaml', text })) as Replayed;
  if (json) console.log(JSON.stringify(replayed, null, 2));
  else for (const line of linesOf(replayed)) console.log(line);
  return 0;
}

/** The broker reads the manifest; here only whose it is must be told. */
export function agentOf(text: string, file: string): string {
  const name = /^agent:\s*["']?([a-z][a-z0-9-]{0,62})["']?\s*(?:#.*)?$/m.exec(text)?.[1];
  if (name === undefined) throw new Error(`${file} names no agent`);
  return name;
}

function linesOf(replayed: Replayed): string[] {
  const { agent, since, decided, unchanged } = replayed;
  return [
    `${agent} since ${since}: ${decided} calls and grants decided anew, ${unchanged} as they were`,
    ...Object.entries(titles).flatMap(([name, title]) => {
      const { count, first } = replayed[name as keyof typeof titles];
      if (name === 'by_break_glass' && count === 0) return [];
      const rest = count - first.length;
      return [
        `${title}: ${count}`,
        ...first.flatMap(linesOfOne),
        ...(rest > 0 && first.length > 0 ? [`  … and ${rest} more`] : []),
      ];
    }),
  ];
}

function linesOfOne({ kind, id, session, at, name, was, now, because }: Difference): string[] {
  const effects = now.effects.length === 0 ? 'nobody can tell' : now.effects.join(' or ');
  const why = now.reasons.map(({ code, policy_id, advice }) => `${policy_id ?? code}${advice ? `: ${advice}` : ''}`);
  return [
    `  ${at} ${kind} ${name} (${id}, ${session}): ${was.effect} → ${effects}`,
    ...[...new Set([...because, ...why])].map((line) => `      ${line}`),
  ];
}
