/** OpenAPI 3.1 from the very schemas that validate. Pure: operations in, document out. */
import { z } from 'zod';
import { type ErrorCode, errorTable } from '../core/errors.ts';
import { refusalsByStatus } from './answerable.ts';
import { nameOf } from './named-schemas.ts';
import type { Operation, SecurityScheme } from './operation.ts';
import { oauthErrorSchema, problemSchema } from './problem-schema.ts';
import { grantDetail, openedGrant, openedTask, taskDetail } from './task-detail.ts';

const bodyTypes = {
  json: 'application/json',
  form: 'application/x-www-form-urlencoded',
  yaml: 'application/yaml',
  set: 'application/secevent+jwt',
} as const;

type Direction = 'input' | 'output';
type SchemaOf = (schema: z.core.$ZodType, io: Direction) => Record<string, unknown>;

const refTo = (name: string) => `#/components/schemas/${name}`;

/** Named schemas are referred to, and collected on the way. */
function schemaWriter() {
  const referred = new Map<string, { schema: z.core.$ZodType; io: Direction }>();
  const write = (schema: z.core.$ZodType, io: Direction, own: boolean) => {
    const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, {
      io,
      target: 'draft-2020-12',
      unrepresentable: 'any',
      override: ({ zodSchema, jsonSchema }) => {
        const name = nameOf(zodSchema);
        if (name !== undefined && !(own && zodSchema === schema)) {
          referred.set(name, { schema: zodSchema, io });
          for (const member of Object.keys(jsonSchema)) delete jsonSchema[member as keyof typeof jsonSchema];
          jsonSchema.$ref = refTo(name);
          return;
        }
        if (zodSchema instanceof z.ZodDiscriminatedUnion) Object.assign(jsonSchema, discriminatorOf(zodSchema));
        // The format says it, in fewer words.
        if (jsonSchema.format === 'date-time') delete jsonSchema.pattern;
      },
    });
    return rest;
  };
  const schemaOf: SchemaOf = (schema, io) => write(schema, io, false);
  /** All that was referred to, and what that refers to. */
  const components = () => {
    const written: Record<string, unknown> = {};
    // What is referred to by what is written here is visited too: a Map takes new entries while it is walked.
    for (const [name, { schema, io }] of referred) written[name] = write(schema, io, true);
    return Object.fromEntries(Object.entries(written).sort(([a], [b]) => (a < b ? -1 : 1)));
  };
  return { schemaOf, components };
}

/** OpenAPI 3.1, section 4.8.25: a member tells named alternatives apart, and no others. */
function discriminatorOf({ def }: z.ZodDiscriminatedUnion): object {
  const mapping: Record<string, string> = {};
  for (const option of def.options) {
    const name = nameOf(option);
    if (name === undefined) return {};
    const values = (option as z.ZodObject).shape[def.discriminator]?._zod.values ?? [];
    for (const value of values) mapping[String(value)] = refTo(name);
  }
  return { discriminator: { propertyName: def.discriminator, mapping } };
}

/** How callers show who they are, for each `access`; any one of them does. */
const credentials = {
  none: [],
  session: ['session', 'session_bearer'],
  admin: ['admin', 'person'],
  person: ['person'],
} as const satisfies Record<Operation['access'], readonly SecurityScheme[]>;

