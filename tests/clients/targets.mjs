// What the steps need to know of the two servers: 'everything' is the official test
// server, 'modern' is modern_server.mjs.
export const TARGETS = {
  everything: {
    server: 'mcp-servers/everything',
    tools: ['echo', 'get-sum', 'trigger-long-running-operation'],
    resources: 7,
    templates: ['demo://resource/dynamic/blob/{resourceId}', 'demo://resource/dynamic/text/{resourceId}'],
    texts: { 'demo://resource/static/document/features.md': /^[^]{100}/, 'demo://resource/dynamic/text/7': /^Resource 7: / },
    blob: { uri: 'demo://resource/dynamic/blob/8', content: /^Resource 8: / },
    prompts: ['args-prompt', 'completable-prompt', 'resource-prompt', 'simple-prompt'],
    add: 'get-sum',
    long: 'trigger-long-running-operation',
    ask: { sampling: 'trigger-sampling-request', elicitation: 'trigger-elicitation-request', roots: 'get-roots-list' },
    // It asks for roots when it starts and when they change, not when they are wanted.
    rootsAtStart: true,
    forms: 1,
    update: { uri: 'demo://resource/dynamic/text/1', tool: 'toggle-subscriber-updates' },
    change: { tool: 'gzip-file-as-resource', args: { name: 'hello.gz', data: 'data:text/plain,hello' }, lists: ['resources'] },
    // A line every 5 s, from when this tool is called until it is called again.
    logging: { tool: 'toggle-simulated-logging', seconds: 5.5, line: /level.message/ },
  },
  modern: {
    server: 'modern-test-server',
    tools: ['echo', 'add', 'progress'],
    resources: 2,
    templates: ['memo://bytes/{number}', 'memo://note/{number}'],
    texts: { 'memo://long': /^[^]{100}/, 'memo://note/7': /^Note 7$/ },
    blob: { uri: 'memo://bytes/8', content: /^Note 8$/ },
    prompts: ['args-prompt', 'completable-prompt'],
    add: 'add',
    long: 'progress',
    ask: { sampling: 'ask_sampling', elicitation: 'ask_elicitation', roots: 'ask_roots' },
    forms: 3,
    update: { uri: 'memo://counter', tool: 'touch' },
    change: { tool: 'change_lists', args: {}, lists: ['tools', 'prompts', 'resources'] },
    logging: { seconds: 0.2, line: /^step \d of 4$/ },
  },
};
