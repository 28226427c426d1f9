/**
 * `npm test`: every suite, on the embedded defaults, and on PostgreSQL and Redis where they answer. Where they do not, one line says so and how to get them;
 * with REQUIRE_SERVICES=1 (as in CI) that is a failure. Arguments are passed on as files or patterns to run instead of all.
 */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { answers, migratedImage, testDatabaseUrl, testRedisUrl } from '../broker/store/store.test-support.ts';

const folders = ['approvals', 'broker', 'client', 'providers', 'sandbox', 'scripts'];
const services = [
  { what: 'PostgreSQL', url: testDatabaseUrl, variable: 'TEST_DATABASE_URL' },
  { what: 'Redis', url: testRedisUrl, variable: 'TEST_REDIS_URL' },
];

const missing = [];
for (const service of services) if (!(await answers(service.url))) missing.push(service);
if (missing.length > 0) {
  const names = missing.map(({ what, variable }) => `${what} (${variable})`).join(' and ');
  const how = 'apt-get install postgresql redis-server, or: docker compose -f infra/compose.yaml up -d postgres redis';
  console.log(`NOT TESTED on ${names}: nothing answers there. To test on them too: ${how}`);
  if (process.env.REQUIRE_SERVICES === '1') {
    console.error('REQUIRE_SERVICES=1, so this is a failure.');
    process.exit(1);
  }
}

// Made once, before the files that would all make it at the same time.
await migratedImage();

const chosen = process.argv.slice(2);
const runner = spawn(
  process.execPath,
  [
    '--disable-warning=ExperimentalWarning',
    '--test',
    '--test-timeout=120000',
    `--test-concurrency=${Math.max(2, availableParallelism() - 1)}`,
    ...(chosen.length > 0 ? chosen : folders.map((folder) => `${folder}/**/*.test.ts`)),
  ],
  { stdio: 'inherit' },
);
runner.once('exit', (code) => process.exit(code ?? 1));
