// What the tests of the client share: the real server, and networks that can be cut.

import { createServer, connect as connectTcp } from 'node:net';
import { after } from 'node:test';
import { WebSocket as Ws } from 'ws';
import { Stentor, StentorError } from '../dist/index.js';
import { inTime, startServer } from '../../../tests/clients/harness.mjs';
import { Watch } from '../../../tests/clients/schemas.mjs';

export { inTime, startServer, Stentor, StentorError };
export const options = { timeout: 60_000 };

/** The package's socket, with every frame held against the protocol's schemas. */
export class WebSocket extends Ws {
  #watch = new Watch();

  constructor(...args) {
    super(...args);
    this.on('message', (bytes) => bytes.toString().split('\n').forEach((line) => line && this.#watch.received(JSON.parse(line))));
  }

  send(text, ...more) {
    this.#watch.sent(text);
    super.send(text, ...more);
  }
}

/** Short delays: a test waits for what happens, and should not wait for long. */
export const quick = { baseMs: 5, maxMs: 50 };

/** Clients that a failed test leaves behind would keep the process alive. */
const opened = new Set();
after(() => { for (const chat of opened) chat.close(); });

let rooms = 0;
export const newRoom = () => `room-${++rooms}`;

/** A client, with everything that it was given noted down. */
export async function open(server, user, more = {}) {
  const token = more.token ?? await server.token(user);
  const chat = new Stentor({ url: server.ws, WebSocket, backoff: quick, ...more, token });
  opened.add(chat);
  const noted = [];
  for (const event of ['message-new', 'message-edited', 'message-deleted', 'room-reset', 'room-left', 'connected', 'disconnected', 'closed', 'trouble']) {
    chat.on(event, (data) => noted.push({ event, data }));
  }
  return Object.assign(chat, {
    noted,
    texts: (room) => noted.filter(({ event, data }) => event === 'message-new' && data.conversationId === room).map(({ data }) => data.content),
  });
}

/** The next event that is wanted, whether it came already or is still to come. */
export function until(chat, event, wanted = () => true) {
  const before = chat.noted.find((each) => each.event === event && wanted(each.data));
  if (before) return before.data;
  let end;
  const comes = new Promise((done) => { end = chat.on(event, (data) => { if (wanted(data)) done(data); }); });
  return inTime(comes, () => `${event}; came: ${chat.noted.map((each) => each.event)}`).finally(end);
}

/** The message with this content. */
export const says = (chat, content) => until(chat, 'message-new', (message) => message.content === content);

/**
 * A network between a client and a server. It can be cut, so that both sides see an end; fall silent, so that neither
 * sees anything; and lose what the server says.
 */
export async function startNetwork(server) {
  const [host, port] = [server.client.slice(0, server.client.lastIndexOf(':')), Number(server.client.split(':').at(-1))];
  const pairs = new Set();
  const network = {
    isUp: true, losesAnswers: false, connections: 0,
    cut() { for (const { near, far } of pairs) { near.destroy(); far.destroy(); } },
    fallSilent() { for (const { near, far } of pairs) { near.unpipe(); near.pause(); far.removeAllListeners('data'); far.resume(); } },
    close: () => new Promise((done) => { network.cut(); listener.close(done); }),
  };
  const listener = createServer((near) => {
    if (!network.isUp) return void near.destroy();
    network.connections++;
    const far = connectTcp({ host, port });
    const pair = { near, far };
    pairs.add(pair);
    near.pipe(far);
    far.on('data', (bytes) => { if (!network.losesAnswers) near.write(bytes); });
    for (const [one, other] of [[near, far], [far, near]]) {
      one.on('error', () => {});
      one.on('close', () => { pairs.delete(pair); other.destroy(); });
    }
  });
  await new Promise((done) => listener.listen(0, '127.0.0.1', done));
  return Object.assign(network, { ws: `ws://127.0.0.1:${listener.address().port}/ws` });
}

/** Which of these requests the server knows: a version that lacks one says so. */
export async function known(chat, event, data) {
  try {
    await chat.request(event, data);
    return true;
  } catch (error) {
    if (!(error instanceof StentorError)) throw error;
    return error.code !== 'UNKNOWN_EVENT';
  }
}
