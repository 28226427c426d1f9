/** JSON Schema (what `z.toJSONSchema` writes) → rows for people. Pure. */
import { code, prose, table } from './markdown.ts';

/** The part of draft 2020-12 that our schemas use. */
export interface JsonSchema {
  $ref?: string;
  $defs?: { [name: string]: JsonSchema };
  type?: string | string[];
  title?: string;
  description?: string;
  const?: unknown;
  enum?: unknown[];
  default?: unknown;
  format?: string;
  contentMediaType?: string;
  contentSchema?: JsonSchema;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  properties?: { [name: string]: JsonSchema };
  required?: string[];
  additionalProperties?: JsonSchema | boolean;
  propertyNames?: JsonSchema;
  items?: JsonSchema;
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  allOf?: JsonSchema[];
}

interface Row {
  path: string;
  type: string;
  required: boolean;
  fallback: string;
  text: string;
  /** The alternative it belongs to (`type: string`); empty when it is in all. */
  when: string;
}

/** Every field below `schema`, one row each: mappings with free names as `<name>`, lists as `[]`. */
export function fieldTable(schema: JsonSchema): string {
  const rows = merge(rowsOf(schema, '', ''));
  return table(
    ['Field', 'Type', 'Required', 'Default', 'Meaning'],
    rows.map(({ path, type, required, fallback, text, when }) => [
      code(path),
      type,
      required ? 'yes' : '',
      fallback,
      when === '' ? text : `${text === '' ? '' : `${text} `}(${when})`,
    ]),
  );
}

function rowsOf(schema: JsonSchema, path: string, when: string): Row[] {
  const rows = Object.entries(schema.properties ?? {}).flatMap(([name, field]): Row[] => {
    const at = path === '' ? name : `${path}.${name}`;
    const required = schema.required?.includes(name) === true && field.default === undefined;
    const fallback = field.default === undefined || isEmpty(field.default) ? '' : code(JSON.stringify(field.default));
    return [
      { path: at, type: typeName(field), required, fallback, text: prose(field.description ?? ''), when },
      ...rowsOf(field, at, when),
    ];
  });
  const free = schema.additionalProperties;
  if (typeof free === 'object' && (free.properties ?? free.oneOf ?? free.anyOf) !== undefined)
    rows.push(...rowsOf(free, `${path}.<name>`, when));
  if (schema.items !== undefined) rows.push(...rowsOf(schema.items, `${path}[]`, when));
  for (const branch of schema.oneOf ?? schema.anyOf ?? []) {
    const only = discriminator(branch);
    const own = only === '' ? '' : code(only);
    rows.push(...rowsOf(branch, path, [when, own].filter((part) => part !== '').join(', ')));
  }
  return rows;
}

/** The same field of several alternatives is one row; where only some have it, the row says which. */
function merge(rows: Row[]): Row[] {
  const merged: Row[] = [];
  for (const group of Map.groupBy(rows, (row) => row.path).values()) {
    const kinds = Map.groupBy(group, (row) => `${row.type} ${row.required} ${row.fallback} ${row.text}`);
    for (const same of kinds.values()) {
      const first = same[0] as Row;
      const parent = first.path.split('.').slice(0, -1).join('.');
      const siblings = rows.filter((row) => row.path.startsWith(parent === '' ? '' : `${parent}.`) && row.when !== '');
      const alternatives = new Set(siblings.map((row) => row.when));
      const whens = same.map((row) => row.when).filter((when) => when !== '');
      const everywhere = whens.length === 0 || whens.length === alternatives.size;
      merged.push({ ...first, when: everywhere ? '' : whens.join('; ') });
    }
  }
  return merged;
}

/** `service: s3` of one branch of a discriminated union; empty when it has no constant field. */
export function discriminator(branch: JsonSchema): string {
  const constant = Object.entries(branch.properties ?? {}).find(([, field]) => field.const !== undefined);
  return constant === undefined ? '' : `${constant[0]}: ${String(constant[1].const)}`;
}

/** What may stand there, in a few words. */
export function typeName(schema: JsonSchema): string {
  if (schema.$ref?.startsWith(namedSchemas) === true) return linkTo(schema.$ref.slice(namedSchemas.length));
  if (schema.const !== undefined) return code(String(schema.const));
  if (schema.enum !== undefined) return schema.enum.map((value) => code(String(value))).join(', ');
  if (schema.type === 'array') return `list of ${schema.items === undefined ? 'anything' : typeName(schema.items)}`;
  if (schema.type === 'object') return 'mapping';
  if (schema.type === 'boolean') return 'true or false';
  if (schema.type === 'integer' || schema.type === 'number') return `whole number${range(schema)}`;
  if (schema.contentSchema !== undefined) return `JSON text: ${typeName(schema.contentSchema)}`;
  if (schema.format === 'uri') return 'URL';
  if (schema.format === 'date-time') return 'time (RFC 3339)';
  if (schema.type === 'string') return `text${schema.pattern === undefined ? '' : ` matching ${code(schema.pattern)}`}`;
  const branches = schema.oneOf ?? schema.anyOf;
  if (branches !== undefined) return [...new Set(branches.map(typeName))].join(' or ');
  return 'any value';
}

/** A named schema of the OpenAPI document has a heading of its own. */
const namedSchemas = '#/components/schemas/';
const linkTo = (name: string) => `[${name}](#${name.toLowerCase()})`;

/** Bounds that are safe-integer limits say nothing. */
export function range({ minimum, exclusiveMinimum, maximum }: JsonSchema): string {
  const least = minimum ?? (exclusiveMinimum === undefined ? undefined : exclusiveMinimum + 1);
  const low = least === undefined || least <= Number.MIN_SAFE_INTEGER ? null : least;
  const high = maximum === undefined || maximum >= Number.MAX_SAFE_INTEGER ? null : maximum;
  if (low !== null && high !== null) return `, ${low} to ${high}`;
  if (low !== null) return `, ${low} or more`;
  return high === null ? '' : `, at most ${high}`;
}

const isEmpty = (value: unknown) => typeof value === 'object' && value !== null && Object.keys(value).length === 0;
