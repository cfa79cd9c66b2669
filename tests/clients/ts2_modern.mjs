// The official TypeScript client, 2.x line, on the 2026-07-28 wire. Behind the gateway is
// 'everything', the official test server, or 'modern', modern_server.mjs.
// Usage: node ts2_modern.mjs auto|pin everything|modern URL
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { TARGETS } from './targets.mjs';

const REVISION = '2026-07-28';
const STEP_MS = 30_000;
const PROGRAM_MS = 110_000;
const ROOT = { uri: 'file:///srv/project', name: 'project' };
const NASTY = 'é 漢字 😀 "quoted" \\ tab\t line\nnext\r\n \u2028 \u0001 data: x\n\nid: 9\n\n';

const [mode, targetName, url] = process.argv.slice(2);
const target = TARGETS[targetName];
const asked = [];
const logs = [];
const updates = [];
const changed = [];
const faults = [];
let client;
let failed = 0;

const print = (line) => process.stdout.write(`${line}\n`);
const reason = (error) => String(error?.message ?? error).replace(/\s+/g, ' ').slice(0, 300);

async function step(name, body) {
  const timer = new AbortController();
  try {
    const late = sleep(STEP_MS, undefined, { signal: timer.signal }).then(() => {
      throw new Error(`no answer in ${STEP_MS / 1000} s`);
    });
    late.catch(() => {});
    if (name !== 'connect') assert(client, 'not connected');
    await Promise.race([body(), late]);
    same('on the wire', faults, []);
    print(`ok ${name}`);
  } catch (error) {
    failed++;
    print(`FAIL ${name}: ${reason(error)}`);
  } finally {
    faults.length = 0;
    timer.abort();
  }
}

setTimeout(() => {
  print(`FAIL timeout: not done in ${PROGRAM_MS / 1000} s`);
  process.exit(1);
}, PROGRAM_MS).unref();

// The 2026 wire has neither sessions nor requests other than POST.
async function fetchThatLooks(input, init = {}) {
  if (init.method !== 'POST') faults.push(`the client sent ${init.method}`);
  const response = await fetch(input, init);
  if (response.headers.has('mcp-session-id')) faults.push('an answer has a session id');
  return response;
}

function open() {
  const capabilities = { sampling: {}, elicitation: { form: {} }, roots: {} };
  const versionNegotiation = { mode: mode === 'pin' ? { pin: REVISION } : mode };
  const opened = new Client({ name: 'gateway-client-test', version: '1.0.0' }, { capabilities, versionNegotiation });
  opened.setRequestHandler('sampling/createMessage', (request) => {
    asked.push(request);
    return { model: 'test-model', role: 'assistant', content: { type: 'text', text: 'sampled 4711' } };
  });
  opened.setRequestHandler('elicitation/create', (request) => {
    asked.push(request);
    const all = { name: 'Ada Lovelace', integer: 7, sure: true };
    const wanted = Object.keys(request.params.requestedSchema.properties).filter((key) => key in all);
    return { action: 'accept', content: Object.fromEntries(wanted.map((key) => [key, all[key]])) };
  });
  opened.setRequestHandler('roots/list', (request) => {
    asked.push(request);
    return { roots: [ROOT] };
  });
  opened.setNotificationHandler('notifications/message', (n) => void logs.push(String(n.params.data)));
  opened.setNotificationHandler('notifications/resources/updated', (n) => void updates.push(n.params.uri));
  for (const list of ['tools', 'prompts', 'resources']) {
    opened.setNotificationHandler(`notifications/${list}/list_changed`, () => void changed.push(list));
  }
  return opened;
}

const call = (name, args = {}, options = {}) => client.callTool({ name, arguments: args }, options);
const callLogged = (level, name, args) =>
  client.callTool({ name, arguments: args, _meta: { 'io.modelcontextprotocol/logLevel': level } });
const text = (result) => result.content.map((c) => c.text ?? '').join('\n');
const echo = async (message) => assert.equal(text(await call('echo', { message })), `Echo: ${message}`);
const questions = (method) => asked.filter((request) => request.method === method).length;
const same = (what, actual, expected) =>
  assert.deepEqual(actual, expected, `${what}: ${JSON.stringify(actual)}, expected ${JSON.stringify(expected)}`);
const until = async (what, condition) => {
  for (let i = 0; !(await condition()); i++) {
    assert(i < 200, `${what} did not happen in 10 s`);
    await sleep(50);
  }
};

// ---- the steps

await step('connect', async () => {
  const opened = open();
  await opened.connect(new StreamableHTTPClientTransport(new URL(url), { fetch: fetchThatLooks }));
  same('revision', opened.getNegotiatedProtocolVersion(), REVISION);
  same('server', opened.getServerVersion().name, target.server);
  assert(opened.getServerCapabilities().resources.subscribe);
  assert.match(opened.getInstructions(), /./);
  // No step may pass on the older wire, to which the library falls back.
  client = opened;
});

await step('list-tools', async () => {
  const { tools } = await client.listTools();
  for (const name of [...target.tools, ...Object.values(target.ask)]) {
    assert(tools.some((tool) => tool.name === name), `${name} is not listed`);
  }
  assert.equal(tools.find((tool) => tool.name === target.add).inputSchema.properties.a.type, 'number');
  // The official server asks for roots soon after its start. A call that is in flight
  // then, and ends before it is asked, would take the question with it.
  if (target.rootsAtStart) await sleep(1000);
});

await step('list-resources', async () => {
  assert.equal((await client.listResources()).resources.length, target.resources);
});

