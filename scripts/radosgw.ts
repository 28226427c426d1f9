/**
 * `npm run test:radosgw`: brings up Ceph's radosgw from Debian's packages, runs the suites that need a real
 * store against it, and takes it down. It takes a few minutes, most of them waiting for real lifetimes to
 * end.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folder = join(import.meta.dirname, '../sandbox/radosgw');
const lab = process.env.WRIT_RADOSGW_LAB ?? join(tmpdir(), 'writ-radosgw');
mkdirSync(lab, { recursive: true });
const env = { ...process.env, LAB: lab };
const suites = ['leases', 'web-identity', 'checkpoints', 'conformance'].map((name) =>
  join(folder, `${name}.test-support.ts`),
);

let status = 1;
try {
  execFileSync('bash', [join(folder, 'up.sh')], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  const flags = ['--disable-warning=ExperimentalWarning', '--test', '--test-reporter=spec', '--test-concurrency=2'];
  status =
    spawnSync(process.execPath, [...flags, ...suites], { env, stdio: ['ignore', 'inherit', 'inherit'] }).status ?? 1;
} finally {
  execFileSync('bash', [join(folder, 'down.sh')], { env, stdio: 'ignore' });
}
process.exit(status);
