/** What the client is told by the guard itself, and what the broker is told of a result. */
import type { Members } from '../coaz.ts';
import { coazErrors } from '../coaz.ts';
import { WritError } from '../errors.ts';
import { failure, isMembers, type Request, type Response } from './message.ts';

/** Where a request of 2026-07-28 and later says its revision; earlier ones say nothing in each request. */
export const revisionKey = 'io.modelcontextprotocol/protocolVersion';

/** Whether the request is of a revision whose results have a type. */
export const hasResultType = ({ params }: Request): boolean =>
  isMembers(params?._meta) && typeof params._meta[revisionKey] === 'string';

/**
 * A call that was not made, or whose result is not handed on. Of a tool it is a result that failed: a model
 * reads those, and protocol errors it does not.
 */
export function deniedResult(request: Request, text: string): Response {
  if (request.method !== 'tools/call') return failure(request.id, coazErrors.denied, text);
  return {
    jsonrpc: '2.0',
    id: request.id,
    result: {
      ...(hasResultType(request) ? { resultType: 'complete' } : {}),
      content: [{ type: 'text', text }],
      isError: true,
    },
  };
}

/** Why a request was not carried out, when nothing was decided about it. */
export function undecided({ method, params }: Request, error: unknown): string {
  const what = method === 'tools/call' ? `The call of ${String(params?.name)}` : method;
  if (!(error instanceof WritError)) return `${what} was not carried out: it could not be decided.`;
  if (error.status === 413)
    return `${what} was denied: its arguments are larger than what can be decided about (60 kB).`;
  const ended = error.code === 'session_ended' || error.code === 'no_session';
  const hint = ended ? ' No further call is possible in this session.' : '';
  return `${what} was denied: ${error.message.replace(/[.\s]*$/, '.')}${hint}`;
}

/** The texts of a result, and its data: what is looked at for the values that first appear there. */
export function outputOf(result: Members): { output: string; structured: unknown } {
  const { content, contents, structuredContent } = result;
  const parts = [content, contents, result.inputRequests].flatMap(textsIn);
  return { output: parts.join('\n'), structured: structuredContent };
}

/** Texts at any depth, but no images or sounds: what is in base64 has no words. */
function textsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (Array.isArray(value)) return value.flatMap(textsIn);
  if (!isMembers(value)) return [];
  const encoded = new Set(value.type === 'image' || value.type === 'audio' ? ['data'] : ['blob']);
  return Object.entries(value).flatMap(([name, member]) =>
    name === 'type' || encoded.has(name) ? [] : textsIn(member),
  );
}
