// A stdio MCP server that offers what the official conformance suite asks of
// a server, so that the suite can be run against whatever sits in front of it.

import { setTimeout as sleep } from 'node:timers/promises';

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
  ListToolsRequestSchema,
  McpError,
  ReadResourceRequestSchema,
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';

const RESOURCE_NOT_FOUND = -32002;

const PNG =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNQSDgAAAHkAUGcFuGgAAAAAElFTkSuQmCC';
const WAV = 'UklGRigAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQQAAACAoIBg';

const server = new Server(
  { name: 'conformance-fixture', version: '1.0.0' },
  {
    capabilities: {
      completions: {},
      logging: {},
      prompts: {},
      resources: { subscribe: true },
      tools: {},
    },
  },
);

const text = (value) => ({ type: 'text', text: value });
const image = { type: 'image', data: PNG, mimeType: 'image/png' };
const resource = (uri, mimeType, value) => ({
  type: 'resource',
  resource: { uri, mimeType, text: value },
});
const answer = (...content) => ({ content });
const refusal = (why) => ({ content: [text(why)], isError: true });

const object = (properties = {}, required = Object.keys(properties)) => ({
  type: 'object',
  properties,
  ...(required.length > 0 && { required }),
});
const string = (description) => ({ type: 'string', description });
const titled = (pairs) => Object.entries(pairs).map(([value, title]) => ({ const: value, title }));

async function elicit(message, requestedSchema, extra) {
  if (!server.getClientCapabilities()?.elicitation) {
    return refusal('the client did not declare elicitation');
  }
  const params = { message, requestedSchema };
  const reply = await extra.sendRequest({ method: 'elicitation/create', params }, ElicitResultSchema);
  const content = JSON.stringify(reply.content ?? {});
  return answer(text(`Elicitation completed: action=${reply.action}, content=${content}`));
}

const tools = {
  test_simple_text: {
    description: 'Answers with one text',
    call: () => answer(text('This is a simple text response for testing.')),
  },

  test_image_content: {
    description: 'Answers with one image',
    call: () => answer(image),
  },

  test_audio_content: {
    description: 'Answers with one sound',
    call: () => answer({ type: 'audio', data: WAV, mimeType: 'audio/wav' }),
  },

  test_embedded_resource: {
    description: 'Answers with one embedded resource',
    call: () =>
      answer(resource('test://embedded-resource', 'text/plain', 'This is an embedded resource content.')),
  },

  test_multiple_content_types: {
    description: 'Answers with a text, an image and a resource',
    call: () =>
      answer(
        text('Multiple content types test:'),
        image,
        resource('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}'),
      ),
  },

  test_error_handling: {
    description: 'Always fails',
    call: () => refusal('This tool intentionally returns an error for testing'),
  },

  test_tool_with_logging: {
    description: 'Logs three times before it answers',
    async call() {
      const messages = ['Tool execution started', 'Tool processing data', 'Tool execution completed'];
      for (const [index, data] of messages.entries()) {
        if (index > 0) await sleep(50);
        await server.sendLoggingMessage({ level: 'info', data });
      }
      return answer(text('Logged three messages.'));
    },
  },

  test_tool_with_progress: {
    description: 'Reports progress three times before it answers, if asked to',
    async call(_args, extra) {
      const progressToken = extra._meta?.progressToken;
      for (const progress of [0, 50, 100]) {
        if (progress > 0) await sleep(50);
        if (progressToken === undefined) continue;
        await extra.sendNotification({
          method: 'notifications/progress',
          params: { progressToken, progress, total: 100 },
        });
      }
      return answer(text('Reported progress up to 100.'));
    },
  },

  test_sampling: {
    description: "Asks the client's model",
    inputSchema: object({ prompt: string('What to ask') }),
    async call({ prompt }, extra) {
      if (!server.getClientCapabilities()?.sampling) {
        return refusal('the client did not declare sampling');
      }
      const params = { messages: [{ role: 'user', content: text(String(prompt)) }], maxTokens: 100 };
      const reply = await extra.sendRequest(
        { method: 'sampling/createMessage', params },
        CreateMessageResultSchema,
      );
      return answer(text(`LLM response: ${reply.content.text ?? reply.content.type}`));
    },
  },

  test_elicitation: {
    description: "Asks the client's user for a name and an address",
    inputSchema: object({ message: string('What to show to the user') }),
    call: ({ message }, extra) =>
      elicit(String(message), object({ username: string('Name'), email: string('E-mail address') }), extra),
  },

  test_elicitation_sep1034_defaults: {
    description: 'Asks for every primitive type, each with a default',
    call: (_args, extra) =>
      elicit(
        'Check these values.',
        object(
          {
            name: { type: 'string', default: 'John Doe' },
            age: { type: 'integer', default: 30 },
            score: { type: 'number', default: 95.5 },
            status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
            verified: { type: 'boolean', default: true },
          },
          [],
        ),
        extra,
      ),
  },

  test_elicitation_sep1330_enums: {
    description: 'Asks for a choice in each form that a schema can give it',
    call: (_args, extra) =>
      elicit(
        'Choose.',
        object(
          {
            untitledSingle: { type: 'string', enum: ['option1', 'option2', 'option3'] },
            titledSingle: { type: 'string', oneOf: titled({ value1: 'One', value2: 'Two', value3: 'Three' }) },
            legacyEnum: {
              type: 'string',
              enum: ['opt1', 'opt2', 'opt3'],
              enumNames: ['Option One', 'Option Two', 'Option Three'],
            },
            untitledMulti: {
              type: 'array',
              items: { type: 'string', enum: ['option1', 'option2', 'option3'] },
            },
            titledMulti: {
              type: 'array',
              items: { anyOf: titled({ value1: 'One', value2: 'Two', value3: 'Three' }) },
            },
          },
          [],
        ),
        extra,
      ),
  },

  test_reconnection: {
    description: 'Takes long enough for its stream to be closed and resumed',
    async call() {
      await sleep(1200);
      return answer(text('Answered after a pause.'));
    },
  },

  json_schema_2020_12_tool: {
    description: 'Has an input schema that is lost unless it is passed on whole',
    inputSchema: {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      $defs: {
        address: {
          $anchor: 'addressDef',
          type: 'object',
          properties: { street: { type: 'string' }, city: { type: 'string' } },
        },
      },
      type: 'object',
      properties: {
        name: { type: 'string' },
        address: { $ref: '#/$defs/address' },
        contactMethod: { type: 'string', enum: ['phone', 'email'] },
        phone: { type: 'string' },
        email: { type: 'string' },
      },
      allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
      if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
      then: { required: ['phone'] },
      else: { required: ['email'] },
      additionalProperties: false,
    },
    call: (args) => answer(text(JSON.stringify(args))),
  },
};