/** @param version of the broker, from package.json */
export function openApiDocument(
  operations: readonly Operation[],
  publicUrl: string,
  version: string,
): Record<string, unknown> {
  const { schemaOf, components } = schemaWriter();
  // Referred to by name, in texts that are not schemas of an operation.
  for (const schema of [problemSchema, oauthErrorSchema, openedTask, openedGrant]) schemaOf(schema, 'output');
  for (const schema of [taskDetail, grantDetail]) schemaOf(schema, 'input');
  const paths: Record<string, Record<string, unknown>> = {};
  for (const op of operations) {
    const path = op.path.replace(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [op.method]: describe(op, schemaOf) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Writ',
      version,
      description:
        'A credential broker for AI agents. An agent opens a session for one task, asks for a capability when it needs it, and gets the provider’s own short-lived credential, cut down to that task.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: publicUrl }],
    paths,
    components: {
      securitySchemes: {
        session: {
          type: 'http',
          scheme: 'DPoP',
          description: 'A session token bound to a key, with a proof in the header `DPoP` (RFC 9449).',
        },
        session_bearer: {
          type: 'http',
          scheme: 'bearer',
          description: 'The token of a session that was opened without a proof.',
        },
        admin: { type: 'http', scheme: 'bearer', description: 'The bootstrap token.' },
        person: {
          type: 'apiKey',
          in: 'cookie',
          name: '__Host-writ_login',
          description:
            'The login of a signed-in person, for admin operations one in the admin group; an Authorization header beside it is refused.',
        },
        receiver: { type: 'http', scheme: 'bearer', description: 'An event stream’s own token.' },
        transmitter: { type: 'http', scheme: 'bearer', description: 'The identity provider’s token for signals.' },
      } satisfies Record<SecurityScheme, object>,
      schemas: components(),
    },
  };
}

function describe(op: Operation, schemaOf: SchemaOf): Record<string, unknown> {
  const oauth = op.bodyType === 'form';
  const success = Object.entries(op.responses).map(([status, { description, schema }]) => [
    status,
    {
      description,
      ...(schema === undefined ? {} : { content: { 'application/json': { schema: schemaOf(schema, 'output') } } }),
    },
  ]);
  const failures = refusalsByStatus(op).map(([status, codes]) => [
    String(status),
    refusal(codes, oauth, op.responses[status], schemaOf),
  ]);
  const security = op.access === 'none' ? (op.credentials ?? []) : credentials[op.access];
  return {
    operationId: `${op.method}${op.path.replace(/[^a-zA-Z0-9]+(.)?/g, (_all, next: string | undefined) => (next ?? '').toUpperCase())}`,
    summary: op.summary,
    tags: [op.tag],
    security: security.map((scheme) => (scheme === null ? {} : { [scheme]: [] })),
    parameters: [
      ...parametersOf(op.params, 'path', schemaOf),
      ...parametersOf(op.query, 'query', schemaOf),
      ...headersOf(op.headers),
    ],
    ...(op.body === undefined
      ? {}
      : {
          requestBody: {
            required: op.bodyOptional !== true,
            content: { [bodyTypes[op.bodyType ?? 'json']]: { schema: schemaOf(op.body, 'input') } },
          },
        }),
    responses: Object.fromEntries([...success, ...failures]),
  };
}

/** @param own what the operation answers with that status besides, in a form of its own */
function refusal(
  codes: ErrorCode[],
  oauth: boolean,
  own: Operation['responses'][number] | undefined,
  schemaOf: SchemaOf,
) {
  const said = codes.map((code) => `\`${code}\`: ${errorTable[code].title}`);
  const schema = schemaOf(oauth ? oauthErrorSchema : problemSchema, 'output');
  return {
    description: [...(own === undefined ? [] : [own.description]), ...said].join('; '),
    content: {
      ...(own?.schema === undefined ? {} : { 'application/json': { schema: schemaOf(own.schema, 'output') } }),
      [oauth ? 'application/json' : 'application/problem+json']: { schema },
    },
  };
}

function parametersOf(schema: z.ZodType | undefined, place: 'path' | 'query', schemaOf: SchemaOf) {
  if (schema === undefined) return [];
  const { properties = {}, required = [] } = schemaOf(schema, 'input') as {
    properties?: Record<string, { description?: string }>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, { description, ...rest }]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema: rest,
  }));
}

function headersOf(headers: Record<string, string> | undefined) {
  return Object.entries(headers ?? {}).map(([name, description]) => ({
    name,
    in: 'header',
    required: false,
    description,
    schema: { type: 'string' },
  }));
}
