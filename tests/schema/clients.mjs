// Clients that say exactly what they are told to, and show all they hear to a
// `witness`: every message, and of which type the result of a call has to be.

import { setTimeout as sleep } from 'node:timers/promises';

const PATIENCE_MS = 5_000;
const BOTH = 'application/json, text/event-stream';
const META = 'io.modelcontextprotocol';

const RESULTS = {
  initialize: 'InitializeResult',
  'server/discover': 'DiscoverResult',
  ping: 'EmptyResult',
  'logging/setLevel': 'EmptyResult',
  'resources/subscribe': 'EmptyResult',
  'resources/unsubscribe': 'EmptyResult',
  'tools/list': 'ListToolsResult',
  'tools/call': 'CallToolResult',
  'prompts/list': 'ListPromptsResult',
  'prompts/get': 'GetPromptResult',
  'resources/list': 'ListResourcesResult',
  'resources/templates/list': 'ListResourceTemplatesResult',
  'resources/read': 'ReadResourceResult',
  'completion/complete': 'CompleteResult',
  'subscriptions/listen': 'SubscriptionsListenResult',
};

export function within(promise, what, ms = PATIENCE_MS) {
  const late = sleep(ms, undefined, { ref: false }).then(() => {
    throw new Error(`nothing within ${ms} ms: ${what}`);
  });
  return Promise.race([promise, late]);
}

// The messages of a response, whichever form it has, and their ids as events.
async function* messagesOf(response) {
  if (!response.headers.get('content-type')?.startsWith('text/event-stream')) {
    const body = await response.text();
    if (body !== '') yield { message: JSON.parse(body) };
    return;
  }
  let rest = '';
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + part).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const field = (name) =>
        block
          .split('\n')
          .filter((line) => line.startsWith(`${name}:`))
          .map((line) => line.slice(name.length + 1).replace(/^ /, ''))
          .join('\n');
      const data = field('data');
      if (data !== '') yield { message: JSON.parse(data), eventId: field('id') };
    }
  }
}

class Client {
  heard = [];
  waiting = new Set();
  ids = 0;

  constructor(url, revision, witness) {
    Object.assign(this, { url, revision, witness });
  }

  post(body, headers = {}, signal) {
    const usual = { accept: BOTH, 'content-type': 'application/json' };
    const text = typeof body === 'string' ? body : JSON.stringify({ jsonrpc: '2.0', ...body });
    return fetch(this.url, { method: 'POST', headers: { ...usual, ...headers }, body: text, signal });
  }

  hear(message, method) {
    this.witness.saw(message, RESULTS[method]);
    this.heard.push(message);
    for (const look of this.waiting) look();
  }

  // Resolves when a message came for which `isWanted` holds, or has come after
  // so many others.
  until(isWanted, what, since = 0) {
    let look;
    const came = new Promise((resolve) => {
      look = () => {
        const found = this.heard.slice(since).find(isWanted);
        if (found) resolve(found);
      };
      this.waiting.add(look);
      look();
    });
    return within(came, what).finally(() => this.waiting.delete(look));
  }

  untilMethod(method, since) {
    return this.until((message) => message.method === method, method, since);
  }

  // Hears a whole response; the answer to `id` is what it resolves to.
  async follow(response, id, method) {
    for await (const { message } of messagesOf(response)) {
      const isAnswer = message.method === undefined;
      this.hear(message, method);
      if (isAnswer && (id === undefined || message.id === id || message.id === null)) return message;
    }
    return undefined;
  }
}

// A client of a session: of a revision that has `initialize`.
export class LegacyClient extends Client {
  // By method, what to answer: a function of the params; undefined holds it.
  answers = {};

  headers() {
    return {
      ...(this.session && { 'mcp-session-id': this.session }),
      ...(this.session && this.revision >= '2025-06-18' && { 'mcp-protocol-version': this.revision }),
    };
  }

