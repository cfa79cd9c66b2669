// Hears what a client hears, counts it by type, and holds it against the schema
// of the client's revision.

import { isDeepStrictEqual } from 'node:util';

import { faults, hasType, typeOfError, typeOfMethod } from './accepts.mjs';
import { within } from './clients.mjs';

const STEP_MS = 15_000;
const MODERN_ONLY = /"(io\.modelcontextprotocol\/\w+|resultType|ttlMs|cacheScope)"/;

export class Witness {
  counts = new Map();
  complaints = new Set();

  constructor(revision) {
    this.revision = revision;
    this.isLegacy = revision < '2026';
  }

  // `resultType` is what a result has to be if the message is one.
  saw(message, resultType) {
    if (message.method !== undefined) {
      return this.count(typeOfMethod(this.revision, message.method) ?? message.method, message);
    }
    const { result, error } = message;
    if (result !== undefined) {
      this.hold(this.nameOf('JSONRPCResultResponse', 'JSONRPCResponse'), message);
      return this.count(result.resultType === 'input_required' ? 'InputRequiredResult' : resultType, result);
    }
    // JSON-RPC 2.0 has null for an id that could not be read, the schemas have
    // no word for that.
    const named = message.id === null ? { ...message, id: 0 } : message;
    this.count(this.nameOf('JSONRPCErrorResponse', 'JSONRPCError'), named);
    const special = typeOfError(this.revision, error?.code);
    if (special) this.count(special.name, special.isWhole ? named : error);
  }

  nameOf(...names) {
    return names.find((name) => hasType(this.revision, name));
  }

  count(type, value) {
    this.counts.set(type, (this.counts.get(type) ?? 0) + 1);
    this.hold(type, value);
  }

  hold(type, value) {
    for (const fault of faults(this.revision, type, value)) this.complaints.add(fault);
    const modern = MODERN_ONLY.exec(JSON.stringify(value));
    if (this.isLegacy && modern) this.complaints.add(`${type}: has ${modern[1]}, a member of 2026-07-28`);
  }

  check(what, holds) {
    if (!holds) this.complaints.add(what);
  }

  equal(what, value, wanted) {
    const told = `${what}: ${JSON.stringify(value)}, not ${JSON.stringify(wanted)}`;
    this.check(told, isDeepStrictEqual(value, wanted));
  }

  // A failure of one step does not keep the next one from being run.
  async step(what, run) {
    try {
      await within(run(), what, STEP_MS);
    } catch (error) {
      this.complaints.add(`${what}: ${error.cause?.message ?? error.message}`);
    }
  }

  // Whether there is nothing to complain about; every type that is wanted has
  // to have come, for otherwise nothing is proved.
  report(child, wanted) {
    for (const type of wanted) this.check(`${type}: none came`, this.counts.has(type));
    const counts = [...this.counts].sort().map(([type, count]) => `${count} ${type}`);
    const isGood = this.complaints.size === 0;
    const what = counts.join(', ') || 'nothing';
    console.log(`${isGood ? 'ok  ' : 'FAIL'} ${this.revision} in front of ${child}: ${what}`);
    for (const complaint of this.complaints) console.log(`  ${complaint}`);
    return isGood;
  }
}
