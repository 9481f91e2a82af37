// The schema of whole frames, from the table of events and the schemas of their data.

/** The schema that a reference like `requests.json#/$defs/Auth` names. */
export function resolveReference(reference, parts) {
  const [file, pointer] = reference.split('#/$defs/');
  const found = parts[file]?.$defs[pointer];
  if (!found) throw new Error(`${reference} names nothing`);
  return found;
}

const ref = (reference) => ({ $ref: reference });
const frame = (event, data, { id, required = ['event', 'data'] } = {}) => ({
  type: 'object',
  required: [...required],
  properties: {
    event: Array.isArray(event) ? { enum: event } : event,
    ...(id && { id: ref('common.json#/$defs/RequestId') }),
    data,
  },
});
const named = (name) => ({ const: name });

/** The data of a request in each of its forms: the object, with `room` for `conversationId`, and the bare string. */
function dataOf({ data, bare }, parts) {
  const schema = resolveReference(data, parts);
  const forms = [ref(data)];
  if (schema.properties?.conversationId) {
    const { conversationId, ...others } = schema.properties;
    const required = schema.required.map((key) => (key === 'conversationId' ? 'room' : key));
    forms.push({ ...schema, description: '`room` is another name of `conversationId`', required, properties: { room: conversationId, ...others } });
  }
  if (bare) forms.push(schema.properties[bare]);
  return forms.length === 1 ? forms[0] : { anyOf: forms };
}

export function frames(events, parts) {
  const $defs = {};
  const request = (key, definition) => { $defs[`request ${key}`] = definition; return ref(`#/$defs/request ${key}`.replaceAll(' ', '%20')); };
  const server = (kind, key, definition) => { $defs[`${kind} ${key}`] = definition; return ref(`#/$defs/${kind}%20${key}`); };
  const client = [], replies = [], pushes = [];
  for (const [event, entry] of Object.entries(events.requests)) {
    const needsNone = !resolveReference(entry.data, parts).required;
    const required = needsNone ? ['event'] : ['event', 'data'];
    const names = event === 'presence-update' ? [event] : [event, ...(entry.aliases ?? [])];
    client.push(request(event, { description: entry.summary, ...frame(names, dataOf(entry, parts), { id: true, required }) }));
  }
  // Their names say all, whatever the data.
  client.push(request('user-online', frame(['user-online', 'user-offline'], true, { id: true, required: ['event'] })));
  for (const [event, data] of Object.entries(events.replies)) {
    const known = Object.values(events.requests).filter((entry) => entry.reply === event && entry.ok).map((entry) => ref(entry.ok));
    const schema = known.length ? { anyOf: [...known, ref(data)] } : ref(data);
    const required = event === 'ok' ? ['event'] : ['event', 'data'];
    replies.push(server('reply', event, frame(named(event), schema, { id: true, required })));
  }
  for (const [event, { summary, data, conversation = [] }] of Object.entries(events.pushes)) {
    pushes.push(server('push', event, { description: summary, ...frame([event, ...conversation], ref(data)) }));
  }
  const extension = { type: 'string', pattern: '^[^:]+:.+$' };
  $defs['extension'] = { description: 'An event of a plugin: the data are its own', ...frame(extension, true, { id: true, required: ['event'] }) };
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Every frame of the Stentor client protocol, version 1. Generated: see clients/typescript/tools',
    anyOf: [ref('#/$defs/ClientFrame'), ref('#/$defs/ServerFrame')],
    $defs: {
      ClientFrame: { anyOf: [...client, ref('#/$defs/extension')] },
      ServerFrame: { anyOf: [...replies, ...pushes, ref('#/$defs/extension')] },
      ...$defs,
    },
  };
}
