// Started by `run`: puts the gateway in front of each child, runs the suite
// against it and compares the outcome with what the table below expects.

import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const HERE = dirname(fileURLToPath(import.meta.url));
const SUITE = join(HERE, 'node_modules/@modelcontextprotocol/conformance/dist/index.js');

const LEGACY = [process.execPath, join(HERE, 'server.mjs')];
const DUAL = [process.execPath, join(HERE, 'modern.mjs')];
const MODERN = [...DUAL, '--modern-only'];

// One requirement set. `scored` counts the scenarios that the set scores. The
// suite runs a set's other scenarios too, without counting them; `unscored`
// names those that must pass here, with the number of their checks or, where
// the others are no more than advice, the checks themselves. Those that match
// `absent` are about what no child here offers, so nothing comes of them.
const SET_2025 = {
  requirements: '2025-11-25',
  // `server-sse-polling` looks at the stream of an answer, so it must have one.
  flags: ['--response', 'sse'],
  scored: { scenarios: 30, checks: 70 },
  unscored: {
    'server-session-lifecycle': 3,
    'json-schema-2020-12': 8,
    'server-sse-polling': ['server-sse-priming-event', 'server-sse-retry-field'],
  },
};
const SET_2026 = {
  requirements: '2026-07-28',
  flags: [],
  scored: { scenarios: 37, checks: 120 },
  unscored: {
    'http-header-validation': 14,
    'http-custom-header-server-validation': 10,
    'json-schema-2020-12': 8,
  },
  absent: /^tasks-/,
};

// One row is one gateway with one child, tested against one requirement set.
// `allowed` says which checks of which scenarios fail, and for what reason:
// those scenarios are not counted, but nothing else in them may fail. `refusing`
// names the tools that have to say at once that they cannot be of use here.
const TABLE = [
  { name: 'legacy-2025-11-25', child: LEGACY, ...SET_2025 },
  { name: 'dual-2025-11-25', child: DUAL, ...SET_2025 },
  { name: 'modern-2025-11-25', child: MODERN, ...SET_2025 },
  {
    name: 'shared-2025-11-25',
    child: LEGACY,
    ...SET_2025,
    flags: [...SET_2025.flags, '--children', 'shared'],
    scored: { scenarios: 26, checks: 54 },
    // One child serves all sessions, and its questions do not say whose they are.
    // So it is told that nobody can be asked.
    refusing: [
      'test_sampling',
      'test_elicitation',
      'test_elicitation_sep1034_defaults',
      'test_elicitation_sep1330_enums',
    ],
    allowed: {
      'tools-call-sampling': { 'tools-call-sampling': 'Server did not request sampling' },
      'tools-call-elicitation': { 'tools-call-elicitation': 'Server did not request elicitation' },
      'elicitation-sep1034-defaults': {
        'elicitation-sep1034-general': 'Server did not request elicitation',
      },
      'elicitation-sep1330-enums': {
        'elicitation-sep1330-general': 'Server did not request elicitation',
      },
    },
  },
  { name: 'dual-2026-07-28', child: DUAL, ...SET_2026 },
  { name: 'modern-2026-07-28', child: MODERN, ...SET_2026 },
  {
    name: 'legacy-2026-07-28',
    child: LEGACY,
    ...SET_2026,
    scored: { scenarios: 35, checks: 115 },
    allowed: {
      // Wants the question under a key of its own choice. A legacy server's
      // questions have ids instead of keys, so the gateway has to make one up.
      'input-required-result-basic-elicitation': {
        'sep-2322-elicitation-incomplete': 'inputRequests missing expected key "user_name"',
      },
      // Answers under that key what nobody has asked yet. Who makes keys up when
      // it is asked cannot recognize the answer, and asks; that is a warning.
      'input-required-result-ignore-extra-params': {
        'sep-2322-ignore-unexpected-params': 'Server did not return complete result',
      },
    },
  },
];

const READY_MS = 15_000;
const SUITE_MS = 240_000;
const REFUSAL_MS = 10_000;
const STOP_MS = 5_000;
const LOG_LINES = 40;

const gateway = process.argv[2];
const running = new Set();

for (const [signal, code] of [['SIGHUP', 129], ['SIGINT', 130], ['SIGTERM', 143]]) {
  process.on(signal, () => process.exit(code));
}
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

