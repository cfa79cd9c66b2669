// The tools that ask their client something before they answer.

import { answer, object, string, text, told } from './content.mjs';

const titled = (pairs) => Object.entries(pairs).map(([value, title]) => ({ const: value, title }));

export const form = (message, requestedSchema) => ({
  method: 'elicitation/create',
  params: { message, requestedSchema },
});
const sample = (prompt, maxTokens = 100) => ({
  method: 'sampling/createMessage',
  params: { messages: [{ role: 'user', content: text(prompt) }], maxTokens },
});
const roots = { method: 'roots/list', params: {} };
const name = form('What is your name?', object({ name: string('Name') }));
const ok = form('Please confirm', object({ ok: { type: 'boolean' } }));

async function elicited(talk, question) {
  const { form: reply } = await talk.ask({ form: question });
  const content = JSON.stringify(reply.content ?? {});
  return answer(text(`Elicitation completed: action=${reply.action}, content=${content}`));
}

export const asking = {
  test_sampling: {
    description: "Asks the client's model",
    inputSchema: object({ prompt: string('What to ask') }),
    async call({ prompt }, talk) {
      const { reply } = await talk.ask({ reply: sample(String(prompt)) });
      return answer(text(`LLM response: ${reply.content.text ?? reply.content.type}`));
    },
  },

  test_elicitation: {
    description: "Asks the client's user for a name and an address",
    inputSchema: object({ message: string('What to show to the user') }),
    call: ({ message }, talk) =>
      elicited(
        talk,
        form(String(message), object({ username: string('Name'), email: string('E-mail address') })),
      ),
  },

  test_elicitation_sep1034_defaults: {
    description: 'Asks for every primitive type, each with a default',
    call: (_args, talk) =>
      elicited(
        talk,
        form(
          'Check these values.',
          object(
            {
              name: { type: 'string', default: 'John Doe' },
              age: { type: 'integer', default: 30 },
              score: { type: 'number', default: 95.5 },
              status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
              verified: { type: 'boolean', default: true },
            },
            [],
          ),
        ),
      ),
  },

  test_elicitation_sep1330_enums: {
    description: 'Asks for a choice in each form that a schema can give it',
    call: (_args, talk) =>
      elicited(
        talk,
        form(
          'Choose.',
          object(
            {
              untitledSingle: { type: 'string', enum: ['option1', 'option2', 'option3'] },
              titledSingle: { type: 'string', oneOf: titled({ value1: 'One', value2: 'Two', value3: 'Three' }) },
              legacyEnum: {
                type: 'string',
                enum: ['opt1', 'opt2', 'opt3'],
                enumNames: ['Option One', 'Option Two', 'Option Three'],
              },
              untitledMulti: {
                type: 'array',
                items: { type: 'string', enum: ['option1', 'option2', 'option3'] },
              },
              titledMulti: {
                type: 'array',
                items: { anyOf: titled({ value1: 'One', value2: 'Two', value3: 'Three' }) },
              },
            },
            [],
          ),
        ),
      ),
  },

  test_input_required_result_elicitation: {
    description: 'Asks for a name, under a key that the suite knows',
    async call(_args, talk) {
      const { user_name } = await talk.ask({ user_name: name });
      return answer(text(`Hello, ${user_name.content?.name}!`));
    },
  },

  test_input_required_result_sampling: {
    description: "Asks the client's model for a capital",
    async call(_args, talk) {
      const { capital_question } = await talk.ask({
        capital_question: sample('What is the capital of France?'),
      });
      return told(capital_question.content);
    },
  },

  test_input_required_result_list_roots: {
    description: 'Asks for the roots',
    async call(_args, talk) {
      const { client_roots } = await talk.ask({ client_roots: roots });
      return told(client_roots.roots);
    },
  },

  test_input_required_result_request_state: {
    description: 'Asks once and knows its own question again',
    async call(_args, talk) {
      const { confirm } = await talk.ask({ confirm: ok }, { sealed: true });
      return answer(text(`state-ok: ${confirm.action}`));
    },
  },

  test_input_required_result_tampered_state: {
    description: 'Asks once and refuses an answer to a question it did not ask',
    async call(_args, talk) {
      const { confirm } = await talk.ask({ confirm: ok }, { sealed: true });
      return told(confirm);
    },
  },

  test_input_required_result_multiple_inputs: {
    description: 'Asks three questions at once',
    async call(_args, talk) {
      const questions = { user_name: name, greeting: sample('Generate a greeting', 50), client_roots: roots };
      const { user_name, greeting, client_roots } = await talk.ask(questions, { sealed: true });
      return told(user_name, greeting, client_roots);
    },
  },

  test_input_required_result_multi_round: {
    description: 'Asks two questions, the second after the first',
    async call(_args, talk) {
      const { step1 } = await talk.ask({ step1: name }, { sealed: true });
      const color = form('Step 2: What is your favorite color?', object({ color: string('Color') }));
      const { step2 } = await talk.ask({ step2: color }, { sealed: true });
      return told(step1, step2);
    },
  },

  test_input_required_result_capabilities: {
    description: 'Asks only for what the client declared',
    async call(_args, talk) {
      const questions = {
        ...(talk.declared.elicitation && { elicit_input: name }),
        ...(talk.declared.sampling && { sample_input: sample('Sample request', 50) }),
      };
      if (Object.keys(questions).length === 0) return answer(text('Nothing was declared.'));
      return told(await talk.ask(questions, { sealed: true }));
    },
  },

  test_missing_capability: {
    description: "Asks the client's model even if the client declared none",
    async call(_args, talk) {
      const { reply } = await talk.ask({ reply: sample('Anybody there?') }, { blind: true });
      return told(reply.content);
    },
  },

  test_streaming_elicitation: {
    description: 'Asks for a name, wherever the answer will be streamed to',
    call: async (_args, talk) => told(await talk.ask({ user_name: name })),
  },
};
