/**
 * Examples of Dogwood's guide (github.com/dogwood-policy/dogwood, `dogwood-docs/guide/` 00, 01 and 04, and
 * `dogwood-docs/examples/`), said in our rules, decide the same. Each case has the example's name; the rules
 * and the histories are our own.
 *
 * How one becomes the other: `permit when temporal { X }` is "deny unless X"; a Dogwood `request` is an
 * `attempt`, a `response` whose `output.result` is true a `response`, one where it is false an `error`; a
 * field that equals the request's is `same: ["arg:FIELD"]`, and an amount is the call's cost.
 *
 * What it says and our rules do not: `exists` over values that the call itself does not have
 * (`alert_same_user_login_and_transfer`, `alert_login_and_big_transfer`), one aggregate against another
 * (`alert_pending_transfers`), `previous` and `since` over the events of everybody where we compare with this
 * call's own, a positive left side of `since` (`read_since_login`), and values of outputs.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readManifest } from '../manifests/read.ts';
import { Folded, silent, start } from './histories.test-support.ts';

interface Line {
  at: number;
  /** `tool/response` and `tool/error` are the outcome of the latest call of the tool. */
  what: string;
  args?: { [name: string]: string | number };
  /** In dollars. */
  amount?: number;
  decision?: 'allow' | 'deny';
}

const names = [
  'login',
  'logout',
  'read',
  'write',
  'approve_sale',
  'sell',
  'heartbeat',
  'alert',
  'transfer',
  'grant',
  'revoke',
];

function replay(rules: object[], lines: readonly Line[], tools: object = {}): void {
  const manifest = {
    apiVersion: 'writ/v1',
    agent: 'some-bot',
    owner: 'team:billing',
    description: 'Tries things.',
    envelope: { wall_time: '30m' },
    task_types: { work: { description: 'Work.', inputs: {} } },
    capabilities: {},
    tools: { ...Object.fromEntries(names.map((name) => [name, {}])), ...tools },
    rules: rules.map((rule, n) => ({ id: `rule-${n}`, scope: 'agent', effect: 'deny', ...rule })),
  };
  const read = readManifest(JSON.stringify(manifest), {});
  assert.ok(read.ok, JSON.stringify(read));
  const folded = new Folded({ 'some-bot': read.compiled });
  const who = {
    rootId: 'root',
    agent: 'some-bot',
    principal: 'some-bot',
    task: { task_type: 'work', inputs: {} },
    openedAt: start,
    onBehalfOf: null,
    declaredOnBehalfOf: null,
  };
  for (const { at, what, args = {}, amount, decision } of lines) {
    const [tool, outcome] = what.split('/') as [string, 'response' | 'error' | undefined];
    const now = start + at * 1000;
    if (outcome !== undefined) {
      const asked = folded.recorded.findLast((one) => one.tool === tool)!;
      folded.finish(asked, { ...silent, outcome }, now);
      continue;
    }
    const costMicroUsd = amount === undefined ? null : amount * 1e6;
    const { effect } = folded.ask(who, { tool, args, costMicroUsd }, now);
    if (decision !== undefined) assert.equal(effect, decision, `${what} at ${at}`);
  }
}

const sameUser = { within: '1h', same: ['arg:user'] };
const [ann, ben] = [{ user: 'ann' }, { user: 'ben' }];
const onNote = (user: object, document: string) => ({ ...user, document });

test('read_after_login: a window has an end, and its last second is in it', () => {
  const rules = [{ on: { tool: 'read' }, unless: { formerly: { tool: 'login', kind: 'attempt', ...sameUser } } }];
  replay(rules, [
    { at: 0, what: 'read', args: ann, decision: 'deny' },
    { at: 5, what: 'login', args: ann },
    { at: 20, what: 'read', args: ann, decision: 'allow' },
    { at: 25, what: 'read', args: ben, decision: 'deny' },
    { at: 3605, what: 'read', args: ann, decision: 'allow' },
    { at: 3606, what: 'read', args: ann, decision: 'deny' },
    { at: 9000, what: 'read', args: ann, decision: 'deny' },
  ]);
});

test('max_window_raised: seven days', () => {
  const event = { tool: 'login', kind: 'attempt', within: '7d', same: ['arg:user'] };
  replay(
    [{ on: { tool: 'read' }, unless: { formerly: event } }],
    [
      { at: 0, what: 'login', args: ann },
      { at: 7 * 86_400, what: 'read', args: ann, decision: 'allow' },
      { at: 7 * 86_400 + 1, what: 'read', args: ann, decision: 'deny' },
    ],
  );
});

test('login_attempt_custom_kind: a login that was refused is an attempt all the same', () => {
  const rules = [{ on: { tool: 'read' }, unless: { formerly: { tool: 'login', kind: 'attempt', ...sameUser } } }];
  replay(
    rules,
    [
      { at: 0, what: 'login', args: { ...ann, place: 'attic' }, decision: 'deny' },
      { at: 9, what: 'read', args: ann, decision: 'allow' },
    ],
    { login: { args: { place: 'cellar' } } },
  );
});

