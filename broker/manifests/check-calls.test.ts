import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { readManifest } from './read.ts';

const head = `apiVersion: writ/v1
agent: some-bot
owner: team:billing
description: Tries things.
envelope: { wall_time: 30m }
task_types: { work: { description: Work., inputs: { id: { type: integer } } }, rest: { description: Rest., inputs: {} } }
capabilities:
  open: { description: Open it., provider: plain, tasks: [work], tier: 1, max_ttl: 15m, params: { bucket: orders } }
tools:
  read: { entity: 'order:\${args.id}', args: { id: '\${inputs.id}' }, tasks: [work] }
  send: { destination: [to] }
classes: { egress: { tools: [send] } }
`;

const plain = { plain: { params: z.looseObject({}) } };

const faultsOf = (more: string) => {
  const read = readManifest(head + more, plain);
  return read.ok ? [] : read.faults.map(({ path, message }) => `${path}: ${message}`);
};

test('a good one has no faults', () => {
  const rules = `rules: [{ id: a, on: { class: egress }, when: { formerly: { tool: read, within: 1h } }, effect: deny }]`;
  assert.deepEqual(faultsOf(rules), []);
});

test('names that are not there are told by their path', () => {
  const rule = (text: string) => `rules: [{ id: a, effect: deny, ${text} }]`;
  const cases: [string, string][] = [
    [rule('on: { tool: rea }'), 'rules[0].on.tool: is not a tool of this manifest; did you mean read?'],
    [
      rule('on: { class: [egress, ingress] }'),
      'rules[0].on.class[1]: is not a class of this manifest; did you mean egress?',
    ],
    [rule('on: { capability: x }'), 'rules[0].on.capability: is not a capability of this manifest'],
    [
      rule('on: { tool: read }, when: { formerly: { class: x, within: 1h } }'),
      'rules[0].when.formerly.class: is not a class of this manifest',
    ],
    [
      rule("on: { tool: read }, when: { match: { id: '(' } }"),
      'rules[0].when.match.id: must be a pattern in RE2 syntax (no look-around, no back-references)',
    ],
    [
      rule('on: { tool: read }, when: [{ task_types: [work] }, { task_types: [x] }]'),
      'rules[0].when[1].task_types[0]: is not a task type of this manifest',
    ],
    [rule('on: "*"'), 'rules[0]: holds for every call: say `when`'],
    [
      rule("on: { tool: read }, when: { hours: { zone: Mars, from: '08:00', to: '09:00' } }"),
      'rules[0].when.hours.zone: is not a time zone, such as Europe/Berlin',
    ],
    [
      rule('on: { tool: read }, when: { formerly: { tool: send, within: 1h, same: [entity] } }'),
      'rules[0].when.formerly: compares by entity, and the tool send has none',
    ],
    [
      'separation_of_duties: [{ id: a, duties: [{ tool: read }, { tool: send }], same: [entity], within: 1h }]',
      'separation_of_duties[0].duties[1]: compares by entity, and the tool send has none',
    ],
    [
      rule('on: { tool: read }, scope: agent, when: { formerly: { tool: send, within: session } }'),
      'rules[0].when.formerly.within: must be a time such as 30d: the scope agent is more than the session',
    ],
    [`egress: { known: ['\${inputs.x}'] }`, 'egress.known[0]: refers to the input x, which no task type has'],
  ];
  for (const [text, fault] of cases) assert.ok(faultsOf(text).includes(fault), `${text} → ${faultsOf(text)}`);
});

test('an argument may be bound to an input that every task type of the tool has', () => {
  const broken = readManifest(head.replace(', tasks: [work] }\n  send', ' }\n  send'), plain);
  assert.ok(!broken.ok && broken.faults.some(({ path }) => path === 'tools.read.args.id'));
});

test('a grant is compared by parameters that its capability has', () => {
  const duties = (same: string) =>
    faultsOf(
      `separation_of_duties: [{ id: a, duties: [{ tool: read }, { capability: open }], same: ['${same}'], within: 1h }]`,
    );
  const fault = (by: string) =>
    `separation_of_duties[0].duties[1]: compares by ${by}, and a grant of open has none: compare by arg:PARAMETER`;
  assert.deepEqual(duties('arg:bucket'), []);
  assert.deepEqual(duties('entity'), [fault('entity')]);
  assert.deepEqual(duties('arg:buckets'), [fault('arg:buckets')]);
});
