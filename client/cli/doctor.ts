/**
 * `writ doctor`: whether everything that a broker leans on is as it should be, line by line, with what to do.
 * A running broker is asked over HTTP; where the broker runs and none is named, its environment is tried.
 */
import { askAdmin, type Environment } from './admin.ts';
import { CommandError, type LoadBrokerSide, type PartFinding } from './broker-side.ts';

const marks = { holds: '✔', fails: '✘', unknown: '–' } as const;

/** @returns 0 when nothing fails, else 1 */
export async function examine(env: Environment, load: LoadBrokerSide, json: boolean): Promise<number> {
  const findings = await findingsOf(env, load);
  const holds = findings.every(({ state }) => state !== 'fails');
  if (json) console.log(JSON.stringify({ holds, findings }, null, 2));
  else for (const finding of findings) console.log(lineOf(finding));
  return holds ? 0 : 1;
}

async function findingsOf(env: Environment, load: LoadBrokerSide): Promise<PartFinding[]> {
  if (env.WRIT_URL && env.WRIT_ADMIN_TOKEN) {
    const { findings } = (await askAdmin(env, 'POST', '/v1/admin/diagnosis')) as { findings: PartFinding[] };
    return findings;
  }
  if (load === null)
    throw new CommandError(
      'doctor asks a running broker: set WRIT_URL to its address and WRIT_ADMIN_TOKEN to an admin’s token. Where the broker runs, `npx writ doctor` in its folder tries its environment without one',
    );
  return (await load()).diagnose(env);
}

function lineOf({ part, what, state, found, fix }: PartFinding): string {
  const told = found === undefined ? '' : `: ${found}`;
  return `${marks[state]} ${part}: ${visible(`${what}${told}`)}${fix === undefined ? '' : `\n    → ${visible(fix)}`}`;
}

/** A provider's words come with it: one line, whatever they hold. */
const visible = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ');
