// The command line of the official inspector, which needs Node 22.19 or newer: a process,
// and so a session, for each request. Usage: node inspector.mjs everything|modern http|sse URL
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { TARGETS } from './targets.mjs';

const STEP_MS = 30_000;
const PROGRAM = './node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js';

const [targetName, transport, url] = process.argv.slice(2);
const target = TARGETS[targetName];
let failed = 0;

// inspect METHOD OPTION...: the result. A failure, and a tool's error, is an Error.
function inspect(method, ...options) {
  const program = fileURLToPath(new URL(PROGRAM, import.meta.url));
  const server = ['--transport', transport, '--server-url', url];
  const args = [program, '--cli', ...server, '--format', 'json', '--method', method, ...options];
  return new Promise((resolve, reject) => {
    const done = (failure, stdout, stderr) => {
      if (!failure) return resolve(JSON.parse(stdout).result);
      if (failure.killed) return reject(new Error(`no answer in ${STEP_MS / 1000} s`));
      reject(new Error(/"message":"((?:[^"\\]|\\.)*)"/.exec(stderr)?.[1] ?? stderr));
    };
    execFile(process.execPath, args, { timeout: STEP_MS, killSignal: 'SIGKILL' }, done).stdin.end();
  });
}

async function step(name, body) {
  try {
    await body();
    console.log(`ok ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAIL ${name}: ${String(error.message).replace(/\s+/g, ' ').slice(0, 300)}`);
  }
}

const call = (name, args, ...options) =>
  inspect('tools/call', '--tool-name', name, '--tool-args-json', JSON.stringify(args), ...options);
const text = (result) => result.content.map((c) => c.text ?? '').join('\n');
const same = (what, actual, expected) =>
  assert.deepEqual(actual, expected, `${what}: ${JSON.stringify(actual)}, expected ${JSON.stringify(expected)}`);

await step('connect', async () => {
  const { serverInfo, protocolVersion, capabilities, instructions } = await inspect('initialize');
  same('server', serverInfo.name, target.server);
  same('revision', protocolVersion, '2025-11-25');
  assert(capabilities.resources.subscribe);
  assert.match(instructions, /./);
});

await step('list-tools', async () => {
  const { tools } = await inspect('tools/list');
  // It declares roots, but neither of the other questions.
  for (const name of [...target.tools, target.ask.roots]) {
    assert(tools.some((tool) => tool.name === name), `${name} is not listed`);
  }
});

await step('list-resources', async () => {
  same('resources', (await inspect('resources/list')).resources.length, target.resources);
});

await step('list-templates', async () => {
  const { resourceTemplates } = await inspect('resources/templates/list');
  same('templates', resourceTemplates.map((t) => t.uriTemplate).sort(), target.templates);
});

await step('read-resource', async () => {
  for (const [uri, expected] of Object.entries(target.texts)) {
    assert.match((await inspect('resources/read', '--uri', uri)).contents[0].text, expected);
  }
  const { blob } = (await inspect('resources/read', '--uri', target.blob.uri)).contents[0];
  assert.match(Buffer.from(blob, 'base64').toString(), target.blob.content);
});

await step('list-prompts', async () => {
  same('prompts', (await inspect('prompts/list')).prompts.map((p) => p.name).sort(), target.prompts);
});

await step('get-prompt', async () => {
  const prompt = await inspect('prompts/get', '--prompt-name', 'args-prompt', '--prompt-args', 'city=Köln', 'state=NRW');
  assert.match(prompt.messages[0].content.text, /Köln, NRW/);
});

await step('echo', async () => {
  const message = 'é 漢字 😀 "quoted" \\ tab\t line\nnext\r\n \u2028 \u0001 data: x\n\nid: 9\n\n';
  same('answer', text(await call('echo', { message })), `Echo: ${message}`);
});

await step('tool-error', async () => {
  await assert.rejects(call(target.add, { a: 'one', b: 2 }), /isError/);
  await assert.rejects(inspect('resources/read', '--uri', 'demo://no/such/thing'), /not found/);
});

await step('concurrent', async () => {
  const load = ['--load', '--load-requests', '80', '--load-concurrency', '40'];
  const { ok, errors, toolErrors } = await call(target.add, { a: 1, b: 2 }, ...load);
  same('calls', { ok, errors, toolErrors }, { ok: 80, errors: 0, toolErrors: 0 });
});

await step('roots', async () => {
  // It has none.
  assert.match(text(await call(target.ask.roots, {})), /^$|no roots are currently configured/);
});

await step('logging', async () => {
  same('result', await inspect('logging/setLevel', '--log-level', 'debug'), {});
});

process.exit(failed ? 1 : 0);