await step('list-templates', async () => {
  const { resourceTemplates } = await client.listResourceTemplates();
  same('templates', resourceTemplates.map((t) => t.uriTemplate).sort(), target.templates);
});

await step('read-resource', async () => {
  for (const [uri, expected] of Object.entries(target.texts)) {
    assert.match((await client.readResource({ uri })).contents[0].text, expected);
  }
});

await step('list-prompts', async () => {
  same('prompts', (await client.listPrompts()).prompts.map((p) => p.name).sort(), target.prompts);
});

await step('get-prompt', async () => {
  const prompt = await client.getPrompt({ name: 'args-prompt', arguments: { city: 'Köln', state: 'NRW' } });
  assert.match(prompt.messages[0].content.text, /Köln, NRW/);
});

await step('complete', async () => {
  const complete = async (argument, context) => {
    const ref = { type: 'ref/prompt', name: 'completable-prompt' };
    return (await client.complete({ ref, argument, context })).completion.values;
  };
  same('departments', await complete({ name: 'department', value: 'S' }), ['Sales', 'Support']);
  same('names', await complete({ name: 'name', value: 'B' }, { arguments: { department: 'Engineering' } }), ['Bob']);
});

await step('echo', async () => {
  await echo('hello');
  await echo(NASTY);
  await echo('x'.repeat(500_000));
  if (targetName === 'modern') {
    // The client copies this argument into the header Mcp-Param-Channel.
    for (const channel of ['plain', 'é 漢字', ' padded ']) {
      assert.equal(text(await call('echo', { message: 'hello', channel })), `Echo on ${channel}: hello`);
    }
  } else {
    // What the official server asked outside any call, the next call has to bring along.
    await until('roots/list', async () => {
      await echo('roots?');
      return questions('roots/list') > 0;
    });
  }
});

await step('tool-error', async () => {
  assert.equal((await call(target.add, { a: 'one', b: 2 })).isError, true);
  await assert.rejects(client.readResource({ uri: 'demo://no/such/thing' }), (error) => error.code === -32602);
});

await step('progress', async () => {
  const got = [];
  const result = await call(target.long, { duration: 1, steps: 5 }, { onprogress: (event) => got.push(event.progress) });
  const seen = [...got];
  assert.match(text(result), /completed/);
  same('progress before the result', seen, [1, 2, 3, 4, 5]);
});

await step('concurrent', async () => {
  await Promise.all([
    (async () => assert.match(text(await call(target.long, { duration: 0.5, steps: 1 })), /completed/))(),
    ...Array.from({ length: 40 }, async (_, i) => {
      assert.match(text(await call(target.add, { a: i, b: 1000 })), new RegExp(` ${i + 1000}\\.`));
    }),
    ...Array.from({ length: 40 }, (_, i) => echo(`message ${i}`)),
  ]);
});

await step('sampling', async () => {
  assert.match(text(await call(target.ask.sampling, { prompt: 'say hi' })), /sampled 4711/);
  assert.match(JSON.stringify(asked), /say hi/);
});

await step('elicitation', async () => {
  assert.match(text(await call(target.ask.elicitation)), /Name: Ada Lovelace/);
  same('questions', questions('elicitation/create'), target.forms);
});

await step('roots', async () => {
  assert.match(text(await call(target.ask.roots)), /file:\/\/\/srv\/project/);
  assert(questions('roots/list') > 0);
});

await step('subscribe-update', async () => {
  const { uri, tool } = target.update;
  const subscription = await client.listen({ resourceSubscriptions: [uri] });
  same('acknowledged', subscription.honoredFilter, { resourceSubscriptions: [uri] });
  same('updates before', updates, []);
  await call(tool);
  await until('resource update', () => updates.includes(uri));
  await call(tool);
  await subscription.close();
  same('end', await subscription.closed, 'local');
});

await step('list-change', async () => {
  const { tool, args, lists } = target.change;
  const filter = Object.fromEntries(lists.map((list) => [`${list}ListChanged`, true]));
  const subscription = await client.listen(filter);
  same('acknowledged', subscription.honoredFilter, filter);
  changed.length = 0;
  await call(tool, args);
  await until('change of every list', () => lists.every((list) => changed.includes(list)));
  same('lists that changed', [...new Set(changed)].sort(), [...lists].sort());
  await subscription.close();
  const { resources } = await client.listResources();
  assert.equal(resources.length, target.resources + 1);
});

await step('logging', async () => {
  const { tool, seconds, line } = target.logging;
  const long = { duration: seconds, steps: 4 };
  if (tool) await call(tool);
  await call(target.long, { ...long, duration: 0.2 });
  same('lines that no call asked for', logs, []);
  await callLogged('debug', target.long, long);
  assert(logs.some((log) => line.test(log)), `no log line, only ${JSON.stringify(logs)}`);
  if (tool) await call(tool);
  logs.length = 0;
  if (!tool) await callLogged('warning', target.long, long);
  same('lines below the level', logs, []);
});

await step('cancel', async () => {
  const stop = new AbortController();
  let stopped;
  const onprogress = () => {
    stopped ??= performance.now();
    stop.abort('enough');
  };
  await assert.rejects(call(target.long, { duration: 3, steps: 6 }, { signal: stop.signal, onprogress }));
  assert(stopped, 'the call failed before it was cancelled');
  assert(performance.now() - stopped < 1000, 'the call went on after it was cancelled');
  await echo('after cancel');
  if (targetName === 'modern') {
    await until('cancellation in the server', async () => text(await call('stopped')) === '1 stopped');
  }
});

await step('close', () => client.close());
process.exit(failed ? 1 : 0);
