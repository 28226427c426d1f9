/** `writ manifest who-can`: which sessions could ever do something, over all manifests in force. */
import { askAdmin } from './admin.ts';

interface Finding {
  agent: string;
  version: number;
  name: string;
  task_type: string;
  answer: 'yes' | 'no' | 'cannot_tell';
  example?: { inputs: object; params?: object; arguments?: object; needs_approval?: boolean };
  because: string[];
  break_glass?: { needed: boolean; open: { id: string; session: string | null; expires_at: string }[] };
}

/**
 * @param question `provider`, `action` and `resource`, or `tool`, or `host`
 * @returns 0
 * @throws CommandError where the broker refuses
 */
export async function whoCan(
  env: { [name: string]: string | undefined },
  question: { [name: string]: string },
  json: boolean,
): Promise<number> {
  const { findings } = (await askAdmin(env, 'GET', `/v1/admin/who-can?${new URLSearchParams(question)}`)) as {
    findings: Finding[];
  };
  if (json) console.log(JSON.stringify(findings, null, 2));
  else for (const line of linesOf(findings)) console.log(line);
  return 0;
}

function linesOf(findings: readonly Finding[]): string[] {
  const no = findings.filter(({ answer }) => answer === 'no').length;
  const told = findings.filter(({ answer }) => answer !== 'no');
  return [
    ...told.flatMap(({ agent, version, name, task_type, answer, example, because, break_glass: glass }) => [
      `${answer === 'yes' ? 'yes' : 'cannot tell'}: ${agent} v${version}, ${name}, in a session for ${task_type}`,
      ...(example === undefined ? [] : [`    such as ${JSON.stringify(example)}`]),
      ...because.map((line) => `    ${line}`),
      ...(glass === undefined ? [] : linesOfGlass(glass)),
    ]),
    `no: ${no} of ${findings.length} that it could concern`,
  ];
}

function linesOfGlass({ needed, open }: NonNullable<Finding['break_glass']>): string[] {
  return [
    needed
      ? '    only while two people have broken the glass for it'
      : '    without anybody’s approval while two people have broken the glass for it',
    ...open.map(
      ({ id, session, expires_at }) => `    open now: ${id}, for ${session ?? 'every session'}, until ${expires_at}`,
    ),
  ];
}
