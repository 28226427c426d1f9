import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packageFaults } from './packages.ts';
import type { Source } from './sources.ts';

function source(path: string, imports: { [specifier: string]: string | null }): Source {
  const list = Object.entries(imports).map(([specifier, target], at) => ({ specifier, target, line: at + 1 }));
  return { path, imports: list, clockReads: [], literals: [], comments: [] };
}

const sources = [
  source('tool/main.ts', { './read.ts': 'tool/read.ts', 'node:fs': null }),
  source('tool/read.ts', { 'yaml/util': null, '@scope/wasm/nodejs': null, '../broker/a.ts': 'broker/a.ts' }),
  source('broker/a.ts', {}),
  source('broker/b.ts', { express: null }),
];
const tool = { name: 'tool', entry: 'tool/main.ts', dependencies: ['yaml', '@scope/wasm'] };

test('a package whose files import what it declares passes, whatever other files import', () => {
  assert.deepEqual(packageFaults(sources, tool), []);
});

test('an import that is not declared is found, however far from the entry', () => {
  assert.deepEqual(packageFaults(sources, { ...tool, dependencies: ['yaml'] }), [
    'tool/read.ts:2: imports @scope/wasm/nodejs, which the package tool does not depend on',
  ]);
  const far = [...sources.filter(({ path }) => path !== 'broker/a.ts'), source('broker/a.ts', { express: null })];
  assert.deepEqual(packageFaults(far, tool), [
    'broker/a.ts:1: imports express, which the package tool does not depend on',
  ]);
});

test('a dependency that nothing imports is found, and a file that is not there', () => {
  assert.deepEqual(packageFaults(sources, { ...tool, dependencies: [...tool.dependencies, 'pg'] }), [
    'tool: depends on pg, which none of its files imports',
  ]);
  const generated = [...sources.slice(0, 2), source('broker/a.ts', { './prisma/c.ts': 'broker/prisma/c.ts' })];
  assert.deepEqual(packageFaults(generated, tool), ['tool: reaches broker/prisma/c.ts, which is none of our sources']);
});
