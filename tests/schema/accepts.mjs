// Says what the schema of a revision has against a value. What the schemas say
// is in facts/; condense.mjs tells how to read it.

import { readFileSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FACTS = join(dirname(fileURLToPath(import.meta.url)), 'facts');
const facts = Object.fromEntries(
  readdirSync(FACTS).map((file) => [
    basename(file, '.json'),
    JSON.parse(readFileSync(join(FACTS, file), 'utf8')),
  ]),
);

export const revisions = Object.keys(facts).sort();

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

const KINDS = {
  any: () => true,
  object: isObject,
  array: Array.isArray,
  string: (value) => typeof value === 'string',
  integer: Number.isInteger,
  number: (value) => typeof value === 'number',
  boolean: (value) => typeof value === 'boolean',
  null: (value) => value === null,
};

const FORMATS = {
  uri: (value) => URL.canParse(value),
  'uri-template': (value) => URL.canParse(value.replaceAll(/\{[^{}]*\}/g, 'x')),
  byte: (value) => Buffer.from(value, 'base64').toString('base64') === value,
};

function isPlain(shape, value) {
  const [kind, limit] = shape.split(': ');
  if (!KINDS[kind](value)) return false;
  if (limit === undefined) return true;
  if (kind === 'string') return FORMATS[limit](value);
  const [least, most] = limit.split('..');
  return (least === '' || value >= Number(least)) && (most === '' || value <= Number(most));
}

// The faults of a value, each with the place where it is.
function compare(types, shape, value, place) {
  const wrong = (what) => [`${place}: ${what}, not ${JSON.stringify(value)?.slice(0, 100)}`];
  if (typeof shape === 'string') {
    if (shape.startsWith('#')) return compare(types, types[shape.slice(1)], value, place);
    return isPlain(shape, value) ? [] : wrong(shape);
  }
  if (shape.in) return shape.in.includes(value) ? [] : wrong(`one of ${shape.in.join(', ')}`);
  if (Object.hasOwn(shape, 'is')) return value === shape.is ? [] : wrong(JSON.stringify(shape.is));
  if (shape.and) return shape.and.flatMap((each) => compare(types, each, value, place));
  if (shape.or) {
    // Of several that do not fit, the one that fits best and furthest says what
    // is wrong.
    const each = shape.or.map((other) => compare(types, other, value, place));
    const reach = ([fault]) => fault?.indexOf(':') ?? Infinity;
    return each.reduce((best, other) => {
      const isCloser =
        other.length < best.length || (other.length === best.length && reach(other) > reach(best));
      return isCloser ? other : best;
    });
  }
  if (shape.list) {
    if (!Array.isArray(value)) return wrong('array');
    const faults = value.flatMap((item, index) => compare(types, shape.list, item, `${place}[${index}]`));
    return value.length > (shape.most ?? Infinity) ? [...faults, ...wrong(`at most ${shape.most}`)] : faults;
  }
  if (!isObject(value)) return wrong('object');
  const faults = [];
  const known = new Set();
  for (const [key, member] of Object.entries(shape.has)) {
    const name = key.replace(/\?$/, '');
    known.add(name);
    if (Object.hasOwn(value, name)) faults.push(...compare(types, member, value[name], `${place}.${name}`));
    else if (name === key) faults.push(`${place}: has no ${name}`);
  }
  for (const [name, member] of Object.entries(value)) {
    if (!shape.rest || known.has(name)) continue;
    faults.push(...compare(types, shape.rest, member, `${place}.${name}`));
  }
  return faults;
}

export function faults(revision, type, value) {
  const types = facts[revision];
  if (!Object.hasOwn(types, type)) return [`${revision} has no ${type}`];
  return compare(types, types[type], value, type);
}

const constant = (shape, ...path) =>
  path.reduce(
    (inner, name) => inner?.has?.[name] ?? inner?.and?.find((part) => part.has?.[name])?.has[name],
    shape,
  )?.is;

// The type of a request or a notification of a server, found by its method.
export function typeOfMethod(revision, method) {
  const types = facts[revision];
  const sent = [types.ServerRequest, types.ServerNotification].flatMap((union) => union?.or ?? []);
  return sent.map((ref) => ref.slice(1)).find((name) => constant(types[name], 'method') === method);
}

// The type of an error, found by its code, if the revision has one for it, and
// whether it is the type of the whole response.
export function typeOfError(revision, code) {
  for (const [name, shape] of Object.entries(facts[revision])) {
    if (constant(shape, 'error', 'code') === code) return { name, isWhole: true };
    if (/Error$/.test(name) && constant(shape, 'code') === code) return { name, isWhole: false };
  }
  return undefined;
}

export const hasType = (revision, type) => Object.hasOwn(facts[revision], type);
