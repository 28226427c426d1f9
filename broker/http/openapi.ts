/** OpenAPI 3.1 from the very schemas that validate. Pure: operations in, document out. */
import { z } from 'zod';
import { errorTable } from '../core/errors.ts';
import type { Operation } from './operation.ts';

const bodyTypes = {
  json: 'application/json',
  form: 'application/x-www-form-urlencoded',
  yaml: 'application/yaml',
  set: 'application/secevent+jwt',
} as const;

const schemaOf = (schema: z.ZodType, io: 'input' | 'output') => {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, {
    io,
    target: 'draft-2020-12',
    unrepresentable: 'any',
  });
  return rest;
};

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
          description: 'A session token bound to a key (RFC 9449); `Bearer` for a session opened without a proof.',
        },
        admin: {
          type: 'http',
          scheme: 'bearer',
          description: 'The bootstrap token, or a console login in the admin group.',
        },
        person: {
          type: 'apiKey',
          in: 'cookie',
          name: '__Host-writ_login',
          description: 'The login of a signed-in person; an Authorization header beside it is refused.',
        },
      },
      schemas: {
        Problem: {
          type: 'object',
          description: 'RFC 9457. `code` is stable; `type` leads to its page.',
          required: ['type', 'title', 'status', 'code', 'request_id'],
          properties: {
            type: { type: 'string', format: 'uri' },
            title: { type: 'string' },
            status: { type: 'integer' },
            code: { enum: Object.keys(errorTable) },
            detail: { type: 'string' },
            request_id: { type: 'string' },
            errors: {
              type: 'array',
              items: {
                type: 'object',
                required: ['path', 'message'],
                properties: {
                  path: { type: 'string' },
                  message: { type: 'string' },
                  line: { type: 'integer' },
                  column: { type: 'integer' },
                },
              },
            },
          },
        },
      },
    },
  };
}

function describe(op: Operation): Record<string, unknown> {
  const byStatus = Map.groupBy(op.errors, (code) => errorTable[code].status);
  const success = Object.entries(op.responses).map(([status, { description, schema }]) => [
    status,
    {
      description,
      ...(schema === undefined ? {} : { content: { 'application/json': { schema: schemaOf(schema, 'output') } } }),
    },
  ]);
  const failures = [...byStatus].map(([status, codes]) => [
    String(status),
    {
      description: codes.map((code) => `\`${code}\`: ${errorTable[code].title}`).join('; '),
      content: {
        [op.bodyType === 'form' ? 'application/json' : 'application/problem+json']: {
          schema: { $ref: '#/components/schemas/Problem' },
        },
      },
    },
  ]);
  return {
    operationId: `${op.method}${op.path.replace(/[^a-zA-Z0-9]+(.)?/g, (_all, next: string | undefined) => (next ?? '').toUpperCase())}`,
    summary: op.summary,
    tags: [op.tag],
    ...(op.access === 'none' ? {} : { security: [{ [op.access]: [] }] }),
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
