/** What `--keep` prints: where things are, who can sign in, and three commands that work as they stand. */
import { demoPassword } from '../../sandbox/oidc/login-provider.ts';

export interface Playground {
  brokerUrl: string;
  adminToken: string;
  /** What the platform gives the agent's job. */
  jobEnv: { readonly [name: string]: string };
}

/** @returns lines; a command is one that begins with a `$` */
export function playgroundWords({ brokerUrl, adminToken, jobEnv }: Playground): string {
  const job = Object.entries({ WRIT_URL: brokerUrl, ...jobEnv })
    .map(([name, value]) => `${name}='${value}'`)
    .join(' ');
  return `
Left running. The console: ${brokerUrl}/
  approver   approver@example.com   password ${demoPassword}
  admin      admin@example.com      password ${demoPassword}
  admin token for the API and the command line: ${adminToken}

Three commands to try, in other terminals, in this folder:

  as the agent: open a session for one task, and ask for what a person must approve
$ ${job} npx node --disable-warning=ExperimentalWarning sandbox/example/ask.ts

  as the approver: sign in and approve what waits (or open the link that the agent prints)
$ WRIT_URL='${brokerUrl}' npx node --disable-warning=ExperimentalWarning scripts/quickstart/approve.ts

  as the admin: who published what the agent may do, and when
$ WRIT_URL='${brokerUrl}' WRIT_ADMIN_TOKEN='${adminToken}' npx writ manifest history invoice-bot

Ctrl-C stops everything.`;
}
