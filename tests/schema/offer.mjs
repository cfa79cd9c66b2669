// What the children offer: every kind of content and of schema that has to
// arrive in a shape that each revision knows. How a tool reaches its client is
// the child's business; it hands each call a `talk`:
//
//   talk.ask(questions)       the answers, by the keys of the questions
//   talk.log(level, data)     a log message
//   talk.progress(progress)   if the client wants to know
//   talk.change()             says that every list and one resource changed
//   talk.heard                the answer that `flood` gives to this call
//   talk.flood()              first says very much about the progress of that call

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNQSDgAAAHkAUGcFuGgAAAAAElFTkSuQmCC';
const WAV = 'UklGRigAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQQAAACAoIBg';

// How many lines a flood has; together they are more than the gateway keeps.
export const FLOOD = 200;
export const NOTE = 'test://notes/1';
const annotations = { audience: ['user'], priority: 0.5, lastModified: '2026-07-28T00:00:00Z' };
const icons = [
  { src: 'https://example.com/icon.png', mimeType: 'image/png', sizes: ['48x48'], theme: 'dark' },
];

export const text = (value) => ({ type: 'text', text: value });
const blocks = [
  { ...text('a text'), annotations, _meta: { 'example.com/note': 1 } },
  { type: 'image', data: PNG, mimeType: 'image/png' },
  { type: 'audio', data: WAV, mimeType: 'audio/wav' },
  { type: 'resource_link', uri: NOTE, name: 'note', title: 'A note', mimeType: 'text/plain', size: 6, icons },
  { type: 'resource', resource: { uri: NOTE, mimeType: 'text/plain', text: 'a note' } },
  { type: 'resource', resource: { uri: 'test://picture', mimeType: 'image/png', blob: PNG } },
];

const object = (properties, required = Object.keys(properties)) => ({ type: 'object', properties, required });
const integer = { type: 'integer' };
const answer = (...content) => ({ content });
const told = (value) => answer(text(JSON.stringify(value)));

const form = {
  method: 'elicitation/create',
  params: {
    message: 'Who are you?',
    requestedSchema: object(
      {
        name: { type: 'string', title: 'Name', description: 'As you like it', minLength: 1, maxLength: 20 },
        email: { type: 'string', format: 'email' },
        age: { type: 'integer', minimum: 0, maximum: 150 },
        share: { type: 'number', minimum: 0.5, maximum: 1.5 },
        sure: { type: 'boolean', default: false },
        size: { type: 'string', enum: ['s', 'm', 'l'] },
        color: {
          type: 'string',
          title: 'Color',
          oneOf: [
            { const: '#f00', title: 'Red' },
            { const: '#0f0', title: 'Green' },
          ],
        },
      },
      ['name', 'color'],
    ),
  },
};
// A choice of several, which forms have since 2025-11-25.
const several = {
  method: 'elicitation/create',
  params: {
    message: 'Which ones?',
    requestedSchema: object({
      sizes: { type: 'array', items: { type: 'string', enum: ['s', 'm', 'l'] }, minItems: 1, maxItems: 2 },
      colors: { type: 'array', items: { anyOf: [{ const: '#f00', title: 'Red' }] }, default: ['#f00'] },
    }),
  },
};
const link = {
  method: 'elicitation/create',
  params: { mode: 'url', message: 'Please sign in.', url: 'https://example.com/sign-in?for=test' },
};
// Since 2025-11-25 a message holds any number of blocks, before that a single one.
const model = {
  method: 'sampling/createMessage',
  params: {
    messages: [
      { role: 'user', content: [text('What is the capital of France?')] },
      { role: 'assistant', content: text('Paris.') },
      { role: 'user', content: { type: 'image', data: PNG, mimeType: 'image/png' } },
    ],
    maxTokens: 100,
    systemPrompt: 'Be brief.',
    temperature: 0.5,
    modelPreferences: { hints: [{ name: 'small' }], speedPriority: 1 },
  },
};
const tool = { name: 'look', description: 'Looks it up', inputSchema: object({ word: { type: 'string' } }) };
const used = { type: 'tool_use', id: 'use-1', name: 'look', input: { word: 'Paris' } };
const withTools = (look, structuredContent) => ({
  ...model,
  params: {
    ...model.params,
    messages: [
      model.params.messages[1],
      { role: 'assistant', content: [used] },
      {
        role: 'user',
        content: [{ type: 'tool_result', toolUseId: 'use-1', content: blocks, structuredContent }],
      },
    ],
    tools: [look],
    toolChoice: { mode: 'auto' },
  },
});
const [question, , picture] = model.params.messages;
const inParts = {
  ...model,
  params: { ...model.params, messages: [{ role: 'user', content: [...question.content, picture.content] }] },
};
const roots = { method: 'roots/list', params: {} };