// Resolves with how the process ended; `child.ended` is set from then on.
function start(command, args, log) {
  const fd = openSync(log, 'w');
  const child = spawn(command, args, { stdio: ['ignore', fd, fd] });
  closeSync(fd);
  running.add(child);
  child.end = new Promise((resolve) => {
    const finish = (how) => {
      running.delete(child);
      child.ended = how;
      resolve(how);
    };
    child.once('error', (error) => finish(error.message));
    child.once('exit', (code, signal) => finish(signal ?? code));
  });
  return child;
}

// False if the process outlives the time.
function endsWithin(child, ms) {
  return Promise.race([child.end.then(() => true), sleep(ms, false, { ref: false })]);
}

async function portOf(child, readyFile) {
  const deadline = Date.now() + READY_MS;
  for (;;) {
    let address = '';
    try {
      address = readFileSync(readyFile, 'utf8');
    } catch {
      // Not written yet.
    }
    const port = /:(\d+)\n$/.exec(address)?.[1];
    if (port) return port;
    if (child.ended !== undefined) throw new Error(`the gateway ended early: ${child.ended}`);
    if (Date.now() > deadline) throw new Error(`no address in the ready file after ${READY_MS} ms`);
    await sleep(50);
  }
}

function tail(log) {
  return readFileSync(log, 'utf8').trimEnd().split('\n').slice(-LOG_LINES).join('\n');
}

// The suite makes one folder for each scenario: server-NAME-TIMESTAMP.
function readResults(folder) {
  const results = new Map();
  for (const entry of readdirSync(folder)) {
    const name = /^server-(.*)-\d{4}-\d\d-\d\dT[\d-]+Z$/.exec(entry)?.[1];
    if (!name) continue;
    try {
      results.set(name, JSON.parse(readFileSync(join(folder, entry, 'checks.json'), 'utf8')));
    } catch {
      // A scenario that was cut short leaves an empty folder.
      results.set(name, []);
    }
  }
  return results;
}

