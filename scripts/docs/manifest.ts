/** `docs/reference/manifest.md` and its JSON Schema: the manifest, and the parameters of each provider. */
import { z } from 'zod';
import type { Provider } from '../../providers/contract.ts';
import { discriminator, fieldTable, type JsonSchema } from './json-schema.ts';
import { fence, generatedFrom, page } from './markdown.ts';

/** What a manifest's author needs to know of a provider. */
export type ProviderShape = Pick<Provider, 'name' | 'params' | 'limits'>;

export const paramsSchema = (provider: ProviderShape): JsonSchema =>
  z.toJSONSchema(provider.params, { io: 'input', target: 'draft-2020-12' }) as JsonSchema;

/**
 * The manifest's own schema, and for each provider the names that `params` and `choose` may have there. Not
 * their types: a fixed parameter may be a text with `${inputs.…}` in it, whose value is only known in a
 * session; the broker checks it there.
 */
export function publishedManifestSchema(manifest: JsonSchema, providers: readonly ProviderShape[]): JsonSchema {
  const capability = manifest.properties?.capabilities?.additionalProperties;
  if (typeof capability !== 'object') throw new TypeError('The manifest schema has no capabilities');
  const perProvider = providers.map((provider) => {
    const fields = fieldsOf(paramsSchema(provider));
    const names = { enum: [...fields.keys()] };
    const described = Object.fromEntries([...fields].map(([name, description]) => [name, { description }]));
    return {
      if: { properties: { provider: { const: provider.name } }, required: ['provider'] },
      // biome-ignore lint/suspicious/noThenProperty: JSON Schema's own keyword
      then: {
        properties: { params: { propertyNames: names, properties: described }, choose: { propertyNames: names } },
      },
    };
  });
  const published = structuredClone(manifest);
  const target = published.properties?.capabilities?.additionalProperties as JsonSchema;
  target.allOf = perProvider as JsonSchema[];
  return published;
}

/** Top-level parameters of all alternatives, each with its first description. */
function fieldsOf(schema: JsonSchema): Map<string, string> {
  const fields = new Map<string, string>();
  for (const branch of [schema, ...(schema.oneOf ?? schema.anyOf ?? [])])
    for (const [name, field] of Object.entries(branch.properties ?? {}))
      if ((fields.get(name) ?? '') === '') fields.set(name, field.description ?? '');
  return fields;
}

/** @param example a manifest that the test suite publishes */
export function manifestPage(manifest: JsonSchema, providers: readonly ProviderShape[], example: string): string {
  return page(
    generatedFrom('broker/manifests/manifest.ts and providers/*/params.ts'),
    '# Manifest reference',
    'How to write one: [write-a-manifest.md](../write-a-manifest.md). As a JSON Schema (draft 2020-12): [manifest.schema.json](manifest.schema.json); an editor with the YAML language server reads it from a first line `# yaml-language-server: $schema=…/manifest.schema.json`.',
    'Beyond the shape, publishing checks that tasks exist, patterns compile, inputs that are referred to exist in every task type of the capability, narrower bounds are narrower, and that the provider takes the fixed parameters. Each fault comes with line, column and path.',
    '## Fields',
    fieldTable(manifest),
    '## Parameters of the providers',
    'The union of `params` and `choose` is what the provider gets. A parameter must be given in one of the two, never in both.',
    ...providers.flatMap((provider) => [
      `### ${provider.name}`,
      limits(provider),
      `As a JSON Schema: [${provider.name}-params.schema.json](${provider.name}-params.schema.json).`,
      ...alternatives(provider),
    ]),
    '## Example',
    fence('yaml', example),
  );
}

const limits = ({ limits: { minTtlSeconds, maxTtlSeconds } }: ProviderShape): string =>
  `Lifetimes from ${minTtlSeconds} s to ${maxTtlSeconds} s, unless its settings say otherwise.`;

function alternatives(provider: ProviderShape): string[] {
  const schema = paramsSchema(provider);
  const branches = schema.oneOf ?? schema.anyOf;
  if (branches === undefined) return [fieldTable(schema)];
  return branches.flatMap((branch) => [`#### ${discriminator(branch)}`, fieldTable(branch)]);
}
