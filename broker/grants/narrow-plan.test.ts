import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import type { Provider } from '../../providers/contract.ts';
import { WritError } from '../core/errors.ts';
import type { JsonObject, Plan } from '../core/vocabulary.ts';
import { narrowedPlan, partsOf } from './narrow-plan.ts';

const params: JsonObject = {
  owner: 'acme',
  repositories: ['orders', 'notes', 'policy'],
  'odd/key~': [{ columns: ['id', 'amount'] }, { columns: ['id'] }],
  single: ['one'],
};
const shape = z.strictObject({
  owner: z.string(),
  repositories: z.array(z.string()).min(1),
  'odd/key~': z.array(z.strictObject({ columns: z.array(z.string()).min(1) })).min(1),
  single: z.array(z.string()),
});
/** Plans what it is given; `says`: whether it calls anything narrower. */
const provider = (says: (plan: Plan, than: Plan) => boolean) =>
  ({
    name: 'store',
    params: shape,
    plan: (permission: JsonObject, ttl_seconds: number): Plan => ({ provider: 'store', permission, ttl_seconds }),
    narrower: says,
  }) as unknown as Provider;
const asked: Plan = { provider: 'store', permission: params, ttl_seconds: 600 };
const refused = (error: unknown) => error instanceof WritError && error.code === 'bad_request';

test('parts are the members of lists with more than one, also within members', () => {
  const pointers = partsOf(params).map(({ pointer }) => pointer);
  assert.deepEqual(pointers, [
    '/repositories/0',
    '/repositories/1',
    '/repositories/2',
    '/odd~1key~0/0',
    '/odd~1key~0/0/columns/0',
    '/odd~1key~0/0/columns/1',
    '/odd~1key~0/1',
  ]);
  const left = partsOf(params, ['/repositories/0', '/repositories/2', '/odd~1key~0/1']);
  assert.deepEqual(
    left.map(({ list, text }) => [list, text]),
    [
      ['odd/key~ 1, columns', 'id'],
      ['odd/key~ 1, columns', 'amount'],
    ],
  );
  assert.deepEqual(partsOf({ many: Array.from({ length: 101 }, (_, n) => n) }), []);
});

test('what is left is planned anew, for the lifetime that stands', () => {
  const plan = narrowedPlan(
    provider(() => true),
    params,
    asked,
    ['/repositories/1', '/odd~1key~0/0/columns/1'],
  );
  assert.deepEqual(plan, {
    provider: 'store',
    permission: {
      ...params,
      repositories: ['orders', 'policy'],
      'odd/key~': [{ columns: ['id'] }, { columns: ['id'] }],
    },
    ttl_seconds: 600,
  });
});

test('nothing else is taken: what was not asked for, a whole list, what the provider does not call less', () => {
  const yes = provider(() => true);
  for (const leftOut of [
    ['/owner'],
    ['/repositories/3'],
    ['/repositories'],
    ['/single/0'],
    ['__proto__'],
    ['/repositories/0', '/repositories/1', '/repositories/2'],
  ])
    assert.throws(() => narrowedPlan(yes, params, asked, leftOut), refused, leftOut.join());
  assert.throws(
    () =>
      narrowedPlan(
        provider(() => false),
        params,
        asked,
        ['/repositories/1'],
      ),
    refused,
  );
  const { narrower: _, ...mute } = yes;
  assert.throws(() => narrowedPlan(mute as Provider, params, asked, ['/repositories/1']), refused);
  const other = {
    ...yes,
    plan: () => {
      throw new Error('no such plan');
    },
  } as unknown as Provider;
  assert.throws(() => narrowedPlan(other, params, asked, ['/repositories/1']), refused);
});
