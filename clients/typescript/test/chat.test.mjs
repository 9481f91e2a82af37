// The client against the real server: what a chat does when nothing goes wrong, and what refusals look like.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { inTime, known, newRoom, open, options, says, startServer, Stentor, StentorError, until, WebSocket } from './support.mjs';

describe('a chat', options, () => {
  let server, alice, bob;
  before(async () => {
    server = await startServer();
    [alice, bob] = [await open(server, 'alice', { deviceId: 'laptop' }), await open(server, 'bob')];
  });
  after(async () => {
    alice?.close();
    bob?.close();
    await server?.stop();
  });

  test('a message reaches both, once, and is acknowledged', async () => {
    const id = newRoom();
    const [mine, theirs] = [alice.room(id), bob.room(id)];
    const joined = await mine.join();
    assert.equal(joined.members, 1);
    await theirs.join();
    const ack = await mine.send({ text: 'Hello!' }, { type: 'image', replyTo: 'x' });
    assert.ok(ack.messageId && ack.seq && !ack.duplicate);
    const message = await until(bob, 'message-new', ({ messageId }) => messageId === ack.messageId);
    assert.deepEqual([message.content, message.type, message.replyTo, message.userId, message.deviceId], [{ text: 'Hello!' }, 'image', 'x', 'alice', 'laptop']);
    await theirs.send('Hello, Alice');
    await says(alice, 'Hello, Alice');
    assert.deepEqual(alice.texts(id), [{ text: 'Hello!' }, 'Hello, Alice']);
    assert.deepEqual([alice.session.userId, alice.session.server.name], ['alice', 'stentor']);
  });

  test('edits, deletions, history and who is there', async () => {
    const id = newRoom();
    const [mine, theirs] = [alice.room(id), bob.room(id)];
    await mine.join();
    await theirs.join();
    const { messageId } = await mine.send('one');
    const { version } = await mine.edit(messageId, 'two', { ifVersion: 1 });
    assert.equal(version, 2);
    await until(bob, 'message-edited', (message) => message.messageId === messageId && message.content === 'two');
    await assert.rejects(mine.edit(messageId, 'three', { ifVersion: 1 }), { code: 'EDIT_CONFLICT', retryable: false });
    await assert.rejects(theirs.delete(messageId), { name: 'StentorError', code: 'FORBIDDEN' });
    await mine.delete(messageId);
    await until(bob, 'message-deleted', (deleted) => deleted.messageId === messageId);
    for (const text of ['a', 'b', 'c']) await mine.send(text);
    const page = await theirs.history({ limit: 2 });
    assert.deepEqual([page.messages.map(({ content }) => content), page.hasMore], [['b', 'c'], true]);
    const older = await theirs.history({ before: page.messages[0].seq });
    assert.deepEqual([older.messages.at(-1).content, older.hasMore], ['a', false]);
    assert.deepEqual(await mine.onlineUsers(), ['alice', 'bob']);
    await theirs.leave();
    await assert.rejects(theirs.send('gone'), { code: 'NOT_A_MEMBER' });
  });

  test('room handles hear of their own room alone, until they are told not to', async () => {
    const [here, there] = [newRoom(), newRoom()];
    const heard = [];
    const end = alice.room(here).on('message-new', ({ content }) => heard.push(content));
    await alice.join(here);
    await alice.join(there);
    await alice.send(here, 1);
    await alice.send(there, 2);
    end();
    await alice.send(here, 3);
    assert.deepEqual(heard, [1]);
  });

  test('what a plugin refuses says which one and why', async () => {
    const id = newRoom();
    await alice.join(id);
    const refused = await alice.send(id, 'What the heck').catch((error) => error);
    assert.ok(refused instanceof StentorError);
    assert.deepEqual([refused.code, refused.reason, refused.plugin, refused.retryable], ['REJECTED', 'forbidden_word', 'message-policy', false]);
    assert.equal(alice.unsent, 0);
  });

  test('messages sent in one go arrive in order, and the same name is the same message', async () => {
    const id = newRoom();
    await Promise.all([alice.join(id), ...Array.from({ length: 50 }, (_, i) => alice.send(id, i))]);
    assert.deepEqual(alice.texts(id), Array.from({ length: 50 }, (_, i) => i));
    const first = await alice.send(id, 'named', { tempId: 'my-name' });
    const again = await alice.send(id, 'named', { tempId: 'my-name' });
    assert.deepEqual([again.messageId, again.duplicate], [first.messageId, true]);
    await alice.send(id, 'quiet', { noEcho: true });
    await alice.send(id, 'last');
    assert.deepEqual(alice.texts(id).slice(50), ['named', 'last']);
  });

  test('a message that the server would not take does not cost the connection', async () => {
    const id = newRoom();
    await alice.join(id);
    const { sessionId } = alice.session;
    await assert.rejects(alice.send(id, 'x'.repeat(70_000)), { code: 'PAYLOAD_TOO_LARGE', retryable: false });
    await alice.send(id, 'short');
    assert.equal(alice.session.sessionId, sessionId);
  });

  test('what is refused for its rate is sent later, in order', async () => {
    const eve = await open(server, 'eve');
    const id = newRoom();
    await eve.join(id);
    const texts = Array.from({ length: 260 }, (_, i) => `${i}`);
    await Promise.all(texts.map((text) => eve.send(id, text)));
    assert.deepEqual(eve.texts(id), texts);
    eve.close();
  });

  test('a listener that throws harms nobody else', async () => {
    const id = newRoom();
    await alice.join(id);
    const { promise, ...uncaught } = withResolvers();
    const earlier = process.rawListeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.once('uncaughtException', uncaught.resolve);
    const end = alice.on('message-new', () => { throw new Error('on purpose'); });
    try {
      await alice.send(id, 'still');
      assert.equal((await inTime(promise, 'the error is reported')).message, 'on purpose');
    } finally {
      end();
      process.removeAllListeners('uncaughtException');
      for (const listener of earlier) process.on('uncaughtException', listener);
    }
    assert.deepEqual(alice.texts(id), ['still']);
  });

  test('an extension that nobody has is an unknown event', async () => {
    await assert.rejects(alice.request('reaction:add', { messageId: 'm' }), { code: 'UNKNOWN_EVENT' });
  });

  test('after the end everything fails at once', async () => {
    const chat = new Stentor({ url: server.ws, token: await server.token('carol'), WebSocket });
    await chat.connect();
    const waiting = chat.room('nowhere').history();
    chat.close();
    await assert.rejects(waiting, { code: 'CLOSED' });
    await assert.rejects(chat.send('nowhere', 'x'), { code: 'CLOSED' });
    await assert.rejects(chat.join('nowhere'), { code: 'CLOSED' });
    assert.equal(chat.state, 'closed');
    assert.equal((await chat.connect()).userId, 'carol', 'connecting again is allowed');
    chat.close();
  });

  test('receipts', async (context) => {
    const id = newRoom();
    const [mine, theirs] = [alice.room(id), bob.room(id)];
    await mine.join();
    if (!await known(alice, 'mark-read', { conversationId: id, upTo: 1 })) return context.skip('this server has no receipts');
    await theirs.join();
    const { messageId, seq } = await mine.send('read me');
    const seen = new Promise((done) => { mine.on('receipt', (receipt) => { if (receipt.type === 'seen' && receipt.upTo >= seq) done(receipt); }); });
    await says(bob, 'read me');
    await theirs.markRead();
    assert.equal((await inTime(seen, 'a receipt')).userId, 'bob');
    const status = await mine.messageStatus(messageId);
    assert.deepEqual([status.status, status.users.map(({ userId }) => userId)], ['read', ['bob']]);
    await theirs.ack(seq);
  });

  test('presence', async (context) => {
    if (!await known(alice, 'get-presence', { userIds: ['bob'] })) return context.skip('this server has no presence');
    const [before] = await alice.watchPresence(['bob']);
    assert.deepEqual([before.userId, before.status], ['bob', 'online']);
    const away = new Promise((done) => { alice.on('presence', (presence) => { if (presence.status === 'away') done(presence); }); });
    await bob.setPresence('away', 'lunch');
    const presence = await inTime(away, 'presence');
    assert.deepEqual([presence.userId, presence.text], ['bob', 'lunch']);
    assert.equal((await alice.getPresence(['bob']))[0].status, 'away');
    await alice.unwatchPresence(['bob']);
  });

  test('typing', async (context) => {
    const id = newRoom();
    const [mine, theirs] = [alice.room(id), bob.room(id)];
    await mine.join();
    if (!await known(alice, 'get-typing-users', { conversationId: id })) return context.skip('this server has no typing');
    await theirs.join();
    const next = (event) => inTime(new Promise((done) => { const end = theirs.on(event, (data) => { end(); done(data); }); }), event);
    const starts = next('typing');
    for (let key = 0; key < 20; key++) mine.typing();
    assert.deepEqual(await starts, { conversationId: id, userId: 'alice', isTyping: true });
    assert.deepEqual(await theirs.typingUsers(), ['alice']);
    const stops = next('typing-stop');
    mine.stopTyping();
    assert.equal((await stops).userId, 'alice');
  });
});

function withResolvers() {
  let resolve;
  const promise = new Promise((done) => { resolve = done; });
  return { promise, resolve };
}
