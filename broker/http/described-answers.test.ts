import assert from 'node:assert/strict';
import { test } from 'node:test';
import { undescribed } from './described-answers.test-support.ts';

const problem = {
  type: 'https://writ.example.com/errors/denied',
  title: 'The grant was denied',
  status: 403,
  code: 'denied',
  request_id: 'req_1',
  reasons: [{ code: 'rule' }],
};
const denial = (changes: object = {}, answer: object = {}) =>
  undescribed({
    method: 'POST',
    path: '/v1/grants?x=1',
    status: 403,
    type: 'application/problem+json; charset=utf-8',
    text: JSON.stringify({ ...problem, ...changes }),
    ...answer,
  });

test('an answer as the document describes it fits', () => {
  assert.equal(denial({ reasons: [{ code: 'rule', advice: 'Ask for less.' }] }), null);
});

test('another status, member, value or media type does not', () => {
  assert.equal(denial({}, { status: 418 }), '418 is not listed');
  assert.match(denial({ surprise: 1 }) ?? '', /surprise/);
  assert.match(denial({ reasons: [{ code: 'unheard_of' }] }) ?? '', /\/reasons\/0\/code/);
  assert.equal(denial({}, { type: 'text/html' }), '403 has the media type text/html');
});

test('the OAuth endpoints answer with `error`', () => {
  const refused = { ...problem, status: 400, code: 'invalid_grant', reasons: undefined };
  const answer = { path: '/oauth/token', status: 400, type: 'application/json' };
  assert.match(denial(refused, answer) ?? '', /error/);
  const words = { error: 'invalid_grant', error_description: 'No.' };
  assert.equal(denial({}, { ...answer, text: JSON.stringify({ ...refused, ...words }) }), null);
});

test('pages, and methods that a path does not take, are not the document’s', () => {
  assert.equal(denial({}, { path: '/approvals', status: 200, type: 'text/html' }), null);
  assert.equal(denial({}, { method: 'PATCH', status: 405 }), null);
});
