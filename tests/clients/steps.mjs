// The steps of ts1.mjs and ts2.mjs; `lib` hides where the two APIs differ. A transport is
// 'http', 'sse' or 'stdio'; or 'shared' or 'stateless': that is 'http' in front of a server
// process that other clients use too, which therefore can ask nobody anything, with
// sessions or without.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { TARGETS } from './targets.mjs';

const STEP_MS = 30_000;
const PROGRAM_MS = 110_000;
const ROOT = { uri: 'file:///srv/project', name: 'project' };
const NASTY = 'é 漢字 😀 "quoted" \\ tab\t line\nnext\r\n \u2028 \u0001 data: x\n\nid: 9\n\n';

export async function run(lib) {
  const [targetName, kind, command, ...args] = process.argv.slice(2);
  const target = TARGETS[targetName];
  const url = kind === 'stdio' ? undefined : new URL(command);
  const shared = kind === 'shared';
  const stateless = kind === 'stateless';
  const asks = !shared && !stateless;
  const resumable = kind === 'http' || shared;
  let failed = 0;
  let session;

  const print = (line) => process.stdout.write(`${line}\n`);
  const reason = (error) => String(error?.message ?? error).replace(/\s+/g, ' ').slice(0, 300);

  async function step(name, body) {
    const timer = new AbortController();
    try {
      const late = sleep(STEP_MS, undefined, { signal: timer.signal }).then(() => {
        throw new Error(`no answer in ${STEP_MS / 1000} s`);
      });
      late.catch(() => {});
      if (name !== 'connect') assert(session, 'not connected');
      await Promise.race([body(), late]);
      print(`ok ${name}`);
    } catch (error) {
      failed++;
      print(`FAIL ${name}: ${reason(error)}`);
    } finally {
      timer.abort();
    }
  }

  // What a request leaves behind for the next one needs a session.
  const sessionStep = (name, body) => (stateless ? undefined : step(name, body));

  // Only Streamable HTTP resumes, and has a request that ends a session.
  const httpStep = (name, body) => (resumable ? step(name, body) : undefined);

  setTimeout(() => {
    print(`FAIL timeout: not done in ${PROGRAM_MS / 1000} s`);
    process.exit(1);
  }, PROGRAM_MS).unref();

  // ---- a connected client, with everything that crosses its transport in `wire`

  // Cuts the response of the next long-running call off after its first
  // progress event, as a lost network connection would.
  let cutNext = false;
  let resumed = 0;
  async function fetchThatCuts(input, init = {}) {
    if (new Headers(init.headers).has('last-event-id')) resumed++;
    if (!cutNext || init.method !== 'POST' || !String(init.body).includes(target.long)) return fetch(input, init);
    cutNext = false;
    const lost = new AbortController();
    const signal = init.signal ? AbortSignal.any([init.signal, lost.signal]) : lost.signal;
    const response = await fetch(input, { ...init, signal });
    let seen = '';
    const body = response.body.pipeThrough(
      new TransformStream({
        transform(chunk, controller) {
          controller.enqueue(chunk);
          seen += Buffer.from(chunk).toString('latin1');
          if (/notifications\/progress[^\n]*\r?\n(.*\n)*?\r?\n/.test(seen)) {
            controller.terminate();
            lost.abort();
          }
        },
      }),
    );
    return new Response(body, { status: response.status, headers: response.headers });
  }

  async function open(options = {}) {
    const client = lib.client(
      { name: 'gateway-client-test', version: '1.0.0' },
      { capabilities: { sampling: {}, elicitation: { form: {} }, roots: { listChanged: true } } },
    );
    const s = { client, wire: [], asked: [], logs: [], updates: [], changed: [], roots: [ROOT] };
    lib.onRequest(client, 'sampling/createMessage', (request) => {
      s.asked.push(request);
      const { text } = request.params.messages[0].content;
      return { model: 'test-model', role: 'assistant', content: { type: 'text', text: `sampled for ${text}.` } };
    });
    lib.onRequest(client, 'elicitation/create', (request) => {
      s.asked.push(request);
      const all = { name: 'Ada Lovelace', integer: 7, sure: true };
      const wanted = Object.keys(request.params.requestedSchema.properties).filter((key) => key in all);
      return { action: 'accept', content: Object.fromEntries(wanted.map((key) => [key, all[key]])) };
    });
    lib.onRequest(client, 'roots/list', (request) => {
      s.asked.push(request);
      return { roots: s.roots };
    });
    lib.onNotification(client, 'notifications/message', (n) => void s.logs.push(n.params));
    lib.onNotification(client, 'notifications/resources/updated', (n) => void s.updates.push(n.params.uri));
    for (const list of ['tools', 'prompts', 'resources']) {
      lib.onNotification(client, `notifications/${list}/list_changed`, () => void s.changed.push(list));
    }
    if (options.onProgress) lib.onNotification(client, 'notifications/progress', (n) => options.onProgress(n.params));

    if (kind === 'stdio') s.transport = lib.stdio({ command, args, stderr: 'ignore' });
    else if (kind === 'sse') s.transport = lib.sse(url);
    else s.transport = lib.http(url, { fetch: fetchThatCuts, sessionId: options.sessionId });
    await client.connect(s.transport);
    const { onmessage, send } = s.transport;
    s.transport.onmessage = (message, extra) => {
      s.wire.push({ in: message });
      onmessage.call(s.transport, message, extra);
    };
    s.transport.send = (message, sendOptions) => {
      s.wire.push({ out: message });
      return send.call(s.transport, message, sendOptions);
    };
    return s;
  }

  const call = (name, args = {}, options = {}, s = session) => lib.callTool(s.client, { name, arguments: args }, options);
  const text = (result) => result.content.map((c) => c.text ?? '').join('\n');
  const echo = async (message, s) => assert.equal(text(await call('echo', { message }, {}, s)), `Echo: ${message}`);
  const asked = (method) => session.asked.filter((request) => request.method === method).length;
  const steps = (events) => events.map((event) => event.progress);
  const same = (what, actual, expected) =>
    assert.deepEqual(actual, expected, `${what}: ${JSON.stringify(actual)}, expected ${JSON.stringify(expected)}`);
  const until = async (what, condition) => {
    for (let i = 0; !condition(); i++) {
      assert(i < 400, `${what} did not arrive in 10 s`);
      await sleep(25);
    }
  };

  // A tool that would have to ask does not exist where nobody can be asked.
  const refused = async (name, args) => {
    const start = performance.now();
    const told = await call(name, args).then(
      (result) => assert.equal(result.isError, true, `it answers: ${text(result)}`) ?? text(result),
      (error) => error.message,
    );
    assert.match(told, new RegExp(`${name} not found`));
    assert(performance.now() - start < 5000, 'it is refused, but late');
    same('questions', session.asked, []);
  };

  // ---- the steps

  await step('connect', async () => {
    session = await open();
    same('server', session.client.getServerVersion().name, target.server);
    same('subscriptions', Boolean(session.client.getServerCapabilities().resources.subscribe), !stateless);
    same('session', Boolean(session.transport.sessionId), resumable);
    assert.match(session.client.getInstructions(), /./);
    await session.client.ping();
  });

  await step('list-tools', async () => {
    const { tools } = await session.client.listTools();
    const names = new Set(tools.map((tool) => tool.name));
    for (const name of target.tools) assert(names.has(name), `${name} is not listed`);
    for (const name of Object.values(target.ask)) same(`${name} is listed`, names.has(name), asks);
    assert.equal(tools.find((tool) => tool.name === target.add).inputSchema.properties.a.type, 'number');
  });

  await step('list-resources', async () => {
    assert.equal((await session.client.listResources()).resources.length, target.resources);
  });

  await step('list-templates', async () => {
    const { resourceTemplates } = await session.client.listResourceTemplates();
    same('templates', resourceTemplates.map((t) => t.uriTemplate).sort(), target.templates);
  });

  await step('read-resource', async () => {
    const read = async (uri) => (await session.client.readResource({ uri })).contents[0];
    for (const [uri, expected] of Object.entries(target.texts)) assert.match((await read(uri)).text, expected);
    const { blob } = await read(target.blob.uri);
    assert.match(Buffer.from(blob, 'base64').toString(), target.blob.content);
  });

  await step('list-prompts', async () => {
    const { prompts } = await session.client.listPrompts();
    same('prompts', prompts.map((p) => p.name).sort(), target.prompts);
  });

  await step('get-prompt', async () => {
    const prompt = await session.client.getPrompt({ name: 'args-prompt', arguments: { city: 'Köln', state: 'NRW' } });
    assert.match(prompt.messages[0].content.text, /Köln, NRW/);
  });

  await step('complete', async () => {
    const complete = async (argument, context) => {
      const ref = { type: 'ref/prompt', name: 'completable-prompt' };
      return (await session.client.complete({ ref, argument, context })).completion.values;
    };
    assert.deepEqual(await complete({ name: 'department', value: 'S' }), ['Sales', 'Support']);
    assert.deepEqual(await complete({ name: 'name', value: 'B' }, { arguments: { department: 'Engineering' } }), ['Bob']);
  });

  await step('echo', async () => {
    await echo('hello');
    await echo(NASTY);
    await echo('x'.repeat(500_000));
  });

  await step('tool-error', async () => {
    const result = await call(target.add, { a: 'one', b: 2 });
    assert.equal(result.isError, true);
    await assert.rejects(session.client.readResource({ uri: 'demo://no/such/thing' }), (error) => error.code === -32602);
  });

  await step('progress', async () => {
    const got = [];
    const from = session.wire.length;
    const result = await call(target.long, { duration: 1, steps: 5 }, { onprogress: (event) => got.push(event) });
    const seen = [...got];
    assert.match(text(result), /completed/);
    const wire = session.wire.slice(from).flatMap(({ in: m }) => m?.params?.progress ?? (m?.result ? 'result' : []));
    same('events on the wire', wire, [1, 2, 3, 4, 5, 'result']);
    // Over stdio and HTTP+SSE the library itself can lose the last event, when that
    // comes in one read with the result.
    if (resumable) same('progress before the result', steps(seen), [1, 2, 3, 4, 5]);
  });

  await step('concurrent', async () => {
    const slow = call(target.long, { duration: 0.5, steps: 1 });
    await Promise.all([
      ...Array.from({ length: 40 }, async (_, i) => {
        assert.match(text(await call(target.add, { a: i, b: 1000 })), new RegExp(` ${i + 1000}\\.`));
      }),
      ...Array.from({ length: 40 }, (_, i) => echo(`message ${i}`)),
    ]);
    assert.match(text(await slow), /completed/);
  });

  await step('sampling', async () => {
    if (!asks) return refused(target.ask.sampling, { prompt: 'say hi' });
    const sampled = async (prompt) => {
      const answer = text(await call(target.ask.sampling, { prompt }));
      assert.match(answer, new RegExp(`sampled for .*${prompt}\\.`));
    };
    await sampled('say hi');
    await Promise.all(Array.from({ length: 5 }, (_, i) => sampled(`say ${i}`)));
    same('questions', asked('sampling/createMessage'), 6);
  });

  await step('elicitation', async () => {
    if (!asks) return refused(target.ask.elicitation);
    assert.match(text(await call(target.ask.elicitation)), /Name: Ada Lovelace/);
    same('questions', asked('elicitation/create'), target.forms);
  });

  await step('roots', async () => {
    if (!asks) {
      await session.client.sendRootsListChanged();
      return refused(target.ask.roots);
    }
    if (target.rootsAtStart) await until('roots/list', () => asked('roots/list') > 0);
    assert.match(text(await call(target.ask.roots)), /file:\/\/\/srv\/project/);
    const before = asked('roots/list');
    assert(before > 0, 'the roots were not asked for');
    session.roots = [ROOT, { uri: 'file:///srv/second', name: 'second' }];
    await session.client.sendRootsListChanged();
    if (target.rootsAtStart) {
      await until('second roots/list', () => asked('roots/list') > before);
      await sleep(100);
    }
    assert.match(text(await call(target.ask.roots)), /file:\/\/\/srv\/second/);
  });

  await sessionStep('subscribe-update', async () => {
    const { uri, tool } = target.update;
    await session.client.subscribeResource({ uri });
    await call(tool);
    await until('resource update', () => session.updates.includes(uri));
    await call(tool);
    await session.client.unsubscribeResource({ uri });
    // What is under way may still come.
    await sleep(200);
    const seen = session.updates.length;
    await call(tool);
    await call(tool);
    await sleep(200);
    same('updates after the subscription', session.updates.length - seen, 0);
  });

  await sessionStep('list-change', async () => {
    const { tool, args, lists } = target.change;
    session.changed.length = 0;
    await call(tool, args);
    await until('change of every list', () => lists.every((list) => session.changed.includes(list)));
    same('lists that changed', [...new Set(session.changed)].sort(), [...lists].sort());
    same('resources', (await session.client.listResources()).resources.length, target.resources + 1);
  });

  await sessionStep('logging', async () => {
    const { tool, seconds, line } = target.logging;
    const logged = async () => (tool ? call(tool) : call(target.long, { duration: seconds, steps: 4 }));
    await session.client.setLoggingLevel('debug');
    await logged();
    await until('log message', () => session.logs.some((log) => line.test(log.data)));
    if (!tool) await session.client.setLoggingLevel('warning');
    session.logs.length = 0;
    await logged();
    if (!tool) same('lines below the level', session.logs, []);
  });

  await sessionStep('cancel', async () => {
    const stop = new AbortController();
    const from = session.wire.length;
    const onprogress = () => stop.abort('enough');
    await assert.rejects(call(target.long, { duration: 1.5, steps: 3 }, { signal: stop.signal, onprogress }));
    // The server answers in 1.5 s, unless it learns that the call is cancelled; an error
    // may end the call's stream.
    await sleep(2000);
    const wire = session.wire.slice(from);
    const { id } = wire.find((m) => m.out?.method === 'tools/call').out;
    assert(!wire.some((m) => m.in?.id === id && m.in.result), 'the cancelled call was answered');
    await echo('after cancel');
    if (targetName === 'modern') assert.equal(text(await call('stopped')), '1 stopped');
  });

  if (shared) {
    await step('beside', async () => {
      const { uri, tool } = target.update;
      const other = await open();
      // What one session switches on, the other one sees: they have one process.
      await session.client.subscribeResource({ uri });
      session.updates.length = 0;
      await call(tool, {}, {}, other);
      await until('resource update', () => session.updates.includes(uri));
      await call(tool, {}, {}, other);
      same('updates of another session', other.updates, []);
      await Promise.all(Array.from({ length: 40 }, (_, i) => echo(`message ${i}`, i % 2 ? session : other)));
      await other.transport.terminateSession();
      await other.client.close();
      await echo('after the other session');
      await session.client.unsubscribeResource({ uri });
    });
  }

  await httpStep('resume', async () => {
    // The library reconnects on its own.
    const got = [];
    const before = resumed;
    cutNext = true;
    const result = await call(target.long, { duration: 2, steps: 5 }, { onprogress: (e) => got.push(e), timeout: 9000 });
    assert(resumed > before, 'the call ended without a resumption');
    same('progress with a reconnection', steps(got), [1, 2, 3, 4, 5]);
    assert.match(text(result), /completed/);

    // A client that went away; another one takes its session and its call over.
    const first = await open();
    const early = [];
    let resumptionToken;
    const options = { onprogress: (e) => early.push(e), onresumptiontoken: (t) => (resumptionToken = t) };
    call(target.long, { duration: 2, steps: 5 }, options, first).catch(() => {});
    await until('first progress event', () => early.length > 0);
    const { sessionId } = first.transport;
    await first.transport.close();
    const late = [];
    const second = await open({ sessionId, onProgress: (e) => late.push(e) });
    const rest = await call(target.long, { duration: 2, steps: 5 }, { resumptionToken, timeout: 9000 }, second);
    assert.match(text(rest), /completed/);
    same('progress with a resumption token', steps([...early, ...late]), [1, 2, 3, 4, 5]);
    await echo('after resume', second);
    await second.transport.terminateSession();
    await second.client.close();
  });

  await httpStep('terminate', async () => {
    const { sessionId } = session.transport;
    assert(sessionId, 'no session id');
    await session.transport.terminateSession();
    const late = await open({ sessionId });
    await assert.rejects(call('echo', { message: 'late' }, {}, late), (error) => {
      assert.equal(lib.status(error), 404, reason(error));
      return true;
    });
    await late.client.close();
  });

  if (resumable) console.error(`requests with Last-Event-ID: ${resumed}`);
  await Promise.race([session?.client.close(), sleep(3000)]).catch(() => {});
  process.exit(failed ? 1 : 0);
}
