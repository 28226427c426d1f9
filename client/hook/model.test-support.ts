/**
 * A model that does what it is told beforehand: stands in for the three APIs that coding agents speak
 * (Anthropic's Messages, OpenAI's Responses and Chat Completions, as event streams), so that the real agents
 * run without a network.
 */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface PlannedCall {
  name: string;
  input: { [argument: string]: unknown };
  /** The namespace of Codex's own tools for sub-agents. */
  namespace?: string;
}

type Json = { [member: string]: unknown };

/**
 * @param calls what it asks for, one after another, of whoever gives it tools; then it says that it is done
 */
export async function startModel(calls: readonly PlannedCall[]) {
  const received: string[] = [];
  const left = [...calls];
  let made = 0;
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    received.push(text);
    const path = request.url ?? '';
    const body = text === '' ? {} : (JSON.parse(text) as Json);
    const call = Array.isArray(body.tools) && body.tools.length > 0 ? left.shift() : undefined;
    made += 1;
    if (path.includes('/messages')) return stream(response, messages(body, call, made));
    if (path.includes('/responses')) return stream(response, responses(call, made));
    if (path.includes('/chat/completions')) return stream(response, completions(body, call, made));
    response.writeHead(path === '/' ? 200 : 404).end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** Everything that it was told, results of tools among it. */
    told: () => received.join('\n'),
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

type Events = [name: string | null, data: Json | string][];

function stream(response: ServerResponse, events: Events): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for (const [name, data] of events)
    response.write(
      `${name === null ? '' : `event: ${name}\n`}data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`,
    );
  response.end();
}

const typed = (...events: Json[]): Events => events.map((data) => [String(data.type), data]);

function messages({ model }: Json, call: PlannedCall | undefined, turn: number): Events {
  const usage = { input_tokens: 1, output_tokens: 1 };
  const message = {
    id: `msg_${turn}`,
    type: 'message',
    role: 'assistant',
    model,
    content: [],
    stop_reason: null,
    usage,
  };
  const [block, delta] =
    call === undefined
      ? [
          { type: 'text', text: '' },
          { type: 'text_delta', text: 'Done.' },
        ]
      : [
          { type: 'tool_use', id: `toolu_${turn}`, name: call.name, input: {} },
          { type: 'input_json_delta', partial_json: JSON.stringify(call.input) },
        ];
  const stop = { stop_reason: call === undefined ? 'end_turn' : 'tool_use', stop_sequence: null };
  return typed(
    { type: 'message_start', message },
    { type: 'content_block_start', index: 0, content_block: block },
    { type: 'content_block_delta', index: 0, delta },
    { type: 'content_block_stop', index: 0 },
    { type: 'message_delta', delta: stop, usage },
    { type: 'message_stop' },
  );
}

function responses(call: PlannedCall | undefined, turn: number): Events {
  const status = 'completed';
  const item =
    call === undefined
      ? {
          type: 'message',
          id: `msg_${turn}`,
          role: 'assistant',
          status,
          content: [{ type: 'output_text', text: 'Done.' }],
        }
      : {
          type: 'function_call',
          id: `fc_${turn}`,
          call_id: `call_${turn}`,
          name: call.name,
          ...(call.namespace === undefined ? {} : { namespace: call.namespace }),
          arguments: JSON.stringify(call.input),
          status,
        };
  const usage = { input_tokens: 1, output_tokens: 1, total_tokens: 2 };
  const response = { id: `resp_${turn}`, object: 'response', status, output: [item], usage };
  return typed(
    { type: 'response.created', response: { ...response, status: 'in_progress', output: [] } },
    { type: 'response.output_item.added', output_index: 0, item },
    { type: 'response.output_item.done', output_index: 0, item },
    { type: 'response.completed', response },
  );
}

function completions({ model }: Json, call: PlannedCall | undefined, turn: number): Events {
  const chunk = { id: `chatcmpl-${turn}`, object: 'chat.completion.chunk', created: 1, model };
  const asked = (planned: PlannedCall) => ({
    index: 0,
    id: `call_${turn}`,
    type: 'function',
    function: { name: planned.name, arguments: JSON.stringify(planned.input) },
  });
  const delta =
    call === undefined ? { role: 'assistant', content: 'Done.' } : { role: 'assistant', tool_calls: [asked(call)] };
  const finish_reason = call === undefined ? 'stop' : 'tool_calls';
  const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 };
  return [
    [null, { ...chunk, choices: [{ index: 0, delta, finish_reason: null }] }],
    [null, { ...chunk, choices: [{ index: 0, delta: {}, finish_reason }], usage }],
    [null, '[DONE]'],
  ];
}
