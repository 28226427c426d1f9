/** Sees every answer of the brokers in this process, whoever asks them and by whatever means. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { RecordedAnswer } from './described-answers.test-support.ts';

const began = 'http.server.request.start';

/** @param ports of the servers to listen to; may grow */
export function recordAnswers(ports: ReadonlySet<number>): { answers: RecordedAnswer[]; stop(): void } {
  const answers: RecordedAnswer[] = [];
  const record = (message: unknown) => {
    const { request, response } = message as { request: IncomingMessage; response: ServerResponse };
    if (!ports.has(request.socket.localPort ?? 0)) return;
    const { method = '', url: path = '' } = request;
    const chunks: Buffer[] = [];
    const keep = (chunk: unknown, encoding: unknown) => {
      if (typeof chunk === 'string') chunks.push(Buffer.from(chunk, encoding as BufferEncoding | undefined));
      else if (chunk instanceof Uint8Array) chunks.push(Buffer.from(chunk));
    };
    for (const name of ['write', 'end'] as const) {
      const original = response[name] as (...args: unknown[]) => unknown;
      const kept = (...args: unknown[]) => {
        // `end` writes by itself, not through `write`.
        keep(args[0], typeof args[1] === 'string' ? args[1] : undefined);
        return original.apply(response, args);
      };
      Object.assign(response, { [name]: kept });
    }
    response.once('finish', () => {
      const type = response.getHeader('content-type');
      const text = Buffer.concat(chunks).toString();
      answers.push({ method, path, status: response.statusCode, type: type === undefined ? null : String(type), text });
    });
  };
  subscribe(began, record);
  return { answers, stop: () => void unsubscribe(began, record) };
}