const asking = (questions) => ({ call: async (_args, talk) => told(await talk.ask(questions)) });

export const tools = {
  plain: { call: () => answer(text('plain')) },
  blocks: { call: () => answer(...blocks) },
  fails: { call: () => ({ ...answer(text('it failed')), isError: true }) },
  breaks: {
    call() {
      throw { code: -32603, message: 'it broke', data: { why: 'for a test' } };
    },
  },
  dies: { call: () => process.exit(3) },

  structured: {
    title: 'Structured',
    icons,
    annotations: { title: 'Structured', readOnlyHint: true },
    inputSchema: object({ a: integer, b: integer }, []),
    outputSchema: object({ sum: integer }),
    call: () => ({ ...told({ sum: 3 }), structuredContent: { sum: 3 } }),
  },

  tells: {
    async call(_args, talk) {
      for (const progress of [1, 2]) {
        talk.progress(progress);
        talk.log('warning', { step: progress });
      }
      return answer(text('told'));
    },
  },
  changes: {
    call(_args, talk) {
      talk.change();
      return answer(text('changed'));
    },
  },
  // Begins, and is then heard of no more until `floods` is called.
  hears: {
    call(_args, talk) {
      talk.progress(1);
      return talk.heard;
    },
  },
  floods: {
    call(_args, talk) {
      talk.flood();
      return answer(text('flooded'));
    },
  },

  asks_form: asking({ form }),
  asks_several: asking({ several }),
  asks_link: asking({ link }),
  asks_model: asking({ model }),
  asks_model_with_tools: asking({ model: withTools(tool, { found: true }) }),
  asks_model_in_parts: asking({ model: inParts }),
  asks_roots: asking({ roots }),
  asks_both: asking({ model, roots }),
};

// What only a modern child can say.
export const modernTools = {
  booleans: {
    inputSchema: object({ anything: true, nothing: false, list: { type: 'array', items: true } }, []),
    outputSchema: object({ anything: true, nothing: false }, []),
    call: () => ({ ...told({ anything: 1 }), structuredContent: { anything: 1 } }),
  },
  list: {
    outputSchema: { type: 'array', items: integer },
    call: () => ({ content: [], structuredContent: [1, 2] }),
  },
  referred: {
    outputSchema: {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      $ref: '#/$defs/pair',
      $defs: {
        pair: object({ left: { $ref: '#/$defs/side' }, right: { $ref: '#/$defs/side' } }),
        side: integer,
      },
    },
    call: () => ({ ...told({ left: 1, right: 2 }), structuredContent: { left: 1, right: 2 } }),
  },
  // Refers to a place that moves when the schema is wrapped.
  nested: {
    outputSchema: { type: 'array', items: { $ref: '#/properties/item' }, properties: { item: integer } },
    call: () => ({ ...told([1]), structuredContent: [1] }),
  },
  asks_model_with_tools: asking({
    model: withTools(
      { ...tool, inputSchema: object({ word: true }), outputSchema: { type: 'boolean' } },
      true,
    ),
  }),
  nullable: {
    outputSchema: { ...object({ sum: integer }), type: ['object', 'null'] },
    call: () => ({ ...told(null), structuredContent: null }),
  },
  loose: { call: () => ({ ...told(['no schema']), structuredContent: ['no schema'] }) },
};

// What only a legacy child can say: the client has to visit a page first.
export const legacyTools = {
  needs_link: {
    call() {
      const data = { elicitations: [{ ...link.params, elicitationId: 'sign-in-1' }] };
      throw { code: -32042, message: 'sign in first', data };
    },
  },
};

export const prompts = {
  plain: { messages: () => [{ role: 'user', content: text('plain') }] },
  blocks: {
    title: 'Blocks',
    arguments: [{ name: 'topic', title: 'Topic', description: 'Anything', required: false }],
    messages: () => blocks.map((content) => ({ role: 'user', content })),
  },
  asks: {
    messages: async (talk) => [
      { role: 'assistant', content: text(JSON.stringify(await talk.ask({ roots }))) },
    ],
  },
};

export const resources = [
  { uri: NOTE, name: 'note', title: 'A note', mimeType: 'text/plain', size: 6, annotations, icons },
  { uri: 'test://picture', name: 'picture', mimeType: 'image/png' },
];
export const templates = [
  { uriTemplate: 'test://notes/{number}', name: 'notes', mimeType: 'text/plain', annotations },
];

export function contents(uri) {
  if (uri === 'test://picture') return [{ uri, mimeType: 'image/png', blob: PNG }];
  return uri.startsWith('test://notes/')
    ? [{ uri, mimeType: 'text/plain', text: 'a note', _meta: {} }]
    : undefined;
}
