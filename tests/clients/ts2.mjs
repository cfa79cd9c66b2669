// The official TypeScript client, 2.x line, in its default 'legacy' mode: the
// 2025 `initialize` handshake. Usage: node ts2.mjs everything|modern http|shared|stateless URL | stdio COMMAND ARGS...
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { run } from './steps.mjs';

await run({
  client: (info, options) => new Client(info, { ...options, versionNegotiation: { mode: 'legacy' } }),
  http: (url, options) => new StreamableHTTPClientTransport(url, options),
  stdio: (params) => new StdioClientTransport(params),
  onRequest: (client, method, handler) => client.setRequestHandler(method, handler),
  onNotification: (client, method, handler) => client.setNotificationHandler(method, handler),
  callTool: (client, params, options) => client.callTool(params, options),
  status: (error) => error.status,
});
