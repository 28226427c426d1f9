/** `docs/reference/http-api.md`: the OpenAPI document, for reading. */
import { fieldTable, type JsonSchema, typeName } from './json-schema.ts';
import { code, generatedFrom, page, prose, table } from './markdown.ts';

interface Content {
  [mediaType: string]: { schema: JsonSchema };
}
interface Endpoint {
  summary: string;
  tags: string[];
  security?: { [scheme: string]: unknown }[];
  parameters: { name: string; in: string; description?: string; schema: JsonSchema }[];
  requestBody?: { content: Content };
  responses: { [status: string]: { description: string; content?: Content } };
}
export interface OpenApi {
  [member: string]: unknown;
  paths: { [path: string]: { [method: string]: Endpoint } };
  components: { schemas: { [name: string]: JsonSchema } };
}

export function httpApiPage({ paths, components }: OpenApi): string {
  const endpoints = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, endpoint]) => ({ title: `${method.toUpperCase()} ${path}`, ...endpoint })),
  );
  const byTag = Map.groupBy(endpoints, ({ tags }) => tags[0] ?? 'Other');
  return page(
    generatedFrom('the operations in broker/http'),
    '# HTTP API',
    'The same for machines: [openapi.json](openapi.json), which a running broker serves at `/openapi.json`. Errors are `application/problem+json` (RFC 9457) with a stable `code`: [errors.md](errors.md); the OAuth endpoints answer with `error`, as RFC 6749 says. Beside these a broker serves `/healthz`, `/readyz`, `/metrics`, and pages for people: `/`, `/approvals`, `/approvals/:id`, `/sessions/:id`, `/errors/:code`.',
    '**Who may call.** *session*: the holder of a session token, in `Authorization: DPoP …` with a proof in `DPoP`, or `Authorization: Bearer …` for a session that was opened without one. *admin*: the bootstrap token as a bearer token, or a console login in `WRIT_ADMIN_GROUP`.',
    ...[...byTag].flatMap(([tag, own]) => [`## ${tag}`, ...own.flatMap(describe)]),
    '## Schemas',
    ...Object.entries(components.schemas).flatMap(([name, schema]) => [
      `### ${name}`,
      ...(schema.description === undefined ? [] : [prose(schema.description)]),
      fieldTable(schema),
    ]),
  );
}

function describe(endpoint: Endpoint & { title: string }): string[] {
  const { title, summary, security, parameters, requestBody, responses } = endpoint;
  const access =
    [...new Set((security ?? []).map((scheme) => Object.keys(scheme)[0] ?? 'none'))].join(' or ') || 'anybody';
  const [mediaType, body] = Object.entries(requestBody?.content ?? {})[0] ?? [];
  return [
    `### ${title}`,
    `${summary}. Access: ${access}.`,
    ...(parameters.length === 0
      ? []
      : [
          table(
            ['Parameter', 'In', 'Type', 'Meaning'],
            parameters.map((own) => [code(own.name), own.in, typeName(own.schema), own.description ?? '']),
          ),
        ]),
    ...(body === undefined ? [] : [`Body (${code(mediaType ?? '')}):`, bodyTable(body.schema)]),
    table(
      ['Status', 'Meaning'],
      Object.entries(responses).map(([status, { description }]) => [status, description]),
    ),
    ...Object.entries(responses).flatMap(([status, { content }]) => answers(status, content ?? {})),
  ];
}

/** The body of an answer. Refusals are of two shapes, which have headings of their own. */
function answers(status: string, content: Content): string[] {
  return Object.entries(content).flatMap(([mediaType, { schema }]) => {
    if (refusals.has(schema.$ref ?? '')) return [];
    const title = `Answer ${status} (${code(mediaType)})`;
    const isTable = schema.properties ?? schema.oneOf ?? schema.anyOf ?? schema.items?.properties;
    return isTable === undefined ? [`${title}: ${typeName(schema)}.`] : [`${title}:`, fieldTable(schema)];
  });
}
const refusals = new Set(['Problem', 'OAuthError'].map((name) => `#/components/schemas/${name}`));

const bodyTable = (schema: JsonSchema) => (schema.properties === undefined ? 'The text itself.' : fieldTable(schema));
