/** What each row measures: the requests it sends, and what must exist before they can be sent. */
import type { Child } from './child.ts';
import type { Load, LoadRequest, LoadResult } from './load-process.ts';
import type { RowName } from './options.ts';

/** The processes a row is measured with. */
export interface Bench {
  sandbox: Child;
  load: Child;
  /** Addresses of the broker's processes. */
  urls: string[];
}

export interface Scenario {
  name: Exclude<RowName, 'reference'>;
  /** Status of a good answer. */
  status: number;
  /** The broker goes on working after it has answered: that work belongs to the request's cost. */
  settles: boolean;
  /** Most requests one run can send; fewer where each costs much to prepare. */
  most(clients: number): number;
  prepare(bench: Bench, count: number): Promise<LoadRequest[]>;
}

/**
 * As many grants as a session of the example agent may have: what a session's history costs is part of the
 * picture.
 */
const grantsPerSession = 20;
const unlimited = () => Number.MAX_SAFE_INTEGER;

const grantScenario = (name: Scenario['name'], capability: string): Scenario => ({
  name,
  status: 201,
  settles: false,
  most: unlimited,
  prepare: async (bench, count) => {
    const tokens = await openSessions(bench, Math.max(1, Math.ceil(count / grantsPerSession)));
    return tokens.map((token) => grant(token, capability, grantsPerSession));
  },
});

const endScenario = (name: Scenario['name'], leases: number, most: (clients: number) => number): Scenario => ({
  name,
  status: 200,
  settles: true,
  most,
  prepare: async (bench, count) => {
    const tokens = await openSessions(bench, count);
    await run(
      bench,
      201,
      tokens.map((token) => grant(token, 'read-instantly', leases)),
    );
    return tokens.map((token) => ({ path: '/v1/session/end', headers: bearer(token), body: '', times: 1 }));
  },
});

export const scenarios: Scenario[] = [
  {
    name: 'session-open',
    status: 200,
    settles: false,
    most: unlimited,
    prepare: async ({ sandbox }, count) => (await sandbox.ask<string[]>('tokens', count)).map(open),
  },
  grantScenario('grant-by-policy', 'read-instantly'),
  grantScenario('grant-aws', 'read-customer-files'),
  grantScenario('grant-github', 'read-policy-repository'),
  grantScenario('grant-gcp', 'read-statements'),
  endScenario('session-end-1', 1, (clients) => Math.max(120, clients * 4)),
  endScenario('session-end-10', 10, (clients) => Math.max(24, clients * 2)),
  endScenario('session-end-100', 100, (clients) => Math.max(4, clients)),
];

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** Each session has a customer of its own: no two ask for the same permission. */
function open(subjectToken: string, n: number): LoadRequest {
  const task = { type: 'task', task_type: 'answer-invoice-question', inputs: { customer_id: String(n) } };
  const form = new URLSearchParams({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: subjectToken,
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    authorization_details: JSON.stringify([task]),
  });
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  return { path: '/oauth/token', headers, body: form.toString(), times: 1 };
}

function grant(token: string, capability: string, times: number): LoadRequest {
  const body = JSON.stringify({ capability, ttl_seconds: 600, justification: 'to answer a question' });
  return { path: '/v1/grants', headers: { ...bearer(token), 'content-type': 'application/json' }, body, times };
}

export async function openSessions(bench: Pick<Bench, 'sandbox' | 'load' | 'urls'>, count: number): Promise<string[]> {
  const subjects = await bench.sandbox.ask<string[]>('tokens', count);
  const { bodies } = await run(bench, 200, subjects.map(open), true);
  return bodies.map((body) => (JSON.parse(body) as { access_token: string }).access_token);
}

/** Sends all of it, as fast as it goes. */
function run(bench: Bench, status: number, requests: LoadRequest[], keep = false): Promise<LoadResult> {
  const load: Load = { urls: bench.urls, clients: 16, seconds: 300, requests, status, keep };
  return bench.load.ask<LoadResult>('drive', load);
}
