// The protocol through the eyes of a client library that is not ours: the npm package `ws`.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { resolve } from 'node:path';
import { Client, inTime, root, sleep, startServer } from './harness.mjs';

const options = { timeout: 60_000 };
let rooms = 0;
/** A room of the test's own, so that tests do not meet. */
const room = () => `room-${++rooms}`;

/** Two members of one room. */
async function pair(server, conversationId) {
  const alice = await Client.connect(server, 'alice', { deviceId: 'a1' });
  const bob = await Client.connect(server, 'bob', { deviceId: 'b1' });
  await alice.expect('join-room', { conversationId }, 'room-joined');
  await bob.expect('join-room', { conversationId }, 'room-joined');
  return [alice, bob];
}

describe('a development server', options, () => {
  let server;
  before(async () => { server = await startServer(); });
  after(() => server?.stop());

  describe('handshake and authentication', options, () => {
    test('the subprotocol is echoed, and a list without it refused', async () => {
      const ours = await Client.open(server, { protocols: ['chat', 'stentor.v1'] });
      assert.equal(ours.socket.protocol, 'stentor.v1');
      await ours.close();
      const none = await Client.open(server, { protocols: [] });
      assert.equal(none.socket.protocol, '');
      await none.close();
      await assert.rejects(Client.open(server, { protocols: ['chat'] }), { status: 400 });
    });

    test('other paths, other origins and other methods are refused', async () => {
      await assert.rejects(Client.open(server, { path: '/elsewhere' }), { status: 404 });
      await assert.rejects(Client.open(server, { origin: 'https://evil.example' }), { status: 403 });
      const own = await Client.open(server, { origin: server.http, path: '/' });
      await own.close();
    });

    test('a token in the header authenticates', async () => {
      const headers = { Authorization: `Bearer ${await server.token('alice')}` };
      const client = await Client.open(server, { headers, path: '/ws?deviceId=phone' });
      const welcome = await client.push('auth-success');
      assert.equal(welcome.userId, 'alice');
      assert.equal(welcome.deviceId, 'phone');
      assert.equal(welcome.server.name, 'stentor');
      assert.equal(welcome.limits.messageBytesMax, 65536);
      assert.ok(welcome.expiresAt > Date.now());
      await client.close();
    });

    test('a token among the subprotocols authenticates and is not echoed', async () => {
      const client = await Client.open(server, { protocols: ['stentor.v1', `bearer.${await server.token('alice')}`] });
      assert.equal(client.socket.protocol, 'stentor.v1');
      assert.equal((await client.push('auth-success')).userId, 'alice');
      await client.close();
    });

    test('the auth event authenticates, with an object or the bare token', async () => {
      const client = await Client.open(server);
      const early = await client.refused('join-room', { conversationId: 'lobby' });
      assert.equal(early.code, 'NOT_AUTHENTICATED');
      const welcome = await client.expect('auth', { token: await server.token('alice'), deviceId: 'd' }, 'auth-success');
      assert.equal(welcome.userId, 'alice');
      await client.close();
      const bare = await Client.open(server);
      assert.equal((await bare.expect('auth', await server.token('bob'), 'auth-success')).userId, 'bob');
      await bare.close();
    });

    test('a bad token is 401 at the upgrade and closes 4001 in the event', async () => {
      const forged = `${await server.token('alice')}x`;
      await assert.rejects(Client.open(server, { headers: { Authorization: `Bearer ${forged}` } }), { status: 401 });
      const client = await Client.open(server);
      const refusal = await client.refused('auth', { token: forged });
      assert.equal(refusal.code, 'AUTH_FAILED');
      assert.equal((await inTime(client.closed, 'a close')).code, 4001);
    });

    test('an expiring token is announced and then closes 4002, unless it is renewed', async () => {
      const open = async () => {
        const client = await Client.open(server);
        await client.expect('auth', { token: await server.token('alice', '--ttl', '3s') }, 'auth-success');
        assert.ok((await client.push('token-expiring')).expiresAt);
        return client;
      };
      const [expiring, renewed] = await Promise.all([open(), open()]);
      await renewed.expect('auth', { token: await server.token('alice') }, 'auth-success');
      const foreign = await renewed.refused('auth', { token: await server.token('bob') });
      assert.equal(foreign.code, 'FORBIDDEN');
      assert.equal((await inTime(expiring.closed, 'a close')).code, 4002);
      await renewed.settle();
      await renewed.close();
    });
  });

  describe('messages', options, () => {
    test('a message is acknowledged and reaches the other member', async () => {
      const conversationId = room();
      const [alice, bob] = await pair(server, conversationId);
      const content = { text: 'Hello, Bob! \u{1F44B}' };
      const ack = await alice.expect('send-message', { conversationId, tempId: 't1', content }, 'message-ack');
      assert.equal(ack.tempId, 't1');
      assert.equal(ack.duplicate, false);
      const push = await bob.push('message-new', conversationId);
      assert.deepEqual(push.content, content);
      assert.equal(push.userId, 'alice');
      assert.equal(push.type, 'text');
      assert.equal(push.version, 1);
      for (const key of ['messageId', 'seq', 'epoch', 'sentAt', 'conversationId']) assert.equal(push[key], ack[key], key);
      assert.equal((await alice.push('message-new', conversationId)).tempId, 't1');

      const again = await alice.expect('send-message', { conversationId, tempId: 't1', content }, 'message-ack');
      assert.equal(again.duplicate, true);
      assert.equal(again.messageId, ack.messageId);
      assert.equal(again.seq, ack.seq);
      await alice.expect('send-message', { conversationId, content: 'last', noEcho: true }, 'message-ack');
      assert.equal((await bob.push('message-new', conversationId)).content, 'last', 'the repeat was not pushed');
      await alice.settle();
      assert.equal(alice.received.filter((each) => each.event === 'message-new').length, 1, 'no echo was asked for');
      await Promise.all([alice.close(), bob.close()]);
    });

    test('an edit and a deletion reach the other member', async () => {
      const conversationId = room();
      const [alice, bob] = await pair(server, conversationId);
      const { messageId, seq } = await alice.expect('send-message', { conversationId, content: 'one' }, 'message-ack');
      const edit = await alice.expect('edit-message', { conversationId, messageId, content: 'two', ifVersion: 1 }, 'ok');
      assert.equal(edit.version, 2);
      assert.ok(edit.seq > seq);
      const edited = await bob.push('message-edited', conversationId);
      assert.equal(edited.content, 'two');
      assert.equal(edited.seq, edit.seq);
      assert.ok(edited.editedAt >= edited.sentAt);
      const stale = await alice.refused('edit-message', { conversationId, messageId, content: 'three', ifVersion: 1 });
      assert.equal(stale.code, 'EDIT_CONFLICT');
      assert.equal((await bob.refused('edit-message', { conversationId, messageId, content: 'x' })).code, 'FORBIDDEN');
      assert.equal((await bob.refused('delete-message', { conversationId, messageId })).code, 'FORBIDDEN');
      await alice.expect('delete-message', { conversationId, messageId }, 'ok');
      const deleted = await bob.push('message-deleted', conversationId);
      assert.equal(deleted.messageId, messageId);
      assert.equal((await alice.refused('delete-message', { conversationId, messageId: 'nosuch' })).code, 'MESSAGE_NOT_FOUND');
      await Promise.all([alice.close(), bob.close()]);
    });

    test('history pages in both directions', async () => {
      const conversationId = room();
      const alice = await Client.connect(server, 'alice');
      await alice.expect('join-room', { conversationId }, 'room-joined');
      const acks = [];
      for (let i = 0; i < 10; i++) acks.push(await alice.expect('send-message', { conversationId, content: i }, 'message-ack'));
      await alice.expect('edit-message', { conversationId, messageId: acks[7].messageId, content: 'seven' }, 'ok');
      await alice.expect('delete-message', { conversationId, messageId: acks[8].messageId }, 'ok');
      const contents = (page) => page.messages.map((message) => (message.deletedAt ? 'deleted' : message.content));
      const newest = await alice.expect('history', { conversationId, limit: 4 }, 'history');
      assert.deepEqual(contents(newest), [6, 'seven', 'deleted', 9]);
      assert.equal(newest.hasMore, true);
      assert.equal(newest.messages[1].version, 2);
      assert.equal('content' in newest.messages[2], false, 'what was deleted is gone');
      const older = await alice.expect('history', { conversationId, before: newest.messages[0].seq, limit: 200 }, 'history');
      assert.deepEqual(contents(older), [0, 1, 2, 3, 4, 5]);
      assert.equal(older.hasMore, false);
      const after = await alice.expect('history', { conversationId, after: acks[0].seq, limit: 2 }, 'history');
      assert.deepEqual(contents(after), [1, 2]);
      assert.equal(after.hasMore, true);
      await alice.close();
    });

    test('what was missed is recovered, exactly and in order', async () => {
      const conversationId = room();
      const [alice, bob] = await pair(server, conversationId);
      const { epoch, seq, messageId } = await alice.expect('send-message', { conversationId, content: 'seen' }, 'message-ack');
      await bob.push('message-new', conversationId);
      await bob.close();
      const missed = await alice.expect('send-message', { conversationId, content: 'missed' }, 'message-ack');
      await alice.expect('edit-message', { conversationId, messageId: missed.messageId, content: 'missed, mended' }, 'ok');
      await alice.expect('delete-message', { conversationId, messageId }, 'ok');

      const back = await Client.connect(server, 'bob', { attach: false });
      const joined = await back.expect('join-room', { conversationId, since: { epoch, seq, messageId } }, 'room-joined');
      assert.equal(joined.recovered, true);
      assert.deepEqual(joined.messages.map((each) => each.event), ['message-new', 'message-edited', 'message-deleted']);
      assert.deepEqual(joined.messages.map((each) => each.data.seq), [seq + 1, seq + 2, seq + 3]);
      const lost = await back.expect('join-room', { conversationId, since: { epoch: 'other', seq } }, 'room-joined');
      assert.equal(lost.recovered, false);
      assert.deepEqual(lost.messages, []);
      await back.close();

      const again = await Client.connect(server, 'bob', { since: { [conversationId]: { epoch, seq, messageId } } });
      const events = [await again.push('message-new', conversationId), await again.push('message-edited', conversationId)];
      assert.deepEqual(events.map((each) => each.seq), [seq + 1, seq + 2]);
      await Promise.all([alice.close(), again.close()]);
    });

    test('who is not a member may not send, and who left hears no more', async () => {
      const conversationId = room();
      const [alice, bob] = await pair(server, conversationId);
      assert.deepEqual((await alice.expect('get-online-users', { conversationId }, 'online-users')).users.sort(), ['alice', 'bob']);
      await bob.expect('leave-room', { conversationId }, 'room-left');
      assert.equal((await bob.refused('send-message', { conversationId, content: 'x' })).code, 'NOT_A_MEMBER');
      await alice.expect('send-message', { conversationId, content: 'for me' }, 'message-ack');
      await bob.settle();
      assert.equal(bob.received.some((each) => each.event === 'message-new' && each.data.conversationId === conversationId), false);
      await Promise.all([alice.close(), bob.close()]);
    });

    test('several requests in one message are answered in order', async () => {
      const client = await Client.connect(server, 'alice');
      const before = client.received.length;
      client.socket.send('{"event":"heartbeat","id":"x"} {"event":"no-such-event","id":"y"}\n{"event":"heartbeat","id":17}');
      await client.settle();
      const seen = client.received.slice(before).map(({ event, id }) => [event, id]);
      assert.deepEqual(seen.slice(0, 3), [['heartbeat-ack', 'x'], ['error', 'y'], ['heartbeat-ack', 17]]);
      assert.equal(client.received[before + 1].data.code, 'UNKNOWN_EVENT');
      await client.close();
    });
  });

  test('a plugin refuses, and says why', async () => {
    const conversationId = room();
    const [alice, bob] = await pair(server, conversationId);
    const refusal = await alice.refused('send-message', { conversationId, tempId: 'r', content: { text: 'What the heck!' } });
    assert.equal(refusal.code, 'REJECTED');
    assert.equal(refusal.reason, 'forbidden_word');
    assert.equal(refusal.plugin, 'message-policy');
    assert.equal(refusal.retryable, false);
    assert.equal((await alice.refused('send-message', { conversationId, type: 'poll', content: {} })).reason, 'type_not_allowed');
    const { messageId } = await alice.expect('send-message', { conversationId, tempId: 'r', content: 'What a day!' }, 'message-ack');
    assert.equal((await alice.refused('edit-message', { conversationId, messageId, content: 'heck' })).reason, 'forbidden_word');
    assert.equal((await bob.push('message-new', conversationId)).content, 'What a day!');
    await Promise.all([alice.close(), bob.close()]);
  });

  describe('frames and closes', options, () => {
    test('pings are answered with what they carry', async () => {
      const client = await Client.open(server);
      const pong = new Promise((done) => client.socket.once('pong', (data) => done(data.toString())));
      client.socket.ping('are you there?');
      assert.equal(await inTime(pong, 'a pong'), 'are you there?');
      await client.close();
    });

    test('a close is answered with its own code', async () => {
      const client = await Client.open(server);
      assert.equal((await client.close(3500)).code, 3500);
    });

    const closes = {
      'a message that is too big closes 1009': [1009, (socket) => socket.send('x'.repeat(65537))],
      'fragments that are too big together close 1009': [1009, (socket) => {
        for (let i = 0; i < 3; i++) socket.send('x'.repeat(30_000), { fin: false });
      }],
      'an unmasked frame closes 1002': [1002, (socket) => socket.send('{}', { mask: false })],
      'text that is not UTF-8 closes 1007': [1007, (socket) => socket.send(Buffer.from([0xff, 0xfe]), { binary: false })],
      'ten frames in a row that are no requests close 4005': [4005, (socket) => {
        for (let i = 0; i < 5; i++) { socket.send('nonsense'); socket.send(Buffer.from('{}'), { binary: true }); }
      }],
    };
    for (const [name, [code, act]] of Object.entries(closes)) {
      test(name, async () => {
        const client = await Client.connect(server, 'alice');
        act(client.socket);
        assert.equal((await inTime(client.closed, 'a close')).code, code);
      });
    }
  });
});

