/** The binding of an access request to its denial: known answers of the profile, and what does not hold. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { JsonObject } from '../core/vocabulary.ts';
import { type BoundRequest, bindingHash } from './denial-token.ts';

/**
 * The public known-answer vectors of `binding_hash` (github.com/openid/authzen, commit ad0db53, test-vectors
 * of the Access Request and Approval Profile): what each is about, the selected members of the context, the
 * request, the hash.
 */
const vectors: [string, string[], BoundRequest, string][] = [
  [
    'without subject.properties.act, and of the context the selected member',
    ['tenant'],
    {
      subject: {
        type: 'user',
        id: 'alice@example.com',
        properties: { department: 'engineering', act: { sub: 'delegating-client' } },
      },
      resource: { type: 'document', id: 'quarterly-plan', properties: { classification: 'internal' } },
      action: { name: 'read' },
      context: { tenant: 'acme', time: '2026-07-13T10:00:00Z', evaluation_id: 'eval-123' },
    },
    'l0ugE2lupDlzVCE-RxH7_vnpivDDkZ585VWMB0HJN_c',
  ],
  [
    'no member of the context',
    [],
    {
      subject: { type: 'service', id: 'reporting-agent' },
      resource: { type: 'report', id: 'sales-2026' },
      action: { name: 'generate' },
      context: { time: '2026-07-13T10:00:00Z', reason: 'quarterly reporting' },
    },
    'wFFGDqeZl3iEDz9S6wvFqVwJgBgwHHCe_qas6OxYjtU',
  ],
  [
    'a selected member that is absent',
    ['risk'],
    {
      subject: { type: 'user', id: 'bob@example.com' },
      resource: { type: 'account', id: 'A-123' },
      action: { name: 'transfer' },
      context: { tenant: 'acme' },
    },
    'lf0v2KKyh8NBEn11WRxqKqEscpKysEicAJ8D2RWelzU',
  ],
  [
    'a selected member that is null',
    ['risk'],
    {
      subject: { type: 'user', id: 'bob@example.com' },
      resource: { type: 'account', id: 'A-123' },
      action: { name: 'transfer' },
      context: { tenant: 'acme', risk: null },
    },
    'ZhIBgx_FoUtpREC6-YQd5mq96D5b_26VZqobNE-BDPY',
  ],
  [
    'numbers as RFC 8785 writes them',
    ['metrics'],
    {
      subject: { type: 'user', id: 'carol@example.com' },
      resource: { type: 'model', id: 'forecast-v2' },
      action: { name: 'invoke' },
      context: JSON.parse(
        '{"metrics":{"large":1E30,"small":2e-3,"negative_zero":-0,"rounded":333333333.33333329,"trailing_zero":4.50}}',
      ) as JsonObject,
    },
    'LjTcv3mUVNvDmimDGK4z6HbDi0h71JBVzNV50QY0r_c',
  ],
  [
    'the order of a list, null among it',
    ['approval_chain'],
    {
      subject: { type: 'user', id: 'dana@example.com' },
      resource: { type: 'deployment', id: 'prod-eu' },
      action: { name: 'promote' },
      context: { approval_chain: ['security', null, 'operations'] },
    },
    '_6B-qB6P-mydIxD8KB6VpJ-B-clDcC8eGLtkPDCw1ys',
  ],
  [
    'several items, in their order',
    ['tenant', 'region'],
    {
      subject: {
        type: 'service',
        id: 'deployment-agent',
        properties: { act: { sub: 'release-manager' }, environment: 'production' },
      },
      items: [
        { resource: { type: 'service', id: 'api' }, action: { name: 'deploy', properties: { version: '2.1.0' } } },
        { resource: { type: 'database', id: 'primary' }, action: { name: 'migrate', properties: { revision: 42 } } },
      ],
      context: { region: 'eu-west-1', tenant: 'acme', time: '2026-07-13T10:00:00Z' },
    },
    'mtqgljH0HQqidY8vzpi6EqMjIbDxN8PflXqEIEOJWYI',
  ],
];

describe('binding_hash', () => {
  for (const [about, members, request, expected] of vectors)
    test(`known answer: ${about}`, () => assert.equal(bindingHash(request, members), expected));

  test('any other value of a bound member is another hash', () => {
    const [, members, request] = vectors[0]!;
    const hashes = [
      request,
      { ...request, resource: { ...request.resource, id: 'other-plan' } },
      { ...request, action: { name: 'read', properties: {} } },
      { ...request, context: { tenant: 'other' } },
      { ...request, subject: { ...request.subject, type: 'agent' } },
    ].map((one) => bindingHash(one, members));
    assert.equal(new Set(hashes).size, hashes.length);
  });
});
