/** An MCP server with one tool, over standard input and output: as little work as a call can be. */
import { createInterface } from 'node:readline';

const tool = { name: 'read_invoice', description: 'Reads an invoice.', inputSchema: { type: 'object' } };

createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) return;
  const result =
    method === 'tools/call'
      ? { content: [{ type: 'text', text: `Invoice ${params.arguments.invoice}: 120.00 EUR, due in 14 days` }] }
      : method === 'tools/list'
        ? { tools: [tool] }
        : {
            protocolVersion: params.protocolVersion,
            capabilities: { tools: {} },
            serverInfo: { name: 'echo', version: '1' },
          };
  process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', id, result })}\n`);
});
