import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createVirtualFileSystem } from 'typescript/unstable/fs';
import { commentFaults } from './comments.ts';
import { readSources } from './sources.ts';

function faults(text: string): string[] {
  const files = { '/project/tsconfig.json': '{"compilerOptions":{"noLib":true}}', '/project/a.ts': text };
  return commentFaults(readSources('/project', createVirtualFileSystem(files)));
}

const words = 'word '.repeat(25);
const short = 'word '.repeat(15);

test('a comment line over 110 columns fails, wherever the comment stands', () => {
  assert.match(faults(`// ${words}`).join(), /^a\.ts:1: the comment has 128 columns; wrap it at 110$/);
  assert.match(faults(`export {};\n/** ${words} */`).join(), /^a\.ts:2: /);
  assert.match(faults(`export {};\n/**\n * Short.\n * ${words}\n */`).join(), /^a\.ts:4: /);
  assert.match(faults(`export const a = [1, 2, 3].map((each) => each + 1); // ${short}`).join(), /^a\.ts:1: /);
  assert.match(faults(`const a = \`\${/* ${words} */ 1}\`;`).join(), /^a\.ts:1: /);
  assert.deepEqual(faults(`// ${short}\n/** ${short} */\n/**\n * ${short}\n */`), []);
});

test('code, texts that look like comments, addresses and instructions to the linter may be longer', () => {
  for (const good of [
    `const a = '// ${words}';`,
    `const a = \`\n// ${words}\n/* ${words} */\n\`;`,
    `const a = \`\${1}\n// ${words}\n\${2}\n/** ${words} */\`;`,
    `const a = /\\/\\/ [/*] ${words}/;`,
    `// https://example.com/${'a'.repeat(120)}`,
    `/**\n * See\n * https://example.com/${'a'.repeat(120)}\n */`,
    `// biome-ignore lint/suspicious/noExplicitAny: ${words}`,
  ]) {
    assert.deepEqual(faults(good), [], good);
  }
  assert.equal(faults(`// ${words} https://example.com/`).length, 1);
});