describe('an impatient server', options, () => {
  let server;
  const settings = { TIMING__PING_MS: 300, TIMING__PONG_MS_MAX: 700, TIMING__AUTH_MS_MAX: 800, TIMING__DRAIN_MS: 200 };
  before(async () => { server = await startServer({ settings }); });
  after(() => server?.stop());

  test('who does not authenticate in time is closed with 4101', async () => {
    const client = await Client.open(server);
    assert.equal((await client.push('error')).code, 'AUTH_TIMEOUT');
    assert.equal((await inTime(client.closed, 'a close')).code, 4101);
  });

  test('who answers pings stays, who does not is closed with 4201', async () => {
    const alive = await Client.connect(server, 'alice');
    const dead = await Client.connect(server, 'bob', {}, { autoPong: false });
    assert.equal((await inTime(dead.closed, 'a close')).code, 4201);
    await sleep(1500);
    assert.ok(alive.pings >= 3, `${alive.pings} pings`);
    await alive.settle();
    await alive.close();
  });

  test('a server that stops says so and closes with 4200', async () => {
    const own = await startServer({ settings });
    const client = await Client.connect(own, 'alice');
    const stopped = own.stop();
    assert.ok((await client.push('going-away')).reconnectInMs >= 0);
    assert.equal((await inTime(client.closed, 'a close')).code, 4200);
    assert.equal(await stopped, 0);
  });
});

