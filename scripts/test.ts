/**
 * `npm test`: every suite that is not left to `npm run test:deep`, on PostgreSQL and Redis where they answer,
 * else on the embedded defaults. Where they do not, one line says so and how to get them; with
 * REQUIRE_SERVICES=1 (as in CI) that is a failure. Arguments are files or patterns to run instead of all;
 * `--test-…` flags go to node; `--slowest N` lists where the time went.
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import { answers, migratedImage, testDatabaseUrl, testRedisUrl } from '../broker/store/store.test-support.ts';
import { installToolchain } from './install-toolchain.ts';
import { openRunDatabases } from './test/databases.ts';
import { saysDeep } from './test/deep.ts';
import { findTestFiles } from './test/files.ts';
import { groupsOf } from './test/groups.ts';
import { longestFirst, rememberSeconds, runInLanes } from './test/lanes.ts';
import { startOwnServer } from './test/own-server.ts';
import { temporaryPlace } from './test/temporary-place.ts';
import { type Outcome, runTestFiles } from './test/test-file.ts';

const root = join(import.meta.dirname, '..');
process.chdir(root);
installToolchain();

const args = process.argv.slice(2);
const slowestAt = args.indexOf('--slowest');
const slowest = slowestAt < 0 ? 0 : Number(args.splice(slowestAt, 2)[1] ?? 20);
const flags = args.filter((arg) => arg.startsWith('--test-'));
const patterns = args.filter((arg) => !arg.startsWith('--test-'));

const began = performance.now();
const found = await findTestFiles(patterns).catch((error: Error) => {
  console.error(error.message);
  process.exit(1);
});
const place = await temporaryPlace();
await removeLeftFolders();
const folder = await mkdtemp(join(place, `writ-test-${process.pid}-`));
const server = process.env.TEST_DATABASE_URL === undefined ? await startOwnServer(folder) : null;
const databaseUrl = server?.url() ?? testDatabaseUrl;
const services = [
  { what: 'PostgreSQL', url: databaseUrl, variable: 'TEST_DATABASE_URL' },
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
    await server?.close();
    process.exit(1);
  }
}

const leftToDeep: string[] = [];
if (patterns.length === 0 && process.env.TEST_DEPTH !== 'all') {
  for (const file of found) if (saysDeep(await readFile(file, 'utf8'))) leftToDeep.push(file);
  for (const file of leftToDeep) found.delete(file);
}
const live = found.size === 1;
// A flag such as --test-name-pattern is for files by themselves.
const groups = await longestFirst(
  flags.length > 0 ? [...found].sort().map((file) => [file]) : await groupsOf([...found].sort()),
);
const numbers = new Map([...found].map((file, number) => [file, number]));
// A file waits for databases and child processes a part of its time: one lane more keeps the cores busy.
const lanes = Math.min(availableParallelism() + 1, groups.length);

const databases = missing.some(({ url }) => url === databaseUrl) ? null : await openRunDatabases(databaseUrl);
// Made once, before the files that would all make it at the same time.
if (patterns.length === 0) await migratedImage();

const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => interrupt.abort(signal));

const outcomes: Outcome[] = [];
await runInLanes(groups, lanes, async (group) => {
  // Whoever never began, because another one ended the process, begins in the next.
  for (let rest = group; rest.length > 0 && !interrupt.signal.aborted; ) {
    const ended = await runTestFiles({
      parts: rest.map((file) => ({ file, env: { WRIT_TEST_RUN: databases?.nameFor(numbers.get(file)!) ?? '0_0' } })),
      folder: join(folder, String(numbers.get(rest[0]!))),
      env: {
        ...process.env,
        TEST_DATABASE_URL: databaseUrl,
        NODE_COMPILE_CACHE: join(root, 'node_modules/.cache/writ/compile'),
      },
      flags,
      live,
      silenceMinutes: 10,
      graceSeconds: 60,
      signal: interrupt.signal,
      say: console.log,
    });
    const over = ended.filter((outcome) => outcome !== null);
    for (const outcome of over) {
      const left = (await databases?.dropLeft(numbers.get(outcome.file)!)) ?? [];
      if (left.length > 0 && outcome.faults.length === 0)
        outcome.faults.push(`left databases behind: ${left.join(', ')}`);
    }
    outcomes.push(...over);
    report(over);
    rest = rest.slice(over.length);
  }
});
await databases?.close();
await server?.close();
await rm(folder, { recursive: true, force: true });
await rememberSeconds(outcomes);

const sum = (of: (outcome: Outcome) => number) => outcomes.reduce((total, outcome) => total + of(outcome), 0);
const bad = outcomes.filter((outcome) => !isGood(outcome));
if (slowest > 0) {
  console.log('\n  wall s   CPU s  file');
  for (const one of outcomes.toSorted((a, b) => b.seconds - a.seconds).slice(0, slowest)) {
    console.log(`${one.seconds.toFixed(1).padStart(8)}${one.cpuSeconds.toFixed(1).padStart(8)}  ${one.file}`);
  }
}
const skipped = outcomes.flatMap((outcome) => outcome.skipped.map((one) => ({ file: outcome.file, ...one })));
if (skipped.length > 0) console.log('\nskipped:');
for (const { file, test, why } of skipped) console.log(`  ${file}: ${test}: ${why}`);
if (leftToDeep.length > 0)
  console.log(`\nleft to npm run test:deep:\n${leftToDeep.map((file) => `  ${file}`).join('\n')}`);
// What failed is told once more, at the end: of a long log that is what people and `.ci/run` keep.
if (bad.length > 0) console.log('\nfailed:');
for (const { file, failed, faults } of bad) {
  console.log(`  ${file}`);
  for (const { test, why } of failed) console.log(`    ${test}: ${why}`);
  for (const fault of faults) console.log(`    ${fault.split('\n', 1)[0]}`);
}
const seconds = ((performance.now() - began) / 1000).toFixed(1);
console.log(
  `\n${outcomes.length} files in ${seconds} s on ${lanes} lanes (${availableParallelism()} cores, load ${loadavg()[0]!.toFixed(2)}, ${sum((one) => one.cpuSeconds).toFixed(1)} s of CPU)`,
);
// In the words of node's own runner: CI and people read them.
console.log(`ℹ tests ${sum((one) => one.counts.tests)}`);
console.log(`ℹ pass ${sum((one) => one.counts.passed)}`);
console.log(`ℹ fail ${sum((one) => one.counts.failed + one.faults.length)}`);
console.log(`ℹ cancelled ${sum((one) => one.counts.cancelled)}`);
console.log(`ℹ skipped ${sum((one) => one.counts.skipped)}`);
console.log(`ℹ todo ${sum((one) => one.counts.todo)}`);
if (interrupt.signal.aborted) console.log(`interrupted by ${interrupt.signal.reason}`);
process.exit(bad.length === 0 && !interrupt.signal.aborted ? 0 : 1);

function isGood({ counts, faults }: Outcome): boolean {
  return faults.length === 0 && counts.failed + counts.cancelled === 0;
}

/** @param shared those of one process, with one output */
function report(shared: Outcome[]): void {
  if (!shared.every(isGood) && !live) console.log(`\n${shared[0]!.output.trimEnd()}`);
  for (const outcome of shared) {
    const { passed, tests } = outcome.counts;
    console.log(
      `${isGood(outcome) ? '✔' : '✘'} ${outcome.file}: ${passed} of ${tests} in ${outcome.seconds.toFixed(1)} s`,
    );
    for (const fault of outcome.faults) console.log(`    ✘ ${fault}`);
  }
}

/** Folders of runs that were killed before they could remove them. */
async function removeLeftFolders(): Promise<void> {
  for (const name of await readdir(place)) {
    const pid = Number(/^writ-test-(\d+)-/.exec(name)?.[1]);
    if (Number.isInteger(pid) && !isAlive(pid)) await rm(join(place, name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
