/** Labels follow what was written, from session to session and from agent to agent of one owner. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonObject } from '../core/vocabulary.ts';
import { readManifest } from '../manifests/read.ts';
import { Folded, type Reported, silent, start } from './histories.test-support.ts';

/** One reads, the other sends: neither may both read and send. */
const manifestOf = (agent: string) => {
  const whole = {
    apiVersion: 'writ/v1',
    agent,
    owner: 'team:billing',
    description: 'Tries things.',
    envelope: { wall_time: '30m' },
    task_types: { work: { description: 'Work.', inputs: {} } },
    capabilities: {},
    tools: {
      read_customer: { labels: ['pii'] },
      write_note: { entity: `note:\${args.id}`, writes: true },
      read_note: { entity: `note:\${args.id}` },
      list_notes: { entity: `note:\${args.id}` },
      mail_note: { entity: `note:\${args.id}`, destination: ['to'] },
      send_mail: { destination: ['to'] },
    },
    rules: [
      { id: 'stays', on: { tool: ['send_mail', 'mail_note'] }, when: { label: 'pii' }, effect: 'deny' },
      { id: 'cleared', on: { tool: 'send_mail' }, when: { uncleared: true }, effect: 'flag' },
    ],
  };
  const read = readManifest(JSON.stringify(whole), {});
  assert.ok(read.ok, JSON.stringify(read));
  return read.compiled;
};

function world() {
  const folded = new Folded({ reader: manifestOf('reader'), sender: manifestOf('sender') });
  let now = start;
  return (agent: string, rootId: string) => {
    const who = {
      ...{ rootId, agent, principal: agent, openedAt: start, onBehalfOf: null, declaredOnBehalfOf: null },
      task: { task_type: 'work', inputs: {} },
    };
    return {
      call: (tool: string, args: JsonObject = {}) => {
        now += 1000;
        return folded.ask(who, { tool, args, costMicroUsd: null }, now);
      },
      finish: (asked: ReturnType<Folded['ask']>, reported: Partial<Reported> = {}) => {
        now += 1000;
        folded.finish(asked, { ...silent, ...reported }, now);
      },
    };
  };
}
const to = 'x@evil.test';

test('labels that are reported stick to the entities that are reported with them', () => {
  const at = world();
  const [reader, sender] = [at('reader', 'one'), at('sender', 'two')];
  const found = reader.call('send_mail', { to: 'x@example.com' });
  reader.finish(found, { labels: ['pii'], entities: ['note:9'] });
  assert.equal(sender.call('mail_note', { id: 8, to }).effect, 'allow');
  assert.equal(sender.call('mail_note', { id: 9, to }).effect, 'deny');
});

test('a session takes the labels of what its calls turned out to touch, and hands them on', () => {
  const at = world();
  const [reader, sender] = [at('reader', 'one'), at('sender', 'two')];
  reader.finish(reader.call('read_note', { id: 1 }), { labels: ['pii'], entities: ['note:1'] });
  const wrote = sender.call('write_note', { id: 2 });
  sender.finish(wrote, { entities: ['note:1', 'note:3'] });
  assert.equal(sender.call('send_mail', { to }).effect, 'deny');
  assert.equal(at('sender', 'three').call('mail_note', { id: 3, to }).effect, 'deny', 'it wrote there');
});

test('what one agent wrote, the other may not send on', () => {
  const at = world();
  const [reader, sender] = [at('reader', 'one'), at('sender', 'two')];
  assert.equal(reader.call('read_customer').effect, 'allow');
  assert.equal(reader.call('write_note', { id: 7 }).effect, 'allow');
  assert.equal(sender.call('send_mail', { to }).effect, 'allow', 'it has read nothing');
  assert.deepEqual(sender.call('read_note', { id: '7' }).labels, ['pii'], 'however spelled');
  assert.equal(sender.call('send_mail', { to }).effect, 'deny');
});

test('a third note, a second hop, another session', () => {
  const at = world();
  at('reader', 'one').call('read_customer');
  at('reader', 'one').call('write_note', { id: 'a' });
  const courier = at('reader', 'two');
  courier.call('read_note', { id: 'a' });
  courier.call('write_note', { id: 'b' });
  const sender = at('sender', 'three');
  assert.equal(sender.call('mail_note', { id: 'b', to }).effect, 'deny', 'in one call, reading and sending');
  assert.equal(sender.call('mail_note', { id: 'c', to }).effect, 'allow');
  assert.equal(sender.call('send_mail', { to }).effect, 'allow', 'a denied call has read nothing');
});

test('whoever does not say what is touched takes all labels, and may not write', () => {
  const at = world();
  at('reader', 'one').call('read_customer');
  at('reader', 'one').call('write_note', { id: 'a' });
  const sender = at('sender', 'two');
  const denied = sender.call('write_note', { id: ['a', 'b'] }).evaluation.decision;
  assert.deepEqual(
    [denied.effect, denied.reasons[0]?.code, denied.reasons[0]?.path],
    ['deny', 'field_missing', 'entity'],
  );
  assert.equal(sender.call('list_notes', { id: ['a', 'b'] }).effect, 'allow');
  assert.equal(sender.call('send_mail', { to }).effect, 'deny');
});

test('what was written between a call and its outcome may have come back', () => {
  const at = world();
  const [reader, sender] = [at('reader', 'one'), at('sender', 'two')];
  const reading = sender.call('read_note', { id: 'a' });
  reader.call('read_customer');
  reader.call('write_note', { id: 'a' });
  assert.equal(sender.call('send_mail', { to }).effect, 'allow');
  sender.finish(reading);
  assert.equal(sender.call('send_mail', { to }).effect, 'deny');
});

test('a session without labels leaves none', () => {
  const at = world();
  at('reader', 'one').call('write_note', { id: 'a' });
  const sender = at('sender', 'two');
  sender.call('read_note', { id: 'a' });
  assert.equal(sender.call('send_mail', { to }).effect, 'allow');
});
