// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references of the manifest, not JavaScript’s
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { exampleProviders, exampleSource } from './example.test-support.ts';
import { readManifest } from './read.ts';

/** Replaces each text once and expects exactly these faults, as `line path: message`. */
function expectFaults(
  changes: [from: string, to: string][],
  expected: (string | RegExp)[],
  providers = exampleProviders,
): void {
  let source = exampleSource;
  for (const [from, to] of changes) {
    assert.ok(source.includes(from), from);
    source = source.replace(from, () => to);
  }
  const read = readManifest(source, providers);
  assert.ok(!read.ok, 'was accepted');
  const told = read.faults.map(({ line, column, path, message }) => {
    assert.ok((line ?? 0) > 1 && (column ?? 0) >= 1, `${path} has no place`);
    return `${path}: ${message}`;
  });
  assert.equal(told.length, expected.length, JSON.stringify(told, null, 1));
  for (const [index, want] of expected.entries()) {
    if (want instanceof RegExp) assert.match(told[index] as string, want);
    else assert.equal(told[index], want);
  }
}

const files = 'capabilities.read-customer-files';

test('tasks, providers and inputs that are not there', () => {
  expectFaults(
    [
      ['tasks: [answer-invoice-question]', 'tasks: [answer-invoice-question, no-such-task]'],
      ['provider: store', 'provider: vault'],
    ],
    [
      `${files}.provider: is not a provider that is switched on (there are: store)`,
      `${files}.tasks[1]: is not a task type of this manifest`,
    ],
  );
});

test('a name that is nearly right is told with the one that was meant, once', () => {
  expectFaults(
    [
      ['tasks: [answer-invoice-question]', 'tasks: [answer-invoice-qestion]'],
      ['provider: store', 'provider: stor'],
    ],
    [
      `${files}.provider: is not a provider that is switched on (there are: store); did you mean store?`,
      `${files}.tasks[0]: is not a task type of this manifest; did you mean answer-invoice-question?`,
    ],
  );
  expectFaults(
    [
      ['customers/${inputs.customer_id}/"\n      year', 'customers/${inputs.custmer_id}/"\n      year'],
      ['limit: 100', 'limt: 100'],
      ['{ service: accounts, account:', '{ service: accounts, acount:'],
    ],
    [
      `${files}.params.prefix: refers to the input custmer_id, which not every task type of this capability has; did you mean customer_id?`,
      `${files}.params.limt: is not a parameter of the provider store; did you mean limit?`,
      'capabilities.close-account.params.acount: is not a parameter of the provider store; did you mean account?',
    ],
  );
});

test('an input without its braces is not these letters in silence', () => {
  expectFaults(
    [['prefix: "customers/${inputs.customer_id}/"', 'prefix: "customers/$inputs.customer_id/"']],
    [
      `${files}.params.prefix: has $inputs.customer_id without braces, which is no input but these very letters: write \${inputs.customer_id}`,
    ],
  );
});

test('a state is approved only of what a provider can read', () => {
  const source = exampleSource.replace('    tier: 2\n', '    tier: 2\n    approval: { state: true }\n');
  const faultsWith = (readsState?: boolean) => {
    const { params } = exampleProviders.store!;
    const read = readManifest(source, { store: { params, ...(readsState === undefined ? {} : { readsState }) } });
    return read.ok ? [] : read.faults.map(({ path, message }) => `${path}: ${message}`);
  };
  assert.deepEqual(faultsWith(false), ['capabilities.close-account.approval.state: the provider store reads no state']);
  assert.deepEqual(faultsWith(true), []);
  assert.deepEqual(faultsWith(), []);
});

test('a parameter must not hang on an input that only some of the task types have', () => {
  expectFaults(
    [
      [
        `bucket: orders, prefix: "customers/\${inputs.customer_id}/" }`,
        `bucket: orders, prefix: "\${inputs.region}" }`,
      ],
    ],
    [
      'capabilities.read-anything.params.prefix: refers to the input region, which not every task type of this capability has',
    ],
  );
});

