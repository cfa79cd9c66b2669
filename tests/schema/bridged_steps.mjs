// What a client of a session sees where the gateway agreed with the child on a
// revision that is not the client's: what the client has no shape for comes in
// another one, and what cannot be asked is not.

const types = (blocks) =>
  blocks.map(({ type, resource }) => (resource ? `${Object.keys(resource).at(-1)} ${type}` : type));

// The blocks of offer.mjs, as far as the revision knows them.
function expectedBlocks(revision) {
  const sound = revision < '2025-03-26' ? 'blob resource' : 'audio';
  const link = revision < '2025-06-18' ? 'text' : 'resource_link';
  return ['text', 'image', sound, link, 'text resource', 'blob resource'];
}

export async function convertedSteps(client, witness) {
  const expected = expectedBlocks(client.revision);
  await witness.step('blocks', async () => {
    const { result } = await client.call('blocks');
    witness.equal('blocks', types(result.content), expected);
  });
  await witness.step('blocks of a prompt', async () => {
    const { result } = await client.ask('prompts/get', { name: 'blocks' });
    witness.equal('blocks of a prompt', types(result.messages.map(({ content }) => content)), expected);
  });
}

export async function questionSteps(client, witness, era) {
  const hasForms = client.revision >= '2025-06-18';
  const hasLinks = client.revision >= '2025-11-25';
  const heard = (method) => client.heard.filter((message) => message.method === method);

  for (const [name, method, isKnown] of [
    ['asks_model', 'sampling/createMessage', true],
    ['asks_roots', 'roots/list', true],
    ['asks_both', 'roots/list', true],
    ['asks_form', 'elicitation/create', hasForms],
    ['asks_several', 'elicitation/create', hasLinks],
    ['asks_link', 'elicitation/create', hasLinks],
    ['asks_model_with_tools', 'sampling/createMessage', hasLinks],
    // What older revisions have no message for becomes several, or is not asked.
    ['asks_model_in_parts', 'sampling/createMessage', undefined],
  ]) {
    await witness.step(name, async () => {
      const before = heard(method).length;
      const { result, error } = await client.call(name);
      if (error) throw new Error(error.message);
      if (isKnown === undefined) return;
      witness.equal(`questions of ${name}`, heard(method).length - before, Number(isKnown));
      // A legacy child hears of it, and says what it likes.
      if (era === 'modern') witness.equal(`isError of ${name}`, Boolean(result.isError), !isKnown);
    });
  }
  await witness.step('a prompt asks', async () => {
    const { error } = await client.ask('prompts/get', { name: 'asks' });
    if (error) throw new Error(error.message);
  });

  const { color } = heard('elicitation/create')[0]?.params.requestedSchema.properties ?? {};
  if (hasForms && !hasLinks) {
    const names = { enum: ['#f00', '#0f0'], enumNames: ['Red', 'Green'] };
    witness.equal('a choice', color, { type: 'string', title: 'Color', ...names });
  } else if (hasForms) {
    witness.equal('a choice', color?.oneOf?.[0], { const: '#f00', title: 'Red' });
  }
  if (hasLinks && era === 'modern') {
    await witness.step('a page was visited', () => client.untilMethod('notifications/elicitation/complete'));
  }
}

export async function modernSchemaSteps(client, witness) {
  await witness.step('schemas', async () => {
    const { result } = await client.ask('tools/list', {});
    const tool = (name) => result.tools.find((each) => each.name === name);
    for (const schema of ['inputSchema', 'outputSchema']) {
      const { anything, nothing } = tool('booleans')[schema].properties;
      witness.equal(
        `properties of ${schema} that are true and false`,
        [anything, nothing],
        [{}, { not: {} }],
      );
    }
    for (const name of ['list', 'nullable', 'referred']) {
      const { type, required } = tool(name).outputSchema;
      witness.equal(`outputSchema of ${name}`, [type, required], ['object', ['result']]);
    }
    witness.check('a definition is not where it is referred to', tool('referred').outputSchema.$defs?.side);
    witness.equal('a schema whose references lead nowhere', tool('nested').outputSchema, undefined);
    witness.check('a schema of an object was changed', tool('structured').outputSchema.properties.sum);
  });

  for (const [name, value] of Object.entries({
    structured: { sum: 3 },
    list: { result: [1, 2] },
    referred: { result: { left: 1, right: 2 } },
    nested: { result: [1] },
    nullable: { result: null },
    loose: { result: ['no schema'] },
  })) {
    await witness.step(name, async () => {
      const { result } = await client.call(name);
      witness.equal(`structuredContent of ${name}`, result.structuredContent, value);
      witness.equal(`content of ${name}`, types(result.content), ['text']);
    });
  }
}

export async function withdrawalSteps(client, witness) {
  const questions = () => client.heard.filter(({ method }) => method === 'sampling/createMessage');
  const untilWithdrawn = (id) =>
    client.until(
      ({ method, params }) => method === 'notifications/cancelled' && params.requestId === id,
      'the question to be withdrawn',
    );
  client.answers['sampling/createMessage'] = () => undefined;
  client.answers['roots/list'] = () => ({ code: -32603, message: 'no roots today' });

  await witness.step('a question fails', async () => {
    const { result } = await client.call('asks_both');
    witness.equal('isError where one of two questions failed', result?.isError, true);
    await untilWithdrawn(questions().at(-1).id);
  });
  await witness.step('a call is cancelled', async () => {
    const id = 'to be cancelled';
    const before = client.heard.length;
    const call = client.call('asks_model', { id }).catch(() => {});
    const question = await client.until(
      ({ method }) => method === 'sampling/createMessage',
      'a question',
      before,
    );
    await client.notify('notifications/cancelled', { requestId: id, reason: 'no longer wanted' });
    await untilWithdrawn(question.id);
    await call;
  });
}
