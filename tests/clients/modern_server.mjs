// A small server on the 2.x line of the TypeScript SDK: 2026-07-28 over stdio,
// and the revisions before it too, for the SDK serves both, unless it is told
// not to. Its prompts are those of the official test server.
// Usage: node modern_server.mjs [--modern-only]
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { McpServer, ResourceTemplate, completable, inputRequired, inputResponse } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { z } from 'zod';

const TEAMS = {
  Engineering: ['Alice', 'Bob', 'Charlie'],
  Sales: ['David', 'Eve', 'Frank'],
  Marketing: ['Grace', 'Henry', 'Iris'],
  Support: ['John', 'Kim', 'Lee'],
};

const answer = (text) => ({ content: [{ type: 'text', text }] });
const page = (uri, text) => ({ contents: [{ uri: String(uri), mimeType: 'text/plain', text }] });
const prompt = (text) => ({ messages: [{ role: 'user', content: { type: 'text', text } }] });

let stopped = 0;
let touched = 0;
let changes = 0;

function addTools(server) {
  server.registerTool(
    'echo',
    {
      description: 'Answers with the message. A client copies the channel into a header.',
      inputSchema: z.object({ message: z.string(), channel: z.string().optional().meta({ 'x-mcp-header': 'Channel' }) }),
    },
    ({ message, channel }) => answer(channel === undefined ? `Echo: ${message}` : `Echo on ${channel}: ${message}`),
  );

  server.registerTool(
    'add',
    {
      description: 'Adds two numbers',
      inputSchema: z.object({ a: z.number(), b: z.number() }),
      outputSchema: z.object({ sum: z.number() }),
    },
    ({ a, b }) => ({ ...answer(`The sum of ${a} and ${b} is ${a + b}.`), structuredContent: { sum: a + b } }),
  );

  server.registerTool(
    'progress',
    {
      description: 'Takes so many seconds; a progress event and a log line for each step',
      inputSchema: z.object({ duration: z.number(), steps: z.number() }),
    },
    async ({ duration, steps }, { mcpReq }) => {
      const progressToken = mcpReq._meta?.progressToken;
      for (let progress = 1; progress <= steps; progress++) {
        await sleep((duration * 1000) / steps);
        if (mcpReq.signal.aborted) {
          stopped++;
          return answer('stopped');
        }
        await mcpReq.log('info', `step ${progress} of ${steps}`);
        if (progressToken === undefined) continue;
        await mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: steps } });
      }
      return answer(`completed in ${steps} steps`);
    },
  );

  server.registerTool('stopped', { description: 'How many calls of progress were cancelled' }, () => answer(`${stopped} stopped`));

  server.registerTool('touch', { description: 'Updates memo://counter' }, async () => {
    touched++;
    await server.server.sendResourceUpdated({ uri: 'memo://counter' });
    return answer(`touched ${touched} times`);
  });

  server.registerTool('change_lists', { description: 'Adds one tool, one prompt and one resource' }, () => {
    const name = `extra-${++changes}`;
    server.registerTool(name, { description: 'Does nothing' }, () => answer(name));
    server.registerPrompt(name, { description: 'Says nothing' }, () => prompt(name));
    server.registerResource(name, `memo://${name}`, {}, (uri) => page(uri, name));
    return answer(name);
  });
}