test('long messages are compressed for clients that offer it', options, async () => {
  const server = await startServer({ toml: 'development = true\nplugins = []\n[delivery]\ndeflate_bytes_min = 200\n' });
  try {
    const conversationId = room();
    const compressing = { perMessageDeflate: { threshold: 100 } };
    const alice = await Client.connect(server, 'alice', {}, compressing);
    const bob = await Client.connect(server, 'bob', { batch: true }, compressing);
    const plain = await Client.connect(server, 'carol');
    assert.equal(alice.socket.extensions, 'permessage-deflate');
    assert.equal(plain.socket.extensions, '');
    for (const client of [alice, bob, plain]) await client.expect('join-room', { conversationId }, 'room-joined');
    for (const content of ['short', 'a long one '.repeat(2000), { emoji: '\u{1f600}'.repeat(1000) }]) {
      await alice.expect('send-message', { conversationId, content }, 'message-ack');
      for (const client of [bob, plain]) assert.deepEqual((await client.push('message-new', conversationId)).content, content);
    }
    const { messages } = await bob.expect('history', { conversationId }, 'history');
    assert.equal(messages[1].content.length, 22_000);
    await Promise.all([alice, bob, plain].map((client) => client.close()));
  } finally {
    await server.stop();
  }
});

// The bundled plugins again as an operator's own files: as they are committed and, where tests/run has just built them
// from their sources, as they came out.
const components = ['plugins/built', process.env.STENTOR_TEST_PLUGINS].filter(Boolean);
for (const directory of components) {
  test(`plugins from ${directory === components[0] ? directory : 'a fresh build'}`, options, async () => {
    const component = (name) => JSON.stringify(resolve(root, directory, `${name}.wasm`));
    const toml = `development = true
[[plugins]]
name = "words"
component = ${component('message-policy')}
config = { words = ["heck"], words_action = "mask", length_max = 20 }
[[plugins]]
name = "unwell"
component = ${component('misbehaving')}
on_failure = "closed"
config = { behaviour = "trap" }
`;
    const server = await startServer({ toml });
    try {
      const conversationId = room();
      const [alice, bob] = await pair(server, conversationId);
      const send = (content) => alice.request('send-message', { conversationId, content });
      assert.equal((await send('What the heck!')).event, 'message-ack');
      assert.equal((await bob.push('message-new', conversationId)).content, 'What the ****!');
      const long = await send('x'.repeat(21));
      assert.deepEqual([long.data.code, long.data.reason, long.data.plugin], ['REJECTED', 'too_long', 'words']);
      const failed = await send('trigger');
      assert.deepEqual([failed.data.code, failed.data.plugin, failed.data.retryable], ['POLICY_UNAVAILABLE', 'unwell', true]);
      assert.equal((await send('well again')).event, 'message-ack');
      assert.equal((await bob.push('message-new', conversationId)).content, 'well again');
      await Promise.all([alice.close(), bob.close()]);
    } finally {
      await server.stop();
    }
  });
}
