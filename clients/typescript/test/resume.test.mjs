// The client through broken networks and servers that stop: nothing is lost, and nothing comes twice.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { inTime, known, newRoom, open, options, says, startNetwork, startServer, until } from './support.mjs';

const count = (chat, event) => chat.noted.filter((each) => each.event === event).length;

describe('a network that breaks', options, () => {
  let server, network, alice, bob;
  before(async () => {
    server = await startServer();
    network = await startNetwork(server);
    alice = await open(server, 'alice');
    bob = await open(server, 'bob', {
      url: network.ws,
      deviceId: 'phone',
      heartbeat: { afterMs: 100, timeoutMs: 2_000 },
    });
    await Promise.all([alice.connect(), bob.connect()]);
  });
  after(async () => {
    alice?.close();
    bob?.close();
    await network?.close();
    await server?.stop();
  });

  /** Waits until a client has lost its connection. */
  const loses = async (chat, cause) => {
    const gone = chat.once('disconnected');
    cause();
    return inTime(gone, 'the connection ends');
  };

  test('what was missed comes once and in order', async () => {
    const id = newRoom();
    await alice.join(id);
    await bob.join(id);
    await alice.send(id, 'before');
    await says(bob, 'before');
    network.isUp = false;
    await loses(bob, () => network.cut());
    for (const text of ['one', 'two', 'three']) await alice.send(id, text);
    assert.deepEqual(bob.texts(id), ['before']);
    network.isUp = true;
    await says(bob, 'three');
    await alice.send(id, 'after');
    await says(bob, 'after');
    assert.deepEqual(bob.texts(id), ['before', 'one', 'two', 'three', 'after']);
  });

  test('what is sent meanwhile is kept, and is in the room once', async () => {
    const id = newRoom();
    await alice.join(id);
    await bob.join(id);
    network.isUp = false;
    await loses(bob, () => network.cut());
    const acks = ['a', 'b', 'c'].map((text) => bob.send(id, text));
    assert.equal(bob.unsent, 3);
    network.isUp = true;
    const seqs = (await Promise.all(acks)).map(({ seq }) => seq);
    assert.deepEqual(
      seqs,
      [...seqs].sort((one, other) => one - other),
    );
    await says(alice, 'c');
    assert.deepEqual(alice.texts(id), ['a', 'b', 'c']);
    assert.deepEqual(bob.texts(id), ['a', 'b', 'c']);
  });

  test('a message whose acknowledgement was lost is sent again and is there once', async () => {
    const id = newRoom();
    await alice.join(id);
    await bob.join(id);
    network.losesAnswers = true;
    const acknowledged = bob.send(id, 'did you get that?');
    await says(alice, 'did you get that?');
    network.losesAnswers = false;
    await loses(bob, () => network.cut());
    assert.equal((await acknowledged).duplicate, true);
    await bob.send(id, 'good');
    await says(alice, 'good');
    assert.deepEqual(alice.texts(id), ['did you get that?', 'good']);
    assert.deepEqual(bob.texts(id), ['did you get that?', 'good']);
  });

  test('a connection that says nothing is found dead', async () => {
    const id = newRoom();
    await alice.join(id);
    await bob.join(id);
    const how = await loses(bob, () => network.fallSilent());
    assert.equal(how.code, 4201);
    await alice.send(id, 'are you there?');
    await says(bob, 'are you there?');
  });

  test('cuts in the middle of a conversation cost nothing', async () => {
    const id = newRoom();
    await alice.join(id);
    await bob.join(id);
    const sent = [];
    for (let round = 0; round < 5; round++) {
      for (const chat of [alice, bob])
        for (let i = 0; i < 6; i++) sent.push(chat.send(id, `${chat === bob}-${round}-${i}`));
      await bob.connect();
      await loses(bob, () => network.cut());
    }
    await Promise.all(sent);
    await bob.send(id, 'the end');
    await Promise.all([says(alice, 'the end'), says(bob, 'the end')]);
    assert.deepEqual(bob.texts(id), alice.texts(id));
    assert.deepEqual([new Set(alice.texts(id)).size, alice.texts(id).length], [61, 61]);
  });

  test('another life of the program goes on where the last one stopped', async () => {
    const id = newRoom();
    await alice.join(id);
    const first = await open(server, 'dora');
    await first.join(id);
    await alice.send(id, 'seen');
    await says(first, 'seen');
    const seen = JSON.parse(JSON.stringify(first.seen));
    first.close();
    await alice.send(id, 'missed');
    const second = await open(server, 'dora', { seen });
    await second.connect();
    await says(second, 'missed');
    await alice.send(id, 'live');
    await says(second, 'live');
    assert.deepEqual(second.texts(id), ['missed', 'live']);
    second.close();
  });

  test('what comes both as a push and in an answer is given once', async () => {
    const id = newRoom();
    await alice.join(id);
    await bob.join(id);
    const texts = Array.from({ length: 100 }, (_, i) => `${i}`);
    let isOver = false;
    const said = Promise.all(texts.map((text) => alice.send(id, text))).finally(() => {
      isOver = true;
    });
    // What is pushed while the question is on its way is in the answer too.
    while (!isOver) await bob.join(id);
    await said;
    await says(bob, texts.at(-1));
    assert.deepEqual(bob.texts(id), texts);
  });

  test('a device is given what it missed, without having kept anything', async (context) => {
    const id = newRoom();
    await alice.join(id);
    const first = await open(server, 'quentin', { deviceId: 'phone', autoAck: false });
    await first.join(id);
    if (first.session.queued === undefined) {
      first.close();
      return context.skip('this server has no offline queue');
    }
    await alice.send(id, 'seen');
    const { seq } = await says(first, 'seen');
    await first.ack(id, seq);
    first.close();
    await alice.send(id, 'missed one');
    await alice.send(id, 'missed two');
    const second = await open(server, 'quentin', { deviceId: 'phone', autoAck: false });
    const { queued } = await second.connect();
    assert.ok(queued >= 2);
    await says(second, 'missed two');
    await alice.send(id, 'live');
    await says(second, 'live');
    assert.deepEqual(second.texts(id), ['missed one', 'missed two', 'live']);
    second.close();
  });

  test('requests wait for the connection', async () => {
    const id = newRoom();
    network.isUp = false;
    await loses(bob, () => network.cut());
    const [joined, page] = [bob.join(id), bob.history(id)];
    page.catch(() => {});
    network.isUp = true;
    assert.equal((await joined).members, 1);
    await page;
  });

  test('what became of people meanwhile is told with the next connection', async (context) => {
    if (!(await known(bob, 'get-presence', { userIds: ['alice'] }))) return context.skip('this server has no presence');
    await bob.watchPresence(['alice']);
    network.isUp = false;
    await loses(bob, () => network.cut());
    await alice.setPresence('dnd');
    const told = new Promise((done) => {
      bob.on('presence', (presence) => {
        if (presence.userId === 'alice' && presence.status === 'dnd') done(presence);
      });
    });
    network.isUp = true;
    await inTime(told, 'the snapshot of whom one watches');
    await alice.setPresence('online');
  });

  test('a room that somebody left on another device is left here', async () => {
    const id = newRoom();
    await bob.join(id);
    const other = await open(server, 'bob', { deviceId: 'tablet' });
    await other.connect();
    await other.leave(id);
    await until(bob, 'room-left', ({ conversationId }) => conversationId === id);
    other.close();
  });
});

