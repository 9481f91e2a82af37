// The demo page as two people use it: Debian's Chromium, driven through playwright-core.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { startServer, target } from './harness.mjs';

const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
const args = [
  '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
  // Chromium's sandbox refuses to be started by root, who is who runs tests in a container.
  ...(process.getuid() === 0 ? ['--no-sandbox'] : []),
];
const options = { timeout: 60_000 };
const PATIENCE_MS = 15_000;

describe('the demo page', options, () => {
  let server, browser, alice, bob;
  /** Whatever the pages complained of. It must stay empty. */
  const complaints = [];

  before(async () => {
    server = await startServer({ settings: { TIMING__DRAIN_MS: 500 } });
    browser = await chromium.launch({ executablePath, args, timeout: 60_000 });
    [alice, bob] = await Promise.all([visit('alice'), visit('bob')]);
  }, { timeout: 90_000 });

  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  /** Opens the page as somebody, in a browser profile of their own. */
  async function visit(user, { query = `?user=${user}&room=lobby`, ...context } = {}) {
    const page = await (await browser.newContext({ viewport: { width: 1280, height: 800 }, ...context })).newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    page.on('console', (message) => { if (message.type() === 'error') complaints.push(`${user}: ${message.text()}`); });
    page.on('pageerror', (error) => complaints.push(`${user}: ${error.stack}`));
    page.on('requestfailed', (request) => complaints.push(`${user}: ${request.url()} failed`));
    page.on('response', (response) => { if (response.status() >= 400) complaints.push(`${user}: ${response.status()} ${response.url()}`); });
    // Toasts go after some seconds, so they are noted when they come: those of the kind `bad` tell of something that failed.
    await page.exposeFunction('noteBadToast', (text) => complaints.push(`${user}: ${text}`));
    await page.addInitScript(() => {
      const note = ({ addedNodes }) => addedNodes.forEach((node) => node.dataset?.kind === 'bad' && window.noteBadToast(node.textContent));
      new MutationObserver((changes) => changes.forEach(note)).observe(document, { childList: true, subtree: true });
    });
    await page.goto(`${server.http}/demo${query}`);
    if (query) await connected(page);
    return page;
  }

  const status = (page) => page.getByTestId('status');
  const connected = (page) => page.locator('[data-testid=status][data-link=connected]').waitFor();
  const messages = (page) => page.getByTestId('message');
  const message = (page, text) => messages(page).filter({ has: page.getByTestId('message-text').getByText(text, { exact: true }) });
  const roomRow = (page, room) => page.locator(`[data-testid=room][data-room="${room}"]`);

  async function say(page, text) {
    await page.getByTestId('message-input').fill(text);
    await page.getByTestId('message-input').press('Enter');
  }

  /** Waits until a message is there in a state: pending, acked, refused or deleted. */
  async function shows(page, text, state = 'acked') {
    const found = message(page, text).and(page.locator(`[data-state=${state}]`));
    await found.waitFor();
    assert.equal(await found.count(), 1, `${text} is there once`);
    return found;
  }

  async function enter(page, room) {
    await page.getByTestId('room-input').fill(room);
    await page.getByTestId('join').click();
    await page.locator(`[data-testid=room][data-room="${room}"][data-membership=member][data-current=true]`).waitFor();
  }

  test('two people talk to each other', options, async () => {
    await say(alice, 'Hello, Bob! \u{1F44B}');
    await shows(alice, 'Hello, Bob! \u{1F44B}');
    await shows(bob, 'Hello, Bob! \u{1F44B}');
    await say(bob, 'Hello, Alice, grüß dich!');
    await shows(bob, 'Hello, Alice, grüß dich!');
    await shows(alice, 'Hello, Alice, grüß dich!');
    const markup = '<img src="x" onerror="document.title=1"> & <b>bold</b>';
    await say(alice, markup);
    await shows(bob, markup);
    assert.deepEqual((await bob.getByTestId('members').textContent()).trim(), '2 members');
    await bob.getByTestId('online').getByText('alice').waitFor();
    await say(alice, 'two\nlines');
    await shows(bob, 'two\nlines');
  });

  test('an edit is seen by both', options, async () => {
    await say(alice, 'Shall we meet at five?');
    const mine = await shows(alice, 'Shall we meet at five?');
    await shows(bob, 'Shall we meet at five?');
    await mine.hover();
    await mine.getByTestId('edit').click();
    await alice.getByTestId('edit-input').fill('Shall we meet at six?');
    await alice.getByTestId('edit-save').click();
    for (const page of [alice, bob]) await (await shows(page, 'Shall we meet at six?')).getByTestId('edited').waitFor();
    assert.equal(await message(bob, 'Shall we meet at five?').count(), 0);
  });

  test('a deletion is seen by both', options, async () => {
    await say(bob, 'I should not have said that');
    const mine = await shows(bob, 'I should not have said that');
    await shows(alice, 'I should not have said that');
    await mine.hover();
    await mine.getByTestId('delete').click();
    for (const page of [alice, bob]) {
      await shows(page, 'Message deleted', 'deleted');
      assert.equal(await message(page, 'I should not have said that').count(), 0);
    }
  });

  test('what a plugin refuses is shown with its reason, to its author alone', options, async () => {
    await say(alice, 'What the heck!');
    const refused = await shows(alice, 'What the heck!', 'refused');
    assert.match(await refused.getByTestId('refusal').textContent(), /forbidden_word/);
    await say(alice, 'What a day!');
    await shows(bob, 'What a day!');
    assert.equal(await message(bob, 'What the heck!').count(), 0);
  });

  test('another room counts what is unread', options, async () => {
    await enter(alice, 'garden');
    await enter(bob, 'garden');
    await roomRow(bob, 'lobby').getByRole('button', { name: 'lobby' }).first().click();
    await shows(bob, 'What a day!');
    await say(alice, 'Roses are red');
    await say(alice, 'Violets are blue');
    await roomRow(bob, 'garden').getByTestId('unread').getByText('2', { exact: true }).waitFor();
    assert.equal(await message(bob, 'Roses are red').count(), 0, 'the lobby is on show');
    await roomRow(bob, 'garden').getByRole('button', { name: 'garden' }).first().click();
    await shows(bob, 'Roses are red');
    await shows(bob, 'Violets are blue');
    assert.equal(await roomRow(bob, 'garden').getByTestId('unread').count(), 0);
    for (const page of [alice, bob]) await roomRow(page, 'lobby').getByRole('button', { name: 'lobby' }).first().click();
  });

  test('what was missed offline comes with the connection, once and in order', options, async () => {
    await bob.getByTestId('offline').click();
    await bob.locator('[data-testid=status][data-link=offline]').waitFor();
    for (const text of ['missed one', 'missed two', 'missed three']) await say(alice, text);
    await shows(alice, 'missed three');
    await say(bob, 'written offline');
    await shows(bob, 'written offline', 'pending');
    assert.equal(await message(bob, 'missed one').count(), 0);
    await bob.getByTestId('offline').click();
    await connected(bob);
    for (const text of ['missed one', 'missed two', 'missed three', 'written offline']) await shows(bob, text);
    await shows(alice, 'written offline');
    const order = (await bob.getByTestId('message-text').allTextContents()).slice(-4);
    assert.deepEqual(order, ['missed one', 'missed two', 'missed three', 'written offline']);
  });

  test('a connection that is cut comes back by itself', options, async () => {
    await bob.getByTestId('cut').click();
    await bob.locator('[data-testid=status][data-link=offline]').waitFor();
    await say(alice, 'said into the void?');
    await connected(bob);
    await shows(bob, 'said into the void?');
    await say(bob, 'No, I have it.');
    await shows(alice, 'No, I have it.');
  });

  test('a page that is loaded anew is the same person with the same history', options, async () => {
    await bob.reload();
    await connected(bob);
    await roomRow(bob, 'lobby').getByRole('button', { name: 'lobby' }).first().click();
    await shows(bob, 'No, I have it.');
    await shows(bob, 'Shall we meet at six?');
    assert.equal(await message(bob, 'What the heck!').count(), 0);
  });

  test('the frames behind it are shown, and no token among them', options, async () => {
    const frames = alice.getByTestId('frame');
    assert.ok(await frames.count() > 10);
    await alice.locator('[data-testid=frame][data-event="message-ack"]').first().waitFor();
    await alice.getByTestId('raw-input').fill('{"event":"heartbeat","id":"by hand"}');
    await alice.getByTestId('raw-send').click();
    await alice.locator('[data-testid=frame][data-event="heartbeat-ack"]').last().waitFor();
    assert.doesNotMatch(await alice.content(), /eyJ[\w-]{10}/);
    mkdirSync(target, { recursive: true });
    await alice.screenshot({ path: join(target, 'demo.png') });
  });

  test('it works on a phone', options, async () => {
    const phone = await visit('carol', { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
    const { width, wide } = await phone.evaluate(() => ({ width: innerWidth, wide: document.documentElement.scrollWidth }));
    assert.ok(wide <= width, `${wide} px wide on a screen of ${width}`);
    await shows(phone, 'No, I have it.');
    await say(phone, 'Hello from the bus');
    const mine = await shows(phone, 'Hello from the bus');
    await shows(alice, 'Hello from the bus');
    // Without a mouse there is no hovering: what can be done to a message must be in sight.
    await mine.getByTestId('edit').tap();
    await phone.getByTestId('edit-input').fill('Hello from the train');
    await phone.getByTestId('edit-save').tap();
    await shows(alice, 'Hello from the train');
    await phone.screenshot({ path: join(target, 'demo-phone.png'), fullPage: true });
    await phone.context().close();
  });

  test('without a name it asks for one', options, async () => {
    const stranger = await visit('stranger', { query: '' });
    assert.equal(await status(stranger).getAttribute('data-link'), 'offline');
    await stranger.getByTestId('name').fill('dora');
    await stranger.getByTestId('connect').click();
    await connected(stranger);
    await enter(stranger, 'lobby');
    await shows(stranger, 'Hello from the train');
    await stranger.context().close();
  });

  test('other words are forbidden after a reload, and the page does not notice', options, async () => {
    await server.reconfigure((text) => text.replace('words = ["heck", "darn"]', 'words = ["blast"]'));
    await say(alice, 'Heck, that was quick!');
    await shows(bob, 'Heck, that was quick!');
    await say(alice, 'Blast!');
    const refused = await shows(alice, 'Blast!', 'refused');
    assert.match(await refused.getByTestId('refusal').textContent(), /forbidden_word/);
    assert.equal(await status(alice).getAttribute('data-link'), 'connected');
  });

  test('a server that comes back is found again', options, async () => {
    await server.restart();
    await Promise.all([connected(alice), connected(bob)]);
    // Its store is in memory: everything before is gone, and what is said now is not.
    await say(alice, 'Here we are again');
    for (const page of [alice, bob]) await shows(page, 'Here we are again');
  });

  test('nobody complained', () => {
    // Chromium reports what nobody answered while the server was away.
    const expected = /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|\/demo\/token failed/;
    assert.deepEqual([...new Set(complaints.filter((text) => !expected.test(text)))], []);
  });
});
