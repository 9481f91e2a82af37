// Begins: reads who one is from the address and from what this tab remembers, and ties the session to the page.
//
// /demo?user=NAME&device=DEVICE&room=ROOM&room=… and #token=JWT

import { Composer } from './composer.js';
import { $, onSubmit, toast } from './dom.js';
import { Frames, parse } from './frames.js';
import { drawDevices, drawLatency, drawLink, drawMe, fillStatuses } from './head.js';
import { Latency } from './latency.js';
import { Network } from './network.js';
import { Session } from './session.js';
import { drawPeople, drawRooms } from './sidebar.js';
import {
  drawRoomHead,
  drawTimeline,
  drawTyping,
  edit,
  keepPlace,
  lastOwn,
  scrollToEnd,
  watchScrolling,
} from './timeline.js';
import { adoptFromAddress } from './token.js';

/** How often what depends on the time alone is drawn: countdowns, and who no longer types. */
const TICK_MS = 250;
const DEVICES_MAX = 6;

/** What this tab remembers over a reload. */
const memory = {
  get: (name) => sessionStorage.getItem(`stentor.${name}`),
  set: (name, value) => sessionStorage.setItem(`stentor.${name}`, value),
};

let session;
const latency = new Latency();
const network = new Network((direction, text) => {
  frames.note(direction, text);
  if (direction === 'info') return;
  const isNew = text.split('\n').map((line) => latency.frame(direction, parse(line)));
  if (isNew.includes(true)) drawLatency(latency.figures);
});
const frames = new Frames((text) => network.sendByHand(text));
const composer = new Composer({
  session: () => session,
  sent: scrollToEnd,
  editLast: () => {
    const item = session?.current && lastOwn(session.current);
    if (item) edit(item, actions);
  },
});

// -------------------------------------------------------------------------------------------------- Drawing

/** What can be done to a message. */
const actions = {
  changed: () => draw(new Set(['timeline'])),
  edit: (item, text, version) => session.edit(item, text, version),
  delete: (item) => session.delete(item),
  retry: (item) => session.retry(item),
  reply: (item) => composer.reply(item),
  status: (item) => session.toggleStatus(item),
};

const rooms = {
  open: (room) => {
    session.select(room);
    composer.reply(undefined);
    composer.focus();
  },
  leave: (room) => session.leave(room),
};

const EVERYTHING = new Set(['link', 'rooms', 'people', 'typing', 'timeline']);

function draw(changes) {
  if (changes.has('link')) drawLink(session);
  if (changes.has('link') || changes.has('people')) drawMe(session);
  if (changes.has('rooms')) {
    drawRooms(session, rooms);
    composer.draw();
  }
  if (changes.has('rooms') || changes.has('people')) drawRoomHead(session);
  if (changes.has('people')) drawPeople(session);
  if (changes.has('typing')) drawTyping(session);
  if (changes.has('timeline')) drawTimeline(session, actions);
}

// -------------------------------------------------------------------------------------------------- Who one is

/** Becomes a user on a device; the rooms of another user stay behind. */
function become(user, deviceId, wanted = []) {
  const isSameUser = session?.user === user;
  const status = isSameUser ? session.status : 'online';
  session?.close();
  composer.reply(undefined);
  const devices = isSameUser || memory.get('user') === user ? devicesOf() : [];
  memory.set('user', user);
  memory.set('device', deviceId);
  memory.set('devices', JSON.stringify([...new Set([...devices, deviceId])].slice(-DEVICES_MAX)));
  session = new Session({ user, deviceId, status, network, rooms: wanted, changed: draw, say: toast });
  session.connect();
  drawAllDevices();
  draw(EVERYTHING);
}

function devicesOf() {
  try {
    return JSON.parse(memory.get('devices')) ?? [];
  } catch {
    return [];
  }
}

function drawAllDevices() {
  drawDevices(session, devicesOf(), {
    choose: (device) => {
      if (device === session.deviceId || wouldLose()) return;
      become(session.user, device);
    },
    add: () => askWho(session.user, nextDevice()),
  });
}

/** Messages that wait are in the memory of the session that is left. */
function wouldLose() {
  const count = session?.chat.unsent ?? 0;
  if (count) toast(`Not now: ${count} of your messages still wait to be sent`, 'bad');
  return count > 0;
}

function nextDevice() {
  const known = devicesOf();
  return ['laptop', 'phone', 'tablet', 'watch'].find((name) => !known.includes(name)) ?? `device-${known.length + 1}`;
}

function askWho(user = '', device = nextDevice()) {
  $('name').value = user;
  $('device').value = device;
  $('sign-in').showModal();
  (user ? $('device') : $('name')).select();
}

// -------------------------------------------------------------------------------------------------- Beginning

function bind() {
  onSubmit('sign-in-form', () => {
    const [name, device] = [$('name').value.trim(), $('device').value.trim()];
    if (!name || !device || wouldLose()) return;
    $('sign-in').close();
    become(name, device);
  });
  onSubmit('join-form', () => {
    const id = $('room-input').value.trim();
    if (!session) askWho();
    if (!id || !session) return;
    session.join(id);
    $('room-input').value = '';
    composer.focus();
  });
  $('sign-in-cancel').addEventListener('click', () => $('sign-in').close());
  $('switch-user').addEventListener('click', () => askWho());
  $('reconnect').addEventListener('click', () => session.connect());
  $('my-status').addEventListener('change', (event) => session.setStatus(event.target.value));
  $('cut').addEventListener('click', () => network.cut());
  $('offline').addEventListener('click', () => {
    network.isUp = !network.isUp;
    draw(EVERYTHING);
  });
  $('frames-toggle').addEventListener('click', () => showFrames(document.body.dataset.frames !== 'shown'));
  $('older').addEventListener('click', () => keepPlace(() => session.loadOlder()));
  $('jump').addEventListener('click', scrollToEnd);
  watchScrolling();
  document.addEventListener('visibilitychange', () => session?.looked());
  setInterval(() => {
    drawLink(session);
    drawTyping(session);
  }, TICK_MS);
}

function showFrames(isShown) {
  document.body.dataset.frames = isShown ? 'shown' : 'hidden';
  $('frames-toggle').setAttribute('aria-expanded', isShown);
}

function start() {
  const query = new URLSearchParams(location.search);
  const user = adoptFromAddress() ?? query.get('user') ?? memory.get('user');
  // Two tabs of a user are two devices, so the first name of a device is made up.
  const madeUp = `web-${crypto.getRandomValues(new Uint16Array(1))[0].toString(16).padStart(4, '0')}`;
  const device = query.get('device') ?? memory.get('device') ?? madeUp;
  fillStatuses();
  bind();
  showFrames(matchMedia('(min-width: 1100px)').matches);
  drawLatency(latency.figures);
  if (user) {
    become(user, device, query.getAll('room').filter(Boolean));
  } else {
    drawAllDevices();
    draw(EVERYTHING);
    askWho('', device);
  }
}

start();
