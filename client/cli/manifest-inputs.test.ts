// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references of the manifest, not JavaScript’s
/** A parameter with an input in one place, and what can never work in another. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readManifest } from '../../broker/manifests/read.ts';
import { shapes } from './manifest-files.ts';

function faultsOf(provider: string, params: object, choose = {}): string[] {
  const source = {
    apiVersion: 'writ/v1',
    agent: 'checked-bot',
    owner: 'team:billing',
    description: 'Has one capability.',
    envelope: { wall_time: '30m' },
    task_types: {
      work: {
        description: 'Work.',
        inputs: {
          customer_id: { type: 'string', pattern: '[0-9]{1,12}' },
          name: { type: 'string', pattern: '.{1,40}' },
          year: { type: 'integer', min: 2000, max: 2100 },
          flag: { type: 'boolean' },
        },
      },
    },
    capabilities: {
      use: { description: 'Use it.', provider, tasks: ['work'], tier: 1, max_ttl: '15m', params, choose },
    },
  };
  const read = readManifest(JSON.stringify(source, null, 1), shapes);
  return read.ok
    ? []
    : read.faults.map(({ path, message }) => `${path.replace('capabilities.use.params.', '')}: ${message}`);
}

const role = 'arn:aws:iam::111122223333:role/writ-orders';
const id = '${inputs.customer_id}';
const aws = (statement: object, more: object = {}) => ({
  role,
  service: 'custom',
  statements: [{ actions: ['s3:GetObject'], ...statement }],
  ...more,
});
const objects = [`arn:aws:s3:::orders/${id}/a`];
const table = (more: object) => ({ table: 'orders', read: ['id'], rows: { customer_id: id }, ...more });

/** Each with the paths of all its faults. */
const never: [name: string, provider: string, params: object, paths: string[]][] = [
  [
    'an action that is never delegated',
    'aws',
    aws({ actions: ['s3:GetObject', 'sts:AssumeRole'], resource_beginnings: objects }),
    ['statements[0].actions[1]'],
  ],
  ['a star for an ARN', 'aws', aws({ resources: [...objects, '*'] }), ['statements[0].resources[1]']],
  [
    'a tag that is AWS’s own',
    'aws',
    aws({ resources: objects }, { session_tags: { team: id, 'aws:x': 'y' } }),
    ['session_tags.aws:x'],
  ],
  [
    'a tag that is AWS’s own, with an input',
    'aws',
    aws({ resources: objects }, { session_tags: { 'writ-agent': id } }),
    ['session_tags.writ-agent'],
  ],
  ['a statement without actions', 'aws', aws({ actions: undefined, resources: objects }), ['statements[0].actions']],
  ['an unknown field of a statement', 'aws', aws({ resources: objects, only_iff: [] }), ['statements[0].only_iff']],
  [
    'a prefix and a key',
    'aws',
    { role, service: 's3', access: 'get', bucket: 'orders', prefix: `a/${id}/`, key: `a/${id}/b` },
    ['key'],
  ],
  [
    'a role and a bucket’s name beside a misspelt field',
    'gcp',
    { buckets: [{ bucket: 'abc', role: 'roles/viewer', prefx: `x/${id}/` }, { bucket: 'UPPER' }] },
    ['buckets[0].role', 'buckets[0].prefx', 'buckets[1].bucket'],
  ],
  ['a prefix of no bucket', 'gcp', { scopes: ['https://www.googleapis.com/auth/x'], prefix: `x/${id}/` }, ['prefix']],
  [
    'two ways to narrow',
    'gcp',
    { buckets: [{ bucket: 'orders', prefix: `x/${id}/`, object: `x/${id}/y` }] },
    ['buckets[0].object'],
  ],
  [
    'a field, a schema and rows that there are not',
    'postgres',
    {
      tables: [table({ reed: ['a'] }), { schema: 'pg_catalog', table: 'users', read: ['id'], rows: 'everything' }],
    },
    ['tables[0].reed', 'tables[1].schema', 'tables[1].rows'],
  ],
  ['a table without its name', 'postgres', { tables: [table({ table: undefined })] }, ['tables[0].table']],
  ['a table twice', 'postgres', { tables: [table({}), table({})] }, ['tables[1]']],
  [
    'rows by five columns',
    'postgres',
    { tables: [table({ rows: { a: id, b: 1, c: 1, d: 1, e: 1 } })] },
    ['tables[0].rows'],
  ],
  [
    'a deletion at a replica',
    'postgres',
    { server: 'replica', tables: [table({ delete: true })] },
    ['tables[0].delete'],
  ],
  ['a column without a name', 'postgres', { tables: [table({ rows: { a: id, '': 1 } })] }, ['tables[0].rows.']],
  ['an object for a value', 'postgres', { tables: [table({ rows: { a: { b: id } } })] }, ['tables[0].rows.a']],
  ['an object for a text', 'gcp', { bucket: { name: id } }, ['bucket']],
  ['a text for a list', 'github', { owner: 'o', repositories: ['a'], permissions: id }, ['permissions']],
  ['a number for a text', 'gcp', { bucket: 'orders', object: '${inputs.year}' }, ['object']],
  ['a text for a number', 'github', github({ installation_id: id }), ['installation_id']],
  [
    'a permission that GitHub has not',
    'github',
    github({ permissions: { 'a b': '${inputs.name}' } }),
    ['permissions.a b'],
  ],
];
function github(more: object) {
  return { owner: 'o', repositories: ['a'], permissions: { contents: 'read' }, ...more };
}

for (const [name, provider, params, paths] of never)
  test(`one input hides nothing beside it: ${name}`, () => {
    const told = faultsOf(provider, params);
    assert.deepEqual(told.map((line) => line.slice(0, line.indexOf(': '))).sort(), [...paths].sort(), told.join('\n'));
  });

test('what an input decides is no fault', () => {
  const fine: [provider: string, params: object][] = [
    ['aws', aws({ actions: ['s3:${inputs.name}'], resources: objects })],
    ['aws', aws({ resources: ['${inputs.name}'] }, { session_tags: { team: id, other: 'x' } })],
    ['gcp', { buckets: [{ bucket: '${inputs.name}', prefix: `x/${id}/` }, { bucket: 'x-${inputs.name}' }] }],
    ['postgres', { server: 'primary', tables: [table({ delete: '${inputs.flag}', read: undefined })] }],
    ['postgres', { tables: [table({ rows: { a: '${inputs.year}', b: '${inputs.flag}', c: id } })] }],
    ['postgres', { tables: [table({ rows: '${inputs.name}' }), table({ schema: 'b' })] }],
    ['github', github({ installation_id: '${inputs.year}', permissions: { contents: '${inputs.name}' } })],
  ];
  for (const [provider, params] of fine) assert.deepEqual(faultsOf(provider, params), [], JSON.stringify(params));
});
