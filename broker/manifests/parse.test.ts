import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compileSource, exampleProviders, exampleSource, hostileTexts } from './example.test-support.ts';
import { manifestJsonSchema } from './manifest.ts';
import { faultText, maxManifestBytes, parseManifest } from './parse.ts';
import { readManifest } from './read.ts';

// Every run the same; another seed looks elsewhere.
fc.configureGlobal({ seed: 20261121 });

function faultsOf(source: string) {
  const parsed = parseManifest(source);
  assert.ok(!parsed.ok, `was read: ${source.slice(0, 80)}`);
  return parsed.faults;
}

test('durations are read as seconds and defaults are filled in', () => {
  const { manifest } = compileSource(exampleSource);
  assert.equal(manifest.envelope.wall_time, 1800);
  assert.equal(manifest.task_types['free-text-task']?.envelope?.wall_time, 90);
  assert.equal(manifest.capabilities['close-account']?.max_ttl, 3600);
  assert.deepEqual(manifest.capabilities['close-account']?.choose, {});
});

test('no agent takes a name under which the broker itself goes', () => {
  for (const name of ['writ', 'writ-broker', 'writ-revoker', 'writ-']) {
    const faults = faultsOf(exampleSource.replace('agent: invoice-bot', `agent: ${name}`));
    assert.deepEqual(
      faults.map((fault) => fault.path),
      ['agent'],
      name,
    );
    assert.match(faults[0]?.message ?? '', /the broker’s own/);
  }
  for (const name of ['writer-bot', 'underwrit', 'written'])
    assert.equal(parseManifest(exampleSource.replace('agent: invoice-bot', `agent: ${name}`)).ok, true, name);
});

test('all faults of shape are told at once, each at its place', () => {
  const faults = faultsOf(
    exampleSource
      .replace('wall_time: 30m', 'wall_time: 30')
      .replace('    tier: 2\n', '    tier: 4\n')
      .replace('    max_ttl: 1h\n', '')
      .replace('owner: team:billing', 'owner: billing')
      .replace('agent: invoice-bot', 'agent: Invoice_Bot\nadmin: true'),
  );
  assert.deepEqual(
    faults.map((fault) => faultText(fault, 'bot.yaml')),
    [
      'bot.yaml:3:8 agent: must be a name: a lower-case letter, then up to 62 lower-case letters, digits and hyphens',
      'bot.yaml:4:8 admin: is not a known field',
      'bot.yaml:5:8 owner: must be team:<group> or user:<e-mail>',
      'bot.yaml:7:24 envelope.wall_time: must be a duration such as 90s, 15m or 2h',
      'bot.yaml:51:3 capabilities.close-account.max_ttl: is required',
      'bot.yaml:55:11 capabilities.close-account.tier: must be one of 1, 2, 3',
    ],
  );
});

test('what YAML could hide in is refused', () => {
  const only = (source: string, message: RegExp, line: number) => {
    const faults = faultsOf(source);
    assert.ok(
      faults.some((fault) => message.test(fault.message) && fault.line === line),
      JSON.stringify(faults),
    );
  };
  only('a: &x [1]\nb: *x\n', /aliases/, 2);
  only('a: 1\nb: !secret x\n', /tag/, 2);
  only('a: 1\nb: !!str 1\n', /tags/, 2);
  only('a: 1\na: 2\n', /unique/, 2);
  only('a: 1\n---\nb: 2\n', /one YAML document/, 2);
  only('%YAML 1.1\n---\na: yes\n', /directives/, 1);
  only('a: 1\n__proto__: { b: 1 }\n', /__proto__/, 2);
  only('a:\n  b: [1\n', /Flow sequence/, 3);
  only('? [a, b]\n: 1\n', /string/i, 1);
  only(`${exampleSource}x: ${'['.repeat(40)}${']'.repeat(40)}\n`, /nested/, exampleSource.split('\n').length);
});

test('billion laughs, a file of brackets and an oversized file are refused at once', () => {
  const laughs = [
    'a: &a [x, x]',
    ...Array.from('bcdefghijklmnop', (c, i) => `${c}: &${c} [${`*${'abcdefghijklmnop'[i]},`.repeat(9)}]`),
  ];
  assert.match(faultsOf(laughs.join('\n'))[0]?.message ?? '', /aliases/);
  assert.deepEqual(faultsOf('['.repeat(100_000)).length, 1);
  assert.deepEqual(faultsOf(`${'- '.repeat(100_000)}x`).length, 1);
  assert.match(faultsOf(`# ${'x'.repeat(maxManifestBytes)}`)[0]?.message ?? '', /256 KiB/);
  assert.ok(faultsOf(Array.from({ length: 5000 }, (_, i) => `k${i}: 1`).join('\n')).length <= 100);
});

test('whatever is done to a manifest, it is read or refused with line and column, and nothing is thrown', () => {
  const piece = fc.oneof(
    fc.string(),
    fc.constantFrom(...hostileTexts, '- ', '  ', '[', '{', '~', '0x1F', '.inf', '1e400', '|\n', '> '),
  );
  fc.assert(
    fc.property(fc.nat(exampleSource.length), fc.nat(60), piece, (at, length, put) => {
      const read = readManifest(exampleSource.slice(0, at) + put + exampleSource.slice(at + length), exampleProviders);
      if (read.ok) return;
      assert.ok(read.faults.length > 0);
      for (const { line, column, message } of read.faults) {
        assert.ok(Number.isInteger(line) && (line as number) >= 1, message);
        assert.ok(Number.isInteger(column) && (column as number) >= 1, message);
      }
    }),
    { numRuns: 400 },
  );
});

test('the published JSON Schema describes every field and allows no other', () => {
  const objects: { [key: string]: unknown }[] = [];
  const walk = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return;
    const object = node as { [key: string]: unknown };
    if (object.properties !== undefined) objects.push(object);
    for (const value of Object.values(object)) walk(value);
  };
  walk(manifestJsonSchema());
  assert.ok(objects.length >= 8);
  for (const object of objects) {
    assert.equal(object.additionalProperties, false);
    for (const [name, property] of Object.entries(object.properties as Record<string, { description?: string }>)) {
      assert.ok(property.description, `${name} has no description`);
    }
  }
});
