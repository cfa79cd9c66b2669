// A stdio MCP server with what offer.mjs lists, of both eras: its first request
// decides whether it is one of 2026-07-28 or one of the revisions before. With
// --modern-only it refuses the others.

import { randomBytes } from 'node:crypto';

import {
  CLIENT_CAPABILITIES_META_KEY,
  McpServer,
  ResourceTemplate,
  createRequestStateCodec,
  fromJsonSchema,
  inputRequired,
  inputResponse,
} from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';

import { object, string } from './content.mjs';
import { completion, late, prompts, resources, template, tools } from './offer.mjs';

const KINDS = {
  'elicitation/create': 'elicit',
  'roots/list': 'roots',
  'sampling/createMessage': 'sampling',
};

// Nobody but this process can continue what it began.
const seal = createRequestStateCodec({ key: randomBytes(32) });

// Thrown by `ask` to leave a call that needs its client first.
class Asked {
  constructor(result) {
    this.result = result;
  }
}

// Runs a call from its start. Earlier rounds of it come back with the state.
async function run(call, talk) {
  try {
    return await call(talk);
  } catch (thrown) {
    if (thrown instanceof Asked) return thrown.result;
    throw thrown;
  }
}

function asker({ mcpReq }) {
  const state = mcpReq.requestState();
  const rounds = state?.rounds ?? [];
  let responses = mcpReq.inputResponses;
  let asked = 0;

  return async function ask(questions, { sealed = false } = {}) {
    const round = asked++;
    if (round < rounds.length) return rounds[round];

    const isAnswered = ([key, { method }]) => inputResponse(responses, key).kind === KINDS[method];
    const mayAnswer = state !== undefined || !sealed;
    if (mayAnswer && Object.entries(questions).every(isAnswered)) {
      rounds.push(Object.fromEntries(Object.keys(questions).map((key) => [key, responses[key]])));
      responses = undefined;
      return rounds[round];
    }

    const isContinued = sealed || round > 0;
    const requestState = isContinued ? await seal.mint({ rounds }) : undefined;
    throw new Asked(inputRequired({ inputRequests: questions, ...(isContinued && { requestState }) }));
  };
}

function offer({ era }) {
  const mcp = new McpServer(
    { name: 'conformance-fixture', version: '2.0.0' },
    {
      capabilities: { completions: {}, logging: {}, resources: { subscribe: true } },
      requestState: { verify: seal.verify },
    },
  );
  const { server } = mcp;
  const isModern = era === 'modern';
  const subscriptions = new Set();
  const arrived = {};

  function talkTo(ctx) {
    const { mcpReq } = ctx;
    const progressToken = mcpReq._meta?.progressToken;
    return {
      declared: isModern ? mcpReq.envelope[CLIENT_CAPABILITIES_META_KEY] : server.getClientCapabilities(),

      ask: asker(ctx),

      log: (data) => mcpReq.log('info', data),

      async progress(progress) {
        if (progressToken === undefined) return;
        const params = { progressToken, progress, total: 100 };
        await mcpReq.notify({ method: 'notifications/progress', params });
      },

      async change(kind) {
        if (arrived[kind]) {
          arrived[kind].remove();
          delete arrived[kind];
        } else {
          arrived[kind] = add[kind](...late[kind]);
        }
      },

      // A modern client says in its listen request which updates it wants, and
      // the SDK sends it no others.
      async update(uri) {
        if (isModern || subscriptions.has(uri)) await server.sendResourceUpdated({ uri });
      },
    };
  }

  const add = {
    tools: (name, { description, inputSchema = object(), call }) =>
      mcp.registerTool(name, { description, inputSchema: fromJsonSchema(inputSchema) }, (args, ctx) =>
        run((talk) => call(args, talk), talkTo(ctx)),
      ),

    prompts(name, { description, arguments: names = [], contents }) {
      const answer = (args, ctx) =>
        run(async (talk) => {
          const messages = (await contents(args, talk)).map((content) => ({ role: 'user', content }));
          return { description, messages };
        }, talkTo(ctx));
      if (names.length === 0) return mcp.registerPrompt(name, { description }, (ctx) => answer({}, ctx));
      const argsSchema = fromJsonSchema(object(Object.fromEntries(names.map((key) => [key, string(key)]))));
      return mcp.registerPrompt(name, { description, argsSchema }, answer);
    },

    resources: (uri, { name, body, ...about }) =>
      mcp.registerResource(name, uri, about, () => ({
        contents: [{ uri, mimeType: about.mimeType, ...body }],
      })),
  };

  for (const [kind, items] of Object.entries({ tools, prompts, resources })) {
    for (const [key, item] of Object.entries(items)) add[kind](key, item);
  }

  const { name, uriTemplate, body, ...about } = template;
  mcp.registerResource(name, new ResourceTemplate(uriTemplate, { list: undefined }), about, (uri, { id }) => ({
    contents: [{ uri: uri.href, mimeType: about.mimeType, ...body(id) }],
  }));

  server.setRequestHandler('completion/complete', ({ params }) => completion(params.argument.value));
  if (!isModern) {
    server.setRequestHandler('resources/subscribe', ({ params }) => {
      subscriptions.add(params.uri);
      return {};
    });
    server.setRequestHandler('resources/unsubscribe', ({ params }) => {
      subscriptions.delete(params.uri);
      return {};
    });
  }

  return mcp;
}

// A pending timer would otherwise keep the process after its client has gone.
process.stdin.on('end', () => process.exit(0));

serveStdio(offer, {
  legacy: process.argv.includes('--modern-only') ? 'reject' : 'serve',
  onerror: (error) => console.error(error.message),
});
