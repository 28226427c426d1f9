/**
 * Requests as they came in, and answers in the three shapes AWS speaks: S3's XML, the Query protocol's XML,
 * and JSON.
 */
import { randomUUID } from 'node:crypto';
import type { AwsError } from './errors.ts';

export interface WireRequest {
  method: string;
  /** As sent, still percent-encoded. */
  path: string;
  query: URLSearchParams;
  /** Lower-case names. */
  headers: Record<string, string>;
  body: Buffer;
}

export interface WireAnswer {
  status: number;
  headers: Record<string, string>;
  body: string | Buffer;
}

/**
 * XML elements as nested data: text, a list of elements with the same parent, or a record (arrays repeat the
 * element).
 */
export type Xml = string | number | boolean | XmlRecord;
export interface XmlRecord {
  [tag: string]: Xml | Xml[] | undefined;
}

export function toXml(record: XmlRecord): string {
  return Object.entries(record)
    .flatMap(([tag, value]) => (Array.isArray(value) ? value : [value]).map((one) => element(tag, one)))
    .join('');
}

function element(tag: string, value: Xml | undefined): string {
  if (value === undefined) return '';
  const name = tag.split(' ')[0];
  return `<${tag}>${typeof value === 'object' ? toXml(value) : escapeXml(String(value))}</${name}>`;
}

const escapeXml = (text: string) => text.replace(/[<>&"'\p{Cc}]/gu, (char) => `&#x${char.charCodeAt(0).toString(16)};`);

export const xmlAnswer = (status: number, record: XmlRecord): WireAnswer => ({
  status,
  headers: { 'content-type': 'text/xml' },
  body: `<?xml version="1.0" encoding="UTF-8"?>\n${toXml(record)}`,
});

/** A successful answer of the Query protocol. */
export const queryAnswer = (action: string, namespace: string, result: XmlRecord | null): WireAnswer =>
  xmlAnswer(200, {
    [`${action}Response xmlns="${namespace}"`]: {
      [`${action}Result`]: result ?? undefined,
      ResponseMetadata: { RequestId: randomUUID() },
    },
  });

export const queryError = (error: AwsError): WireAnswer =>
  xmlAnswer(error.status, {
    ErrorResponse: {
      Error: { Type: error.status < 500 ? 'Sender' : 'Receiver', Code: error.code, Message: error.message },
      RequestId: randomUUID(),
    },
  });

export const s3Error = (error: AwsError): WireAnswer =>
  xmlAnswer(error.status, { Error: { Code: error.code, Message: error.message, RequestId: randomUUID() } });

export const jsonAnswer = (status: number, body: unknown): WireAnswer => ({
  status,
  headers: { 'content-type': 'application/x-amz-json-1.0' },
  body: JSON.stringify(body),
});

/** JSON services name their errors with the suffix `Exception` and answer client faults with 400. */
export function jsonError(error: AwsError): WireAnswer {
  const type = /Exception$/.test(error.code) ? error.code : `${error.code}Exception`;
  return jsonAnswer(error.status < 500 ? 400 : error.status, { __type: type, message: error.message });
}
