/** One message a line: how a stream of bytes is cut into lines that cannot grow without limit. */

/** A line that is too long, or is not UTF-8. */
export class BadLine extends Error {
  override readonly name = 'BadLine';
}

/**
 * Cuts what arrives into lines; empty ones are left out. What stands behind the last line break is no line.
 * @param maxBytes of one line
 * @returns takes the next bytes. @throws BadLine, after which the stream is not to be read on
 */
export function lineReader(maxBytes: number, onLine: (line: string) => void): (chunk: Buffer) => void {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let parts: Buffer[] = [];
  let length = 0;
  const take = (part: Buffer) => {
    length += part.length;
    if (length > maxBytes) throw new BadLine(`a line is longer than ${maxBytes} bytes`);
    parts.push(part);
  };
  const finish = () => {
    const bytes = Buffer.concat(parts);
    parts = [];
    length = 0;
    let line: string;
    try {
      line = decoder.decode(bytes).trim();
    } catch {
      throw new BadLine('a line is not UTF-8');
    }
    if (line !== '') onLine(line);
  };
  return (chunk) => {
    let from = 0;
    for (let at = chunk.indexOf(0x0a); at >= 0; at = chunk.indexOf(0x0a, from)) {
      take(chunk.subarray(from, at));
      finish();
      from = at + 1;
    }
    if (from < chunk.length) take(chunk.subarray(from));
  };
}
