/**
 * Uploads in parts. Each step needs what S3 asks for: `s3:PutObject` to begin, to send and to put together,
 * `s3:AbortMultipartUpload` to give up, `s3:ListMultipartUploadParts` to see what has arrived.
 */
import { createHash, randomBytes } from 'node:crypto';
import { AwsError } from './errors.ts';
import { authorize, type Principal, type State } from './state.ts';
import { type WireAnswer, type WireRequest, xmlAnswer } from './wire.ts';

export interface Target {
  bucket: string;
  key: string;
  /** ARN of the object. */
  resource: string;
}

const namespace = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';
const noSuchUpload = () => new AwsError('NoSuchUpload', 404, 'The specified upload does not exist.');
const etagOf = (body: Buffer) => `"${createHash('md5').update(body).digest('hex')}"`;

/** True for the requests that belong here. */
export const isMultipart = ({ query }: WireRequest) => query.has('uploads') || query.has('uploadId');

/** @param store puts the finished object where objects are; `bodyOf` undoes how the request was sent */
export function multipart(
  state: State,
  request: WireRequest,
  caller: Principal,
  { bucket, key, resource }: Target,
  bodyOf: (request: WireRequest) => Buffer,
  store: (body: Buffer) => WireAnswer,
): WireAnswer {
  const id = request.query.get('uploadId') ?? '';
  const allowed = (action: string) => authorize(state, caller, action, resource);
  const upload = () => {
    const found = state.uploads.get(id);
    if (found === undefined || found.bucket !== bucket || found.key !== key) throw noSuchUpload();
    return found;
  };
  if (request.method === 'POST' && request.query.has('uploads')) {
    allowed('s3:PutObject');
    const begun = randomBytes(16).toString('hex');
    state.uploads.set(begun, { bucket, key, parts: new Map() });
    return xmlAnswer(200, {
      [`InitiateMultipartUploadResult ${namespace}`]: { Bucket: bucket, Key: key, UploadId: begun },
    });
  }
  if (request.method === 'PUT') {
    allowed('s3:PutObject');
    const body = bodyOf(request);
    upload().parts.set(Number(request.query.get('partNumber')), body);
    return { status: 200, headers: { etag: etagOf(body) }, body: '' };
  }
  if (request.method === 'POST') {
    allowed('s3:PutObject');
    const { parts } = upload();
    state.uploads.delete(id);
    const whole = Buffer.concat([...parts].sort(([a], [b]) => a - b).map(([, part]) => part));
    const { headers } = store(whole);
    return xmlAnswer(200, {
      [`CompleteMultipartUploadResult ${namespace}`]: { Bucket: bucket, Key: key, ETag: headers.etag ?? '' },
    });
  }
  if (request.method === 'DELETE') {
    allowed('s3:AbortMultipartUpload');
    upload();
    state.uploads.delete(id);
    return { status: 204, headers: {}, body: '' };
  }
  if (request.method !== 'GET') throw new AwsError('MethodNotAllowed', 405, 'The specified method is not allowed.');
  allowed('s3:ListMultipartUploadParts');
  const parts = [...upload().parts].map(([number, part]) => ({
    PartNumber: number,
    ETag: etagOf(part),
    Size: part.length,
  }));
  return xmlAnswer(200, { [`ListPartsResult ${namespace}`]: { Bucket: bucket, Key: key, UploadId: id, Part: parts } });
}
