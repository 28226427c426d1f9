/** OpenAPI 3.1 from the very schemas that validate. Pure: operations in, document out. */
import { z } from 'zod';
import { type ErrorCode, errorTable } from '../core/errors.ts';
import { refusalsByStatus } from './answerable.ts';
import type { Operation, SecurityScheme } from './operation.ts';
import { oauthErrorSchema, problemSchema } from './problem-schema.ts';
import { grantDetail, openedGrant, openedTask, taskDetail } from './task-detail.ts';

const bodyTypes = {
  json: 'application/json',
  form: 'application/x-www-form-urlencoded',
  yaml: 'application/yaml',
  set: 'application/secevent+jwt',
} as const;

/** Schemas with a name of their own: written once, and referred to. */
const named: ReadonlyMap<unknown, string> = new Map<unknown, string>([
  [taskDetail, 'Task'],
  [grantDetail, 'Grant'],
  [openedTask, 'OpenedTask'],
  [openedGrant, 'OpenedGrant'],
]);

const schemaOf = (schema: z.ZodType, io: 'input' | 'output') => {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, {
    io,
    target: 'draft-2020-12',
    unrepresentable: 'any',
    override: ({ zodSchema, jsonSchema }) => {
      const name = named.get(zodSchema);
      if (name === undefined || named.get(schema) === name) return;
      for (const member of Object.keys(jsonSchema)) delete jsonSchema[member as keyof typeof jsonSchema];
      jsonSchema.$ref = `#/components/schemas/${name}`;
    },
  });
  return rest;
};

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
  const paths: Record<string, Record<string, unknown>> = {};
  for (const op of operations) {
    const path = op.path.replace(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [op.method]: describe(op) };
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
      schemas: {
        Problem: schemaOf(problemSchema, 'output'),
        OAuthError: schemaOf(oauthErrorSchema, 'output'),
        Task: schemaOf(taskDetail, 'input'),
        Grant: schemaOf(grantDetail, 'input'),
        OpenedTask: schemaOf(openedTask, 'output'),
        OpenedGrant: schemaOf(openedGrant, 'output'),
      },
    },
  };
}

function describe(op: Operation): Record<string, unknown> {
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
    refusal(codes, oauth, op.responses[status]),
  ]);
  const security = op.access === 'none' ? (op.credentials ?? []) : credentials[op.access];
  return {
    operationId: `${op.method}${op.path.replace(/[^a-zA-Z0-9]+(.)?/g, (_all, next: string | undefined) => (next ?? '').toUpperCase())}`,
    summary: op.summary,
    tags: [op.tag],
    security: security.map((scheme) => (scheme === null ? {} : { [scheme]: [] })),
    parameters: [...parametersOf(op.params, 'path'), ...parametersOf(op.query, 'query'), ...headersOf(op.headers)],
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
function refusal(codes: ErrorCode[], oauth: boolean, own: Operation['responses'][number] | undefined) {
  const said = codes.map((code) => `\`${code}\`: ${errorTable[code].title}`);
  const schema = { $ref: `#/components/schemas/${oauth ? 'OAuthError' : 'Problem'}` };
  return {
    description: [...(own === undefined ? [] : [own.description]), ...said].join('; '),
    content: {
      ...(own?.schema === undefined ? {} : { 'application/json': { schema: schemaOf(own.schema, 'output') } }),
      [oauth ? 'application/json' : 'application/problem+json']: { schema },
    },
  };
}

function parametersOf(schema: z.ZodType | undefined, place: 'path' | 'query') {
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