test('read_after_login_success: the login must have come out well', () => {
  const rules = [{ on: { tool: 'read' }, unless: { formerly: { tool: 'login', kind: 'response', ...sameUser } } }];
  replay(rules, [
    { at: 0, what: 'login', args: ann },
    { at: 1, what: 'read', args: ann, decision: 'deny' },
    { at: 2, what: 'login/response' },
    { at: 80, what: 'read', args: ann, decision: 'allow' },
    { at: 90, what: 'login', args: ben },
    { at: 91, what: 'login/error' },
    { at: 95, what: 'read', args: ben, decision: 'deny' },
  ]);
});

test('write_after_read, write_after_read_formerly: the same document, by the same user', () => {
  const event = { tool: 'read', kind: 'attempt', within: '1h', same: ['arg:user', 'arg:document'] };
  replay(
    [{ on: { tool: 'write' }, unless: { formerly: event } }],
    [
      { at: 0, what: 'read', args: onNote(ann, 'plan') },
      { at: 15, what: 'write', args: onNote(ann, 'plan'), decision: 'allow' },
      { at: 25, what: 'write', args: onNote(ann, 'budget'), decision: 'deny' },
      { at: 35, what: 'write', args: onNote(ben, 'plan'), decision: 'deny' },
      { at: 4000, what: 'write', args: onNote(ann, 'plan'), decision: 'deny' },
    ],
  );
});

test('temporal_login_then_read: both must have been', () => {
  const read = { tool: 'read', kind: 'attempt', within: '1h', same: ['arg:user', 'arg:document'] };
  const rules = [
    { on: { tool: 'write' }, unless: { formerly: { tool: 'login', kind: 'attempt', ...sameUser } } },
    { on: { tool: 'write' }, unless: { formerly: read } },
  ];
  replay(rules, [
    { at: 0, what: 'read', args: onNote(ann, 'plan') },
    { at: 5, what: 'write', args: onNote(ann, 'plan'), decision: 'deny' },
    { at: 10, what: 'login', args: ann },
    { at: 15, what: 'write', args: onNote(ann, 'plan'), decision: 'allow' },
    { at: 20, what: 'write', args: onNote(ann, 'budget'), decision: 'deny' },
    { at: 25, what: 'write', args: onNote(ben, 'plan'), decision: 'deny' },
  ]);
});

test('sell_after_approval_valid_ticker: history, and what the argument looks like', () => {
  const event = { tool: 'approve_sale', kind: 'attempt', within: '1h', same: ['arg:stock'] };
  replay(
    [{ on: { tool: 'sell' }, unless: { formerly: event } }],
    [
      { at: 0, what: 'approve_sale', args: { stock: 'PEAR' } },
      { at: 60, what: 'sell', args: { stock: 'PEAR' }, decision: 'allow' },
      { at: 120, what: 'approve_sale', args: { stock: 'kiwi' } },
      { at: 180, what: 'sell', args: { stock: 'kiwi' }, decision: 'deny' },
      { at: 240, what: 'sell', args: { stock: 'PLUM' }, decision: 'deny' },
      { at: 3700, what: 'sell', args: { stock: 'PEAR' }, decision: 'deny' },
    ],
    { sell: { args: { stock: { pattern: '[A-Z]+' } } } },
  );
});

test('access_not_revoked_since_grant: `!revoke since grant`', () => {
  const since = {
    event: { tool: 'grant', kind: 'attempt' },
    without: { tool: 'revoke', kind: 'attempt' },
    within: '1h',
    same: ['arg:user', 'arg:document'],
  };
  replay(
    [{ on: { tool: 'read' }, unless: { since } }],
    [
      { at: 0, what: 'read', args: onNote(ann, 'plan'), decision: 'deny' },
      { at: 10, what: 'grant', args: onNote(ann, 'plan') },
      { at: 20, what: 'revoke', args: onNote(ben, 'plan') },
      { at: 30, what: 'read', args: onNote(ann, 'plan'), decision: 'allow' },
      { at: 40, what: 'revoke', args: onNote(ann, 'plan') },
      { at: 50, what: 'read', args: onNote(ann, 'plan'), decision: 'deny' },
      { at: 60, what: 'grant', args: onNote(ann, 'plan') },
      { at: 3660, what: 'read', args: onNote(ann, 'plan'), decision: 'allow' },
      { at: 3661, what: 'read', args: onNote(ann, 'plan'), decision: 'deny' },
    ],
  );
});

test('00-introduction: nothing after a logout, until the next login', () => {
  const since = {
    event: { tool: 'logout', kind: 'attempt' },
    without: { tool: 'login', kind: 'attempt' },
    within: '1d',
    same: ['arg:user'],
  };
  replay(
    [{ on: { tool: 'read' }, when: { since } }],
    [
      { at: 0, what: 'read', args: ann, decision: 'allow' },
      { at: 1, what: 'logout', args: ann },
      { at: 2, what: 'read', args: ann, decision: 'deny' },
      { at: 3, what: 'read', args: ben, decision: 'allow' },
      { at: 4, what: 'login', args: ann },
      { at: 5, what: 'read', args: ann, decision: 'allow' },
    ],
  );
});

