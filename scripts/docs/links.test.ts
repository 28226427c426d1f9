/** Links that lead nowhere are found, and only those. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { differences, writeFiles } from './compare.ts';
import { anchorsOf, deadLinks, missingFiles } from './links.ts';

async function withFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'writ-docs-'));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

it('names page and line of a link to a missing file, a missing heading, or out of the repository', async () => {
  await withFolder(async (root) => {
    await mkdir(join(root, 'docs'));
    await writeFile(
      join(root, 'docs/a.md'),
      '# The record\n\n`[not](a-link.md)`\n```\n[nor](this.md)\n# no heading\n```\n',
    );
    const links = ['docs/a.md', 'docs/a.md#the-record', '#here', 'https://example.com/nowhere'];
    const dead = ['docs/b.md', 'docs/a.md#no-heading', '#there', '../elsewhere.md'];
    const line = (target: string) => `[x](${target})`;
    await writeFile(join(root, 'README.md'), ['# Here', ...links.map(line), ...dead.map(line)].join('\n'));
    assert.deepEqual(await deadLinks(root, ['README.md', 'docs/a.md']), [
      'README.md:6: docs/b.md does not exist',
      'README.md:7: docs/a.md#no-heading has no such heading',
      'README.md:8: #there has no such heading',
      'README.md:9: ../elsewhere.md leads out of the repository',
    ]);
  });
});

it('names a file that a page speaks of and that is not there, unless the page says that it is planned', async () => {
  await withFolder(async (root) => {
    await mkdir(join(root, 'broker'));
    await writeFile(join(root, 'broker/a.test.ts'), '');
    const page =
      '`broker/a.test.ts`, `broker/b.test.ts` (*planned*: soon),\n`broker/c.test.ts` and `broker/` and `npm/x.ts`';
    await writeFile(join(root, 'README.md'), page);
    assert.deepEqual(await missingFiles(root, ['README.md']), ['README.md:2: broker/c.test.ts does not exist']);
  });
});

it('knows the anchors of headings with code, punctuation and repetitions', () => {
  const anchors = anchorsOf('# TM-2 Revocation, `writ` and more\n## Fields\n### Fields\n## [A link](x.md)\n');
  assert.deepEqual([...anchors], ['tm-2-revocation-writ-and-more', 'fields', 'fields-1', 'a-link']);
});

it('tells changed, missing and left-over files, and writing mends them all', async () => {
  await withFolder(async (folder) => {
    await writeFile(join(folder, 'changed.md'), 'one\ntwo\n');
    await writeFile(join(folder, 'left.md'), 'of an earlier run\n');
    const wanted = new Map([
      ['changed.md', 'one\n2\n'],
      ['missing.md', 'new\n'],
    ]);
    assert.deepEqual(await differences(folder, wanted), [
      'changed.md:2: differs from what the code says',
      'missing.md: is missing',
      'left.md: is not generated any more',
    ]);
    await writeFiles(folder, wanted);
    assert.deepEqual(await differences(folder, wanted), []);
  });
});
