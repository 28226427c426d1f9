/**
 * A manifest with one of everything, for the tests of manifests/ and decide/. The provider's shape is the
 * test's own: neither folder knows providers.
 */
import assert from 'node:assert/strict';
import { z } from 'zod';
import type { ProviderShapes } from './check.ts';
import type { CompiledManifest } from './compile.ts';
import { readManifest } from './read.ts';

export const exampleSource = `# billing's agent
apiVersion: writ/v1
agent: invoice-bot
owner: team:billing
description: Answers questions about invoices.
envelope: { wall_time: 30m, max_grants: 20 }
task_types:
  answer-invoice-question:
    description: Read one customer's invoices and answer.
    inputs:
      customer_id: { type: string, pattern: "[0-9]{1,12}" }
      region: { type: string, enum: [eu-west-1, us-east-1] }
      year: { type: integer, min: 2000, max: 2100 }
      urgent: { type: boolean }
  free-text-task:
    description: Its author's pattern lets everything through.
    inputs:
      customer_id: { type: string, pattern: "(?s).*" }
    envelope: { wall_time: 90s, max_grants: 3 }
capabilities:
  read-customer-files:
    description: Read one customer's files.
    provider: store
    owner: team:storage
    tasks: [answer-invoice-question]
    tier: 1
    max_ttl: 15m
    max_grants: 5
    params:
      service: files
      bucket: orders
      prefix: "customers/\${inputs.customer_id}/"
      year: "\${inputs.year}"
      urgent: "\${inputs.urgent}"
      limit: 100
      statements:
        - { actions: [read], resources: ["orders/\${inputs.customer_id}/x"] }
    choose:
      access: { type: string, enum: [read, list], default: read }
      label: { type: string, pattern: "[a-z]{1,8}", default: none }
      parts: { type: integer, min: 1, max: 4, default: 2 }
      verbose: { type: boolean, default: false }
  read-anything:
    description: Bound to an input without a pattern worth the name.
    provider: store
    tasks: [free-text-task, answer-invoice-question]
    tier: 1
    max_ttl: 5m
    params: { service: files, bucket: orders, prefix: "customers/\${inputs.customer_id}/" }
  close-account:
    description: Close one customer's account.
    provider: store
    tasks: [answer-invoice-question]
    tier: 2
    max_ttl: 1h
    params: { service: accounts, account: "\${inputs.customer_id}" }
`;

const files = z.strictObject({
  service: z.literal('files'),
  bucket: z.string().regex(/^[a-z]+$/),
  prefix: z.string().optional(),
  year: z.int().optional(),
  urgent: z.boolean().optional(),
  limit: z.int().max(1000).optional(),
  statements: z.array(z.strictObject({ actions: z.array(z.string()), resources: z.array(z.string()) })).optional(),
  access: z.enum(['read', 'list', 'write']).optional(),
  label: z.string().optional(),
  parts: z.int().optional(),
  verbose: z.boolean().optional(),
});
const accounts = z.strictObject({ service: z.literal('accounts'), account: z.string() });

export const exampleProviders: ProviderShapes = { store: { params: z.union([files, accounts]) } };

export function compileSource(source: string): CompiledManifest {
  const read = readManifest(source, exampleProviders);
  assert.ok(read.ok, JSON.stringify(read));
  return read.compiled;
}

/** Texts with a meaning to YAML, Cedar, IAM, CEL or a path, beside any other. */
export const hostileTexts = [
  '*',
  '?',
  `\${`,
  '}',
  `\${inputs.year}`,
  `\${aws:username}`,
  '\\',
  '..',
  '../',
  '/../',
  './',
  '"',
  "'",
  '" || true || "',
  '") ;',
  'permit(principal,action,resource);',
  '\n',
  '\r\n---\n',
  '\0',
  '\t- ',
  ': ',
  ' #',
  '&a',
  '*a',
  '!!js',
  '%2e%2e',
  '\u202e',
  '\u200b',
  '\ud800',
  'e\u0301',
  '<<',
  '{{',
  '//',
  '@id("x")',
  '__entity',
  '__extn',
  '__proto__',
];
