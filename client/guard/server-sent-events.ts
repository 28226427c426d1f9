/** The data of server-sent events (WHATWG HTML, "Server-sent events"), as far as MCP uses them. */

/** An event that is too long. */
export class EventTooLong extends Error {
  override readonly name = 'EventTooLong';
}

/**
 * Reads a stream of events to its end.
 * @param maxLength characters of one event's data
 * @throws EventTooLong; the stream's own error
 */
export async function* eventData(stream: AsyncIterable<Uint8Array>, maxLength: number): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let rest = '';
  let data: string[] = [];
  let length = 0;
  for await (const chunk of stream) {
    rest += decoder.decode(chunk, { stream: true });
    if (rest.length + length > maxLength) throw new EventTooLong(`an event is longer than ${maxLength} characters`);
    for (;;) {
      // A carriage return at the very end may be the first half of a line break.
      const found = /\r\n|\n|\r(?!$)/.exec(rest);
      if (found === null) break;
      const line = rest.slice(0, found.index);
      rest = rest.slice(found.index + found[0].length);
      if (line === '') {
        if (data.length > 0) yield data.join('\n');
        data = [];
        length = 0;
      } else if (line.startsWith('data:')) {
        const text = line.slice(line.startsWith('data: ') ? 6 : 5);
        length += text.length;
        data.push(text);
      }
    }
  }
}
