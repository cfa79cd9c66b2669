// Condenses the JSON schemas of the specification into the facts that
// accepts.mjs checks messages against: of every type that a server sends, its
// members, and what they may be. Nothing is described and nothing is worded.
//
// Usage: node condense.mjs CHECKOUT [--check]
//
// CHECKOUT is a checkout of the specification's repository. With --check, only
// tells whether the facts are still what the schemas say.
//
// A shape is one of
//   "any" "object" "array" "string" "integer" "number" "boolean" "null"
//   "string: uri"                     a format
//   "integer: 0.." "number: 0..1"     bounds
//   "#Tool"                           another type of the same revision
//   { "is": value }  { "in": values }
//   { "or": shapes }  { "and": shapes }
//   { "list": shape, "most": number }
//   { "has": { "name": shape, "title?": shape }, "rest": shape }
//       an object with those members; "?" marks what may be absent, and "rest"
//       is what all other members have to be, where that is not "any"

import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const REVISIONS = ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25', '2026-07-28'];
const FACTS = join(dirname(fileURLToPath(import.meta.url)), 'facts');

// Where everything begins that a server sends.
const ROOTS = [
  /^Server(Notification|Request|Result)$/,
  /^(Empty|Initialize)Result$/,
  /^JSONRPC(Error|ErrorResponse|Notification|Request|Response|ResultResponse)$/,
  /Error$/,
];

// Words that say nothing about what is accepted here.
const SILENT = ['$schema', 'deprecated', 'description', 'examples', 'title'];

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

// Fails on every word that it does not know, so that nothing is lost in silence.
function shapeOf(schema, place) {
  const { ...words } = schema === true ? {} : schema;
  for (const word of SILENT) delete words[word];
  const take = (word) => {
    const value = words[word];
    delete words[word];
    return value;
  };
  const shapes = [];

  const ref = take('$ref');
  if (ref !== undefined) shapes.push(`#${ref.split('/').at(-1)}`);
  const value = take('const');
  if (value !== undefined) shapes.push({ is: value });
  const values = take('enum');
  if (values !== undefined) shapes.push({ in: values });
  const some = take('anyOf');
  if (some !== undefined) shapes.push({ or: some.map((each) => shapeOf(each, place)) });
  const all = take('allOf');
  if (all !== undefined) shapes.push(...all.map((each) => shapeOf(each, place)));

  const types = [take('type') ?? []].flat();
  const isSaid = value !== undefined || values !== undefined;
  const typed = types.map((type) => shapeOfType(type, take, place));
  if (typed.length > 1) shapes.push({ or: typed });
  else if (typed.length === 1 && !isSaid) shapes.push(typed[0]);

  const left = Object.keys(words);
  if (left.length > 0) throw new Error(`${place}: do not know what ${left.join(', ')} means`);
  if (shapes.length === 0) return 'any';
  return shapes.length === 1 ? shapes[0] : { and: shapes };
}

function shapeOfType(type, take, place) {
  switch (type) {
    case 'object': {
      const required = take('required') ?? [];
      const properties = take('properties') ?? {};
      const rest = shapeOf(take('additionalProperties') ?? true, place);
      const has = {};
      for (const [name, schema] of Object.entries(properties)) {
        has[required.includes(name) ? name : `${name}?`] = shapeOf(schema, `${place}.${name}`);
      }
      const nameless = required.find((name) => !Object.hasOwn(properties, name));
      if (nameless) throw new Error(`${place}: requires ${nameless}, but does not say what it is`);
      if (Object.keys(has).length === 0 && rest === 'any') return 'object';
      return { has, ...(rest !== 'any' && { rest }) };
    }
    case 'array': {
      const items = take('items');
      const most = take('maxItems');
      if (items === undefined) return 'array';
      return { list: shapeOf(items, `${place}[]`), ...(most !== undefined && { most }) };
    }
    case 'integer':
    case 'number': {
      const least = take('minimum');
      const most = take('maximum');
      return least === undefined && most === undefined ? type : `${type}: ${least ?? ''}..${most ?? ''}`;
    }
    case 'string': {
      const format = take('format');
      return format === undefined ? type : `${type}: ${format}`;
    }
    case 'boolean':
    case 'null':
      return type;
    default:
      throw new Error(`${place}: do not know the type ${type}`);
  }
}

// The bounds and the default of a number in a form are numbers. The schemas of
// these two revisions, generated from the TypeScript that says so, say integers.
function mend(revision, types) {
  if (!['2025-06-18', '2025-11-25'].includes(revision)) return;
  for (const name of ['minimum', 'maximum', 'default']) {
    const property = types.NumberSchema.properties[name];
    if (property?.type === 'integer') property.type = 'number';
  }
}

function* refs(shape) {
  if (typeof shape === 'string') {
    if (shape.startsWith('#')) yield shape.slice(1);
  } else if (Array.isArray(shape)) {
    for (const each of shape) yield* refs(each);
  } else if (isObject(shape)) {
    const { is, in: values, ...parts } = shape;
    for (const part of Object.values(parts)) yield* refs(part);
  }
}

function condense(revision, schema) {
  const types = schema.$defs ?? schema.definitions;
  mend(revision, types);
  const facts = {};
  const add = (name) => {
    if (Object.hasOwn(facts, name)) return;
    facts[name] = shapeOf(types[name], `${revision} ${name}`);
    for (const other of refs(facts[name])) add(other);
  };
  for (const name of Object.keys(types)) {
    if (ROOTS.some((root) => root.test(name))) add(name);
  }
  return facts;
}

// A type a line, in the order of their names.
function print(facts) {
  const lines = Object.keys(facts)
    .sort()
    .map((name) => `${JSON.stringify(name)}: ${JSON.stringify(facts[name])}`);
  return `{\n${lines.join(',\n')}\n}\n`;
}

const [checkout, option] = process.argv.slice(2);
if (!checkout || (option && option !== '--check')) {
  console.error('usage: node condense.mjs CHECKOUT [--check]');
  process.exit(2);
}
for (const revision of REVISIONS) {
  const schema = JSON.parse(readFileSync(join(checkout, 'schema', revision, 'schema.json'), 'utf8'));
  const text = print(condense(revision, schema));
  const path = join(FACTS, `${revision}.json`);
  if (!option) {
    writeFileSync(path, text);
  } else if (readFileSync(path, 'utf8') !== text) {
    console.error(`${path} is not what ${checkout} says`);
    process.exitCode = 1;
  }
}
