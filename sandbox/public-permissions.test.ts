/**
 * Permissions as people really write them: manifests translated from public files are checked by the command,
 * published, asked for, and read by who approves them, as wide as they are.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { JsonObject } from '../broker/core/vocabulary.ts';
import { compiled, writCommand, writFlags } from '../client/local/local.test-support.ts';
import { type Deployment, startDeployment } from './deployment.test-support.ts';

const folder = join(import.meta.dirname, 'public-permissions');

let deployment: Deployment;
before(async () => {
  deployment = await startDeployment();
});
after(() => deployment.close());

interface Expected {
  task: { task_type: string; inputs?: JsonObject };
  capability: string;
  /** Warnings of the check, by what they are about. */
  warned?: string[];
  /** Among the lines that the approver reads. */
  words: RegExp[];
  /** What is in the permission, as text. */
  planned: RegExp[];
}

/** By file: what is asked for, what the approver reads, and what the provider would be asked for. */
const expected: { [file: string]: Expected } = {
  'organization-manager.yaml': {
    task: { task_type: 'apply-settings' },
    capability: 'manage-organization',
    words: [
      /Read and write files, commits, branches and releases in every repository of example-org that the App is installed on/,
      /members and teams in the whole organization example-org/,
      /a repository that is added to the App’s installation is reached, too/,
    ],
    planned: [/"repositories":"all"/, /"organization_secrets":"write"/],
  },
  'variable-keeper.yaml': {
    task: { task_type: 'rotate-variables' },
    capability: 'write-variables',
    warned: ['actions_variables', 'organization_actions_variables', 'codespaces_secrets'],
    words: [
      /Read and write whatever GitHub opens with actions_variables, a permission Writ does not know: it may reach the whole organization example-org/,
    ],
    planned: [/"actions_variables":"write"/, /"codespaces_secrets":"read"/],
  },
  'image-publisher.yaml': {
    task: { task_type: 'publish-image' },
    capability: 'push-image',
    words: [
      /ecr:GetAuthorizationToken on every resource there is, none is named/,
      /ecr:PutImage on exactly arn:aws:ecr:\S+:repository\/orders/,
    ],
    planned: [/"Action":\["ecr:GetAuthorizationToken"\],"Effect":"Allow","Resource":\["\*"\]/],
  },
  'mailbox-exporter.yaml': {
    task: { task_type: 'export-mailbox', inputs: { mailbox: 'former-colleague' } },
    capability: 'write-export',
    words: [
      /Write objects under former-colleague\/ in the S3 bucket exports/,
      /Through S3 alone, for these, use the key arn:aws:kms:/,
    ],
    planned: [
      /s3:AbortMultipartUpload/,
      /"kms:ViaService":\["s3\.us-east-1\.\*"\]/,
      /arn:aws:s3:::exports\/former-colleague\/\*/,
    ],
  },
  'machine-operator.yaml': {
    task: { task_type: 'restart-machine', inputs: { team: 'billing' } },
    capability: 'switch-machines',
    words: [
      /ec2:StopInstances on every resource there is, none is named, only if ec2:ResourceTag\/Owner StringEquals billing/,
    ],
    planned: [/"StringEquals":\{"ec2:ResourceTag\/Owner":\["billing"\]\}/],
  },
  'cloud-auditor.yaml': {
    task: { task_type: 'audit-account' },
    capability: 'look-around',
    words: [
      /Whatever the managed policy arn:aws:iam::aws:policy\/SecurityAudit allows when AWS is asked, on whatever it names: Writ does not read it/,
    ],
    planned: [/"policies":\["arn:aws:iam::aws:policy\/SecurityAudit"\]/, /"Action":\["sts:\*","iam:\*"/],
  },
  'project-worker.yaml': {
    task: { task_type: 'rotate-secret', inputs: { project: 'heron' } },
    capability: 'rotate-secrets',
    words: [
      /With the session tag access-project = heron/,
      /Every action of secretsmanager, those that AWS adds later too, on every resource/,
    ],
    planned: [/"session_tags":\{"access-project":"heron"\}/],
  },
  'pipeline-loader.yaml': {
    task: { task_type: 'load-raw' },
    capability: 'create-raw',
    words: [
      /whose names begin with "data\/01_RAW", whatever follows, neighbours too/,
      /the one named "conf\/wanted\.yaml" in the Cloud Storage bucket statements, none can be listed/,
    ],
    planned: [
      /"project":"example\.com:pipelines"/,
      /resource\.name == 'projects\/_\/buckets\/statements\/objects\/conf\/wanted\.yaml'/,
    ],
  },
};

test('each file is expected', async () => {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.yaml'));
  assert.deepEqual(files.sort(), Object.keys(expected).sort());
});

for (const [file, { task, capability, warned = [], words, planned }] of Object.entries(expected))
  test(`${file}: checked, published, asked for, read`, async () => {
    const path = join(folder, file);
    const { code, err } = await check(path);
    assert.equal(code, 0, err);
    assert.deepEqual(
      [...err.matchAll(/permissions\.(\w+): is a permission Writ does not know/g)].map(([, name]) => name),
      warned,
    );

    // The sandbox's platform vouches for one agent.
    const source = (await readFile(path, 'utf8')).replace(/^agent: .*$/m, 'agent: invoice-bot');
    await deployment.publish('invoice-bot', source);
    const agent = await deployment.openAgent({ task: { inputs: {}, ...task } });
    const asked = await agent.grant({ capability });
    assert.deepEqual([asked.status, asked.body.status], [202, 'pending'], asked.text);
    const approver = await deployment.approver();
    const { html } = await approver.page(`/approvals/${asked.body.id}`);
    const read = html.replaceAll('&quot;', '"').replaceAll('&#39;', "'").replaceAll('&amp;', '&');
    for (const line of words) assert.match(read, line);
    const { plan } = (await agent.call('GET', `/v1/grants/${asked.body.id}`)).body;
    const exact = canonical((plan ?? asked.body.plan).permission);
    for (const part of planned) assert.match(exact, part);
  });

/** Members in the order of their names, so that texts can be compared. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_key, one) =>
    typeof one === 'object' && one !== null && !Array.isArray(one)
      ? Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1)))
      : one,
  );

const check = (path: string): Promise<{ code: number; err: string }> =>
  new Promise((done) => {
    execFile(
      process.execPath,
      [...writFlags, writCommand, 'manifest', 'check', path],
      { env: compiled },
      (error, _out, err) => done({ code: error === null ? 0 : Number(error.code), err }),
    );
  });
