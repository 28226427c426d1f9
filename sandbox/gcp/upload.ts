/** What an upload brings: the object's name, its type and its content, from one request of either kind. */
import { z } from 'zod';
import { checksumsOf } from './checksums.ts';
import { GoogleError } from './errors.ts';
import type { Content } from './world.ts';

/** The members of the objects resource that are read from an upload; the others are left aside. */
const resourceSchema = z.object({
  name: z.string().optional(),
  contentType: z.string().optional(),
  crc32c: z.string().optional(),
  md5Hash: z.string().optional(),
});

/** `uploadType=media`: the body is the content. */
export function readMediaUpload(
  contentType: string | null,
  name: string | null,
  bytes: Buffer,
): { name: string; content: Content } {
  return { name: required(name), content: contentOf(bytes, contentType) };
}

/**
 * `uploadType=multipart`: a `multipart/related` body of exactly two parts, the objects resource as JSON and
 * the content.
 *
 * @param queryName the `name` parameter, which goes before the resource's (as documented for
 *   `objects.insert`)
 * @throws GoogleError INVALID_ARGUMENT, also when the resource states a checksum that the content does not
 *   have
 */
export function readMultipartUpload(
  contentType: string | null,
  queryName: string | null,
  body: Buffer,
): { name: string; content: Content } {
  const [resourcePart, media, ...rest] = partsOf(boundaryOf(contentType ?? ''), body);
  if (resourcePart === undefined || media === undefined || rest.length > 0)
    throw malformed('expected a metadata part and a media part');
  const resource = readResource(resourcePart.bytes);
  const { crc32c, md5 } = checksumsOf(media.bytes);
  if ((resource.crc32c ?? crc32c) !== crc32c || (resource.md5Hash ?? md5) !== md5)
    throw new GoogleError('INVALID_ARGUMENT', 'The provided checksum does not match the content.');
  return {
    name: required(queryName || resource.name),
    content: contentOf(media.bytes, resource.contentType ?? media.contentType),
  };
}

/** The boundary parameter, quoted or not (RFC 2046 section 5.1.1). */
function boundaryOf(contentType: string): string {
  const match = /^multipart\/related\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))/i.exec(contentType);
  const boundary = match?.[1] ?? match?.[2];
  if (boundary === undefined) throw malformed('the content type names no boundary');
  return boundary;
}

/** Cut as bytes, never as text: the content may be anything. */
function partsOf(boundary: string, body: Buffer): { contentType: string | null; bytes: Buffer }[] {
  const delimiter = Buffer.from(`\r\n--${boundary}`);
  // The first delimiter may stand at the very beginning, without the line break that belongs to the later
  // ones.
  const text = Buffer.concat([Buffer.from('\r\n'), body]);
  const parts: { contentType: string | null; bytes: Buffer }[] = [];
  let start = text.indexOf(delimiter);
  while (start >= 0) {
    const from = start + delimiter.length;
    if (text.subarray(from, from + 2).toString() === '--') return parts;
    const next = text.indexOf(delimiter, from);
    if (next >= 0) parts.push(readPart(text.subarray(from, next)));
    start = next;
  }
  throw malformed('the closing boundary is missing');
}

function readPart(part: Buffer): { contentType: string | null; bytes: Buffer } {
  const end = part.indexOf('\r\n\r\n');
  if (end < 0) throw malformed('a part without headers');
  const headers = part.subarray(0, end).toString('latin1');
  return {
    contentType: /^content-type:[ \t]*(\S.*?)[ \t]*$/im.exec(headers)?.[1] ?? null,
    bytes: part.subarray(end + 4),
  };
}

function readResource(bytes: Buffer): z.infer<typeof resourceSchema> {
  try {
    return resourceSchema.parse(JSON.parse(bytes.toString()));
  } catch {
    throw malformed('the metadata part is not an objects resource');
  }
}

/** The type comes back as a header of every download, so it has to be one. */
function contentOf(bytes: Buffer, contentType: string | null): Content {
  if (contentType !== null && !/^[\x20-\x7e]+$/.test(contentType))
    throw new GoogleError('INVALID_ARGUMENT', 'Invalid contentType.');
  return { bytes, contentType: contentType ?? 'application/octet-stream' };
}

function required(name: string | null | undefined): string {
  if (name) return name;
  throw new GoogleError('INVALID_ARGUMENT', 'Required parameter: name');
}

function malformed(why: string): GoogleError {
  return new GoogleError('INVALID_ARGUMENT', `Malformed multipart body: ${why}.`);
}
