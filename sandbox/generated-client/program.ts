/**
 * An agent on a client that openapi-typescript wrote from a broker's `/openapi.json`: `client.ts` beside it.
 * The test puts both into a folder of their own, compiles, and runs this. One JSON text a line comes out.
 */
import createClient from 'openapi-fetch';
import type { components, paths } from './client.ts';

type Task = components['schemas']['Task'];
type Problem = components['schemas']['Problem'];
type Reason = NonNullable<Problem['reasons']>[number];

const { WRIT_URL: baseUrl = '', SUBJECT_TOKEN: subject_token = '' } = process.env;
const writ = createClient<paths>({ baseUrl });
const say = (what: string, value: unknown) => console.log(JSON.stringify({ what, value }));

const open = (task: Task) =>
  writ.POST('/oauth/token', {
    headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
    body: {
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
      subject_token,
      authorization_details: JSON.stringify([task]),
    },
  });

/** What an agent does about a reason: each case is a word of the document, checked by the compiler. */
function aboutReason({ code, path, policy_id }: Reason): string {
  switch (code) {
    case 'param_not_bound_value':
    case 'param_outside_choice':
      return `change ${path}`;
    case 'capability_unknown':
      return 'ask for another capability';
    case 'rule':
      return `give up: ${policy_id}`;
    default:
      return 'give up';
  }
}

function aboutProblem(problem: Problem): string[] {
  switch (problem.code) {
    case 'denied':
      return (problem.reasons ?? []).map(aboutReason);
    case 'bad_request':
      return (problem.errors ?? []).map(({ path, message }) => `${path}: ${message}`);
    case 'rate_limited':
      return [`wait ${problem.retry_after_seconds} s`];
    // @ts-expect-error no such code
    case 'denied_by_typo':
      return [];
    default:
      return [problem.title];
  }
}

const refused = await open({ type: 'task', task_type: 'answer-invoice-questions' });
if (refused.error === undefined) throw new Error('a task that the manifest has not was taken');
say('refused session', [refused.response.status, refused.error.error, refused.error.code, refused.error.errors]);

const opened = await open({ type: 'task', task_type: 'answer-invoice-question', inputs: { customer_id: '42' } });
// @ts-expect-error not read before it is known that there is no error
opened.data.access_token;
if (opened.error !== undefined) throw new Error(opened.error.error_description);
const { access_token, token_type, authorization_details } = opened.data;
writ.use({
  onRequest: ({ request }) => request.headers.set('authorization', `${token_type} ${access_token}`),
});
for (const detail of authorization_details) if (detail.type === 'task') say('opened', [token_type, detail.inputs]);

const offered = await writ.GET('/v1/capabilities');
if (offered.error !== undefined) throw new Error(offered.error.title);
const atOnce = offered.data.capabilities.filter(({ tier, state }) => tier === 1 && state === 'open');
say(
  'offered',
  atOnce.map(({ name }) => name),
);

// @ts-expect-error a member is misspelt
const misspelt = await writ.POST('/v1/grants', { body: { capabilty: 'read-statements' } });
// A name that only the broker knows.
const unheardOf = await writ.POST('/v1/grants', { body: { capability: 'read-statement' } });
for (const { error, response } of [misspelt, unheardOf])
  if (error !== undefined) say('misspelt', [response.status, error.code, aboutProblem(error)]);

const denied = await writ.POST('/v1/grants', {
  body: { capability: 'read-statements', params: { bucket: 'payroll' }, ttl_seconds: 300 },
});
if (denied.error?.nearest === undefined) throw new Error('not denied with something nearest');
const { status, code, reasons = [], nearest } = denied.error;
say('denied', [status, code, reasons.map((reason) => reason.code)]);
say('about it', [aboutProblem(denied.error), nearest]);

const granted = await writ.POST('/v1/grants', {
  body: nearest,
  params: { header: { 'Idempotency-Key': crypto.randomUUID() } },
});
if (granted.error !== undefined) throw new Error(granted.error.title);
// Only the answer with a credential has the signed decision.
if (!('decision' in granted.data)) throw new Error('no credential');
const { credential, lease, plan, revocability } = granted.data;
if (credential?.type !== 'gcp') throw new Error('not a credential of Google Cloud');
say('granted', [granted.data.status, plan.provider, revocability.kind, lease.status]);
say('credential', [credential.token_type, credential.scopes]);
// @ts-expect-error of AWS
credential.secret_access_key;
// @ts-expect-error with a credential there is nobody to wait for
granted.data.needs_approval;

const waiting = await writ.POST('/v1/grants', { body: { capability: 'correct-customer-invoice' } });
if (waiting.error !== undefined || !('needs_approval' in waiting.data)) throw new Error('nobody was asked');
const { id, needs_approval, approval_url } = waiting.data;
const pathOf = (url: string) => new URL(url).pathname.replace(id, '{id}');
say('waiting', [waiting.response.status, waiting.data.status, pathOf(approval_url), pathOf(needs_approval.collect)]);

// @ts-expect-error the path needs its id
const read = writ.GET('/v1/grants/{id}', {});
say('without an id', (await read).error?.code);
const early = await writ.POST('/v1/grants/{id}/redeem', { params: { path: { id } } });
say('early', [early.response.status, early.error?.code]);

const ended = await writ.POST('/v1/session/end', { params: { query: { wait: 30 } } });
if (ended.error !== undefined) throw new Error(ended.error.title);
say('ended', [ended.data.session.status, ended.data.leases.map((one) => one.status)]);
