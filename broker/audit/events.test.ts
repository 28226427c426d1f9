import assert from 'node:assert/strict';
import { test } from 'node:test';
import { storedRevokeReasons } from '../core/reasons.ts';
import { appendEvent } from './append.ts';
import {
  event,
  eventAmong,
  eventBy,
  eventPayload,
  eventTypes,
  eventWhen,
  payloadFault,
  readPayload,
} from './events.ts';
import { eventWords } from './words.ts';

test('statements name events by literals that the compiler has seen', () => {
  assert.equal(event('lease.issued'), "'lease.issued'");
  assert.equal(
    eventBy('status', { revoked: 'lease.revoked', expired: 'lease.expired' }),
    "CASE status WHEN 'revoked' THEN 'lease.revoked' WHEN 'expired' THEN 'lease.expired' END",
  );
  assert.equal(
    eventAmong('$3::text', 'grant.denied', 'grant.pending'),
    "CASE WHEN $3::text IN ('grant.denied', 'grant.pending') THEN $3::text END",
  );
  // @ts-expect-error an event that is not on the list
  event('lease.stolen');
  // @ts-expect-error nor by way of a value
  eventBy('status', { stolen: 'lease.stolen' });
});

test('a row is appended for each row of the change, with the columns that it gives', () => {
  const row = { chain: 'id', at: '$1', actor: 'agent', payload: 'audit' };
  assert.equal(
    appendEvent({ ...row, type: event('session.opened'), request: '$2' }, 'opened ORDER BY id').replace(/\s+/g, ' '),
    "INSERT INTO audit_event (chain, at, type, actor, request_id, payload) SELECT id, $1, 'session.opened', agent, $2, audit FROM opened ORDER BY id",
  );
  assert.match(
    appendEvent({ ...row, type: event('admin.bootstrap') }),
    /SELECT id, \$1, 'admin.bootstrap', agent, audit$/,
  );
  // @ts-expect-error a type that no function has named
  appendEvent({ ...row, type: "'lease.issued'" });
  // @ts-expect-error nor one that a value of another name hides
  appendEvent({ ...row, type: `CASE WHEN true THEN ${event('lease.issued')} ELSE b END` });
  // @ts-expect-error nor one of two
  eventWhen('true', event('lease.issued'), "'lease.stolen'");
});

test('a payload has one of the shapes of its event', () => {
  eventPayload('session.ended', { reason: 'parent_ended' });
  // @ts-expect-error a reason that is not on the list
  eventPayload('session.ended', { reason: 'moon_is_full' });
  // @ts-expect-error a member too many
  eventPayload('session.ended', { reason: 'parent_ended', colour: 'red' });
  // @ts-expect-error a member too few
  eventPayload('lease.failed', { code: 'upstream_refused' });
  assert.equal(payloadFault('session.ended', { reason: 'parent_ended' }), null);
  for (const wrong of [{}, { reason: 'moon_is_full' }, { reason: 'parent_ended', colour: 'red' }])
    assert.notEqual(payloadFault('session.ended', wrong), null);
  const minted = { code: 'x', provider_code: null, may_have_minted: true };
  for (const right of [{ reason: 'admin' }, minted]) assert.equal(payloadFault('lease.revoking', right), null);
  assert.notEqual(payloadFault('lease.revoking', { reason: 'admin', ...minted }), null, 'two shapes are not one');
});

test('rows of another version are told as far as they go', () => {
  assert.deepEqual(readPayload('session.opened', { on_behalf_of: 'user:a', task: 'of old', more: 1 }), {
    on_behalf_of: 'user:a',
  });
  const told = (type: string, payload = {}) => eventWords({ type, actor: 'system', payload }, 'read-files').text;
  for (const type of eventTypes) assert.match(told(type), /^[^{]+\.$/, type);
  const revoking = (reason: string) => told('lease.revoking', { reason });
  assert.equal(revoking('answer_lost'), revoking('issue_timed_out'));
  assert.match(revoking('quite_new'), /: quite new\.$/);
  for (const code of Object.keys(storedRevokeReasons)) assert.doesNotMatch(revoking(code), /_/);
  assert.equal(told('lease.teleported', { reason: 'moon_is_full' }), 'lease teleported: moon is full');
});
