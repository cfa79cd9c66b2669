// What tools, prompts, resources and questions are made of.

export const PNG =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNQSDgAAAHkAUGcFuGgAAAAAElFTkSuQmCC';
const WAV = 'UklGRigAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQQAAACAoIBg';

export const text = (value) => ({ type: 'text', text: value });
export const image = { type: 'image', data: PNG, mimeType: 'image/png' };
export const sound = { type: 'audio', data: WAV, mimeType: 'audio/wav' };
export const resource = (uri, mimeType, value) => ({
  type: 'resource',
  resource: { uri, mimeType, text: value },
});

export const answer = (...content) => ({ content });
export const told = (...values) => answer(text(values.map((value) => JSON.stringify(value)).join(' ')));
export const refusal = (why) => ({ ...answer(text(why)), isError: true });

export const object = (properties = {}, required = Object.keys(properties)) => ({
  type: 'object',
  properties,
  ...(required.length > 0 && { required }),
});
export const string = (description) => ({ type: 'string', description });
