// A stdio MCP server with what offer.mjs lists, of one era and without any
// library, so that it says exactly what is written there. One of both eras is
// of that of its first message.
// Usage: node child.mjs legacy|modern|dual

import { createInterface } from 'node:readline';

import {
  FLOOD,
  NOTE,
  contents,
  legacyTools,
  modernTools,
  prompts,
  resources,
  templates,
  tools,
} from './offer.mjs';

async function beginsModern() {
  await new Promise((resolve) => process.stdin.once('readable', resolve));
  const first = process.stdin.read();
  if (first === null) process.exit(0);
  process.stdin.unshift(first);
  return !JSON.parse(first.subarray(0, first.indexOf('\n'))).method.startsWith('initialize');
}

const era = process.argv[2];
const isModern = era === 'modern' || (era === 'dual' && (await beginsModern()));
const offered = { ...tools, ...(isModern ? modernTools : legacyTools) };
const about = { name: 'schema-fixture', version: '1.0.0' };
const MODERN = '2026-07-28';
const SUBSCRIPTION = 'io.modelcontextprotocol/subscriptionId';

const write = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
const tell = (method, params) => write({ method, ...(params && { params }) });

const capabilities = {
  completions: {},
  logging: {},
  prompts: { listChanged: true },
  resources: { listChanged: true, subscribe: true },
  tools: { listChanged: true },
};

// The call that waits for a flood.
let loud;

// Legacy: questions by their id, and the resources that are subscribed to.
const questions = new Map();
const subscribed = new Set();

// Modern: what each open subscription wants, by its id.
const listens = new Map();

// Thrown by `ask` to leave a modern call that needs its client first.
class Asked {
  constructor(inputRequests) {
    this.result = { resultType: 'input_required', inputRequests, requestState: 'asked once' };
  }
}

let asked = 0;
async function ask(all, { inputResponses }) {
  if (!isModern) {
    const replies = Object.entries(all).map(([key, { method, params }]) => {
      const id = `question-${++asked}`;
      const extra = params.mode === 'url' ? { elicitationId: id } : {};
      write({ id, method, params: { ...params, ...extra } });
      return new Promise((resolve) =>
        questions.set(id, ({ result, error }) => resolve([key, result ?? error])),
      );
    });
    return Object.fromEntries(await Promise.all(replies));
  }
  if (!Object.keys(all).every((key) => Object.hasOwn(inputResponses ?? {}, key))) throw new Asked(all);
  return inputResponses;
}

function change() {
  const kinds = ['tools', 'prompts', 'resources'];
  if (!isModern) {
    for (const kind of kinds) tell(`notifications/${kind}/list_changed`);
    if (subscribed.has(NOTE)) tell('notifications/resources/updated', { uri: NOTE });
  }
  for (const [id, wanted] of listens) {
    const _meta = { [SUBSCRIPTION]: id };
    for (const kind of kinds) {
      if (wanted[`${kind}ListChanged`]) tell(`notifications/${kind}/list_changed`, { _meta });
    }
    if (wanted.resourceSubscriptions?.includes(NOTE)) {
      tell('notifications/resources/updated', { uri: NOTE, _meta });
    }
  }
}

function talkTo(params) {
  const progressToken = params._meta?.progressToken;
  const report = (token, progress, message) =>
    token !== undefined &&
    tell('notifications/progress', { progressToken: token, progress, total: 1000, message });
  return {
    ask: (all) => ask(all, params),
    progress: (progress) => report(progressToken, progress, `step ${progress}`),
    log(level, data) {
      if (!isModern || params._meta?.['io.modelcontextprotocol/logLevel']) {
        tell('notifications/message', { level, logger: 'fixture', data });
      }
    },
    change,
    flood() {
      if (!loud) throw { code: -32600, message: 'nobody hears' };
      for (let progress = 2; progress < FLOOD + 2; progress++) loud.report(progress, 'very '.repeat(400));
      loud.answer({ content: [{ type: 'text', text: 'heard everything' }] });
    },
    get heard() {
      return new Promise((answer) => {
        loud = { answer, report: (progress, message) => report(progressToken, progress, message) };
      });
    },
  };
}

