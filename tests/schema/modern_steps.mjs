// What a client without a session says, and what has to come of it beyond
// messages that its revision knows.

import { NOTE } from './offer.mjs';

const CAPABILITIES = { roots: {}, sampling: { tools: {} }, elicitation: { form: {}, url: {} } };
const ANSWERS = {
  'roots/list': { roots: [{ uri: 'file:///home', name: 'home' }] },
  'sampling/createMessage': { role: 'assistant', content: { type: 'text', text: 'Paris.' }, model: 'test' },
  'elicitation/create': { action: 'accept', content: { name: 'Ada', color: '#f00' } },
};
const EVERYTHING = {
  toolsListChanged: true,
  promptsListChanged: true,
  resourcesListChanged: true,
  resourceSubscriptions: [NOTE],
};

export async function modernSteps(client, witness, { era }, stop) {
  for (const [method, params] of [
    ['server/discover', {}],
    ['tools/list', {}],
    ['prompts/list', {}],
    ['resources/list', {}],
    ['resources/templates/list', {}],
    ['resources/read', { uri: NOTE }],
    ['resources/read', { uri: 'test://picture' }],
    ['prompts/get', { name: 'plain' }],
    ['prompts/get', { name: 'blocks' }],
    [
      'completion/complete',
      { ref: { type: 'ref/prompt', name: 'plain' }, argument: { name: 'topic', value: 'pa' } },
    ],
    ['tools/call', { name: 'plain', arguments: {} }],
    ['tools/call', { name: 'blocks', arguments: {} }],
    ['tools/call', { name: 'structured', arguments: {} }],
    ['tools/call', { name: 'fails', arguments: {} }],
  ]) {
    await witness.step(`${method} ${params.name ?? ''}`, async () => {
      const { error } = await client.ask(method, params);
      if (error) throw new Error(error.message);
    });
  }

  await witness.step('tells', async () => {
    await client.call('tells', { token: 'mine', level: 'debug' });
    await client.untilMethod('notifications/progress');
    await client.untilMethod('notifications/message');
  });

  await witness.step('changes', async () => {
    const { ended, leave } = await client.listen(EVERYTHING);
    await client.call('changes');
    for (const kind of ['tools', 'prompts', 'resources']) {
      await client.untilMethod(`notifications/${kind}/list_changed`);
    }
    await client.untilMethod('notifications/resources/updated');
    leave();
    await ended;
  });

  // Of progress some may be lost, and only who asks for logs can be told.
  await witness.step('a flood', async () => {
    const call = client.call('hears', { token: 'loud' }).catch(() => {});
    await client.until(({ params }) => params?.progressToken === 'loud', 'the first progress');
    await client.call('floods');
    witness.check('a flood: the result was lost', (await call)?.result !== undefined);
  });

  const options = { capabilities: CAPABILITIES };
  const retry = async (name, { result }) => {
    if (result?.resultType !== 'input_required') throw new Error('nothing was asked');
    const replies = Object.entries(result.inputRequests).map(([key, { method }]) => [key, ANSWERS[method]]);
    const { requestState } = result;
    const more = { inputResponses: Object.fromEntries(replies), ...(requestState && { requestState }) };
    const { error } = await client.call(name, options, more);
    if (error) throw new Error(error.message);
  };
  for (const name of [
    'asks_form',
    'asks_several',
    'asks_link',
    'asks_model',
    'asks_model_with_tools',
    'asks_model_in_parts',
    'asks_roots',
    'asks_both',
  ]) {
    await witness.step(name, async () => retry(name, await client.call(name, options)));
  }
  if (era === 'legacy') {
    await witness.step('needs_link', async () => {
      const { result } = await client.call('needs_link', options);
      witness.check('needs_link: nothing was asked', result?.resultType === 'input_required');
    });
    await witness.step('asks what is not declared', () => client.call('asks_model'));
  }

  const bare = { 'io.modelcontextprotocol/clientCapabilities': undefined };
  const version = { 'io.modelcontextprotocol/protocolVersion': '2099-01-01' };
  for (const [what, code, ask] of [
    ['no JSON', -32700, () => client.raw('{')],
    ['no request', -32600, () => client.raw({ id: true, method: 'tools/list' })],
    ['an unknown method', -32601, () => client.ask('ping', {})],
    ['a part of an envelope', -32602, () => client.ask('tools/list', {}, { meta: bare })],
    ['an unknown tool', -32602, () => client.call('unknown')],
    ['an unknown resource', -32602, () => client.ask('resources/read', { uri: 'test://unknown' })],
    [
      'another method in the header',
      -32020,
      () => client.ask('tools/list', {}, { headers: { 'mcp-method': 'x' } }),
    ],
    [
      'a revision to come',
      -32022,
      () =>
        client.ask('tools/list', {}, { meta: version, headers: { 'mcp-protocol-version': '2099-01-01' } }),
    ],
    ['a state of nobody', -32602, () => client.call('asks_roots', options, { requestState: 'g1.none' })],
    ['an error', -32603, () => client.call('breaks')],
    ['the end of the child', -32603, () => client.call('dies')],
  ]) {
    await witness.step(what, async () => {
      const answer = await ask();
      witness.check(`${what}: got ${JSON.stringify(answer)?.slice(0, 200)}`, answer?.error?.code === code);
    });
  }

  await witness.step('the end', async () => {
    const { ended } = await client.listen(EVERYTHING);
    stop();
    witness.check('a subscription has no end', (await ended)?.result !== undefined);
  });
}
