/** A plan in the words that an approver reads. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describePlan } from './describe.ts';
import { type PostgresParams, params } from './params.ts';
import { planFor } from './plan.ts';

const planned = (asked: unknown) =>
  planFor(params.parse(asked) as PostgresParams, 600, { database: 'shop', hasReplica: true });
const readOrders = { table: 'orders', read: ['id', 'amount', 'due'], rows: { customer_id: 42 } };

test('tables, columns and rows are told, and what holds them', () => {
  assert.deepEqual(describePlan(planned({ tables: [readOrders] })), {
    summary: [
      'Read id, amount, due of public.orders where customer_id = 42',
      'A row-security policy on public.orders holds it to these rows',
      'In the database shop, as a role made for this lease',
    ],
    revocability: {
      kind: 'immediate',
      text: 'Writ takes the rows away, ends the sessions and drops the role; then it tries the password, which the server must refuse. The server itself shows no row and takes no login after 600 seconds.',
    },
  });
});

test('every verb, a view, whole tables and a replica are told', () => {
  const verbs = { ...readOrders, insert: ['amount'], update: ['due'], delete: true };
  assert.deepEqual(describePlan(planned({ tables: [verbs] })).summary.slice(0, 4), [
    'Read id, amount, due of public.orders where customer_id = 42',
    'Add rows to public.orders where customer_id = 42, giving amount',
    'Change due of public.orders where customer_id = 42',
    'Delete rows of public.orders where customer_id = 42',
  ]);
  const { summary, revocability } = describePlan(
    planned({ server: 'replica', tables: [{ table: 'countries', through: 'view', read: ['code'], rows: 'all' }] }),
    ['Warning: so it is'],
  );
  assert.deepEqual(summary, [
    'Read code of public.countries, every row',
    'The view writ_public.countries holds it to these rows; it has no right on the table itself',
    'In the database shop, on its read replica, as a role made for this lease',
    'Warning: so it is',
  ]);
  assert.equal(revocability.kind, 'eventual');
});

test('names and values are shown as they are, and none passes for words of ours', () => {
  const table = 'Orders, every row';
  const rows = { Kunde: `42 or everything'`, state: 'open' };
  assert.equal(
    describePlan(planned({ tables: [{ table, read: ['Id'], rows }] })).summary[0],
    `Read "Id" of public."Orders, every row" where "Kunde" = '42 or everything''' and state = open`,
  );
});