const cacheable = isModern ? { ttlMs: 1000, cacheScope: 'private' } : {};
const unknown = (what) => ({ code: -32602, message: `unknown ${what}` });

const methods = {
  'tools/list': () => ({
    ...cacheable,
    tools: Object.entries(offered).map(([name, { call, inputSchema = { type: 'object' }, ...rest }]) => ({
      name,
      description: `The tool ${name}`,
      inputSchema,
      ...rest,
    })),
  }),
  'tools/call'(params, talk) {
    if (!Object.hasOwn(offered, params.name)) throw unknown('tool');
    return offered[params.name].call(params.arguments ?? {}, talk);
  },
  'prompts/list': () => ({
    ...cacheable,
    prompts: Object.entries(prompts).map(([name, { messages, ...rest }]) => ({ name, ...rest })),
  }),
  async 'prompts/get'(params, talk) {
    if (!Object.hasOwn(prompts, params.name)) throw unknown('prompt');
    return { description: `The prompt ${params.name}`, messages: await prompts[params.name].messages(talk) };
  },
  'resources/list': () => ({ ...cacheable, resources }),
  'resources/templates/list': () => ({ ...cacheable, resourceTemplates: templates }),
  'resources/read'({ uri }) {
    const found = contents(uri);
    if (found) return { ...cacheable, contents: found };
    throw isModern ? unknown('resource') : { code: -32002, message: 'resource not found', data: { uri } };
  },
  'completion/complete': () => ({ completion: { values: ['paris', 'park'], total: 2, hasMore: false } }),
};

const legacyMethods = {
  initialize: ({ protocolVersion }) => ({
    protocolVersion,
    capabilities,
    serverInfo: about,
    instructions: 'Only for tests.',
  }),
  ping: () => ({}),
  'logging/setLevel': () => ({}),
  'resources/subscribe': ({ uri }) => (subscribed.add(uri), {}),
  'resources/unsubscribe': ({ uri }) => (subscribed.delete(uri), {}),
};

const modernMethods = {
  'server/discover': () => ({
    ...cacheable,
    supportedVersions: [MODERN],
    capabilities,
    instructions: 'Only for tests.',
  }),
};

const known = { ...methods, ...(isModern ? modernMethods : legacyMethods) };

// A server need not say its name, so it does not where clients of sessions have
// to be told one.
function complete(result) {
  if (!isModern) return result;
  if (result.supportedVersions) return { resultType: 'complete', ...result };
  return { resultType: 'complete', ...result, _meta: { 'io.modelcontextprotocol/serverInfo': about } };
}

async function answer({ id, method, params = {} }) {
  if (isModern && params._meta?.['io.modelcontextprotocol/protocolVersion'] !== MODERN) {
    const data = {
      supported: [MODERN],
      requested: params._meta?.['io.modelcontextprotocol/protocolVersion'] ?? 'none',
    };
    return write({ id, error: { code: -32022, message: 'unsupported protocol version', data } });
  }
  if (isModern && method === 'subscriptions/listen') {
    listens.set(id, params.notifications);
    const _meta = { [SUBSCRIPTION]: id };
    return tell('notifications/subscriptions/acknowledged', { notifications: params.notifications, _meta });
  }
  try {
    if (!Object.hasOwn(known, method)) throw { code: -32601, message: 'method not found' };
    const result = await known[method](params, talkTo(params));
    if (result) write({ id, result: complete(result) });
  } catch (thrown) {
    if (thrown instanceof Asked) write({ id, result: thrown.result });
    else if (thrown instanceof Error) throw thrown;
    else write({ id, error: thrown });
  }
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const message = JSON.parse(line);
    if (message.method === 'notifications/cancelled') {
      listens.delete(message.params.requestId);
    } else if (message.method === undefined) {
      questions.get(message.id)?.(message);
    } else if (message.id !== undefined) {
      answer(message);
    }
  })
  .on('close', () => process.exit(0));
