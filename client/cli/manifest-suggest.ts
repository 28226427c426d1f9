/** `writ manifest suggest`: the narrowest manifest for what an agent really used, as a diff. */
import { askAdmin } from './admin.ts';
import { unifiedDiff } from './unified-diff.ts';

interface Suggested {
  agent: string;
  since: string;
  version: number;
  decided: number;
  cuts: { path: string; from: unknown; to: unknown; why: string }[];
  kept: { path: string; why: string }[];
  manifest: string;
  in_force: string;
}

/**
 * Prints what may go and why, as comments, and the diff; with `yaml`, the manifest alone.
 * @returns 0
 * @throws CommandError where the broker refuses, also where nothing is on record
 */
export async function suggestManifest(
  env: { [name: string]: string | undefined },
  agent: string,
  { since, json, yaml }: { since: string; json: boolean; yaml: boolean },
): Promise<number> {
  const path = `/v1/admin/manifests/${encodeURIComponent(agent)}/suggestion?${new URLSearchParams({ since })}`;
  const suggested = (await askAdmin(env, 'GET', path)) as Suggested;
  if (json) console.log(JSON.stringify(suggested, null, 2));
  else if (yaml) process.stdout.write(suggested.manifest);
  else for (const line of linesOf(suggested)) console.log(line);
  return 0;
}

function linesOf({ agent, since, version, decided, cuts, kept, manifest, in_force }: Suggested): string[] {
  const shown = (value: unknown) => JSON.stringify(value);
  const head = `# ${agent} v${version}, by what it used since ${since}; ${decided} calls and grants come out as they did`;
  if (cuts.length === 0) return [head, '# nothing to cut', ...kept.map(keptLine)];
  return [
    head,
    ...cuts.map(({ path, from, to, why }) =>
      to === null
        ? `# ${path}: away: ${why}`
        : `# ${path}: ${from === null ? '' : `${shown(from)} → `}${shown(to)}: ${why}`,
    ),
    ...kept.map(keptLine),
    ...unifiedDiff(in_force, manifest, `${agent} v${version}`, `${agent} suggested`),
  ];
}

const keptLine = ({ path, why }: { path: string; why: string }): string => `# ${path}: stays: ${why}`;
