// The steps of ts1.mjs and ts2.mjs; `lib` hides where the two APIs differ.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

const STEP_MS = 30_000;
const PROGRAM_MS = 110_000;
const LONG = 'trigger-long-running-operation';
const ROOT = { uri: 'file:///srv/project', name: 'project' };
const NASTY = 'é 漢字 😀 "quoted" \\ tab\t line\nnext\r\n \u2028 \u0001 data: x\n\nid: 9\n\n';

export async function run(lib) {
  const [target, command, ...args] = process.argv.slice(2);
  const url = target === 'stdio' ? undefined : new URL(target);
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

  const httpStep = (name, body) => (url ? step(name, body) : print(`skip ${name}: no HTTP`));

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
    if (!cutNext || init.method !== 'POST' || !String(init.body).includes(LONG)) return fetch(input, init);
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
    const s = { client, wire: [], asked: [], logs: [], updates: [], roots: [ROOT] };
    lib.onRequest(client, 'sampling/createMessage', (request) => {
      s.asked.push(request);
      return { model: 'test-model', role: 'assistant', content: { type: 'text', text: 'sampled 4711' } };
    });
    lib.onRequest(client, 'elicitation/create', (request) => {
      s.asked.push(request);
      return { action: 'accept', content: { name: 'Ada Lovelace', integer: 7 } };
    });
    lib.onRequest(client, 'roots/list', (request) => {
      s.asked.push(request);
      return { roots: s.roots };
    });
    lib.onNotification(client, 'notifications/message', (n) => void s.logs.push(n.params));
    lib.onNotification(client, 'notifications/resources/updated', (n) => void s.updates.push(n.params.uri));
    if (options.onProgress) lib.onNotification(client, 'notifications/progress', (n) => options.onProgress(n.params));

    s.transport = url
      ? lib.http(url, { fetch: fetchThatCuts, sessionId: options.sessionId })
      : lib.stdio({ command, args, stderr: 'ignore' });
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
  const steps = (events) => events.map((event) => event.progress);
  const same = (what, actual, expected) =>
    assert.deepEqual(actual, expected, `${what}: ${JSON.stringify(actual)}, expected ${JSON.stringify(expected)}`);
  const until = async (what, condition) => {
    for (let i = 0; !condition(); i++) {
      assert(i < 400, `${what} did not arrive in 10 s`);
      await sleep(25);
    }
  };

  // ---- the steps

  await step('connect', async () => {
    session = await open();
    assert.match(session.client.getServerVersion().name, /everything/);
    assert(session.client.getServerCapabilities().resources.subscribe);
    await session.client.ping();
  });

  await step('list-tools', async () => {
    const { tools } = await session.client.listTools();
    const names = new Set(tools.map((tool) => tool.name));
    for (const name of ['echo', 'get-sum', LONG, 'get-roots-list', 'trigger-sampling-request', 'trigger-elicitation-request'])
      assert(names.has(name), `${name} is not listed`);
    assert.equal(tools.find((tool) => tool.name === 'get-sum').inputSchema.properties.a.type, 'number');
  });

  await step('list-resources', async () => {
    assert.equal((await session.client.listResources()).resources.length, 7);
  });

  await step('list-templates', async () => {
    const { resourceTemplates } = await session.client.listResourceTemplates();
    assert.deepEqual(resourceTemplates.map((t) => t.uriTemplate.split('/').at(-2)).sort(), ['blob', 'text']);
  });

  await step('read-resource', async () => {
    const [{ uri }] = (await session.client.listResources()).resources;
    assert((await session.client.readResource({ uri })).contents[0].text.length > 100);
    const dynamic = await session.client.readResource({ uri: 'demo://resource/dynamic/text/7' });
    assert.match(dynamic.contents[0].text, /^Resource 7: /);
    const blob = await session.client.readResource({ uri: 'demo://resource/dynamic/blob/8' });
    assert.match(Buffer.from(blob.contents[0].blob, 'base64').toString(), /^Resource 8: /);
  });

  await step('list-prompts', async () => {
    const { prompts } = await session.client.listPrompts();
    assert.deepEqual(prompts.map((p) => p.name).sort(), ['args-prompt', 'completable-prompt', 'resource-prompt', 'simple-prompt']);
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
    const result = await call('get-sum', { a: 'one', b: 2 });
    assert.equal(result.isError, true);
    await assert.rejects(session.client.readResource({ uri: 'demo://no/such/thing' }), (error) => error.code === -32602);
  });

  await step('progress', async () => {
    const got = [];
    const from = session.wire.length;
    const result = await call(LONG, { duration: 1, steps: 5 }, { onprogress: (event) => got.push(event) });
    const seen = [...got];
    assert.match(text(result), /completed/);
    const wire = session.wire.slice(from).flatMap(({ in: m }) => m?.params?.progress ?? (m?.result ? 'result' : []));
    same('events on the wire', wire, [1, 2, 3, 4, 5, 'result']);
    // Over stdio the library itself can lose the last event, when that comes in
    // one read with the result.
    if (url) same('progress before the result', steps(seen), [1, 2, 3, 4, 5]);
  });

  await step('concurrent', async () => {
    const slow = call(LONG, { duration: 0.5, steps: 1 });
    await Promise.all([
      ...Array.from({ length: 40 }, async (_, i) => {
        assert.match(text(await call('get-sum', { a: i, b: 1000 })), new RegExp(` ${i + 1000}\\.`));
      }),
      ...Array.from({ length: 40 }, (_, i) => echo(`message ${i}`)),
    ]);
    assert.match(text(await slow), /completed/);
  });

  await step('sampling', async () => {
    assert.match(text(await call('trigger-sampling-request', { prompt: 'say hi' })), /sampled 4711/);
    assert.match(JSON.stringify(session.asked.at(-1)), /say hi/);
  });

  await step('elicitation', async () => {
    assert.match(text(await call('trigger-elicitation-request')), /Name: Ada Lovelace/);
  });

  await step('roots', async () => {
    const asked = () => session.asked.filter((request) => request.method === 'roots/list').length;
    await until('roots/list', () => asked() > 0);
    assert.match(text(await call('get-roots-list')), /file:\/\/\/srv\/project/);
    const before = asked();
    session.roots = [ROOT, { uri: 'file:///srv/second', name: 'second' }];
    await session.client.sendRootsListChanged();
    await until('second roots/list', () => asked() > before);
    await sleep(100);
    assert.match(text(await call('get-roots-list')), /file:\/\/\/srv\/second/);
  });

  await step('subscribe-update', async () => {
    const uri = 'demo://resource/dynamic/text/1';
    await session.client.subscribeResource({ uri });
    await call('toggle-subscriber-updates');
    await until('resource update', () => session.updates.includes(uri));
    await call('toggle-subscriber-updates');
    await session.client.unsubscribeResource({ uri });
  });

  await step('logging', async () => {
    await session.client.setLoggingLevel('debug');
    await call('toggle-simulated-logging');
    await until('log message', () => session.logs.some((log) => /level.message/.test(log.data)));
    await call('toggle-simulated-logging');
  });

  await step('cancel', async () => {
    const stop = new AbortController();
    const from = session.wire.length;
    const onprogress = () => stop.abort('enough');
    await assert.rejects(call(LONG, { duration: 1.5, steps: 3 }, { signal: stop.signal, onprogress }));
    // The server answers in 1.5 s, unless it learns that the call is cancelled.
    await sleep(2000);
    const wire = session.wire.slice(from);
    const { id } = wire.find((m) => m.out?.method === 'tools/call').out;
    assert(!wire.some((m) => m.in?.id === id && !m.in.method), 'the cancelled call was answered');
    await echo('after cancel');
  });

  await httpStep('resume', async () => {
    // The library reconnects on its own.
    const got = [];
    const before = resumed;
    cutNext = true;
    const result = await call(LONG, { duration: 2, steps: 5 }, { onprogress: (e) => got.push(e), timeout: 9000 });
    assert(resumed > before, 'the call ended without a resumption');
    same('progress with a reconnection', steps(got), [1, 2, 3, 4, 5]);
    assert.match(text(result), /completed/);

    // A client that went away; another one takes its session and its call over.
    const first = await open();
    const early = [];
    let resumptionToken;
    const options = { onprogress: (e) => early.push(e), onresumptiontoken: (t) => (resumptionToken = t) };
    call(LONG, { duration: 2, steps: 5 }, options, first).catch(() => {});
    await until('first progress event', () => early.length > 0);
    const { sessionId } = first.transport;
    await first.transport.close();
    const late = [];
    const second = await open({ sessionId, onProgress: (e) => late.push(e) });
    const rest = await call(LONG, { duration: 2, steps: 5 }, { resumptionToken, timeout: 9000 }, second);
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

  if (url) console.error(`requests with Last-Event-ID: ${resumed}`);
  await Promise.race([session?.client.close(), sleep(3000)]).catch(() => {});
  process.exit(failed ? 1 : 0);
}