  async open(capabilities) {
    const params = {
      protocolVersion: this.revision,
      capabilities,
      clientInfo: { name: 'schema-test', version: '1.0.0' },
    };
    const response = await this.post({ id: 0, method: 'initialize', params });
    const session = response.headers.get('mcp-session-id');
    const { result, error } = await within(this.follow(response, 0, 'initialize'), 'initialize');
    if (!result || !session) throw new Error(`no session: ${JSON.stringify(error ?? result)}`);
    this.session = session;
    if (result.protocolVersion !== this.revision) throw new Error(`agreed on ${result.protocolVersion}`);
    await this.notify('notifications/initialized');
    const stream = await this.get();
    this.standing = this.follow(stream).catch(() => {});
    return result;
  }

  notify(method, params) {
    return this.post({ method, params }, this.headers());
  }

  get(lastEventId) {
    const headers = { ...this.headers(), accept: 'text/event-stream' };
    if (lastEventId) headers['last-event-id'] = lastEventId;
    return fetch(this.url, { headers });
  }

  async ask(method, params, { token, id = ++this.ids } = {}) {
    const all = token === undefined ? params : { ...params, _meta: { progressToken: token } };
    const response = await this.post({ id, method, ...(all && { params: all }) }, this.headers());
    return within(this.follow(response, id, method), method);
  }

  call(name, options) {
    return this.ask('tools/call', { name, arguments: {} }, options);
  }

  // Begins a call, hears its first event, and loses the connection.
  async lose(name) {
    const id = ++this.ids;
    const gone = new AbortController();
    const params = { name, arguments: {}, _meta: { progressToken: 'lost' } };
    const response = await this.post({ id, method: 'tools/call', params }, this.headers(), gone.signal);
    for await (const { message, eventId } of messagesOf(response)) {
      this.hear(message);
      gone.abort();
      return { id, eventId };
    }
  }

  hear(message, method) {
    super.hear(message, method);
    if (message.method === undefined || message.id === undefined) return;
    const { id } = message;
    const reply = this.answers[message.method]?.(message.params ?? {});
    if (!reply) return;
    const answer = reply.code ? { error: reply } : { result: reply };
    // A gateway that is gone by now is noticed elsewhere.
    this.post({ id, ...answer }, this.headers()).catch(() => {});
  }

  async close() {
    await fetch(this.url, { method: 'DELETE', headers: this.headers() });
    await within(this.standing, 'the end of the session');
  }
}

// A client without a session: every request has its envelope.
export class ModernClient extends Client {
  request(method, params = {}, { capabilities = {}, level, token, headers = {}, meta = {}, signal } = {}) {
    const id = ++this.ids;
    const _meta = {
      [`${META}/protocolVersion`]: this.revision,
      [`${META}/clientInfo`]: { name: 'schema-test', version: '1.0.0' },
      [`${META}/clientCapabilities`]: capabilities,
      ...(level && { [`${META}/logLevel`]: level }),
      ...(token !== undefined && { progressToken: token }),
      ...meta,
    };
    const name = params.name ?? params.uri;
    const fields = {
      'mcp-protocol-version': this.revision,
      'mcp-method': method,
      ...(name && { 'mcp-name': name }),
      ...headers,
    };
    return { id, sent: this.post({ id, method, params: { ...params, _meta } }, fields, signal) };
  }

  async ask(method, params, options) {
    const { id, sent } = this.request(method, params, options);
    return within(
      sent.then((response) => this.follow(response, id, method)),
      method,
    );
  }

  call(name, options = {}, more = {}) {
    return this.ask('tools/call', { name, arguments: {}, ...more }, options);
  }

  // Opens a subscription; `ended` resolves to its result, or to nothing if it
  // was left.
  async listen(notifications) {
    const left = new AbortController();
    const since = this.heard.length;
    const { id, sent } = this.request('subscriptions/listen', { notifications }, { signal: left.signal });
    const ended = sent.then((response) => this.follow(response, id, 'subscriptions/listen')).catch(() => {});
    await this.untilMethod('notifications/subscriptions/acknowledged', since);
    return { ended, leave: () => left.abort() };
  }

  async raw(body, headers = {}) {
    const response = await this.post(body, headers);
    return this.follow(response);
  }
}
