// Holds real traffic against the protocol's schemas, so that a frame which drifts from them fails a test.
//
// The schemas let unknown fields pass, as clients are to do. Here they do not: a field that nobody wrote down is a drift
// too.

import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';

const directory = join(resolve(dirname(fileURLToPath(import.meta.url)), '../..'), 'src/wire/schema');
const read = (name) => JSON.parse(readFileSync(join(directory, name), 'utf8'));

/** The schema with every object closed. */
function closed(schema) {
  if (Array.isArray(schema)) return schema.map(closed);
  if (schema === null || typeof schema !== 'object') return schema;
  const copy = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, closed(value)]));
  return schema.type === 'object' && schema.properties ? { additionalProperties: false, ...copy } : copy;
}

const ajv = new Ajv2020({ strict: true, strictRequired: false, allErrors: false });
for (const name of ['common.json', 'requests.json', 'replies.json', 'pushes.json']) ajv.addSchema(closed(read(name)), name);
const frames = closed(read('frames.json'));
ajv.addSchema(frames, 'frames.json');
const table = read('events.json');

const compiled = new Map();
function validator(definition) {
  if (!compiled.has(definition)) {
    compiled.set(definition, definition in frames.$defs && ajv.getSchema(`frames.json#/$defs/${encodeURIComponent(definition)}`));
  }
  return compiled.get(definition);
}

/** Names in which a dialect or an alias differs, and the event that they are. */
const pushes = new Map(Object.entries(table.pushes).flatMap(([event, { conversation = [] }]) => [event, ...conversation].map((name) => [name, event])));
const requests = new Map(Object.entries(table.requests).flatMap(([event, { aliases = [] }]) => [event, ...aliases].map((name) => [name, event])));
for (const name of ['user-online', 'user-offline']) requests.set(name, 'user-online');

/** Refusals of requests that are not what the schemas say. */
const INVALID = new Set(['INVALID_FRAME', 'INVALID_PAYLOAD', 'UNKNOWN_EVENT', 'NOT_AUTHENTICATED']);

const why = (validate) => validate.errors.slice(0, 3).map(({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`).join('; ');

/** What is wrong with a frame that the server sent, or nothing. */
export function faultOfServer(frame) {
  const kinds = [];
  if (frame.event in table.replies) kinds.push(`reply ${frame.event}`);
  if (frame.id === undefined && pushes.has(frame.event)) kinds.push(`push ${pushes.get(frame.event)}`);
  if (!kinds.length && frame.event?.includes(':')) kinds.push('extension');
  if (!kinds.length) return `no schema has ${frame.event}`;
  const faults = [];
  for (const validate of kinds.map(validator)) {
    if (validate(frame)) return nested(frame);
    faults.push(why(validate));
  }
  return faults.join(', or ');
}

/** What was missed is in a reply as it would have been pushed. */
function nested(frame) {
  if (frame.event !== 'room-joined') return null;
  return frame.data.messages.map(faultOfServer).find(Boolean) ?? null;
}

/** What is wrong with a request, or nothing. Fields that are not known are ignored by the server, and here. */
export function faultOfRequest(frame) {
  const validate = validator(frame?.event?.includes?.(':') ? 'extension' : `request ${requests.get(frame?.event)}`);
  if (!validate) return `no schema has ${frame?.event}`;
  return validate(frame) ? null : why(validate);
}

/** Watches one connection: every frame of the server, and every request with its answer. */
export class Watch {
  /** Requests that are not what the schemas say, by id: they have to be refused. */
  #faults = new Map();

  sent(text) {
    let frame;
    try { frame = JSON.parse(text); } catch { return; }
    const fault = faultOfRequest(frame);
    if (fault && frame?.id !== undefined) this.#faults.set(frame.id, fault);
  }

  received(frame) {
    const fault = faultOfServer(frame);
    if (fault) throw new Error(`this frame is not what src/wire/schema says: ${fault}\n${JSON.stringify(frame)}`);
    if (frame.id === undefined) return;
    const asked = this.#faults.get(frame.id);
    this.#faults.delete(frame.id);
    if (asked && !(frame.event === 'error' && INVALID.has(frame.data.code))) {
      throw new Error(`a request was taken that is not what src/wire/schema says: ${asked}\n${JSON.stringify(frame)}`);
    }
  }
}
