/**
 * The demo approver at the console, without a browser: signs in, opens the list of what waits, and approves
 * the first. For the playground of `npm run quickstart -- --keep`.
 */
import { openBrowser, signIn } from '../../sandbox/oidc/browser.ts';
import { demoPassword } from '../../sandbox/oidc/login-provider.ts';

const { WRIT_URL: url } = process.env;
if (url === undefined) {
  console.error('✘ copy the whole line that `npm run quickstart -- --keep` prints: WRIT_URL says where to sign in');
  process.exit(2);
}
try {
  const approver = { email: 'approver@example.com', password: demoPassword };
  const browser = openBrowser();
  const list = await signIn(browser, `${url}/approvals`, approver);
  const path = /href="(\/approvals\/gnt_\w+)"/.exec(list.html)?.[1];
  if (path === undefined) {
    console.log(`· signed in as ${approver.email}: nothing waits. Run the agent’s command first.`);
  } else {
    const page = await browser.open(`${url}${path}`);
    const done = await browser.submit(page, {}, 'Approve exactly this');
    console.log(`✔ ${approver.email} read ${url}${path} and pressed “Approve exactly this” (HTTP ${done.status})`);
  }
} catch (error) {
  console.error(`✘ ${(error as Error).message}`);
  process.exitCode = 1;
}
