// The official TypeScript SDK, 1.x line. Usage:
// node ts1.mjs everything|modern http|sse|shared|stateless URL | stdio COMMAND ARGS...
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import * as types from '@modelcontextprotocol/sdk/types.js';
import { run } from './steps.mjs';

const schemas = {
  'sampling/createMessage': types.CreateMessageRequestSchema,
  'elicitation/create': types.ElicitRequestSchema,
  'roots/list': types.ListRootsRequestSchema,
  'notifications/message': types.LoggingMessageNotificationSchema,
  'notifications/resources/updated': types.ResourceUpdatedNotificationSchema,
  'notifications/progress': types.ProgressNotificationSchema,
  'notifications/tools/list_changed': types.ToolListChangedNotificationSchema,
  'notifications/prompts/list_changed': types.PromptListChangedNotificationSchema,
  'notifications/resources/list_changed': types.ResourceListChangedNotificationSchema,
};

await run({
  client: (info, options) => new Client(info, options),
  http: (url, options) => new StreamableHTTPClientTransport(url, options),
  sse: (url) => new SSEClientTransport(url),
  stdio: (params) => new StdioClientTransport(params),
  onRequest: (client, method, handler) => client.setRequestHandler(schemas[method], handler),
  onNotification: (client, method, handler) => client.setNotificationHandler(schemas[method], handler),
  callTool: (client, params, options) => client.callTool(params, undefined, options),
  status: (error) => error.code,
});
