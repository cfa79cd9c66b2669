// The tools that answer at once, and the list of all.

import { setTimeout as sleep } from 'node:timers/promises';

import { asking } from './asking.mjs';
import { answer, image, object, refusal, resource, sound, string, text, told } from './content.mjs';

export const WATCHED = 'test://watched-resource';

const plain = {
  test_simple_text: {
    description: 'Answers with one text',
    call: () => answer(text('This is a simple text response for testing.')),
  },

  test_image_content: {
    description: 'Answers with one image',
    call: () => answer(image),
  },

  test_audio_content: {
    description: 'Answers with one sound',
    call: () => answer(sound),
  },

  test_embedded_resource: {
    description: 'Answers with one embedded resource',
    call: () =>
      answer(resource('test://embedded-resource', 'text/plain', 'This is an embedded resource content.')),
  },

  test_multiple_content_types: {
    description: 'Answers with a text, an image and a resource',
    call: () =>
      answer(
        text('Multiple content types test:'),
        image,
        resource('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}'),
      ),
  },

  test_error_handling: {
    description: 'Always fails',
    call: () => refusal('This tool intentionally returns an error for testing'),
  },

  test_tool_with_logging: {
    description: 'Logs three times before it answers',
    async call(_args, talk) {
      const messages = ['Tool execution started', 'Tool processing data', 'Tool execution completed'];
      for (const [index, data] of messages.entries()) {
        if (index > 0) await sleep(50);
        await talk.log(data);
      }
      return answer(text('Logged three messages.'));
    },
  },

  test_logging_tool: {
    description: 'Logs once before it answers',
    async call(_args, talk) {
      await talk.log('Diagnostic trace');
      return answer(text('Logged one message.'));
    },
  },

  test_tool_with_progress: {
    description: 'Reports progress three times before it answers, if asked to',
    async call(_args, talk) {
      for (const progress of [0, 50, 100]) {
        if (progress > 0) await sleep(50);
        await talk.progress(progress);
      }
      return answer(text('Reported progress up to 100.'));
    },
  },

  test_reconnection: {
    description: 'Takes long enough for its stream to be closed and resumed',
    async call() {
      await sleep(1200);
      return answer(text('Answered after a pause.'));
    },
  },

  test_trigger_tool_change: {
    description: 'Changes the list of tools',
    async call(_args, talk) {
      await talk.change('tools');
      return answer(text('The list of tools changed.'));
    },
  },

  test_trigger_prompt_change: {
    description: 'Changes the list of prompts',
    async call(_args, talk) {
      await talk.change('prompts');
      return answer(text('The list of prompts changed.'));
    },
  },

  test_trigger_resource_change: {
    description: 'Changes the list of resources, and the resource to subscribe to',
    async call(_args, talk) {
      await talk.change('resources');
      await talk.update(WATCHED);
      return answer(text('The list of resources and one resource changed.'));
    },
  },

  test_header_parameters: {
    description: 'Has parameters that HTTP clients repeat in headers',
    inputSchema: object(
      {
        region: { type: 'string', 'x-mcp-header': 'Region' },
        retries: { type: 'integer', 'x-mcp-header': 'Retries' },
        query: string('Not repeated in a header'),
      },
      ['region'],
    ),
    call: (args) => told(args),
  },

  json_schema_2020_12_tool: {
    description: 'Has an input schema that is lost unless it is passed on whole',
    inputSchema: {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      $defs: {
        address: {
          $anchor: 'addressDef',
          type: 'object',
          properties: { street: { type: 'string' }, city: { type: 'string' } },
        },
      },
      type: 'object',
      properties: {
        name: { type: 'string' },
        address: { $ref: '#/$defs/address' },
        contactMethod: { type: 'string', enum: ['phone', 'email'] },
        phone: { type: 'string' },
        email: { type: 'string' },
      },
      allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
      if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
      then: { required: ['phone'] },
      else: { required: ['email'] },
      additionalProperties: false,
    },
    call: (args) => told(args),
  },
};

// Header validation calls the first tool, and without arguments.
export const tools = { ...plain, ...asking };
