import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createVirtualFileSystem } from 'typescript/unstable/fs';
import { boundaryFaults, computedImports, cycles, rules } from './boundaries.ts';
import { clockFaults } from './clock.ts';
import { unwritten } from './closed-lists.ts';
import { readSources } from './sources.ts';

/** A project in memory; what it imports is created empty, so that only what is tested is said. */
function project(files: Record<string, string>) {
  const all: Record<string, string> = {
    '/project/tsconfig.json': '{"compilerOptions":{"noLib":true,"allowImportingTsExtensions":true,"noEmit":true}}',
  };
  for (const [path, text] of Object.entries(files)) all[`/project/${path}`] = text;
  return readSources('/project', createVirtualFileSystem(all));
}

const rulesBroken = (files: Record<string, string>) =>
  boundaryFaults(project(files)).map((fault) => /\(([\w-]+): /.exec(fault)?.[1]);

test('every form of import is seen, with its line', () => {
  const [source] = project({
    'broker/a.ts': [
      '// import x from "./comment.ts"',
      'import type { A } from "./type.ts";',
      'import { type B } from "./inline.ts";',
      'export * from "./again.ts";',
      'const c = await import("./lazy.ts");',
      'type D = import("./in-type.ts").D;',
      'const text = "import e from \'./string.ts\'";',
      'import "node:fs";',
    ].join('\n'),
  });
  assert.deepEqual(
    source?.imports.map(({ specifier, line }) => [specifier, line]).sort((a, b) => Number(a[1]) - Number(b[1])),
    [
      ['./type.ts', 2],
      ['./inline.ts', 3],
      ['./again.ts', 4],
      ['./lazy.ts', 5],
      ['./in-type.ts', 6],
      ['node:fs', 8],
    ],
  );
  assert.equal(source?.imports.find(({ line }) => line === 2)?.target, 'broker/type.ts');
});

/** One import per rule that must be refused, from a file the rule is about. */
const bad: Record<string, Record<string, string>> = {
  'code-stands-without-its-tests': { 'client/writ.ts': 'import { key } from "./key.test-support.ts"' },
  'the-sdk-holds-no-session-for-others': { 'client/writ.ts': 'import { serveSession } from "./local/serve.ts"' },
  'the-local-process-knows-no-host': { 'client/local/serve.ts': 'import { guard } from "../guard/guard.ts"' },
  'a-hook-loads-little': { 'client/hook/hook.ts': 'import { Writ } from "../index.ts"' },
  'the-guard-reaches-sessions-one-way': { 'client/guard/guard.ts': 'import { Writ } from "../writ.ts"' },
  'leases-decide-nothing': { 'broker/leases/issue.ts': 'import { decide } from "../decide/decide.ts"' },
  'conformance-knows-no-provider': { 'providers/conformance.ts': 'import { aws } from "./aws/aws.ts"' },
  'approvals-touch-no-credential': { 'approvals/web/page.ts': 'import { issue } from "../../broker/leases/issue.ts"' },
  'core-stands-on-itself': { 'broker/core/log.ts': 'import { open } from "../store/open.ts"' },
  'the-tail-is-written-once': { 'broker/grants/redeem-grant.ts': 'import { issueLease } from "../leases/issue.ts"' },
  'people-are-no-workloads': { 'broker/people/login.ts': 'import { checkDpopProof } from "../identity/dpop.ts"' },
  'passkeys-know-no-page': {
    'broker/people/passkeys/assertion.ts': 'import { review } from "../../../approvals/review.ts"',
  },
  'main-is-the-process': { 'broker/main.ts': 'import { openStore } from "./store/open.ts"' },
  'mints-are-sent-once': { 'providers/github/api.ts': 'import { createAppAuth } from "@octokit/auth-app"' },
  'vocabulary-is-the-ground': { 'broker/core/vocabulary.ts': 'import type { E } from "./errors.ts"' },
  'decide-sees-no-credential': { 'broker/decide/decide.ts': 'import { issue } from "../leases/issue.ts"' },
  'cases-run-without-a-broker': { 'broker/cases/run-cases.ts': 'import { openStore } from "../store/open.ts"' },
  'a-provider-knows-its-contract': { 'providers/aws/aws.ts': 'import { token } from "../github/token.ts"' },
  'the-postgresql-provider-speaks-to-its-target': {
    'providers/postgres/issue.ts': 'import { openStore } from "../../broker/store/open.ts"',
  },
  'a-provider-test-knows-its-counterpart': { 'providers/aws/aws.test.ts': 'import "../../broker/main.ts"' },
  'the-contract-knows-no-provider': { 'providers/contract.ts': 'import type { A } from "./aws/aws.ts"' },
  'the-registry-is-a-list': { 'providers/registry.ts': 'import { config } from "../broker/config/settings.ts"' },
  'reviews-know-no-channel': { 'approvals/review.ts': 'import { post } from "./slack/post.ts"' },
  'the-channel-registry-is-a-list': { 'approvals/registry.ts': 'import { review } from "./review.ts"' },
  'channel-conformance-knows-no-channel': { 'approvals/conformance.ts': 'import { web } from "./web/index.ts"' },
  'a-channel-stands-alone': { 'approvals/web/page.ts': 'import { post } from "../slack/post.ts"' },
  'parameters-come-without-their-provider': { 'providers/params.ts': 'import { aws } from "./aws/index.ts"' },
  'plans-come-without-their-settings': { 'providers/any-settings.ts': 'import { aws } from "./aws/index.ts"' },
  'a-plan-without-settings-calls-nobody': { 'providers/aws/any-settings.ts': 'import { c } from "./clients.ts"' },
  'only-compose-composes': { 'broker/grants/grant.ts': 'import { aws } from "../../providers/aws/aws.ts"' },
  'the-broker-stands-without-its-sandbox': { 'approvals/review.ts': 'import { sts } from "../sandbox/sts.ts"' },
  'only-the-operator-command-extends-the-command': { 'broker/main.ts': 'import { run } from "../client/cli/run.ts"' },
  'http-is-the-top': { 'broker/leases/issue.ts': 'import type { R } from "../http/router.ts"' },
  'a-signal-only-ends': { 'broker/signals/carry-out.ts': 'import { openLogin } from "../people/login.ts"' },
  'a-diagnosis-only-asks': { 'broker/diagnose/diagnose.ts': 'import { issue } from "../leases/issue.ts"' },
  'a-stream-only-tells': { 'broker/streams/tell.ts': 'import { endSession } from "../sessions/end-session.ts"' },
  'what-decides-knows-no-replay': { 'broker/grants/request-grant.ts': 'import type { S } from "../replay/shadow.ts"' },
  'the-store-is-the-bottom': { 'broker/store/open.ts': 'import { append } from "../audit/append.ts"' },
  'the-worker-holds-no-sql': { 'broker/worker/jobs/prune.ts': 'import type { S } from "../../store/open.ts"' },
  'the-client-is-a-package-of-its-own': { 'client/writ.ts': 'import type { G } from "../broker/core/vocabulary.ts"' },
  'the-command-is-a-package-of-its-own': { 'client/cli/run.ts': 'import { open } from "../../broker/store/open.ts"' },
  'the-example-is-an-agent': { 'sandbox/example/agent.ts': 'import { mint } from "../aws/sts.ts"' },
  'the-sandbox-is-the-other-side': { 'sandbox/sts.ts': 'import { sign } from "../broker/decide/sign.ts"' },
};

test('every rule refuses its bad example', async (t) => {
  assert.deepEqual(Object.keys(bad).sort(), rules.map(({ name }) => name).sort());
  for (const [name, files] of Object.entries(bad)) {
    await t.test(name, () => assert.ok(rulesBroken(files).includes(name), `${name} let its bad example through`));
  }
});

test('a channel knows its contract and the review; only the composition knows the channels', () => {
  const refused: [path: string, imported: string, rule: string][] = [
    ['approvals/slack/card.ts', '../web/words.ts', 'a-channel-stands-alone'],
    ['approvals/slack/card.ts', '../outbox.ts', 'a-channel-stands-alone'],
    ['approvals/slack/card.ts', '../registry.ts', 'a-channel-stands-alone'],
    ['approvals/outbox.ts', './registry.ts', 'reviews-know-no-channel'],
    ['broker/http/app.ts', '../../approvals/registry.ts', 'only-compose-composes'],
  ];
  for (const [path, imported, rule] of refused)
    assert.deepEqual(rulesBroken({ [path]: `import "${imported}"` }), [rule], `${path} imports ${imported}`);
});

test('packages are bounded too', () => {
  assert.deepEqual(rulesBroken({ 'broker/decide/a.ts': 'import { STSClient } from "@aws-sdk/client-sts"' }), [
    'decide-sees-no-credential',
  ]);
  assert.deepEqual(rulesBroken({ 'client/a.ts': 'import { z } from "zod"' }), ['the-client-is-a-package-of-its-own']);
  assert.deepEqual(rulesBroken({ 'client/a.ts': 'import { SignJWT } from "jose"; import "node:crypto"' }), []);
  assert.deepEqual(rulesBroken({ 'client/cli/a.ts': 'import express from "express"' }), [
    'the-command-is-a-package-of-its-own',
  ]);
});

test('what runs in production imports nothing that is for tests', () => {
  for (const name of ['./aws.test.ts', './harness.test-support.ts']) {
    assert.deepEqual(
      rulesBroken({ 'providers/aws/aws.ts': `import "${name}"` }),
      ['code-stands-without-its-tests'],
      name,
    );
  }
});

test('a computed import cannot slip past the rules', () => {
  const text = 'export const load = (name: string) => import(name)';
  assert.equal(computedImports(project({ 'client/a.ts': text })).length, 1);
  assert.deepEqual(computedImports(project({ 'client/a.ts': 'import("./b.ts")', 'client/a.test.ts': text })), []);
});

test('what the broker is built of passes', () => {
  const good = {
    'broker/compose/start.ts':
      'import { modules } from "../../providers/registry.ts"; import "../../approvals/registry.ts"',
    'broker/leases/issue.ts': 'import type { P } from "../../providers/contract.ts"; import "../decide/verify.ts"',
    'providers/registry.ts': 'import { aws } from "./aws/aws.ts"',
    'providers/aws/aws.ts': 'import { sign } from "./sign.ts"; import type { P } from "../contract.ts"',
    'providers/aws/aws.test.ts': 'import "../conformance.ts"; import "../../sandbox/sts.ts"; import "./aws.ts"',
    'approvals/registry.ts': 'import { web } from "./web/index.ts"; import type { C } from "./contract.ts"',
    'approvals/web/page.ts': 'import { review } from "../review.ts"; import type { C } from "../contract.ts"',
    'providers/aws/harness.test-support.ts': 'import "../../sandbox/sts.ts"; import { aws } from "./aws.ts"',
    'client/cli/check.ts': 'import { readManifest } from "../../broker/manifests/read.ts"; import pg from "pg"',
    'broker/cli/writ.ts': 'import { runWrit } from "../../client/cli/run.ts"',
    'sandbox/whole-way.test.ts': 'import "../broker/main.ts"; import "../client/writ.ts"',
  };
  assert.deepEqual(rulesBroken(good), []);
});

test('cycles are found, type-only ones too', () => {
  const sources = project({
    'broker/a.ts': 'import "./b.ts"',
    'broker/b.ts': 'import type { C } from "./c.ts"',
    'broker/c.ts': 'export * from "./a.ts"',
    'broker/d.ts': 'import "./a.ts"',
  });
  const [ring, ...others] = cycles(sources);
  assert.match(ring ?? '', /^import cycle: (broker\/[abc]\.ts → ){3}broker\/[abc]\.ts$/);
  assert.equal(others.length, 0);
});

test('reading the time is found in every spelling, and allowed where it belongs', () => {
  const reads = [
    'new Date()',
    'new Date',
    'Date()',
    'Date.now()',
    'globalThis.Date.now()',
    'performance.now()',
    '[1].map(Date.now)',
    'process.hrtime.bigint()',
    'Temporal.Now.instant()',
  ];
  const text = reads.map((read, at) => `export const a${at} = ${read};`).join('\n');
  const lines = (path: string, code: string) => clockFaults(project({ [path]: code })).map((f) => f.split(':')[1]);
  assert.deepEqual(
    lines('broker/grants/a.ts', text),
    reads.map((_, at) => String(at + 1)),
  );
  assert.equal(lines('sandbox/a.ts', 'const a = Date.now()').length, 1);
  for (const path of ['broker/core/clock.ts', 'scripts/bench.ts', 'broker/grants/a.test.ts'])
    assert.deepEqual(lines(path, text), []);
  assert.deepEqual(lines('broker/a.ts', 'const a = new Date(0); const s = "Date.now()"; // Date.now()'), []);
});

test('a name on a closed list that nothing gives is refused', () => {
  const list = { file: 'broker/list.ts', what: 'event', names: ['a.made', 'a.shown'], calls: ['event', 'eventBy'] };
  const reasons = { file: 'broker/list.ts', what: 'reason', names: ['late'], calls: [], members: ['reason'] };
  const faults = (files: Record<string, string>) => unwritten(project(files), [list, reasons]);
  const shown = [
    'type T = "a.shown"; const words = { "a.shown": () => "it was shown" };',
    'switch (t) { case "a.shown": break; } const b = t === "a.shown" || reason === "late";',
    'const why: { reason: "late" } = x;',
  ].join('\n');
  const refused = faults({ 'broker/a.ts': `event("a.made");\n${shown}`, 'broker/a.test.ts': 'event("a.shown")' });
  assert.deepEqual(refused, [
    'broker/list.ts: no code gives the event a.shown; remove it, or write it',
    'broker/list.ts: no code gives the reason late; remove it, or write it',
  ]);
  const written = `const s = \`\${eventBy("s", { made: "a.made", shown: "a.shown" })}\`; end({ reason: "late" });`;
  assert.deepEqual(faults({ 'broker/a.ts': written }), []);
});
