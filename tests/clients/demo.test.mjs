// The demo page as people use it: Debian's Chromium, driven through playwright-core. Alice has a laptop and a phone, and
// Bob a desk: two users with three devices, on a real server.

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
const whole = { timeout: 600_000 };
const PATIENCE_MS = 15_000;
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };
const pictures = join(target, 'tests');

describe('the demo page', whole, () => {
  let server, browser, laptop, phone, bob;
  /** Whatever the pages complained of. It must stay empty. */
  const complaints = [];

  before(async () => {
    server = await startServer({ settings: { TIMING__DRAIN_MS: 500 } });
    browser = await chromium.launch({ executablePath, args, timeout: 60_000 });
    laptop = await visit('alice', 'laptop');
    bob = await visit('bob', 'desk', { colorScheme: 'dark' });
    phone = await visit('alice', 'phone', PHONE);
    mkdirSync(pictures, { recursive: true });
  }, { timeout: 90_000 });

  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  /** Opens the page as somebody, in a browser profile of their own. */
  async function visit(user, device, { query = `?user=${user}&device=${device}&room=lobby`, ...context } = {}) {
    const page = await (await browser.newContext({ viewport: { width: 1280, height: 800 }, ...context })).newPage();
    const who = `${user} (${device})`;
    page.setDefaultTimeout(PATIENCE_MS);
    page.on('console', (message) => { if (message.type() === 'error') complaints.push(`${who}: ${message.text()}`); });
    page.on('pageerror', (error) => complaints.push(`${who}: ${error.stack}`));
    page.on('requestfailed', (request) => complaints.push(`${who}: ${request.url()} failed`));
    page.on('response', (response) => { if (response.status() >= 400) complaints.push(`${who}: ${response.status()} ${response.url()}`); });
    // Toasts go after some seconds, so they are noted when they come: those of the kind `bad` tell of something that failed.
    await page.exposeFunction('noteBadToast', (text) => complaints.push(`${who}: ${text}`));
    await page.addInitScript(() => {
      const note = ({ addedNodes }) => addedNodes.forEach((node) => node.dataset?.kind === 'bad' && window.noteBadToast(node.textContent));
      new MutationObserver((changes) => changes.forEach(note)).observe(document, { childList: true, subtree: true });
    });
    await page.goto(`${server.http}/demo${query}`);
    if (query) {
      await connected(page);
      await opens(page, 'lobby');
    }
    return page;
  }

  const picture = (page, name) => page.screenshot({ path: join(pictures, `demo-${name}.png`) });
  const status = (page) => page.getByTestId('status');
  const linkIs = (page, link) => page.locator(`[data-testid=status][data-link=${link}]`).waitFor();
  const connected = (page) => linkIs(page, 'connected');
  const messages = (page) => page.getByTestId('message');
  const message = (page, text) => messages(page).filter({ has: page.getByTestId('message-text').getByText(text, { exact: true }) });
  const roomRow = (page, room) => page.locator(`[data-testid=room][data-room="${room}"]`);
  const person = (page, user, status) => page.locator(`[data-testid=person][data-user="${user}"][data-status=${status}]`);
  const unread = (page, room, count) => roomRow(page, room).getByTestId('unread').getByText(String(count), { exact: true }).waitFor();
  const isRead = (page, room) => roomRow(page, room).getByTestId('unread').waitFor({ state: 'detached' });

  async function opens(page, room) {
    await roomRow(page, room).getByTestId('open-room').click();
    await page.locator(`[data-testid=room][data-room="${room}"][data-member=true][data-current=true]`).waitFor();
  }

  async function enters(page, room) {
    await page.getByTestId('room-input').fill(room);
    await page.getByTestId('room-input').press('Enter');
    await page.locator(`[data-testid=room][data-room="${room}"][data-member=true][data-current=true]`).waitFor();
  }

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

  /** Waits until a message of one's own has a tick: sending, queued, sent, delivered, read or refused. */
  async function ticks(page, text, tick) {
    await message(page, text).locator(`[data-testid=tick][data-tick=${tick}]`).waitFor();
  }

  /** Does something to a message. The tools of one are in sight with the mouse over it, or always where there is none. */
  async function use(page, text, tool, state = 'acked') {
    const found = await shows(page, text, state);
    await found.hover();
    await found.getByTestId(tool).click();
  }

  test('three devices of two people show the same', options, async () => {
    await say(laptop, 'Hello, Bob! \u{1F44B}');
    for (const page of [laptop, phone, bob]) await shows(page, 'Hello, Bob! \u{1F44B}');
    await say(bob, 'Hello, Alice, grüß dich!');
    for (const page of [laptop, phone, bob]) await shows(page, 'Hello, Alice, grüß dich!');
    await say(phone, 'This I write on the phone');
    await (await shows(laptop, 'This I write on the phone')).getByTestId('from-device').getByText('phone').waitFor();
    assert.match(await laptop.locator('[data-testid=message].mine').last().textContent(), /on the phone/, 'and as their own');
    const markup = '<img src="x" onerror="document.title=1"> & <b>bold</b>';
    await say(laptop, markup);
    await shows(bob, markup);
    await say(laptop, 'two\nlines');
    await shows(bob, 'two\nlines');
    for (const page of [laptop, phone, bob]) await page.getByTestId('members').getByText('2 members').waitFor();
  });

  test('ticks say who has a message, and who has read it', options, async () => {
    // Bob looks at another room, so he is given the message, and does not read it.
    await enters(bob, 'attic');
    await say(laptop, 'Is this read?');
    for (const page of [laptop, phone]) await ticks(page, 'Is this read?', 'delivered');
    await opens(bob, 'lobby');
    for (const page of [laptop, phone]) await ticks(page, 'Is this read?', 'read');
    await message(laptop, 'Is this read?').getByTestId('tick').click();
    const readers = message(laptop, 'Is this read?').getByTestId('who-has-it');
    await readers.locator('[data-user=bob]').getByText(/read \d/).waitFor();
    await message(laptop, 'Is this read?').getByTestId('tick').click();
    await readers.waitFor({ state: 'detached' });
  });

  test('an edit is seen by all', options, async () => {
    await say(laptop, 'Shall we meet at five?');
    await shows(bob, 'Shall we meet at five?');
    await use(laptop, 'Shall we meet at five?', 'edit');
    await laptop.getByTestId('edit-input').fill('Shall we meet at six?');
    await laptop.getByTestId('edit-save').click();
    for (const page of [laptop, phone, bob]) await (await shows(page, 'Shall we meet at six?')).getByTestId('edited').waitFor();
    assert.equal(await message(bob, 'Shall we meet at five?').count(), 0);
  });

  test('the newest message is edited by the keys alone', options, async () => {
    await say(laptop, 'By the way');
    await shows(laptop, 'By the way');
    await laptop.getByTestId('message-input').press('ArrowUp');
    await laptop.getByTestId('edit-input').press('End');
    await laptop.getByTestId('edit-input').pressSequentially('!');
    await laptop.getByTestId('edit-input').press('Enter');
    await shows(bob, 'By the way!');
  });

  test('a reply shows what it replies to', options, async () => {
    await use(bob, 'Shall we meet at six?', 'reply');
    await bob.getByTestId('replying').getByText('Shall we meet at six?').waitFor();
    await say(bob, 'Gladly');
    for (const page of [laptop, phone, bob]) {
      await (await shows(page, 'Gladly')).getByTestId('quote').getByText('Shall we meet at six?').waitFor();
    }
    assert.equal(await bob.getByTestId('replying').isVisible(), false);
  });

  test('a deletion is seen by all', options, async () => {
    await say(bob, 'I should not have said that');
    await shows(laptop, 'I should not have said that');
    await use(bob, 'I should not have said that', 'delete');
    for (const page of [laptop, phone, bob]) {
      await shows(page, 'Message deleted', 'deleted');
      assert.equal(await message(page, 'I should not have said that').count(), 0);
    }
  });

  test('what a plugin refuses is shown with its reason, to its author alone', options, async () => {
    await say(laptop, 'What the heck!');
    const refused = await shows(laptop, 'What the heck!', 'refused');
    assert.match(await refused.getByTestId('refusal').textContent(), /forbidden_word \(message-policy\)/);
    await ticks(laptop, 'What the heck!', 'refused');
    await say(laptop, 'What a day!');
    await shows(bob, 'What a day!');
    for (const page of [bob, phone]) assert.equal(await message(page, 'What the heck!').count(), 0);
  });

  test('one sees who types', options, async () => {
    await bob.getByTestId('message-input').pressSequentially('I am writ');
    for (const page of [laptop, phone]) await page.getByTestId('typing').getByText('bob types').waitFor();
    assert.equal((await bob.getByTestId('typing').textContent()).trim(), '');
    await bob.getByTestId('message-input').pressSequentially('ing');
    await bob.getByTestId('message-input').press('Enter');
    await shows(laptop, 'I am writing');
    for (const page of [laptop, phone]) await page.waitForFunction(() => document.getElementById('typing').textContent === '');
  });

  test('other rooms count what is unread, on all devices', options, async () => {
    await enters(laptop, 'garden');
    await enters(bob, 'garden');
    // The phone is in it by itself, and its rooms say what is unread there.
    await roomRow(phone, 'garden').waitFor();
    await opens(bob, 'lobby');
    await say(laptop, 'Roses are red');
    await say(laptop, 'Violets are blue');
    await unread(bob, 'garden', 2);
    assert.match(await bob.title(), /^\(2\)/);
    assert.equal(await message(bob, 'Roses are red').count(), 0, 'the lobby is on show');
    await opens(bob, 'garden');
    await shows(bob, 'Roses are red');
    await shows(bob, 'Violets are blue');
    await isRead(bob, 'garden');
    await opens(laptop, 'lobby');
    await say(bob, 'Sugar is sweet');
    await unread(laptop, 'garden', 1);
    await unread(phone, 'garden', 1);
    // Who reads it on one device has read it on the other.
    await opens(phone, 'garden');
    await shows(phone, 'Sugar is sweet');
    await isRead(laptop, 'garden');
    for (const page of [phone, bob]) await opens(page, 'lobby');
  });

  test('a room that is left is gone on all devices', options, async () => {
    await enters(laptop, 'cellar');
    await roomRow(phone, 'cellar').waitFor();
    await roomRow(laptop, 'cellar').getByTestId('leave').click();
    for (const page of [laptop, phone]) await roomRow(page, 'cellar').waitFor({ state: 'detached' });
    await opens(laptop, 'lobby');
  });

  test('dots say how available people are', options, async () => {
    for (const page of [laptop, phone]) await person(page, 'bob', 'online').waitFor();
    await bob.getByTestId('my-status').selectOption('dnd');
    for (const page of [laptop, phone, bob]) await person(page, 'bob', 'dnd').waitFor();
    // The most available of one's devices counts.
    await laptop.getByTestId('my-status').selectOption('away');
    await person(bob, 'alice', 'online').waitFor();
    await phone.getByTestId('my-status').selectOption('busy');
    await person(bob, 'alice', 'busy').waitFor();
    for (const page of [laptop, phone, bob]) await page.getByTestId('my-status').selectOption('online');
    for (const page of [laptop, phone]) await person(page, 'bob', 'online').waitFor();
    // Without a connection one is offline, after a while.
    await bob.getByTestId('offline').click();
    await person(laptop, 'bob', 'offline').waitFor();
    await person(bob, 'alice', 'unknown').waitFor();
    await bob.getByTestId('offline').click();
    await connected(bob);
    await person(laptop, 'bob', 'online').waitFor();
    await person(bob, 'alice', 'online').waitFor();
  });

  test('what was missed offline comes with the connection, once and in order', options, async () => {
    await bob.getByTestId('offline').click();
    await linkIs(bob, 'offline');
    for (const text of ['missed one', 'missed two', 'missed three']) await say(laptop, text);
    await shows(laptop, 'missed three');
    await say(bob, 'written offline');
    await shows(bob, 'written offline', 'pending');
    await ticks(bob, 'written offline', 'queued');
    await bob.getByTestId('banner').getByText('1 of your messages waits').waitFor();
    assert.equal(await message(bob, 'missed one').count(), 0);
    await bob.getByTestId('offline').click();
    await connected(bob);
    for (const text of ['missed one', 'missed two', 'missed three', 'written offline']) await shows(bob, text);
    await shows(laptop, 'written offline');
    const order = (await bob.getByTestId('message-text').allTextContents()).slice(-4);
    assert.deepEqual(order, ['missed one', 'missed two', 'missed three', 'written offline']);
  });

  test('a connection that is cut comes back by itself', options, async () => {
    const closes = bob.locator('[data-testid=frame][data-dir=info]').getByText('cut by the visitor');
    await bob.getByTestId('cut').click();
    await closes.waitFor();
    await say(laptop, 'said into the void?');
    await connected(bob);
    await shows(bob, 'said into the void?');
    await say(bob, 'No, I have it.');
    await shows(laptop, 'No, I have it.');
  });

  test('one page can be another device, which is given what it missed', options, async () => {
    await bob.getByTestId('add-device').click();
    await bob.getByTestId('device').fill('tablet');
    await bob.getByTestId('connect').click();
    await bob.locator('[data-testid=device-chip][data-device=tablet][aria-pressed=true]').waitFor();
    await connected(bob);
    await opens(bob, 'lobby');
    await shows(bob, 'No, I have it.');
    await say(bob, 'Now from the tablet');
    await shows(laptop, 'Now from the tablet');
    await opens(bob, 'attic');
    await say(laptop, 'For your desk too');
    await bob.locator('[data-testid=device-chip][data-device=desk]').click();
    await bob.locator('[data-testid=device-chip][data-device=desk][aria-pressed=true]').waitFor();
    await connected(bob);
    await opens(bob, 'lobby');
    await (await shows(bob, 'Now from the tablet')).getByTestId('from-device').getByText('tablet').waitFor();
    await shows(bob, 'For your desk too');
  });

  test('a page that is loaded anew is the same person with the same history', options, async () => {
    await bob.reload();
    await connected(bob);
    await opens(bob, 'lobby');
    await shows(bob, 'No, I have it.');
    await shows(bob, 'Shall we meet at six?');
    await (await shows(bob, 'Gladly')).getByTestId('quote').getByText('Shall we meet at six?').waitFor();
    assert.equal(await message(bob, 'What the heck!').count(), 0);
    // What was read before is known to be read.
    await ticks(bob, 'Gladly', 'read');
  });

  test('it says how long messages take', options, async () => {
    const latency = laptop.getByTestId('latency');
    assert.ok(Number(await latency.getAttribute('data-count')) >= 5);
    assert.match(await latency.textContent(), /^ack [\d.]+ ms ?echo [\d.]+ ms ?p50 of \d+/);
  });

  test('the frames behind it are shown, and no token among them', options, async () => {
    assert.ok(await laptop.getByTestId('frame').count() > 10);
    await laptop.locator('[data-testid=frame][data-event="message-ack"]').first().waitFor();
    await laptop.getByTestId('raw-input').fill('{"event":"heartbeat","id":"by hand"}');
    await laptop.getByTestId('raw-send').click();
    await laptop.locator('[data-testid=frame][data-event="heartbeat-ack"]').last().waitFor();
    assert.doesNotMatch(await laptop.content(), /eyJ[\w-]{10}/);
    await laptop.getByTestId('frames-toggle').click();
    await laptop.locator('#frames-panel').waitFor({ state: 'hidden' });
    await laptop.getByTestId('frames-toggle').click();
  });

  test('it works on a phone', options, async () => {
    const { width, wide, height, high } = await phone.evaluate(() => ({
      width: innerWidth, wide: document.documentElement.scrollWidth, height: innerHeight, high: document.documentElement.scrollHeight,
    }));
    assert.ok(wide <= width, `${wide} px wide on a screen of ${width}`);
    assert.ok(high <= height, `${high} px high on a screen of ${height}`);
    await say(phone, 'Hello from the bus');
    // Without a mouse there is no hovering: what can be done to a message must be in sight.
    const mine = await shows(phone, 'Hello from the bus');
    await mine.getByTestId('edit').tap();
    await phone.getByTestId('edit-input').fill('Hello from the train');
    await phone.getByTestId('edit-save').tap();
    await shows(laptop, 'Hello from the train');
  });

  test('it can be looked at', options, async () => {
    await say(laptop, 'Darn, I missed it');
    await shows(laptop, 'Darn, I missed it', 'refused');
    await bob.getByTestId('my-status').selectOption('busy');
    for (const page of [laptop, phone, bob]) await person(page, 'bob', 'busy').waitFor();
    await bob.getByTestId('message-input').pressSequentially('On my');
    await laptop.getByTestId('typing').getByText('bob types').waitFor();
    await picture(laptop, 'laptop-light');
    await picture(phone, 'phone-light');
    await picture(bob, 'desk-dark');
    await bob.setViewportSize(PHONE.viewport);
    await picture(bob, 'narrow-dark');
    await bob.setViewportSize({ width: 1280, height: 800 });
    await bob.getByTestId('message-input').fill('');
  });

  test('every control has a name', options, async () => {
    const nameless = await laptop.evaluate(() => [...document.querySelectorAll('button, input, textarea, select')]
      .filter((each) => !(each.textContent.trim() || each.getAttribute('aria-label') || each.labels?.length))
      .map((each) => each.outerHTML));
    assert.deepEqual(nameless, []);
  });

  test('nothing but the page itself runs in it', options, async () => {
    const response = await fetch(`${server.http}/demo`);
    const policy = response.headers.get('content-security-policy');
    assert.match(policy, /default-src 'none'; script-src 'self'; style-src 'self';/);
    assert.doesNotMatch(policy, /unsafe|\*/);
    assert.doesNotMatch(await response.text(), /<script(?![^>]*src=)|<style|\son\w+=|\sstyle=/);
  });

  test('without a name it asks for one', options, async () => {
    const stranger = await visit('stranger', 'none', { query: '' });
    assert.equal(await status(stranger).getAttribute('data-link'), 'offline');
    await stranger.getByTestId('name').fill('dora');
    await stranger.getByTestId('connect').click();
    await connected(stranger);
    await enters(stranger, 'lobby');
    await shows(stranger, 'Hello from the train');
    for (const page of [laptop, bob]) await page.getByTestId('members').getByText('3 members').waitFor();
    await stranger.context().close();
  });

  test('other words are forbidden after a reload, and the page does not notice', options, async () => {
    await server.reconfigure((text) => text.replace('words = ["heck", "darn"]', 'words = ["blast"]'));
    await say(laptop, 'Heck, that was quick!');
    await shows(bob, 'Heck, that was quick!');
    await say(laptop, 'Blast!');
    const refused = await shows(laptop, 'Blast!', 'refused');
    assert.match(await refused.getByTestId('refusal').textContent(), /forbidden_word/);
    assert.equal(await status(laptop).getAttribute('data-link'), 'connected');
  });

  test('a server that comes back is found again', options, async () => {
    await server.restart();
    await say(laptop, 'Are you there?');
    await Promise.all([laptop, phone, bob].map(connected));
    for (const page of [laptop, phone, bob]) await shows(page, 'Are you there?');
  });

  test('nobody complained', () => {
    // Chromium reports what nobody answered while the server was away.
    const expected = /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|\/demo\/token failed/;
    assert.deepEqual([...new Set(complaints.filter((text) => !expected.test(text)))], []);
  });
});
