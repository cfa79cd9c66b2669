// What a client of a session says, and what has to come of it beyond messages
// that its revision knows.

import { convertedSteps, modernSchemaSteps, questionSteps, withdrawalSteps } from './bridged_steps.mjs';
import { FLOOD, NOTE } from './offer.mjs';

const accepted = (content) => ({ action: 'accept', ...(content && { content }) });
const said = { role: 'assistant', content: { type: 'text', text: 'Paris.' }, model: 'test' };

function capabilities(revision) {
  if (revision < '2025-06-18') return { roots: {}, sampling: {} };
  if (revision < '2025-11-25') return { roots: {}, sampling: {}, elicitation: {} };
  return { roots: {}, sampling: { tools: {} }, elicitation: { form: {}, url: {} } };
}

function usualAnswers() {
  return {
    ping: () => ({}),
    'roots/list': () => ({ roots: [{ uri: 'file:///home', name: 'home' }] }),
    'sampling/createMessage': () => said,
    'elicitation/create': ({ mode }) => accepted(mode === 'url' ? undefined : { name: 'Ada', color: '#f00' }),
  };
}

export async function legacySteps(client, witness, { era, isBridged }) {
  client.answers = usualAnswers();

  await witness.step('initialize', () => client.open(capabilities(client.revision)));
  if (!client.session) return;

  for (const [method, params] of [
    ['ping'],
    ['logging/setLevel', { level: 'debug' }],
    ['tools/list', {}],
    ['prompts/list', {}],
    ['resources/list', {}],
    ['resources/templates/list', {}],
    ['resources/read', { uri: NOTE }],
    ['resources/read', { uri: 'test://picture' }],
    ['prompts/get', { name: 'plain' }],
    [
      'completion/complete',
      { ref: { type: 'ref/prompt', name: 'plain' }, argument: { name: 'topic', value: 'pa' } },
    ],
    ['resources/subscribe', { uri: NOTE }],
  ]) {
    await witness.step(method, async () => {
      const { error } = await client.ask(method, params);
      if (error) throw new Error(error.message);
    });
  }

  for (const name of ['plain', 'structured', 'fails']) {
    await witness.step(name, async () => {
      const { result } = await client.call(name);
      witness.equal(`isError of ${name}`, Boolean(result.isError), name === 'fails');
    });
  }
  await witness.step('tells', async () => {
    await client.call('tells', { token: 'mine' });
    await client.untilMethod('notifications/message');
    const progress = client.heard.filter(({ method }) => method === 'notifications/progress');
    const tokens = progress.map(({ params }) => params.progressToken);
    witness.equal('the tokens of progress', tokens, ['mine', 'mine']);
  });
  await witness.step('changes', async () => {
    await client.call('changes');
    for (const kind of ['tools', 'prompts', 'resources']) {
      await client.untilMethod(`notifications/${kind}/list_changed`);
    }
    await client.untilMethod('notifications/resources/updated');
  });
  await witness.step('resources/unsubscribe', () => client.ask('resources/unsubscribe', { uri: NOTE }));

  if (isBridged) await convertedSteps(client, witness);
  if (isBridged) await questionSteps(client, witness, era);
  if (era === 'modern') await modernSchemaSteps(client, witness);
  if (era === 'modern') await withdrawalSteps(client, witness);
  client.answers = usualAnswers();

  await witness.step('what was lost is told', async () => {
    const { id, eventId } = await client.lose('hears');
    const before = client.heard.length;
    await client.call('floods');
    const { error } = await client.follow(await client.get(eventId), id, 'tools/call');
    if (error) throw new Error(error.message);
    const after = client.heard.slice(before);
    const count = (wanted) => after.filter(({ method }) => method === `notifications/${wanted}`).length;
    const told = `${count('progress')} of ${FLOOD} came, ${count('message')} notices of a loss`;
    witness.check(told, count('progress') === FLOOD || count('message') > 0);
  });

  for (const [what, ask] of [
    ['an unknown method', () => client.ask('test/unknown', {})],
    ['an unknown tool', () => client.call('unknown')],
    ['an unknown resource', () => client.ask('resources/read', { uri: 'test://unknown' })],
    ['an error', () => client.call('breaks')],
    ['no JSON', async () => client.follow(await client.post('{', client.headers()))],
    [
      'no request',
      async () => client.follow(await client.post({ id: true, method: 'ping' }, client.headers())),
    ],
    [
      'no session',
      async () => client.follow(await client.post({ id: 1, method: 'ping' }, { 'mcp-session-id': 'none' })),
    ],
    ['the end of the child', () => client.call('dies')],
  ]) {
    await witness.step(what, async () => {
      const answer = await ask();
      witness.check(`${what}: no error`, answer?.error !== undefined);
    });
  }
  await witness.step('the end', () => client.close());
}
