/** Everything in `docs/reference`, made anew: file name → text. The same tree gives the same bytes. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { channelModules } from '../../approvals/registry.ts';
import { eventTypes } from '../../broker/audit/event-types.ts';
import { environment } from '../../broker/config/settings.ts';
import { errorTable } from '../../broker/core/errors.ts';
import { trustFileSchema } from '../../broker/identity/trust-schema.ts';
import { manifestJsonSchema } from '../../broker/manifests/manifest.ts';
import { providerModules } from '../../providers/registry.ts';
import { configurationPage } from './configuration.ts';
import { httpApiPage } from './http-api.ts';
import type { JsonSchema } from './json-schema.ts';
import { auditEventsPage, errorsPage } from './lists.ts';
import { manifestPage, paramsSchema, publishedManifestSchema } from './manifest.ts';
import { policyReasons, reasonCodesPage, writtenReasons } from './reason-codes.ts';
import { openApi, sampleEnvironment, sampleProviders } from './sample-world.ts';
import { trustFilePage } from './trust-file.ts';

const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

/** Files in which a denial's reason is written out. */
const reasonSources = ['broker/decide/decide.ts', 'approvals/review.ts'];

/** @param root absolute path of the repository */
export async function referenceFiles(root: string): Promise<Map<string, string>> {
  const read = (path: string) => readFile(join(root, path), 'utf8');
  const env = sampleEnvironment();
  const providers = sampleProviders(providerModules, env);
  const manifest = publishedManifestSchema(manifestJsonSchema() as JsonSchema, providers);
  const trust = z.toJSONSchema(trustFileSchema, { io: 'input', target: 'draft-2020-12' }) as JsonSchema;
  const api = await openApi(env);
  const reasons = (await Promise.all(reasonSources.map(read))).flatMap(writtenReasons);
  return new Map([
    ['configuration.md', configurationPage(environment, providerModules, channelModules)],
    ['manifest.md', manifestPage(manifest, providers, await read('sandbox/example/manifests/invoice-bot.yaml'))],
    ['manifest.schema.json', json(manifest)],
    ...providers.map((own) => [`${own.name}-params.schema.json`, json(paramsSchema(own))] as const),
    ['trust-file.md', trustFilePage(trust)],
    ['trust-file.schema.json', json(trust)],
    ['errors.md', errorsPage(errorTable)],
    ['reason-codes.md', reasonCodesPage([...policyReasons(), ...reasons])],
    ['audit-events.md', auditEventsPage(eventTypes)],
    ['http-api.md', httpApiPage(api)],
    ['openapi.json', json(api)],
  ]);
}
