// What the fixtures offer: everything the official conformance suite asks of a
// server, written once for both eras. How a tool reaches its client is the
// fixture's business; it hands each call a `talk`:
//
//   talk.ask(questions, options)  the answers, by the keys of the questions;
//       with `sealed`, asked in a way that no client can answer unasked;
//       with `blind`, asked even if the client did not declare the capability
//   talk.declared                 the capabilities of the client
//   talk.log(data)                at the level `info`
//   talk.progress(progress)       of 100, if the client wants to know
//   talk.change(kind)             adds the item of that kind from `late`, or
//       takes it away again, and says that the list changed
//   talk.update(uri)              says that the resource changed
//
// A call may be run again from its start until all its questions are answered,
// so it does nothing else before it has asked.

import { form } from './asking.mjs';
import { PNG, answer, image, object, resource, string, text } from './content.mjs';
import { WATCHED } from './tools.mjs';

export { tools } from './tools.mjs';

export const prompts = {
  test_simple_prompt: {
    description: 'One text',
    contents: () => [text('This is a simple prompt for testing.')],
  },

  test_prompt_with_arguments: {
    description: 'One text made of two arguments',
    arguments: ['arg1', 'arg2'],
    contents: ({ arg1, arg2 }) => [text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)],
  },

  test_prompt_with_embedded_resource: {
    description: 'A resource and a text',
    arguments: ['resourceUri'],
    contents: ({ resourceUri }) => [
      resource(resourceUri, 'text/plain', 'Embedded resource content for testing.'),
      text('Please process the embedded resource above.'),
    ],
  },

  test_prompt_with_image: {
    description: 'An image and a text',
    contents: () => [image, text('Please analyze the image above.')],
  },

  test_input_required_result_prompt: {
    description: 'One text made of what the user says',
    async contents(_args, talk) {
      const question = form('What context should the prompt use?', object({ context: string('Context') }));
      const { user_context } = await talk.ask({ user_context: question });
      return [text(`Context: ${user_context.content?.context}`)];
    },
  },
};

export const resources = {
  'test://static-text': {
    name: 'static-text',
    description: 'A text that never changes',
    mimeType: 'text/plain',
    body: { text: 'This is the content of the static text resource.' },
  },
  'test://static-binary': {
    name: 'static-binary',
    description: 'An image that never changes',
    mimeType: 'image/png',
    body: { blob: PNG },
  },
  [WATCHED]: {
    name: 'watched-resource',
    description: 'A text to subscribe to',
    mimeType: 'text/plain',
    body: { text: 'This is the content of the watched resource.' },
  },
};

// One item of each kind that is not there from the start.
export const late = {
  tools: ['test_late_tool', { description: 'Came later', call: () => answer(text('I came later.')) }],
  prompts: ['test_late_prompt', { description: 'Came later', contents: () => [text('I came later.')] }],
  resources: [
    'test://late-resource',
    { name: 'late-resource', description: 'Came later', mimeType: 'text/plain', body: { text: 'I came later.' } },
  ],
};

export const template = {
  name: 'template',
  uriTemplate: 'test://template/{id}/data',
  description: 'Data for any id',
  mimeType: 'application/json',
  body: (id) => ({ text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) }),
};

export function completion(start) {
  const words = ['paris', 'park', 'party', 'test', 'testing'];
  const values = words.filter((word) => word.startsWith(start));
  return { completion: { values, total: values.length, hasMore: false } };
}
