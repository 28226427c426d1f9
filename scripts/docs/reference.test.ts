/** The generated pages follow the schemas, and what they publish is what the broker takes. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parse } from 'yaml';
import { z } from 'zod';
import { channelModules } from '../../approvals/registry.ts';
import { events, eventTypes } from '../../broker/audit/events.ts';
import { environment } from '../../broker/config/settings.ts';
import {
  decisionReasons,
  type EndReason,
  endReasons,
  misuseReasons,
  passkeyRefusals,
  reviewBlockers,
  storedRevokeReasons,
} from '../../broker/core/reasons.ts';
import { parseTrust } from '../../broker/identity/trust.ts';
import { rulesOf } from '../../broker/manifests/cedar-rules.ts';
import { ManifestSchema, manifestJsonSchema } from '../../broker/manifests/manifest.ts';
import { providerModules } from '../../providers/registry.ts';
import { differences } from './compare.ts';
import { configurationPage } from './configuration.ts';
import { httpApiPage, type OpenApi } from './http-api.ts';
import type { JsonSchema } from './json-schema.ts';
import { auditEventsPage } from './lists.ts';
import { publishedManifestSchema } from './manifest.ts';
import { reasonCodesPage } from './reason-codes.ts';
import { sampleEnvironment, sampleProviders } from './sample-world.ts';
import { exampleTrustFile } from './trust-file.ts';

const root = join(import.meta.dirname, '../..');
const reference = join(root, 'docs/reference');
const configurationDrift = async (schema: z.ZodObject) =>
  (
    await differences(
      reference,
      new Map([['configuration.md', configurationPage(schema, providerModules, channelModules)]]),
    )
  ).filter((line) => line.startsWith('configuration.md'));

describe('http-api.md', () => {
  it('has every answer’s body, every element and every provider’s credential', async () => {
    const document = JSON.parse(await readFile(join(reference, 'openapi.json'), 'utf8')) as OpenApi;
    const page = httpApiPage(document);
    const chapters = new Map(page.split('\n### ').map((text) => [text.split('\n', 1)[0], text]));
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const [method, { responses }] of Object.entries(methods)) {
        const title = `${method.toUpperCase()} ${path}`;
        for (const [status, { content }] of Object.entries(responses)) {
          if (!status.startsWith('2') || content === undefined) continue;
          assert.match(chapters.get(title) ?? '', new RegExp(`\\nAnswer ${status} \\(`), `${title} ${status}`);
        }
      }
    }
    assert.match(
      chapters.get('POST /oauth/token') ?? '',
      /\| `authorization_details` \| JSON text: list of \[Task\]\(#task\)/,
    );
    assert.match(chapters.get('Task') ?? '', /\| `envelope.wall_time_seconds` \|/);
    const names = document.components.schemas;
    for (const { name, credential } of sampleProviders(providerModules, sampleEnvironment())) {
      const [schema] = Object.keys(names).filter((one) => one.toLowerCase() === `${name}credential`);
      for (const member of Object.keys(credential?.shape ?? assert.fail(name)))
        assert.ok(chapters.get(schema)?.includes(`| \`${member}\` |`), `${name}: ${member}`);
    }
  });
});

describe('configuration.md', () => {
  it('is what the code says', async () => {
    assert.deepEqual(await configurationDrift(environment), []);
  });

  it('differs as soon as a description, a default or a variable does', async () => {
    const { PORT, WRIT_LISTEN, ...others } = environment.shape;
    const changed = [
      z.object({ ...environment.shape, PORT: PORT.describe('Another description.') }),
      z.object({ ...environment.shape, WRIT_LISTEN: WRIT_LISTEN.default('0.0.0.0') }),
      z.object({ PORT, ...others }),
    ];
    for (const schema of changed) {
      const [fault] = await configurationDrift(schema);
      assert.match(fault ?? '', /^configuration\.md:\d+: differs/);
    }
  });

  it('cannot be made of a variable that nobody described', () => {
    const silent = z.object({ WRIT_SECRET_SWITCH: z.string().optional() });
    assert.throws(() => configurationPage(silent, [], []), /WRIT_SECRET_SWITCH has no description/);
  });
});

describe('manifest.schema.json, asked of a validator that is not ours', () => {
  const providers = sampleProviders(providerModules, sampleEnvironment());
  const schema = publishedManifestSchema(manifestJsonSchema() as JsonSchema, providers);
  const holds = new Ajv2020({ strict: false, allErrors: true }).compile(schema);
  const example = async () => parse(await readFile(join(root, 'sandbox/example/manifests/invoice-bot.yaml'), 'utf8'));

  it('is on disk as the code says', async () => {
    assert.deepEqual(JSON.parse(await readFile(join(reference, 'manifest.schema.json'), 'utf8')), schema);
  });

  it('takes the example manifest', async () => {
    assert.equal(holds(await example()), true, JSON.stringify(holds.errors));
  });

  it('takes every manifest written out in docs', async () => {
    for (const name of ['write-a-manifest.md', 'tool-calls.md']) {
      const page = await readFile(join(root, 'docs', name), 'utf8');
      const manifests = [...page.matchAll(/```yaml\n(apiVersion[\s\S]*?)```/g)].map((match) => match[1] ?? '');
      assert.ok(manifests.length > 0);
      for (const text of manifests) assert.equal(holds(parse(text)), true, JSON.stringify(holds.errors));
    }
  });

  it('refuses what the broker refuses', async () => {
    const spoil: ((manifest: ReturnType<typeof JSON.parse>) => void)[] = [
      (manifest) => (manifest.agent = 'Invoice Bot'),
      (manifest) => (manifest.owner = 'somebody'),
      (manifest) => (manifest.surprise = true),
      (manifest) => delete manifest.envelope.wall_time,
      (manifest) => (manifest.capabilities['read-customer-files'].tier = 4),
      (manifest) => (manifest.capabilities['read-customer-files'].max_ttl = 900),
      (manifest) => (manifest.capabilities['read-customer-files'].params.repositories = ['orders']),
      (manifest) => (manifest.capabilities['read-statements'].choose = { queue: { type: 'boolean' } }),
      (manifest) => (manifest.task_types['answer-invoice-question'].inputs.customer_id.type = 'float'),
    ];
    for (const change of spoil) {
      const manifest = await example();
      change(manifest);
      assert.equal(holds(manifest), false, String(change));
    }
  });
});

describe('trust-file.md', () => {
  it('shows a file that the broker takes', () => {
    const parsed = parseTrust(exampleTrustFile);
    assert.equal(parsed.ok, true, JSON.stringify(parsed));
  });
});

/** One of everything that makes a rule. */
const everyRule = {
  apiVersion: 'writ/v1',
  agent: 'a',
  owner: 'team:t',
  description: 'd',
  envelope: { wall_time: '1m', max_grants: 1 },
  task_types: { t: { description: 'd', envelope: { max_grants: 1 } } },
  capabilities: {
    c: {
      description: 'd',
      provider: 'p',
      tasks: ['t'],
      tier: 2,
      max_ttl: '1m',
      max_grants: 1,
      params: { fixed: 'x' },
      choose: { chosen: { type: 'integer', min: 1, max: 2 } },
    },
  },
};

