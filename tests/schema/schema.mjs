// Started by `run`: puts the gateway in front of each child, speaks to it as a
// client of each revision, and holds every message that comes back against the
// schema of that revision.

import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { revisions } from './accepts.mjs';
import { LegacyClient, ModernClient, within } from './clients.mjs';
import { legacySteps } from './legacy_steps.mjs';
import { modernSteps } from './modern_steps.mjs';
import { Witness } from './witness.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));
const READY_MS = 15_000;
const STOP_MS = 10_000;
const LOG_LINES = 20;

// What there is to see in front of every child.
const COMMON = [
  'ListToolsResult',
  'ListPromptsResult',
  'ListResourcesResult',
  'ListResourceTemplatesResult',
  'CallToolResult',
  'GetPromptResult',
  'ReadResourceResult',
  'CompleteResult',
  'ToolListChangedNotification',
  'PromptListChangedNotification',
  'ResourceListChangedNotification',
  'ResourceUpdatedNotification',
  'ProgressNotification',
  'LoggingMessageNotification',
];

const legacy = (revision) => [
  ...COMMON,
  'InitializeResult',
  'EmptyResult',
  revision < '2025-11-25' ? 'JSONRPCError' : 'JSONRPCErrorResponse',
];

const questions = (revision) => [
  'CreateMessageRequest',
  'ListRootsRequest',
  ...(revision < '2025-06-18' ? [] : ['ElicitRequest']),
];

// What comes of questions that the gateway asks for a modern child.
const ends = (revision) => [
  'CancelledNotification',
  ...(revision < '2025-11-25' ? [] : ['ElicitationCompleteNotification']),
];

const modern = () => [
  ...COMMON,
  'DiscoverResult',
  'InputRequiredResult',
  'SubscriptionsAcknowledgedNotification',
  'SubscriptionsListenResult',
  'JSONRPCErrorResponse',
  'ParseError',
  'InvalidRequestError',
  'MethodNotFoundError',
  'InvalidParamsError',
  'InternalError',
  'HeaderMismatchError',
  'UnsupportedProtocolVersionError',
];

// One row is one gateway with one child, and what has to be seen of it by
// clients of sessions, and by those without. Where `isBridged`, a session does
// not agree with the child on a revision.
const TABLE = [
  {
    name: 'a modern child',
    era: 'modern',
    isBridged: true,
    flags: [],
    legacy: (revision) => [...legacy(revision), ...questions(revision), ...ends(revision)],
    modern,
  },
  {
    name: 'a legacy child',
    era: 'legacy',
    flags: [],
    legacy,
    modern: () => [...modern(), 'MissingRequiredClientCapabilityError'],
  },
  { name: 'a child of both', era: 'dual', flags: [], legacy, modern },
  {
    name: 'a shared legacy child',
    era: 'legacy',
    isBridged: true,
    flags: ['--children', 'shared'],
    legacy: (revision) => [...legacy(revision), ...questions(revision)],
  },
];

const program = process.argv[2];
const folder = mkdtempSync(join(tmpdir(), 'schema-'));
const running = new Set();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});
for (const [signal, code] of [
  ['SIGHUP', 129],
  ['SIGINT', 130],
  ['SIGTERM', 143],
]) {
  process.on(signal, () => process.exit(code));
}

async function start({ name, era, flags }) {
  const ready = join(folder, `${name}.ready`);
  const log = join(folder, `${name}.log`);
  const fd = openSync(log, 'w');
  const options = ['--listen', '127.0.0.1:0', '--ready-file', ready, '--log-bytes', '64KiB', '--drain', '2s'];
  const child = [process.execPath, join(HERE, 'child.mjs'), era];
  const gateway = spawn(program, [...options, ...flags, '--', ...child], { stdio: ['ignore', fd, fd] });
  closeSync(fd);
  running.add(gateway);
  const ended = new Promise((resolve) => gateway.once('exit', () => resolve(running.delete(gateway))));
  // A second signal would end it at once.
  const stop = () => gateway.killed || gateway.kill('SIGTERM');
  const deadline = Date.now() + READY_MS;
  for (;;) {
    const address = /127\.0\.0\.1:\d+/.exec(existsSync(ready) && readFileSync(ready, 'utf8'))?.[0];
    if (address) return { url: `http://${address}/mcp`, log, ended, stop };
    if (gateway.exitCode !== null || Date.now() > deadline) throw new Error(readFileSync(log, 'utf8').trim());
    await sleep(20);
  }
}

const total = { passed: 0, failed: 0 };
const count = (isGood) => (total[isGood ? 'passed' : 'failed'] += 1);

async function runRow(row) {
  const gateway = await start(row);
  const failed = total.failed;
  for (const revision of revisions) {
    const witness = new Witness(revision);
    if (witness.isLegacy) {
      await legacySteps(new LegacyClient(gateway.url, revision, witness), witness, row);
      count(witness.report(row.name, row.legacy(revision)));
    } else if (row.modern) {
      await modernSteps(new ModernClient(gateway.url, revision, witness), witness, row, gateway.stop);
      count(witness.report(row.name, row.modern(revision)));
    }
  }
  gateway.stop();
  await within(gateway.ended, 'the end of the gateway', STOP_MS);
  if (total.failed > failed) console.log(`--- end of the gateway's log\n${tail(gateway.log)}\n---`);
}

const tail = (log) => readFileSync(log, 'utf8').trimEnd().split('\n').slice(-LOG_LINES).join('\n');

for (const row of TABLE) {
  try {
    await runRow(row);
  } catch (error) {
    console.log(`FAIL ${row.name}: ${error.message}`);
    count(false);
  }
}
console.log(`schema: ${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed === 0 ? 0 : 1);