test('one name must not be two types of input', () => {
  expectFaults(
    [['customer_id: { type: string, pattern: "(?s).*" }', 'customer_id: { type: integer }']],
    [/^capabilities.read-anything.tasks\[1\]: its input customer_id is string, but integer in another/],
  );
});

test(`a \${ that is no input never reaches a provider`, () => {
  for (const text of [
    `\${aws:username}/`,
    `\${inputs.customer_id`,
    `\${ inputs.customer_id }`,
    `\${inputs.Customer}`,
    `$\${inputs.year}\${`,
  ]) {
    expectFaults(
      [['bucket: orders\n', `bucket: orders${text}\n`]],
      [/bucket: has a \$\{ that is not \$\{inputs\.<name>\}/],
    );
  }
});

test('constraints must be well-formed', () => {
  expectFaults(
    [
      ['{ type: string, pattern: "[0-9]{1,12}" }', '{ type: string, pattern: "(?=x)[0-9]" }'],
      ['enum: [eu-west-1, us-east-1]', 'enum: [eu-west-1, eu-west-1, "*"]'],
      ['min: 2000, max: 2100', 'min: 2100, max: 2000'],
      ['{ type: string, pattern: "(?s).*" }', '{ type: string }'],
      ['enum: [read, list], default: read', 'enum: [read, list], default: write'],
      ['pattern: "[a-z]{1,8}", default: none', 'pattern: "[a-z]{1,8}", default: None'],
      ['min: 1, max: 4, default: 2', 'min: 1, max: 4, default: 5'],
    ],
    [
      /customer_id.pattern: must be a pattern in RE2/,
      /region.enum\[1\]: is there twice/,
      /region.enum\[2\]: must not contain any of/,
      /year.min: must not be greater than max/,
      /free-text-task.inputs.customer_id: a string needs exactly one of pattern and enum/,
      /choose.access.default: must be one of the values/,
      /choose.label.default: must be one of the values/,
      /choose.parts.default: must be between min and max/,
    ],
  );
});

test('a task type cannot widen the envelope of its agent', () => {
  expectFaults(
    [['envelope: { wall_time: 90s, max_grants: 3 }', 'envelope: { wall_time: 31m, max_grants: 21 }']],
    [/free-text-task.envelope.wall_time: must not be longer/, /free-text-task.envelope.max_grants: must not be more/],
  );
});

test('nobody breaks the glass for a decoy', () => {
  expectFaults([['tier: 2', 'tier: 2\n    canary: true\n    break_glass: true']], [/break_glass: is for nothing here/]);
});

test('a parameter is fixed or chosen, not both', () => {
  expectFaults(
    [['      label: {', '      limit: { type: integer, min: 1, max: 2 }\n      label: {']],
    [`${files}.choose.limit: is fixed in params too: an agent may choose it or not`],
  );
});

test('numbers and texts that would not survive are refused', () => {
  expectFaults([['limit: 100', 'limit: 1.5']], [/params.limit: must be a whole number/]);
  expectFaults([['limit: 100', 'limit: -9007199254740993']], [/params.limit: must be a whole number/]);
  expectFaults(
    [['resources: ["orders/', 'resources: ["\\0orders/']],
    [/statements\[0\].resources\[0\]: must be Unicode/],
  );
});

test("the provider's schema speaks on constants, enumerations, unknown and missing parameters", () => {
  expectFaults([['bucket: orders\n', 'bucket: ORDERS\n']], [/params.bucket: the provider store does not take this/]);
  expectFaults(
    [['limit: 100\n', 'limit: 100\n      colour: red\n']],
    [`${files}.params.colour: is not a parameter of the provider store`],
  );
  expectFaults([['label: {', 'colour: {']], [`${files}.choose.colour: is not a parameter of the provider store`]);
  expectFaults(
    [['enum: [read, list]', 'enum: [read, admin]']],
    [/choose.access.enum\[1\]: the provider store does not take this/],
  );
  expectFaults([['      bucket: orders\n', '']], [/params.bucket: is required by the provider store/]);
});

test('what an input decides is left to the moment the plan is made', () => {
  const strict = {
    store: {
      params: z.looseObject({
        prefix: z
          .string()
          .regex(/^never$/)
          .optional(),
      }),
    },
  };
  assert.ok(readManifest(exampleSource, strict).ok);
});

test('what must end in a delimiter may not end in an input, unless each of its values does', () => {
  const ending = (text: z.ZodString) =>
    text.refine((value) => value.endsWith('/'), { error: 'must end in "/"', params: { about: 'end' } });
  const params = z.looseObject({
    prefix: ending(z.string()).optional(),
    statements: z.array(z.looseObject({ resources: z.array(ending(z.string())) })).optional(),
  });
  const providers = { store: { params } };
  const told = (prefix: string, change: [string, string] = ['', '']) => {
    const read = readManifest(
      exampleSource
        .replace('["orders/${inputs.customer_id}/x"]', '["orders/${inputs.customer_id}/"]')
        .replace('prefix: "customers/${inputs.customer_id}/"', () => `prefix: "${prefix}"`)
        .replace(change[0], () => change[1]),
      providers,
    );
    return read.ok ? [] : read.faults.map(({ path, message }) => `${path}: ${message}`);
  };
  const fault = (input: string) => [
    `${files}.params.prefix: ends in the input ${input}; the provider store does not take this: must end in "/"`,
  ];
  assert.deepEqual(told('customers/${inputs.customer_id}/'), []);
  assert.deepEqual(told('customers/${inputs.customer_id}'), fault('customer_id'));
  assert.deepEqual(told('${inputs.customer_id}/${inputs.year}'), fault('year'));
  assert.deepEqual(told('customers/${inputs.region}'), fault('region'));
  const listed = 'enum: [eu-west-1, us-east-1]';
  assert.deepEqual(told('customers/${inputs.region}', [listed, 'enum: [eu/, us/]']), []);
  assert.deepEqual(told('customers/${inputs.region}', [listed, 'enum: [eu/, us]']), fault('region'));
  assert.deepEqual(told('customers/${inputs.region}', [listed, 'pattern: "[a-z]+/"']), []);
  assert.deepEqual(told('customers/${inputs.region}', [listed, 'pattern: "[a-z]+|a/"']), fault('region'));
  // A constant end beside an input can be seen to be wrong, too.
  assert.deepEqual(told('${inputs.customer_id}/x'), [
    `${files}.params.prefix: the provider store does not take this: must end in "/"`,
  ]);
  const inList = told('a/', ['["orders/${inputs.customer_id}/"]', '["orders/${inputs.customer_id}"]']);
  assert.match(inList.join(), /statements\[0\]\.resources\[0\]: ends in the input customer_id/);
});

test('approvals that could never be given, and those of a rule that asks nobody', () => {
  expectFaults(
    [['tier: 2', 'tier: 2\n    approval: { quorum: 2, from: [user:a@example.com] }']],
    ['capabilities.close-account.approval.quorum: must not be more than the 1 people of from'],
  );
  expectFaults(
    [['description: Answers', 'approval: { from: [team:sre, team:sre] }\ndescription: Answers']],
    ['approval.from[1]: is there twice'],
  );
  expectFaults(
    [
      [
        'capabilities:\n',
        'rules:\n  - { id: no, on: { capability: close-account }, effect: deny, approval: { quorum: 2 } }\ncapabilities:\n',
      ],
    ],
    ['rules[0].approval: is for the effect approve'],
  );
  for (const bad of ['{ quorum: 0 }', '{ quorum: 10 }', '{ from: [] }', '{ from: [everybody] }', '{ passkey: true }'])
    assert.equal(
      readManifest(exampleSource.replace('tier: 2', `tier: 2\n    approval: ${bad}`), exampleProviders).ok,
      false,
      bad,
    );
});
