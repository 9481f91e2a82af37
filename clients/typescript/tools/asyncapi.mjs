// The AsyncAPI 3 document: the same events, for the tools that read such documents.

const SCHEMA_FORMAT = 'application/schema+json;version=draft-2020-12';

export function asyncapi(events) {
  const messages = {};
  const operations = {};
  const message = (kind, event, summary) => {
    const key = `${kind}.${event}`;
    const schema = { $ref: `./frames.json#/$defs/${kind}%20${event}` };
    messages[key] = { name: event, ...(summary && { summary }), payload: { schemaFormat: SCHEMA_FORMAT, schema } };
    return { $ref: `#/channels/client/messages/${key}` };
  };
  const channel = { $ref: '#/channels/client' };
  const replies = Object.fromEntries(Object.keys(events.replies).map((event) => [event, message('reply', event)]));
  for (const [event, { summary, reply }] of Object.entries(events.requests)) {
    operations[event] = {
      action: 'receive', channel, summary, messages: [message('request', event, summary)],
      reply: { channel, messages: [replies[reply], replies.error] },
    };
  }
  for (const [event, { summary }] of Object.entries(events.pushes)) {
    operations[`push.${event}`] = { action: 'send', channel, summary, messages: [message('push', event, summary)] };
  }
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Stentor client protocol',
      version: events.version,
      description: 'JSON text over a WebSocket. Generated from the schemas beside it; src/protocol.md says what it all means.',
    },
    defaultContentType: 'application/json',
    channels: { client: { address: '/ws', title: 'One connection of a client', messages } },
    operations,
  };
}