describe('reason-codes.md', () => {
  const shown = () => new Set([...reasonCodesPage().matchAll(/^\| `(\w+)` \| \S/gm)].map((match) => match[1]));

  it('explains the codes that the code gives', () => {
    for (const reason of ['denied_by_approver', 'timeout', 'not_redeemed', 'policy_failed', 'session_ended'])
      assert.ok(shown().has(reason), reason);
    const parsed = ManifestSchema.parse(everyRule);
    const rules = Object.entries(parsed.capabilities).flatMap(([name, own]) => rulesOf(parsed, name, own));
    assert.ok(rules.some(({ reason }) => reason === 'param_outside_choice'));
    for (const { reason } of rules) assert.ok(shown().has(reason), reason);
  });

  it('explains every code of every closed list, and no other', () => {
    const tables = [decisionReasons, endReasons, storedRevokeReasons, reviewBlockers, passkeyRefusals, misuseReasons];
    assert.deepEqual([...shown()].sort(), [...new Set(tables.flatMap(Object.keys))].sort());
  });

  it('cannot be made while a code is not explained: it is then no code', () => {
    // @ts-expect-error a reason is an entry with a meaning
    const unexplained: typeof endReasons.ended_by_agent = { words: 'the moon was full' };
    // @ts-expect-error and what has no entry is no reason
    const unknown: EndReason = 'moon_is_full';
    assert.ok(unexplained && unknown);
  });
});

describe('audit-events.md', () => {
  it('has every event, its meaning and the members of its payload', () => {
    const rows = auditEventsPage(events)
      .split('\n')
      .filter((line) => line.startsWith('| `'));
    assert.equal(rows.length, eventTypes.length);
    assert.ok(
      rows.some(
        (row) => row.startsWith('| `session.ended` | A session ended') && row.endsWith('| `reason`, `because?` |'),
      ),
    );
  });
});
