/** Messages of MCP: JSON-RPC 2.0, one at a time. */
import type { Members } from '../coaz.ts';

export type Id = string | number;

export interface RpcError {
  code: number;
  message: string;
  data?: unknown;
}

export interface Request {
  jsonrpc: '2.0';
  id: Id;
  method: string;
  params?: Members;
}

export interface Notification {
  jsonrpc: '2.0';
  method: string;
  params?: Members;
}

/** Exactly one of `result` and `error`. */
export interface Response {
  jsonrpc: '2.0';
  id: Id | null;
  result?: Members;
  error?: RpcError;
}

export type Message = Request | Notification | Response;

/** JSON-RPC's codes, and COAZ-MCP's for a denial. */
export const codes = { parse: -32_700, invalid: -32_600, params: -32_602, internal: -32_603, denied: -32_001 } as const;

/** What is no message. */
export class BadMessage extends Error {
  override readonly name = 'BadMessage';
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export const isMembers = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isId = (value: unknown): value is Id =>
  (typeof value === 'string' && value.length <= 512) || Number.isSafeInteger(value);

export const isRequest = (message: Message): message is Request => 'method' in message && 'id' in message;
export const isResponse = (message: Message): message is Response => !('method' in message);

/**
 * Reads one message. What is passed on is this, written anew: nobody reads two meanings out of one text.
 * @throws BadMessage; of a batch, too (revision 2025-03-26 alone had them)
 */
export function readMessage(text: string): Message {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new BadMessage(codes.parse, 'The message is not JSON');
  }
  if (Array.isArray(value))
    throw new BadMessage(codes.invalid, 'Batches are not taken: send one message after another');
  if (!isMembers(value) || value.jsonrpc !== '2.0')
    throw new BadMessage(codes.invalid, 'The message is not JSON-RPC 2.0');
  const { id, method, params, result, error } = value;
  if (params !== undefined && !isMembers(params)) throw new BadMessage(codes.invalid, 'params must be an object');
  const given = params === undefined ? {} : { params };
  if (typeof method === 'string') {
    if (id === undefined) return { jsonrpc: '2.0', method, ...given };
    if (!isId(id)) throw new BadMessage(codes.invalid, 'id must be a text or a whole number');
    return { jsonrpc: '2.0', id, method, ...given };
  }
  if (!(isId(id) || id === null)) throw new BadMessage(codes.invalid, 'A response needs the id of its request');
  if (isMembers(result) && error === undefined) return { jsonrpc: '2.0', id, result };
  if (isMembers(error) && result === undefined && Number.isSafeInteger(error.code) && typeof error.message === 'string')
    return { jsonrpc: '2.0', id, error: error as unknown as RpcError };
  throw new BadMessage(codes.invalid, 'A response has either a result or an error');
}

export const failure = (id: Id | null, code: number, message: string): Response => ({
  jsonrpc: '2.0',
  id,
  error: { code, message },
});
