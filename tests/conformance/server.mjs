// A legacy stdio MCP server with what offer.mjs lists: it knows the revisions
// up to 2025-11-25 and asks its client by requests of its own.

import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import {
  CallToolRequestSchema,
  CompleteRequestSchema,
  CreateMessageResultSchema,
  ElicitResultSchema,
  ErrorCode,
  GetPromptRequestSchema,
  ListPromptsRequestSchema,
  ListResourcesRequestSchema,
  ListResourceTemplatesRequestSchema,
  ListRootsResultSchema,
  ListToolsRequestSchema,
  McpError,
  ReadResourceRequestSchema,
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';

import { object, refusal } from './content.mjs';
import { completion, late, prompts, resources, template, tools } from './offer.mjs';

const RESOURCE_NOT_FOUND = -32002;

const QUESTIONS = {
  'elicitation/create': { capability: 'elicitation', reply: ElicitResultSchema },
  'roots/list': { capability: 'roots', reply: ListRootsResultSchema },
  'sampling/createMessage': { capability: 'sampling', reply: CreateMessageResultSchema },
};

const server = new Server(
  { name: 'conformance-fixture', version: '1.0.0' },
  {
    capabilities: {
      completions: {},
      logging: {},
      prompts: { listChanged: true },
      resources: { listChanged: true, subscribe: true },
      tools: { listChanged: true },
    },
  },
);

const lists = {
  tools: { items: tools, changed: () => server.sendToolListChanged() },
  prompts: { items: prompts, changed: () => server.sendPromptListChanged() },
  resources: { items: resources, changed: () => server.sendResourceListChanged() },
};
const subscriptions = new Set();

const own = (table, key) => (Object.hasOwn(table, key) ? table[key] : undefined);
const invalid = (why) => new McpError(ErrorCode.InvalidParams, why);

class Undeclared extends Error {}

function talkTo(extra) {
  const declared = server.getClientCapabilities() ?? {};
  const progressToken = extra._meta?.progressToken;
  return {
    declared,

    async ask(questions, { blind = false } = {}) {
      for (const { method } of Object.values(questions)) {
        const { capability } = QUESTIONS[method];
        if (!blind && !declared[capability]) throw new Undeclared(`the client did not declare ${capability}`);
      }
      // All at once, for whoever wants to pass them on together.
      const replies = Object.entries(questions).map(async ([key, question]) => [
        key,
        await extra.sendRequest(question, QUESTIONS[question.method].reply),
      ]);
      return Object.fromEntries(await Promise.all(replies));
    },

    log: (data) => server.sendLoggingMessage({ level: 'info', data }),

    async progress(progress) {
      if (progressToken === undefined) return;
      const params = { progressToken, progress, total: 100 };
      await extra.sendNotification({ method: 'notifications/progress', params });
    },

    async change(kind) {
      const { items, changed } = lists[kind];
      const [key, item] = late[kind];
      if (Object.hasOwn(items, key)) delete items[key];
      else items[key] = item;
      await changed();
    },

    async update(uri) {
      if (subscriptions.has(uri)) await server.sendResourceUpdated({ uri });
    },
  };
}

server.setRequestHandler(ListToolsRequestSchema, () => ({
  tools: Object.entries(tools).map(([name, { description, inputSchema = object() }]) => ({
    name,
    description,
    inputSchema,
  })),
}));

server.setRequestHandler(CallToolRequestSchema, async ({ params }, extra) => {
  const tool = own(tools, params.name);
  if (!tool) throw invalid(`unknown tool: ${params.name}`);
  try {
    return await tool.call(params.arguments ?? {}, talkTo(extra));
  } catch (error) {
    if (error instanceof Undeclared) return refusal(error.message);
    throw error;
  }
});

server.setRequestHandler(ListPromptsRequestSchema, () => ({
  prompts: Object.entries(prompts).map(([name, prompt]) => ({
    name,
    description: prompt.description,
    arguments: (prompt.arguments ?? []).map((argument) => ({ name: argument, required: true })),
  })),
}));

server.setRequestHandler(GetPromptRequestSchema, async ({ params }, extra) => {
  const prompt = own(prompts, params.name);
  if (!prompt) throw invalid(`unknown prompt: ${params.name}`);
  const args = params.arguments ?? {};
  const missing = (prompt.arguments ?? []).find((name) => !Object.hasOwn(args, name));
  if (missing) throw invalid(`missing argument: ${missing}`);
  const contents = await prompt.contents(args, talkTo(extra));
  return {
    description: prompt.description,
    messages: contents.map((content) => ({ role: 'user', content })),
  };
});

server.setRequestHandler(ListResourcesRequestSchema, () => ({
  resources: Object.entries(resources).map(([uri, { body, ...about }]) => ({ uri, ...about })),
}));

server.setRequestHandler(ListResourceTemplatesRequestSchema, () => {
  const { body, ...about } = template;
  return { resourceTemplates: [about] };
});

server.setRequestHandler(ReadResourceRequestSchema, ({ params: { uri } }) => {
  const found = own(resources, uri);
  if (found) return { contents: [{ uri, mimeType: found.mimeType, ...found.body }] };
  const [start, end] = template.uriTemplate.split('{id}');
  const id = uri.slice(start.length, -end.length);
  if (uri !== start + id + end || !/^[^/]+$/.test(id)) {
    throw new McpError(RESOURCE_NOT_FOUND, 'resource not found', { uri });
  }
  return { contents: [{ uri, mimeType: template.mimeType, ...template.body(id) }] };
});

server.setRequestHandler(SubscribeRequestSchema, ({ params }) => {
  subscriptions.add(params.uri);
  return {};
});

server.setRequestHandler(UnsubscribeRequestSchema, ({ params }) => {
  subscriptions.delete(params.uri);
  return {};
});

server.setRequestHandler(CompleteRequestSchema, ({ params }) => completion(params.argument.value));

// A pending timer would otherwise keep the process after its client has gone.
process.stdin.on('end', () => process.exit(0));

await server.connect(new StdioServerTransport());
