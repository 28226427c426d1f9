/** Everything in `docs/reference`, made anew: file name → text. The same tree gives the same bytes. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { channelModules } from '../../approvals/registry.ts';
import { events } from '../../broker/audit/events.ts';
import { casesJsonSchema } from '../../broker/cases/cases.ts';
import { environment } from '../../broker/config/settings.ts';
import { errorTable } from '../../broker/core/errors.ts';
import { trustFileSchema } from '../../broker/identity/trust-schema.ts';
import { factEntries } from '../../broker/manifests/facts-table.ts';
import { manifestJsonSchema } from '../../broker/manifests/manifest.ts';
import { providerModules } from '../../providers/registry.ts';
import { casesPage } from './cases.ts';
import { configurationPage } from './configuration.ts';
import { factsPage } from './facts.ts';
import { httpApiPage } from './http-api.ts';
import type { JsonSchema } from './json-schema.ts';
import { auditEventsPage, errorsPage } from './lists.ts';
import { manifestPage, paramsSchema, publishedManifestSchema } from './manifest.ts';
import { reasonCodesPage } from './reason-codes.ts';
import { rulePacksPage } from './rule-packs.ts';
import { openApi, sampleEnvironment, sampleProviders } from './sample-world.ts';
import { trustFilePage } from './trust-file.ts';

const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

/** @param root absolute path of the repository */
export async function referenceFiles(root: string): Promise<Map<string, string>> {
  const read = (path: string) => readFile(join(root, path), 'utf8');
  const env = sampleEnvironment();
  const providers = sampleProviders(providerModules, env);
  const manifest = publishedManifestSchema(manifestJsonSchema() as JsonSchema, providers);
  const trust = z.toJSONSchema(trustFileSchema, { io: 'input', target: 'draft-2020-12' }) as JsonSchema;
  const cases = casesJsonSchema() as JsonSchema;
  const api = await openApi(env);
  return new Map([
    ['configuration.md', configurationPage(environment, providerModules, channelModules)],
    ['manifest.md', manifestPage(manifest, providers, await read('sandbox/example/manifests/invoice-bot.yaml'))],
    ['manifest.schema.json', json(manifest)],
    ...providers.map((own) => [`${own.name}-params.schema.json`, json(paramsSchema(own))] as const),
    ['cases.md', casesPage(cases)],
    ['cases.schema.json', json(cases)],
    ['trust-file.md', trustFilePage(trust)],
    ['trust-file.schema.json', json(trust)],
    ['errors.md', errorsPage(errorTable)],
    ['reason-codes.md', reasonCodesPage()],
    ['rule-packs.md', rulePacksPage()],
    ['facts.md', factsPage(factEntries)],
    ['audit-events.md', auditEventsPage(events)],
    ['http-api.md', httpApiPage(api)],
    ['openapi.json', json(api)],
  ]);
}
