/**
 * Reads the body of an answer as JSON, and no more of it than allowed: whoever answers may be broken, or
 * hostile.
 * @throws Error when it is longer than `maxBytes`, or no JSON
 */
export async function readJson(
  response: { body: AsyncIterable<Uint8Array> | null },
  maxBytes: number,
): Promise<unknown> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > maxBytes) throw new Error(`more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}
