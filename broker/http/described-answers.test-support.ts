/** Holds answers that a test has seen against `docs/reference/openapi.json`: their status, and their body. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';

export interface RecordedAnswer {
  method: string;
  /** With its query. */
  path: string;
  status: number;
  /** Header Content-Type. */
  type: string | null;
  text: string;
}

export interface DescribedOptions {
  /** Credentials of a provider that the document does not know. */
  anyCredential?: boolean;
}

interface Described {
  components: { schemas: { IssuedGrant: { properties: { credential: object } } } };
  paths: {
    [path: string]: { [method: string]: { responses: { [status: string]: { content?: { [type: string]: object } } } } };
  };
}

const read = new Map<boolean, ReturnType<typeof readDocument>>();

/** Read once, and each schema compiled when an answer first needs it. */
function readDocument(anyCredential: boolean) {
  const document = JSON.parse(
    readFileSync(new URL('../../docs/reference/openapi.json', import.meta.url), 'utf8'),
  ) as Described;
  if (anyCredential) document.components.schemas.IssuedGrant.properties.credential = { type: 'object' };
  const ajv = new Ajv2020({ strict: false, validateFormats: false, validateSchema: false, addUsedSchema: false });
  ajv.addSchema(document, 'openapi');
  const routes = Object.keys(document.paths)
    .map((path) => ({ path, pattern: new RegExp(`^${path.replaceAll('.', '\\.').replace(/\{\w+\}/g, '[^/]+')}$`) }))
    // `/v1/actions/finish` before `/v1/{name}/finish`.
    .sort((a, b) => a.path.split('{').length - b.path.split('{').length);
  const compiled = new Map<string, ValidateFunction>();
  const validator = (pointer: string[]) => {
    const $ref = `openapi#/${pointer.map((part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')}`;
    const known = compiled.get($ref) ?? ajv.compile({ $ref });
    compiled.set($ref, known);
    return known;
  };
  return { document, routes, validator };
}

/** Why an answer is not as described; null when it is, or when it is none of the API's. */
export function undescribed(
  { method, path, status, type, text }: RecordedAnswer,
  { anyCredential = false }: DescribedOptions = {},
): string | null {
  const known = read.get(anyCredential) ?? readDocument(anyCredential);
  read.set(anyCredential, known);
  const { document, routes, validator } = known;
  const bare = path.split('?', 1)[0] ?? '';
  const route = routes.find(({ pattern }) => pattern.test(bare))?.path;
  const verb = method.toLowerCase();
  const responses = route === undefined ? undefined : document.paths[route]?.[verb]?.responses;
  // Of another method a path answers 405, which is said once for all.
  if (route === undefined || responses === undefined) return null;
  const response = responses[status];
  if (response === undefined) return `${status} is not listed`;
  if (response.content === undefined) return text === '' ? null : `${status} has a body`;
  const mediaType = (type ?? '').split(';', 1)[0]!.trim();
  if (response.content[mediaType] === undefined) return `${status} has the media type ${mediaType}`;
  if (!/json$/.test(mediaType)) return null;
  const fits = validator(['paths', route, verb, 'responses', String(status), 'content', mediaType, 'schema']);
  if (fits(JSON.parse(text))) return null;
  const [fault] = fits.errors ?? [];
  return `${status}${fault?.instancePath}: ${fault?.message} ${JSON.stringify(fault?.params)}`;
}

export function assertDescribed(answers: readonly RecordedAnswer[], options: DescribedOptions = {}): void {
  const faults = answers.flatMap((answer) => {
    const fault = undescribed(answer, options);
    return fault === null ? [] : [`${answer.method} ${answer.path.split('?', 1)[0]}: ${fault}`];
  });
  assert.deepEqual([...new Set(faults)], [], 'answers that docs/reference/openapi.json does not describe');
}
