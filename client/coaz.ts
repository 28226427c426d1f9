/**
 * What an MCP message asks for, as an AuthZEN request: the default mappings of COAZ-MCP 1.0 draft 1 (the
 * AuthZEN binding for the Model Context Protocol). Pure.
 *
 * A mapping that a server declares (`x-authzen-mapping`) is not followed: the server is the party whose tools
 * are being decided about, and must not choose what the decision is about.
 */

/** An object of JSON. */
export interface Members {
  [name: string]: unknown;
}

/** A JSON-RPC request or notification of MCP. */
export interface McpMessage {
  method: string;
  id?: string | number;
  params?: Members;
}

/** Who asks, in the claims of the access token that the binding maps from. */
export interface Asker {
  /** `sub`: of a Writ session token, the agent. */
  subject: string;
  /** `client_id`. */
  agent?: string;
  /** The MCP server, as its one `aud` names it. */
  server: string;
  /** The host's own id of the call: the same id and call again is the same call. */
  callId?: string;
}

/** The body of `POST /access/v1/evaluation`. */
export interface EvaluationRequest {
  subject: { type: 'identity'; id: string };
  action: { name: string };
  resource: { type: string; id: string };
  /** As the binding says, and for Writ `arguments` and `call_id`. */
  context: Members;
}

export type CoazOutcome =
  /** Nobody is asked: let it through. */
  | { kind: 'pass' }
  /** Ask, and let it through on an allow. `tool` and `args` are what `session.call` takes. */
  | { kind: 'ask'; tool: string; args: Members; request: EvaluationRequest }
  /** A method that the binding does not know: refuse it, with JSON-RPC error `coazErrors.denied`. */
  | { kind: 'deny'; reason: string }
  /** It lacks what the mapping needs: refuse it, with JSON-RPC error `coazErrors.mapping`. */
  | { kind: 'invalid'; reason: string };

/** Error codes of JSON-RPC that the binding reports refusals with. */
export const coazErrors = { denied: -32_001, mapping: -32_602, unreachable: -32_603 } as const;

/** What a method is about: the server, or what a parameter names. */
type Target = 'server' | { type: string; at: string };

const targets: { readonly [method: string]: Target } = {
  initialize: 'server',
  'tools/list': 'server',
  'tools/call': { type: 'tool', at: 'name' },
  'resources/list': 'server',
  'resources/read': { type: 'resource', at: 'uri' },
  'resources/subscribe': { type: 'resource', at: 'uri' },
  'resources/unsubscribe': { type: 'resource', at: 'uri' },
  'prompts/list': 'server',
  'prompts/get': { type: 'prompt', at: 'name' },
  'logging/setLevel': 'server',
  'tasks/get': { type: 'task', at: 'taskId' },
  'tasks/result': { type: 'task', at: 'taskId' },
  'tasks/cancel': { type: 'task', at: 'taskId' },
  'tasks/list': 'server',
};

/** Parameters that the binding puts into the context, and under which name. */
const inContext: { readonly [method: string]: { name: string; at: string } } = {
  initialize: { name: 'protocol_version', at: 'protocolVersion' },
  'logging/setLevel': { name: 'level', at: 'level' },
};

/** What is to be done with a message before it is let through. Never throws. */
export function coazOutcome(message: McpMessage, asker: Asker): CoazOutcome {
  const { method, id, params = {} } = message;
  if (method === 'ping' || (method.startsWith('notifications/') && id === undefined)) return { kind: 'pass' };
  if (!isMembers(params)) return { kind: 'invalid', reason: 'params must be an object' };
  const target = targetOf(method, params);
  if (target === undefined) return { kind: 'deny', reason: `${method} is not known here` };
  const resource = target === 'server' ? { type: 'mcp_server', id: asker.server } : named(target, params);
  if ('lacks' in resource) return { kind: 'invalid', reason: `params.${resource.lacks} must be a text` };
  const more = Object.hasOwn(inContext, method) ? inContext[method] : undefined;
  if (more !== undefined && typeof params[more.at] !== 'string')
    return { kind: 'invalid', reason: `params.${more.at} must be a text` };

  const isCall = method === 'tools/call';
  const { _meta, ...plain } = params;
  const args = isCall ? (params.arguments ?? {}) : plain;
  if (!isMembers(args)) return { kind: 'invalid', reason: 'params.arguments must be an object' };
  return {
    kind: 'ask',
    tool: isCall ? resource.id : method,
    args,
    request: {
      subject: { type: 'identity', id: asker.subject },
      action: { name: method },
      resource,
      context: {
        ...(asker.agent === undefined ? {} : { agent: asker.agent }),
        ...(more === undefined ? {} : { [more.name]: params[more.at] }),
        arguments: args,
        ...(asker.callId === undefined ? {} : { call_id: asker.callId }),
      },
    },
  };
}

function targetOf(method: string, params: Members): Target | undefined {
  if (method !== 'completion/complete') return Object.hasOwn(targets, method) ? targets[method] : undefined;
  const { type } = isMembers(params.ref) ? params.ref : {};
  return type === 'ref/prompt' ? { type: 'prompt', at: 'ref.name' } : { type: 'resource', at: 'ref.uri' };
}

function named({ type, at }: Exclude<Target, 'server'>, params: Members) {
  const id = at.split('.').reduce<unknown>((value, name) => (isMembers(value) ? value[name] : undefined), params);
  return typeof id === 'string' && id !== '' ? { type, id } : { lacks: at };
}

const isMembers = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
