// The client in Debian's Chromium, with the browser's own WebSocket: it talks, and it resumes.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';
import { newRoom, open, options, says, startNetwork, startServer } from './support.mjs';

const { chromium } = createRequire(new URL('../../../tests/clients/package.json', import.meta.url))('playwright-core');
const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
const args = [
  '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
  // Chromium's sandbox refuses to be started by root, who is who runs tests in a container.
  ...(process.getuid() === 0 ? ['--no-sandbox'] : []),
];

describe('a page', options, () => {
  let files, server, network, browser, page, alice;
  const complaints = [];

  before(async () => {
    // The package as it is published, and an empty page.
    files = createServer(async ({ url }, response) => {
      const isScript = /^\/dist\/[a-z]+\.js$/.test(url);
      response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
      response.end(isScript ? await readFile(new URL(`..${url}`, import.meta.url)) : '<!doctype html><link rel="icon" href="data:,"><title>chat</title>');
    });
    await new Promise((done) => files.listen(0, '127.0.0.1', done));
    const origin = `http://127.0.0.1:${files.address().port}`;
    server = await startServer({ settings: { ALLOWED_ORIGINS: `["${origin}"]` } });
    network = await startNetwork(server);
    browser = await chromium.launch({ executablePath, args, timeout: 60_000 });
    page = await browser.newPage();
    page.setDefaultTimeout(15_000);
    page.on('pageerror', (error) => complaints.push(error.stack));
    await page.goto(origin);
    alice = await open(server, 'alice');
  }, { timeout: 90_000 });

  after(async () => {
    alice?.close();
    await browser?.close();
    await network?.close();
    await server?.stop();
    files?.close();
  });

  const texts = (count) => page.waitForFunction((wanted) => window.texts.length >= wanted && window.texts, count).then((handle) => handle.jsonValue());

  test('chats, is cut off, and has everything once', options, async () => {
    const id = newRoom();
    await alice.join(id);
    await page.evaluate(async ({ url, token, room }) => {
      const { Stentor } = await import('/dist/index.js');
      window.texts = [];
      window.chat = new Stentor({ url, token, backoff: { baseMs: 5, maxMs: 50 }, heartbeat: { afterMs: 100, timeoutMs: 2_000 } });
      window.chat.on('message-new', ({ content }) => window.texts.push(content));
      window.room = window.chat.room(room);
      await window.room.join();
      await window.room.send('Hello from a page');
    }, { url: network.ws, token: await server.token('bob'), room: id });
    await says(alice, 'Hello from a page');
    await alice.send(id, 'Hello, page');
    assert.deepEqual(await texts(2), ['Hello from a page', 'Hello, page']);

    network.isUp = false;
    network.cut();
    await page.waitForFunction(() => window.chat.state !== 'connected');
    await alice.send(id, 'missed one');
    await alice.send(id, 'missed two');
    await page.evaluate(() => { window.sent = window.room.send('written offline'); });
    assert.equal(await page.evaluate(() => window.chat.unsent), 1);
    network.isUp = true;
    assert.deepEqual((await texts(5)).slice(2), ['missed one', 'missed two', 'written offline']);
    assert.equal(await page.evaluate(async () => (await window.sent).duplicate), false);
    await says(alice, 'written offline');
    assert.deepEqual(alice.texts(id), ['Hello from a page', 'Hello, page', 'missed one', 'missed two', 'written offline']);
  });

  test('notices a connection that is dead, of which the browser says nothing', options, async () => {
    const before = network.connections;
    network.fallSilent();
    const how = await page.evaluate(() => window.chat.once('disconnected'));
    assert.equal(how.code, 4201);
    await page.waitForFunction(() => window.chat.state === 'connected');
    assert.ok(network.connections > before);
    await page.evaluate(() => window.room.send('back again'));
    await says(alice, 'back again');
  });

  test('and nothing went wrong', () => assert.deepEqual(complaints, []));
});
