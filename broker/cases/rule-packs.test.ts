/** Each rule pack decides as its cases say, and a manifest that includes one keeps what it became. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { z } from 'zod';
import { packNames } from '../manifests/packs.ts';
import { readManifest } from '../manifests/read.ts';
import { readCases } from './read-cases.ts';
import { runCases } from './run-cases.ts';

const folder = join(import.meta.dirname, '../manifests/packs');
const shapes = { plain: { params: z.looseObject({}) } };

test('each has a manifest and cases, and its rules are tried by them', async () => {
  const files = await readdir(folder);
  for (const name of packNames)
    for (const end of ['yaml', 'cases.yaml']) assert.ok(files.includes(`${name}.${end}`), name);
});

describe('cases', () => {
  for (const name of packNames)
    test(name, async () => {
      const read = readManifest(await readFile(join(folder, `${name}.yaml`), 'utf8'), shapes);
      assert.ok(read.ok, JSON.stringify(read));
      const cases = readCases(await readFile(join(folder, `${name}.cases.yaml`), 'utf8'));
      assert.ok(cases.ok, JSON.stringify(cases));
      const results = runCases({ ...cases, manifest: read.compiled, others: {}, shapes: {} });
      assert.deepEqual(
        results.flatMap(({ name: of, failures }) => failures.map((failure) => ({ of, ...failure }))),
        [],
      );
    });
});

const source = (packs: string, more = '') => `apiVersion: writ/v1
agent: some-bot
owner: team:billing
description: Tries things.
envelope: { wall_time: 30m }
task_types: { work: { description: Work., inputs: {} } }
capabilities: {}
tools: { buy: { cost_usd: 1 }, shell: {} }
classes: { spend: { tools: [buy] }, exec: { tools: [shell] } }
${more}packs: ${packs}
`;

test('what a pack became stands in the compiled manifest, with the effects and without the rules that were asked for', () => {
  const read = readManifest(
    source('[{ name: spend, with: { per_hour_usd: 3 }, without: [day], effects: { unusual: flag } }]'),
    {},
  );
  assert.ok(read.ok, JSON.stringify(read));
  const rules = read.compiled.manifest.rules ?? [];
  assert.deepEqual(
    rules.map(({ id, effect }) => `${id} ${effect}`),
    ['spend/hour deny', 'spend/unusual flag'],
  );
  assert.deepEqual(JSON.parse(JSON.stringify(read.compiled.manifest)), read.compiled.manifest, 'plain data');
});

test('what is wrong with an inclusion is told at it', () => {
  const faults = (packs: string) => {
    const read = readManifest(source(packs), {});
    return read.ok ? [] : read.faults.map(({ path, message, line }) => `${line} ${path}: ${message}`);
  };
  assert.deepEqual(faults('[spend]'), []);
  const cases: [string, RegExp][] = [
    ['[exfiltration]', /^10 packs\[0\]: exfiltration\/after-reading\.on\.class is not a class of this manifest/],
    ['[{ name: spend, with: { spends: none } }]', /^10 packs\[0\]: spend\/hour\.on\.class is not a class/],
    ['[{ name: spend, with: { spend: exec } }]', /^10 packs\[0\]/],
    ['[{ name: spend, with: { per_hour_usd: -1 } }]', /^10 packs\[0\]/],
    ['[{ name: spend, without: [hours] }]', /^10 packs\[0\]: spend has no rule hours/],
    ['[{ name: spend, effects: { hour: allow } }]', /^10 packs\[0\]/],
    ['[spend, spend]', /^10 packs\[1\]: includes spend, which is there twice/],
    ['[nothing]', /^10 packs\[0\]/],
  ];
  for (const [packs, fault] of cases) assert.match(faults(packs)[0] ?? '', fault, packs);
});
