import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { credentialSchema } from './credential-schema.ts';
import { openApiDocument } from './openapi.ts';
import { operation } from './operation.ts';

const vault = z.strictObject({ type: z.literal('vault'), token: z.string(), expires_at: z.iso.datetime() });

/** What the document says of an answer that is such a credential. */
function described(...providers: Parameters<typeof credentialSchema>[0] extends Iterable<infer P> ? P[] : never) {
  const answer = operation({
    method: 'get',
    path: '/credential',
    summary: 'Gives one',
    tag: 'Test',
    access: 'none',
    responses: { 200: { description: 'It', schema: credentialSchema(providers) } },
    errors: [],
    handle: async () => ({ status: 200 }),
  });
  const document = openApiDocument([answer], 'https://writ.example', '1') as {
    paths: { [path: string]: { get: { responses: { 200: { content: { 'application/json': { schema: object } } } } } } };
    components: { schemas: { [name: string]: object } };
  };
  return {
    schema: document.paths['/credential']!.get.responses[200].content['application/json'].schema,
    named: document.components.schemas,
  };
}

test('each provider’s credential has a name, and `type` tells them apart', () => {
  const { schema, named } = described({ name: 'vault', credential: vault }, { name: 'my-own' });
  assert.deepEqual(schema, {
    oneOf: [{ $ref: '#/components/schemas/VaultCredential' }, { $ref: '#/components/schemas/MyOwnCredential' }],
    discriminator: {
      propertyName: 'type',
      mapping: {
        vault: '#/components/schemas/VaultCredential',
        'my-own': '#/components/schemas/MyOwnCredential',
      },
    },
  });
  assert.deepEqual(named.VaultCredential, {
    type: 'object',
    properties: {
      type: { type: 'string', const: 'vault' },
      token: { type: 'string' },
      expires_at: { type: 'string', format: 'date-time' },
    },
    required: ['type', 'token', 'expires_at'],
    additionalProperties: false,
  });
  // Of one that says nothing, whatever it has besides may come.
  assert.deepEqual(named.MyOwnCredential, {
    type: 'object',
    properties: { type: { type: 'string', const: 'my-own' } },
    required: ['type'],
    additionalProperties: {},
  });
});

test('without a provider nothing is said but that it has a type', () => {
  assert.deepEqual(described().schema, {
    type: 'object',
    properties: { type: { type: 'string' } },
    required: ['type'],
    additionalProperties: {},
  });
});