test('read_login_not_logout: a login within the hour; what the call is not, it need not exclude', () => {
  const rules = [{ on: { tool: 'read' }, unless: { formerly: { tool: 'login', kind: 'attempt', ...sameUser } } }];
  replay(rules, [
    { at: 0, what: 'login', args: ann },
    { at: 90, what: 'read', args: onNote(ann, 'plan'), decision: 'allow' },
    { at: 3900, what: 'read', args: onNote(ann, 'plan'), decision: 'deny' },
    { at: 4000, what: 'read', args: onNote(ben, 'plan'), decision: 'deny' },
  ]);
});

/** What was just before: since it, nothing has been. */
const previous = (event: object) => ({
  since: { event, without: { kind: ['attempt', 'response', 'error'] }, within: '1h', same: ['arg:user'] },
});

test('read_prev_login: a login, and nothing in between', () => {
  replay(
    [{ on: { tool: 'read' }, unless: previous({ tool: 'login', kind: 'attempt' }) }],
    [
      { at: 0, what: 'read', args: ann, decision: 'deny' },
      { at: 5, what: 'login', args: ann },
      { at: 8, what: 'read', args: ann, decision: 'allow' },
      { at: 9, what: 'read', args: ann, decision: 'deny' },
      { at: 10, what: 'login', args: ann },
      { at: 3611, what: 'read', args: ann, decision: 'deny' },
    ],
  );
});

test('read_prev_login_success: a login that came out well, and nothing in between', () => {
  replay(
    [{ on: { tool: 'read' }, unless: previous({ tool: 'login', kind: 'response' }) }],
    [
      { at: 0, what: 'read', args: ann, decision: 'deny' },
      { at: 3, what: 'login', args: ann },
      { at: 4, what: 'login/response' },
      { at: 6, what: 'read', args: ann, decision: 'allow' },
      { at: 40, what: 'login', args: ben },
      { at: 41, what: 'login/error' },
      { at: 42, what: 'read', args: ben, decision: 'deny' },
    ],
  );
});

test('heartbeat_scope_alias: by the same caller, for the same server', () => {
  const event = { tool: 'heartbeat', kind: 'attempt', within: '1h', same: ['arg:server'] };
  replay(
    [{ on: { tool: 'alert' }, unless: { formerly: event } }],
    [
      { at: 0, what: 'heartbeat', args: { server: 'north' } },
      { at: 9, what: 'alert', args: { server: 'north' }, decision: 'allow' },
      { at: 10, what: 'alert', args: { server: 'south' }, decision: 'deny' },
    ],
  );
});

test('alert_login_in_last_hour: one login at least', () => {
  const count = { of: { tool: 'login', kind: 'attempt' }, more_than: 0, within: '1h', same: ['arg:server'] };
  const at = (server: string) => ({ ...ann, server });
  replay(
    [{ on: { tool: 'alert' }, unless: { count } }],
    [
      { at: 0, what: 'alert', args: at('north'), decision: 'deny' },
      { at: 10, what: 'login', args: at('north') },
      { at: 20, what: 'alert', args: at('north'), decision: 'allow' },
      { at: 30, what: 'alert', args: at('south'), decision: 'deny' },
      // Counts end on a step of a 64th of their window: 57 seconds later at most.
      { at: 3610 + 57, what: 'alert', args: at('north'), decision: 'deny' },
    ],
  );
});

test('alert_exactly_three_transfers: neither fewer nor more', () => {
  const moreThan = (more_than: number) => ({
    count: { of: { tool: 'transfer', kind: 'attempt' }, more_than, within: '1h' },
  });
  const transfer = (at: number): Line => ({ at, what: 'transfer', args: { amount: at } });
  replay(
    [
      { on: { tool: 'alert' }, unless: moreThan(2) },
      { on: { tool: 'alert' }, when: moreThan(3) },
    ],
    [
      transfer(0),
      transfer(10),
      { at: 11, what: 'alert', decision: 'deny' },
      transfer(20),
      { at: 21, what: 'alert', decision: 'allow' },
      transfer(30),
      { at: 31, what: 'alert', decision: 'deny' },
    ],
  );
});

test('forbid_read_transfers_over_1000: what the user’s transfers came to, as far as they came out well', () => {
  const sum = { of: { tool: 'transfer', kind: 'response' }, cost_usd_more_than: 1000, ...sameUser };
  replay(
    [{ on: { tool: 'read' }, when: { sum } }],
    [
      { at: 0, what: 'transfer', args: ann, amount: 600 },
      { at: 1, what: 'transfer/response' },
      { at: 2, what: 'transfer', args: ann, amount: 600 },
      { at: 3, what: 'read', args: ann, decision: 'allow' },
      { at: 4, what: 'transfer/error' },
      { at: 5, what: 'read', args: ann, decision: 'allow' },
      { at: 6, what: 'transfer', args: ann, amount: 401 },
      { at: 7, what: 'transfer/response' },
      { at: 8, what: 'read', args: ann, decision: 'deny' },
      { at: 9, what: 'read', args: ben, decision: 'allow' },
    ],
  );
});
