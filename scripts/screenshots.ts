/**
 * `npm run screenshots`: makes the pictures of docs/images anew. They are what the browser tests of the pages
 * look at, on their clock and with their rows, so that a picture shows nothing that is not tested.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const tests = ['approvals/web/browser.test.ts', 'broker/console/break-glass-browser.test.ts'];

/** Name in the docs: what the test calls it. */
const pictures = {
  'approvals-inbox': 'inbox-desktop-light',
  'approvals-request': 'request-desktop-light',
  'approvals-request-phone': 'request-phone-dark',
  'approvals-challenge': 'challenge-desktop-light',
  'approvals-decided': 'decided-by-you-desktop-light',
  'break-glass-ask': 'break-glass-ask-desktop-light',
  'break-glass-agree-phone': 'break-glass-agree-phone-light',
};

const images = join(import.meta.dirname, '../docs/images');
const folder = mkdtempSync(join(tmpdir(), 'writ-screenshots-'));
try {
  const args = ['--disable-warning=ExperimentalWarning', 'scripts/test.ts', ...tests];
  const env = { ...process.env, WRIT_SCREENSHOTS: folder };
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit', env });
  if (status !== 0) process.exit(status ?? 1);
  mkdirSync(images, { recursive: true });
  for (const [name, taken] of Object.entries(pictures))
    copyFileSync(join(folder, `${taken}.png`), join(images, `${name}.png`));
  console.log(`${Object.keys(pictures).length} pictures in docs/images`);
} finally {
  rmSync(folder, { recursive: true });
}
