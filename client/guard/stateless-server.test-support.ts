/** A program: an MCP server of revision 2026-07-28, over standard input and output. */
import { McpServer } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { z } from 'zod';

const text = (value: string) => ({ content: [{ type: 'text' as const, text: value }] });

serveStdio(() => {
  const server = new McpServer({ name: 'stateless', version: '1' });
  const inputSchema = z.object({ message: z.string() });
  server.registerTool('echo', { description: 'Says it again.', inputSchema }, async ({ message }) => text(message));
  server.registerTool('look', { description: 'Looks.' }, async () => text('looked'));
  server.registerTool('ask_me', { description: 'Is agreed to first.' }, async () => text('done after all'));
  server.registerTool('hidden', { description: 'Is in no manifest.' }, async () => text('found'));
  return server;
});
