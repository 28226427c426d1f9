/** `docs/reference/configuration.md`: every environment variable, from the zod schemas that read them. */
import { z } from 'zod';
import type { SettingsModule } from '../../broker/config/settings.ts';
import { streamVariables } from '../../broker/config/stream-settings.ts';
import { type JsonSchema, range } from './json-schema.ts';
import { code, generatedFrom, page, prose, table } from './markdown.ts';

/**
 * @param providers as in `providers/registry.ts`
 * @param channels as in `approvals/registry.ts`
 */
export function configurationPage(
  environment: z.ZodObject,
  providers: readonly SettingsModule[],
  channels: readonly SettingsModule[],
  stream: z.ZodObject = streamVariables,
): string {
  return page(
    generatedFrom(
      'broker/config/settings.ts and stream-settings.ts, providers/*/settings.ts and the channels in approvals/',
    ),
    '# Configuration',
    'The broker is configured by environment variables alone. An empty variable counts as not set; one that begins with `WRIT_` and is none of these is a fault, because a misspelt name would leave what it is for at its default. A name that is nearly one of the others (`SLACK_BOT_TOKN`) is warned about. At start every fault is reported in one message, and nothing runs until there is none.',
    '## The broker',
    variables(environment),
    ...providers.flatMap((module) => section('Provider', module)),
    ...channels.flatMap((module) => section('Channel', module)),
    '## An event stream',
    `For each name in ${code('WRIT_STREAMS')}, in capitals in place of ${code('NAME')} ([signals](../signals.md#what-writ-signals)).`,
    variables(stream),
  );
}

function section(kind: 'Provider' | 'Channel', module: SettingsModule): string[] {
  const shape = shapeOf(kind, module);
  const none = Object.keys(shape.shape).length === 0;
  const switched =
    module.switchedOnBy === 'always'
      ? `Always on.${none ? ' It has no variables of its own.' : ''}`
      : `Switched on when one of these is set: ${module.switchedOnBy.map(code).join(', ')}. A half-configured ${kind.toLowerCase()} is a fault that names what is missing.`;
  return [`## ${kind} ${code(module.name)}`, switched, ...(none ? [] : [variables(shape)])];
}

function shapeOf(kind: string, { name, settings }: SettingsModule): z.ZodObject {
  if (settings instanceof z.ZodObject) return settings;
  throw new TypeError(`The settings of ${kind} ${name} are not a zod object: there is nothing to make a table of`);
}

function variables(schema: z.ZodObject): string {
  const input = json(schema, 'input').properties ?? {};
  const output = json(schema, 'output').properties ?? {};
  const rows = Object.entries(schema.shape).map(([name, field]) => {
    const { description } = input[name] ?? {};
    if (description === undefined) throw new TypeError(`${name} has no description`);
    return [
      code(name),
      typeOf(input[name] ?? {}, output[name] ?? {}),
      fallbackOf(field as z.ZodType),
      prose(description),
    ];
  });
  return table(['Variable', 'Type', 'Default', 'Meaning'], rows);
}

const json = (schema: z.ZodType, io: 'input' | 'output') =>
  z.toJSONSchema(schema, { io, target: 'draft-2020-12', unrepresentable: 'any' }) as JsonSchema;

/**
 * What a text in the environment may be is half in the schema of the text (`enum`), half in that of the value
 * (`minimum`).
 */
function typeOf(text: JsonSchema, value: JsonSchema): string {
  if (text.enum?.includes('true') === true || text.enum?.join() === '0,1') return `${code('0')} or ${code('1')}`;
  if (text.enum !== undefined) return text.enum.map((word) => code(String(word))).join(', ');
  if (text.format === 'uri') return 'URL';
  if (value.type === 'number' || value.type === 'integer') return `whole number${range(value)}`;
  if (value.type === 'array') return 'list, separated by commas';
  return 'text';
}

/** What the broker gets when the variable is not there. */
function fallbackOf(field: z.ZodType): string {
  const parsed = field.safeParse(undefined);
  if (!parsed.success) return '**required**';
  const value: unknown = parsed.data;
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return '';
  if (typeof value === 'boolean') return code(value ? '1' : '0');
  return code(String(value));
}