const count = (checks, status) => checks.filter((check) => check.status === status).length;
const quote = (word) => `'${word.replaceAll("'", `'\\''`)}'`;

function judge(row, results) {
  const allowed = row.allowed ?? {};
  let passed = 0;
  let failed = 0;
  let tolerated = 0;

  // A check that is not there counts as failed, and so does one too many:
  // either way the table no longer describes what was tested.
  function tally(label, expected, checks, note = '') {
    const good = count(checks, 'SUCCESS');
    const bad = Math.max(count(checks, 'FAILURE'), Math.abs(expected - good));
    console.log(`${bad === 0 ? 'ok  ' : 'FAIL'} ${label}: ${good} of ${expected} checks${note}`);
    passed += good;
    failed += bad;
  }

  const isAllowed = (name, { id, errorMessage }) => {
    const reason = allowed[name]?.[id];
    return reason !== undefined && errorMessage?.startsWith(reason);
  };
  const isScored = (name) =>
    !Object.hasOwn(row.unscored, name) && !Object.hasOwn(allowed, name) && !row.absent?.test(name);
  const scored = [...results].filter(([name]) => isScored(name));
  const clean = scored.filter(
    ([, checks]) => count(checks, 'SUCCESS') > 0 && count(checks, 'FAILURE') === 0,
  ).length;
  const { scenarios } = row.scored;
  tally(
    `${row.name} scored`,
    row.scored.checks,
    scored.flatMap(([, checks]) => checks),
    `, ${clean} of ${scenarios} scenarios`,
  );
  if (failed === 0 && clean !== scenarios) failed += 1;

  for (const [name, expected] of Object.entries(row.unscored)) {
    let checks = results.get(name) ?? [];
    if (Array.isArray(expected)) {
      checks = checks.filter(({ id, status }) => expected.includes(id) || status === 'FAILURE');
      tally(`${row.name} ${name}`, expected.length, checks);
    } else {
      tally(`${row.name} ${name}`, expected, checks);
    }
  }

  for (const name of Object.keys(allowed)) {
    const checks = results.get(name) ?? [];
    const excused = checks.filter((check) => isAllowed(name, check));
    const bad = excused.length === 0 ? 1 : checks.length - excused.length - count(checks, 'SUCCESS');
    const outcome = excused.length > 0 ? 'fails as allowed' : 'nothing to allow';
    console.log(`${bad === 0 ? 'ok  ' : 'FAIL'} ${row.name} ${name}: not counted, ${outcome}`);
    failed += bad;
    tolerated += count(excused, 'FAILURE');
  }

  for (const [name, checks] of results) {
    if (row.absent?.test(name)) continue;
    if (checks.length === 0) console.log(`  NO RESULT ${name}`);
    for (const check of checks) {
      if (isAllowed(name, check)) continue;
      const wanted = Object.hasOwn(allowed, name) || [row.unscored[name]].flat().includes(check.id);
      if (check.status === 'FAILURE' || (wanted && check.status !== 'SUCCESS')) {
        console.log(`  ${check.status} ${name}: ${check.id}: ${check.errorMessage ?? check.description}`);
      }
    }
  }
  return { passed, failed, tolerated };
}

// A client that can be asked anything calls the tools that cannot ask it here.
async function refusals(row, url) {
  const client = new Client(
    { name: 'suite', version: '1.0.0' },
    { capabilities: { elicitation: {}, roots: {}, sampling: {} } },
  );
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  const total = { passed: 0, failed: 0 };
  for (const name of row.refusing) {
    const call = client.callTool({ name, arguments: {} }, undefined, { timeout: REFUSAL_MS });
    const { isError, content } = await call.catch(({ message }) => ({ content: [{ text: message }] }));
    const isRefused = isError === true && content.length > 0;
    console.log(`${isRefused ? 'ok  ' : 'FAIL'} ${row.name} ${name}: "${content[0]?.text}"`);
    total[isRefused ? 'passed' : 'failed'] += 1;
  }
  await client.close();
  return total;
}

async function runRow(row) {
  const folder = join(HERE, 'runs', row.name);
  rmSync(folder, { recursive: true, force: true });
  const results = join(folder, 'results');
  mkdirSync(results, { recursive: true });
  const readyFile = join(folder, 'ready');
  const gatewayLog = join(folder, 'gateway.log');
  const suiteLog = join(folder, 'suite.log');

  const total = { passed: 0, failed: 0 };
  const complain = (why) => {
    console.log(`  ${row.name}: ${why}`);
    total.failed ||= 1;
  };

  const child = start(
    gateway,
    [
      ...['--cmd', row.child.map(quote).join(' '), '--listen', '127.0.0.1:0', '--ready-file', readyFile],
      ...row.flags,
    ],
    gatewayLog,
  );
  try {
    const port = await portOf(child, readyFile);
    // The scenario on DNS rebinding fails outright unless the host is local.
    const url = `http://localhost:${port}/mcp`;
    const hook = join(HERE, 'node20.mjs');
    const options = ['--url', url, '--requirements', row.requirements, '--output-dir', results];
    const suite = start(process.execPath, ['--import', hook, SUITE, 'server', ...options], suiteLog);
    const inTime = await endsWithin(suite, SUITE_MS);
    if (!inTime) suite.kill('SIGKILL');
    const { tolerated, ...counts } = judge(row, readResults(results));
    Object.assign(total, counts);
    // The suite knows nothing of what is allowed here.
    const expected = tolerated > 0 ? 1 : 0;
    if (!inTime) complain(`the suite did not end within ${SUITE_MS} ms`);
    else if (suite.ended !== expected) complain(`the suite ended with ${suite.ended}`);
    if (row.refusing) {
      const refused = await refusals(row, url);
      total.passed += refused.passed;
      total.failed += refused.failed;
    }
    if (child.ended !== undefined) complain(`the gateway ended early: ${child.ended}`);
  } catch (error) {
    complain(error.message);
  }

  child.kill('SIGTERM');
  if (!(await endsWithin(child, STOP_MS))) {
    child.kill('SIGKILL');
    complain(`the gateway did not stop within ${STOP_MS} ms of SIGTERM`);
  }

  if (total.failed > 0) {
    console.log(`  logs: ${folder}`);
    console.log(`--- end of the gateway's log\n${tail(gatewayLog)}\n---`);
  }
  return total;
}

let passed = 0;
let failed = 0;
for (const row of TABLE) {
  const total = await runRow(row);
  passed += total.passed;
  failed += total.failed;
}
console.log(`conformance: ${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
