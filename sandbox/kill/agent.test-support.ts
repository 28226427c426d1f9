/** The agent, and the approver, over HTTP: they outlive the broker. */
import assert from 'node:assert/strict';
import { openBrowser, signIn } from '../oidc/browser.ts';
import { demoPassword } from '../oidc/login-provider.ts';
import type { World } from '../world.ts';

export interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: read member by member, as a client would
  body: any;
}

export interface Agent {
  sessionId: string;
  /** Null when the broker died before it had answered. */
  call(method: 'GET' | 'POST', path: string, body?: object, key?: string): Promise<Answer | null>;
}

/** Opens a session for one task. */
export async function openSession(world: World): Promise<Agent> {
  const response = await fetch(`${world.brokerUrl}/oauth/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: await world.subjectToken(),
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
      authorization_details: JSON.stringify([
        { type: 'task', task_type: 'answer-invoice-question', inputs: { customer_id: '42' } },
      ]),
    }),
  });
  const text = await response.text();
  assert.equal(response.status, 200, text);
  const token = JSON.parse(text);
  return {
    sessionId: token.session_id,
    call: async (method, path, body, key) => {
      try {
        const answer = await fetch(world.brokerUrl + path, {
          method,
          headers: {
            authorization: `Bearer ${token.access_token}`,
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
            ...(key === undefined ? {} : { 'idempotency-key': key }),
          },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        });
        return { status: answer.status, body: await answer.json() };
      } catch {
        return null;
      }
    },
  };
}

/** A person opens the link, signs in and approves. */
export async function approve(approvalUrl: string, grantId: string): Promise<void> {
  const browser = openBrowser();
  const page = await signIn(browser, approvalUrl, { email: 'approver@example.com', password: demoPassword });
  const after = await browser.submit(page, { verdict: 'approve' }, `/approvals/${grantId}`);
  assert.equal(after.status, 200, after.html);
}
