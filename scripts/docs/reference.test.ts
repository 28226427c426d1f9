/** The generated pages follow the schemas, and what they publish is what the broker takes. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parse } from 'yaml';
import { z } from 'zod';
import { channelModules } from '../../approvals/registry.ts';
import { environment } from '../../broker/config/settings.ts';
import { parseTrust } from '../../broker/identity/trust.ts';
import { manifestJsonSchema } from '../../broker/manifests/manifest.ts';
import { providerModules } from '../../providers/registry.ts';
import { differences } from './compare.ts';
import { configurationPage } from './configuration.ts';
import type { JsonSchema } from './json-schema.ts';
import { publishedManifestSchema } from './manifest.ts';
import { policyReasons, reasonCodesPage, writtenReasons } from './reason-codes.ts';
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
    const page = await readFile(join(root, 'docs/write-a-manifest.md'), 'utf8');
    const manifests = [...page.matchAll(/```yaml\n(apiVersion[\s\S]*?)```/g)].map((match) => match[1] ?? '');
    assert.ok(manifests.length > 0);
    for (const text of manifests) assert.equal(holds(parse(text)), true, JSON.stringify(holds.errors));
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

describe('reason-codes.md', () => {
  const written = ['denied_by_approver', 'timeout', 'not_redeemed'];
  const sources = async () => {
    const files = ['broker/decide/decide.ts', 'approvals/review.ts'];
    return (await Promise.all(files.map((file) => readFile(join(root, file), 'utf8')))).flatMap(writtenReasons);
  };

  it('finds the codes in the code', async () => {
    const found = await sources();
    for (const reason of [...written, 'policy_failed', 'facts_not_valid']) assert.ok(found.includes(reason), reason);
    for (const reason of ['needs_approval', 'param_not_bound_value', 'param_outside_choice', 'capability_spent'])
      assert.ok(policyReasons().includes(reason), reason);
  });

  it('cannot be made while a code is not explained, or an explained one is gone', async () => {
    const all = [...policyReasons(), ...(await sources())];
    assert.match(reasonCodesPage(all), /`needs_approval`/);
    assert.throws(() => reasonCodesPage([...all, 'moon_is_full']), /not explained: moon_is_full/);
    assert.throws(() => reasonCodesPage(all.filter((reason) => reason !== 'timeout')), /not in the code: timeout/);
  });
});