describe('rooms that cannot be resumed', options, () => {
  let server, network, alice, bob;
  before(async () => {
    server = await startServer({
      settings: {
        LIMITS__RECOVER_EVENTS_MAX: 5,
        LIMITS__REQUESTS_PER_SECOND_MAX: 100_000,
        LIMITS__REQUEST_BURST_MAX: 100_000,
      },
    });
    network = await startNetwork(server);
    alice = await open(server, 'alice');
    bob = await open(server, 'bob', { url: network.ws });
  });
  after(async () => {
    alice?.close();
    bob?.close();
    await network?.close();
    await server?.stop();
  });

  test('are read anew, and go on from there', async () => {
    const id = newRoom();
    await alice.join(id);
    await bob.join(id);
    await alice.send(id, 'seen');
    await says(bob, 'seen');
    network.isUp = false;
    network.cut();
    await until(bob, 'disconnected');
    const texts = Array.from({ length: 30 }, (_, i) => `missed ${i}`);
    for (const text of texts) await alice.send(id, text);
    network.isUp = true;
    const reset = await until(bob, 'room-reset', ({ conversationId }) => conversationId === id);
    assert.deepEqual(
      reset.messages.map(({ content }) => content),
      ['seen', ...texts],
    );
    await alice.send(id, 'live again');
    await says(bob, 'live again');
    assert.deepEqual(bob.texts(id), ['seen', 'live again']);
    assert.equal(count(bob, 'room-reset'), 1);
  });

  test('are read page by page, and what is said meanwhile comes after, once', async () => {
    const id = newRoom();
    await alice.join(id);
    await bob.join(id);
    network.isUp = false;
    const gone = bob.once('disconnected');
    network.cut();
    await inTime(gone, 'the connection ends');
    const said = [];
    const say = (text) => {
      said.push(text);
      return alice.send(id, text);
    };
    await Promise.all(Array.from({ length: 450 }, (_, i) => say(`missed ${i}`)));
    network.isUp = true;
    // Somebody goes on talking until the room was read.
    let isRead = false;
    const reset = until(bob, 'room-reset', ({ conversationId }) => conversationId === id).finally(() => {
      isRead = true;
    });
    while (!isRead) await say(`meanwhile ${said.length}`);
    await say('the end');
    await says(bob, 'the end');
    const { messages, hasMore } = await reset;
    assert.equal(hasMore, false);
    assert.ok(messages.length >= 450);
    assert.deepEqual([...messages.map(({ content }) => content), ...bob.texts(id)], said);
  });
});

describe('a server that restarts', options, () => {
  for (const durability of ['memory', 'disk'])
    test(`with its store ${durability === 'disk' ? 'on disk' : 'in memory'}, is found again, and what waited is sent`, async () => {
      const server = await startServer({ settings: { TIMING__DRAIN_MS: 500, STORE__DURABILITY: durability } });
      const id = newRoom();
      const [alice, bob] = [await open(server, 'alice'), await open(server, 'bob')];
      try {
        for (const chat of [alice, bob]) await chat.join(id);
        await alice.send(id, 'old');
        await says(bob, 'old');
        const goes = alice.once('going-away');
        const restarted = server.restart();
        await inTime(goes, 'going-away');
        const how = await until(alice, 'disconnected');
        assert.equal(how.code, 4200);
        const waiting = alice.send(id, 'new');
        await restarted;
        await waiting;
        // With a store in memory the room is another one now, which is told. With one on disk it is the same.
        const isAnother = durability === 'memory';
        if (isAnother)
          for (const chat of [alice, bob])
            await until(chat, 'room-reset', ({ conversationId }) => conversationId === id);
        await alice.send(id, 'newer');
        await says(bob, 'newer');
        const there = (await bob.history(id)).messages.map(({ content }) => content);
        assert.deepEqual(there, isAnother ? ['new', 'newer'] : ['old', 'new', 'newer']);
        assert.equal(count(bob, 'room-reset'), isAnother ? 1 : 0);
      } finally {
        alice.close();
        bob.close();
        await server.stop();
      }
    });
});