function addQuestions(server) {
  const form = (message, name, schema) =>
    inputRequired.elicit({ message, requestedSchema: { type: 'object', properties: { [name]: schema }, required: [name] } });
  const content = (mcpReq, key, state) => {
    const given = inputResponse(mcpReq.inputResponses, key);
    if (given.kind === 'missing') return undefined;
    if (mcpReq.requestState() !== state) throw new Error(`the state is ${mcpReq.requestState()}, not ${state}`);
    if (given.kind !== 'elicit' || given.action !== 'accept') throw new Error(`${key} was not accepted`);
    return given.content;
  };

  server.registerTool('ask_elicitation', { description: 'Asks two questions, then a third one' }, ({ mcpReq }) => {
    const sure = content(mcpReq, 'sure', 'round 2: Ada Lovelace 7');
    if (sure) return answer(`Name: Ada Lovelace, integer: 7, sure: ${sure.sure}`);
    const who = content(mcpReq, 'who', 'round 1');
    const number = content(mcpReq, 'number', 'round 1');
    if (who && number) {
      return inputRequired({
        inputRequests: { sure: form('Are you sure?', 'sure', { type: 'boolean' }) },
        requestState: `round 2: ${who.name} ${number.integer}`,
      });
    }
    return inputRequired({
      inputRequests: {
        who: form('Who are you?', 'name', { type: 'string' }),
        number: form('Which number?', 'integer', { type: 'integer' }),
      },
      requestState: 'round 1',
    });
  });

  server.registerTool(
    'ask_sampling',
    { description: "Asks the client's model", inputSchema: z.object({ prompt: z.string() }) },
    ({ prompt }, { mcpReq }) => {
      const given = inputResponse(mcpReq.inputResponses, 'model');
      if (given.kind === 'sampling') return answer(`The model says: ${given.result.content.text}`);
      const messages = [{ role: 'user', content: { type: 'text', text: prompt } }];
      return inputRequired({ inputRequests: { model: inputRequired.createMessage({ messages, maxTokens: 100 }) } });
    },
  );

  server.registerTool('ask_roots', { description: "Lists the client's roots" }, ({ mcpReq }) => {
    const given = inputResponse(mcpReq.inputResponses, 'roots');
    if (given.kind === 'roots') return answer(given.roots.map((root) => root.uri).join('\n'));
    return inputRequired({ inputRequests: { roots: inputRequired.listRoots() }, requestState: 'roots' });
  });
}

function addResources(server) {
  server.registerResource('counter', 'memo://counter', {}, (uri) => page(uri, `touched ${touched} times`));
  server.registerResource('long', 'memo://long', {}, (uri) => page(uri, 'long '.repeat(100)));
  server.registerResource('note', new ResourceTemplate('memo://note/{number}', { list: undefined }), {}, (uri, { number }) =>
    page(uri, `Note ${number}`),
  );
  const bytes = new ResourceTemplate('memo://bytes/{number}', { list: undefined });
  server.registerResource('bytes', bytes, {}, (uri, { number }) => ({
    contents: [{ uri: String(uri), blob: Buffer.from(`Note ${number}`).toString('base64') }],
  }));
}

function addPrompts(server) {
  server.registerPrompt(
    'args-prompt',
    { argsSchema: z.object({ city: z.string(), state: z.string().optional() }) },
    ({ city, state }) => prompt(`What's weather in ${state ? `${city}, ${state}` : city}?`),
  );

  const begins = (names, value) => (names ?? []).filter((name) => name.startsWith(value));
  server.registerPrompt(
    'completable-prompt',
    {
      argsSchema: z.object({
        department: completable(z.string(), (value) => begins(Object.keys(TEAMS), value)),
        name: completable(z.string(), (value, context) => begins(TEAMS[context?.arguments?.department], value)),
      }),
    },
    ({ department, name }) => prompt(`Please promote ${name} to the head of the ${department} team.`),
  );
}

export function createServer({ era } = {}) {
  const server = new McpServer(
    { name: 'modern-test-server', version: '1.0.0' },
    { capabilities: { logging: {}, resources: { subscribe: true } }, instructions: 'A server to test clients with.' },
  );
  addTools(server);
  addQuestions(server);
  addResources(server);
  addPrompts(server);
  if (era === 'legacy') {
    // Every update is sent to everyone, which a client must bear.
    server.server.setRequestHandler('resources/subscribe', () => ({}));
    server.server.setRequestHandler('resources/unsubscribe', () => ({}));
  }
  return server;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  serveStdio(createServer, { legacy: process.argv[2] === '--modern-only' ? 'reject' : 'serve' });
}
