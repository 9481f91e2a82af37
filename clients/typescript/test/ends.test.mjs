// Tokens and the ends of connections: when the client comes back, and when it does not.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { inTime, open, options, startNetwork, startServer, until, WebSocket } from './support.mjs';
import { afterClose, Backoff } from '../dist/backoff.js';

describe('tokens', options, () => {
  let server;
  before(async () => { server = await startServer(); });
  after(() => server?.stop());

  test('a token that expires is renewed on the open connection', async () => {
    let asked = 0;
    const chat = await open(server, 'alice', { token: () => server.token('alice', '--ttl', asked++ ? '1h' : '3s') });
    const expiring = chat.once('token-expiring');
    const { sessionId, expiresAt } = await chat.connect();
    await inTime(expiring, 'token-expiring');
    // The second request behind the renewal is answered after it.
    await until(chat, 'connected');
    while (chat.session.expiresAt === expiresAt) await chat.request('test:nothing').catch(() => {});
    assert.equal(chat.session.sessionId, sessionId);
    assert.equal(asked, 2);
    chat.close();
  });

  test('an expired token is replaced by a fresh one', async () => {
    let asked = 0;
    const chat = await open(server, 'alice', { token: () => server.token('alice', '--ttl', asked++ ? '1h' : '0s') });
    const gone = chat.once('disconnected');
    const welcome = chat.connect();
    const how = await inTime(gone, 'the close');
    assert.deepEqual([how.code, how.error.code], [4002, 'TOKEN_EXPIRED']);
    assert.equal((await welcome).userId, 'alice');
    assert.equal(asked, 2);
    chat.close();
  });

  test('a token that cannot be renewed ends it when it expires', async () => {
    const chat = await open(server, 'alice', { token: await server.token('alice', '--ttl', '1s') });
    chat.connect().catch(() => {});
    const how = await until(chat, 'closed');
    assert.deepEqual([how.code, how.error.code, how.retryInMs], [4002, 'TOKEN_EXPIRED', undefined]);
    await assert.rejects(chat.send('x', 'y'), { code: 'CLOSED' });
  });

  test('a refused token is final, and everybody who waits is told', async () => {
    const chat = await open(server, 'alice', { token: `${await server.token('alice')}x` });
    const unsent = chat.send('x', 'never');
    const joined = chat.join('x');
    await assert.rejects(chat.connect(), { code: 'CLOSED' });
    await assert.rejects(unsent, { code: 'CLOSED' });
    await assert.rejects(joined, { code: 'CLOSED' });
    const how = await until(chat, 'closed');
    assert.deepEqual([how.code, how.error.code], [4001, 'AUTH_FAILED']);
  });

  test('a source of tokens that fails is asked again', async () => {
    let asked = 0;
    const token = async () => { if (asked++ < 2) throw new Error('the login is down'); return server.token('alice'); };
    const chat = await open(server, 'alice', { token });
    await chat.connect();
    assert.equal(asked, 3);
    assert.deepEqual(chat.noted.filter(({ event }) => event === 'trouble').map(({ data }) => data.code), ['TOKEN_UNAVAILABLE', 'TOKEN_UNAVAILABLE']);
    chat.close();
  });
});

describe('ends', options, () => {
  test('the first digits of a close code say what to do', () => {
    const table = { 4001: 'stop', 4002: 'fresh-token', 4003: 'stop', 4005: 'stop', 4101: 'later', 4103: 'later', 4105: 'later', 4199: 'later', 4200: 'now', 4201: 'now', 1006: 'later', 1009: 'later', 1011: 'later' };
    for (const [code, what] of Object.entries(table)) assert.equal(afterClose(Number(code)), what, code);
  });

  test('delays grow to their bound, at random, and `now` is honoured once', () => {
    const backoff = new Backoff({ baseMs: 100, maxMs: 1_000 });
    assert.equal(backoff.next(true), 0);
    for (let i = 1; i < 100; i++) {
      const delay = backoff.next(true);
      assert.ok(delay >= 0 && delay <= Math.min(1_000, 100 * 2 ** i));
    }
    const many = Array.from({ length: 100 }, () => backoff.next(false));
    assert.ok(new Set(many).size > 1);
    backoff.held(60_000);
    assert.equal(backoff.next(true), 0);
  });

  test('a server without room is tried again, until it has some', async () => {
    const server = await startServer({ settings: { LIMITS__CONNECTIONS_PER_USER_MAX: 1 } });
    const [first, second] = [await open(server, 'alice'), await open(server, 'alice')];
    try {
      await first.connect();
      const welcome = second.connect();
      const how = await until(second, 'disconnected');
      assert.equal(how.code, 4105);
      assert.ok(how.retryInMs !== undefined);
      first.close();
      assert.equal((await welcome).userId, 'alice');
    } finally {
      first.close();
      second.close();
      await server.stop();
    }
  });

  test('a client that breaks the protocol is not to come back', async () => {
    const server = await startServer();
    let raw;
    class Socket extends WebSocket { constructor(...args) { super(...args); raw = this; } }
    const chat = await open(server, 'alice', { WebSocket: Socket });
    try {
      await chat.connect();
      for (let i = 0; i < 10; i++) raw.send('no JSON');
      const how = await until(chat, 'closed');
      assert.equal(how.code, 4005);
      assert.equal(chat.state, 'closed');
    } finally {
      chat.close();
      await server.stop();
    }
  });

  test('what waits is bounded', async () => {
    const server = await startServer();
    const network = await startNetwork(server);
    network.isUp = false;
    const chat = await open(server, 'alice', { url: network.ws, timeoutMs: 300, outbox: { messagesMax: 2 } });
    try {
      const kept = [chat.send('r', 1), chat.send('r', 2)];
      for (const promise of kept) promise.catch(() => {});
      await assert.rejects(chat.send('r', 3), { code: 'QUEUE_FULL', retryable: true });
      await assert.rejects(chat.history('r'), { code: 'TIMEOUT', retryable: true });
      assert.equal(chat.unsent, 2);
      const requests = Array.from({ length: 300 }, () => chat.history('r').catch(({ code }) => code));
      const codes = await Promise.all(requests);
      assert.ok(codes.includes('QUEUE_FULL') && codes.includes('TIMEOUT'));
    } finally {
      chat.close();
      await network.close();
      await server.stop();
    }
  });
});
