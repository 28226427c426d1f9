import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonObject } from '../core/vocabulary.ts';
import { compileSource, exampleSource } from '../manifests/example.test-support.ts';
import { type FactEntry, factEntries, sessionFacts } from '../manifests/facts-table.ts';
import { type FactColumns, factsOfRow } from '../sessions/fact-columns.ts';
import { decide } from './decide.ts';
import { cedarRequest, type DecisionFacts, planFacts, withoutOwnShare } from './facts.ts';
import { factsFor, freshSession } from './request.test-support.ts';

const compiled = compileSource(exampleSource);
const capability = 'read-customer-files';
const facts = factsFor(compiled, capability);

/** Values that are not of the type, those among them that a driver might really give. */
const wrong: { [type in Exclude<FactEntry['type'], 'Record'>]: unknown[] } = {
  String: [null, undefined, 1, {}, 'half a pair \ud800'],
  Long: [null, undefined, '5', 5n, 1.5, Number.NaN, 2 ** 60],
  Boolean: [null, undefined, 'true', 1],
  'Set<String>': [null, undefined, 'a', [1], {}],
  datetime: [],
};

test('a fact of the plan or the session that is not of its type denies, one by one', () => {
  let tried = 0;
  for (const { group, short, fact } of factEntries) {
    if (group === null || fact.type === 'Record') continue;
    for (const value of wrong[fact.type]) {
      if (value === undefined && fact.optional === true) continue;
      const part = facts[group as 'plan' | 'session'];
      const decision = decide({ ...facts, [group]: { ...part, [short]: value } } as DecisionFacts, compiled);
      assert.deepEqual(
        [decision.effect, decision.reasons],
        ['deny', [{ code: 'facts_not_valid' }]],
        `${group}.${short} = ${String(value)}`,
      );
      tried += 1;
    }
  }
  assert.ok(tried > 30);
});

test('the schema that policies are validated against and the context that they see have the table’s names', () => {
  const schema = compiled.capabilities[capability]?.schema as unknown as {
    Writ: { actions: { [name: string]: { appliesTo: { context: RecordType } } } };
  };
  interface RecordType {
    attributes: { [name: string]: { type: string; attributes?: RecordType['attributes'] } };
  }
  const records = new Set(factEntries.filter(({ fact }) => fact.type === 'Record').map(({ name }) => name as string));
  const leaves = (
    of: { [name: string]: unknown },
    below: (value: unknown) => { [name: string]: unknown } | undefined,
  ) =>
    Object.entries(of).flatMap(([name, value]) => {
      const members = records.has(name) ? undefined : below(value);
      return members === undefined ? [name] : Object.keys(members).map((short) => `${name}.${short}`);
    });
  const names = factEntries.map(({ name }) => name as string);
  const declared = leaves(
    schema.Writ.actions[`grant:${capability}`]!.appliesTo.context.attributes,
    (type) => (type as RecordType).attributes,
  );
  assert.deepEqual(declared.sort(), names.toSorted());

  const everything = { ...facts, session: { ...freshSession, grants_left: 5 } };
  const { context } = cedarRequest(everything, compiled);
  const sent = leaves(context, (value) =>
    typeof value === 'object' && !Array.isArray(value) && !Object.hasOwn(value as object, '__extn')
      ? (value as JsonObject)
      : undefined,
  );
  assert.deepEqual(sent.sort(), names.toSorted());
});

test('examples are of their facts’ types, and a row of the session read becomes the session’s facts', () => {
  const row = Object.fromEntries(sessionFacts.map(({ name, fact }) => [name, fact.example])) as FactColumns;
  const session = factsOfRow(row);
  assert.deepEqual(
    Object.keys(session),
    sessionFacts.map(({ short }) => short),
  );
  assert.equal(decide({ ...facts, session }, compiled).effect, 'allow');

  const withoutBound = factsOfRow({ ...row, 'session.grants_left': null });
  assert.ok(!Object.hasOwn(withoutBound, 'grants_left'), 'NULL is absence where a fact may be absent');
  const broken = factsOfRow({ ...row, 'session.grants': null });
  assert.equal(decide({ ...facts, session: broken }, compiled).effect, 'deny', 'and nowhere else');
});

test('an approved request does not stand in its own way: its share is taken off, of numbers only', () => {
  const session = { ...freshSession, grants: 3, capability_grants: 2, grants_left: 0 };
  assert.deepEqual(withoutOwnShare(session), { ...freshSession, grants: 2, capability_grants: 1, grants_left: 1 });
  assert.deepEqual(withoutOwnShare(freshSession).grants_left, undefined);
  const text = { ...session, grants: '3' } as unknown as DecisionFacts['session'];
  assert.equal(decide({ ...facts, session: withoutOwnShare(text) }, compiled).effect, 'deny');
});

test('the facts of a plan are computed as the table says', () => {
  const planned = {
    plan: { provider: 'store', permission: {}, ttl_seconds: 60 },
    digest: 'd',
    description: { summary: [], revocability: { kind: 'eventual', text: '' } },
  } as const;
  assert.deepEqual(planFacts({ ...planned, description: { ...planned.description, summary: [] } }), {
    provider: 'store',
    digest: 'd',
    ttl_seconds: 60,
    revocability: 'eventual',
  });
});