const prompts = {
  test_simple_prompt: {
    description: 'One text',
    contents: () => [text('This is a simple prompt for testing.')],
  },

  test_prompt_with_arguments: {
    description: 'One text made of two arguments',
    arguments: ['arg1', 'arg2'],
    contents: ({ arg1, arg2 }) => [text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)],
  },

  test_prompt_with_embedded_resource: {
    description: 'A resource and a text',
    arguments: ['resourceUri'],
    contents: ({ resourceUri }) => [
      resource(resourceUri, 'text/plain', 'Embedded resource content for testing.'),
      text('Please process the embedded resource above.'),
    ],
  },

  test_prompt_with_image: {
    description: 'An image and a text',
    contents: () => [image, text('Please analyze the image above.')],
  },
};

const resources = {
  'test://static-text': {
    name: 'static-text',
    description: 'A text that never changes',
    mimeType: 'text/plain',
    body: { text: 'This is the content of the static text resource.' },
  },
  'test://static-binary': {
    name: 'static-binary',
    description: 'An image that never changes',
    mimeType: 'image/png',
    body: { blob: PNG },
  },
  'test://watched-resource': {
    name: 'watched-resource',
    description: 'A text to subscribe to',
    mimeType: 'text/plain',
    body: { text: 'This is the content of the watched resource.' },
  },
};

const TEMPLATE = {
  uriTemplate: 'test://template/{id}/data',
  name: 'template',
  description: 'Data for any id',
  mimeType: 'application/json',
};
const TEMPLATE_URI = /^test:\/\/template\/([^/]+)\/data$/;

const own = (table, key) => (Object.hasOwn(table, key) ? table[key] : undefined);
const invalid = (why) => new McpError(ErrorCode.InvalidParams, why);

server.setRequestHandler(ListToolsRequestSchema, () => ({
  tools: Object.entries(tools).map(([name, { description, inputSchema = object() }]) => ({
    name,
    description,
    inputSchema,
  })),
}));

server.setRequestHandler(CallToolRequestSchema, ({ params }, extra) => {
  const tool = own(tools, params.name);
  if (!tool) throw invalid(`unknown tool: ${params.name}`);
  return tool.call(params.arguments ?? {}, extra);
});

server.setRequestHandler(ListPromptsRequestSchema, () => ({
  prompts: Object.entries(prompts).map(([name, prompt]) => ({
    name,
    description: prompt.description,
    arguments: (prompt.arguments ?? []).map((argument) => ({ name: argument, required: true })),
  })),
}));

server.setRequestHandler(GetPromptRequestSchema, ({ params }) => {
  const prompt = own(prompts, params.name);
  if (!prompt) throw invalid(`unknown prompt: ${params.name}`);
  const args = params.arguments ?? {};
  const missing = (prompt.arguments ?? []).find((name) => !Object.hasOwn(args, name));
  if (missing) throw invalid(`missing argument: ${missing}`);
  return {
    description: prompt.description,
    messages: prompt.contents(args).map((content) => ({ role: 'user', content })),
  };
});

server.setRequestHandler(ListResourcesRequestSchema, () => ({
  resources: Object.entries(resources).map(([uri, { name, description, mimeType }]) => ({
    uri,
    name,
    description,
    mimeType,
  })),
}));

server.setRequestHandler(ListResourceTemplatesRequestSchema, () => ({ resourceTemplates: [TEMPLATE] }));

server.setRequestHandler(ReadResourceRequestSchema, ({ params: { uri } }) => {
  const found = own(resources, uri);
  if (found) return { contents: [{ uri, mimeType: found.mimeType, ...found.body }] };
  const id = TEMPLATE_URI.exec(uri)?.[1];
  if (id === undefined) throw new McpError(RESOURCE_NOT_FOUND, 'resource not found', { uri });
  const data = { id, templateTest: true, data: `Data for ID: ${id}` };
  return { contents: [{ uri, mimeType: TEMPLATE.mimeType, text: JSON.stringify(data) }] };
});

const subscriptions = new Set();

server.setRequestHandler(SubscribeRequestSchema, ({ params }) => {
  subscriptions.add(params.uri);
  return {};
});

server.setRequestHandler(UnsubscribeRequestSchema, ({ params }) => {
  subscriptions.delete(params.uri);
  return {};
});

server.setRequestHandler(CompleteRequestSchema, ({ params }) => {
  const words = ['paris', 'park', 'party', 'test', 'testing'];
  const values = words.filter((word) => word.startsWith(params.argument.value));
  return { completion: { values, total: values.length, hasMore: false } };
});

// A pending timer would otherwise keep the process after its client has gone.
process.stdin.on('end', () => process.exit(0));

await server.connect(new StdioServerTransport());
