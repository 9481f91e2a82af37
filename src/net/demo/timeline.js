// The messages of the room on show. Each is described first, and drawn again only if its description changed, so that
// nothing flickers and an open editor is left alone.

import { $, avatar, clock, h, hueOf, icon, isSendKey, plural, setText } from './dom.js';
import { Follower } from './follow.js';
import { textOf } from './room.js';

/** Messages of one author that are this close are drawn as one group. */
const GROUP_MS = 300_000;
const QUOTE_CHARACTERS_MAX = 120;

/** What was drawn for each item: its element, and the description that it shows. */
const drawn = new WeakMap();
let shown;
let editing;

export function drawTimeline(session, actions) {
  const room = session?.current;
  const isOther = room !== shown;
  if (isOther) editing = undefined;
  shown = room;
  const grown = place($('messages'), elementsOf(session, room, actions));
  $('older').hidden = !room?.hasMore;
  drawEmpty(session, room);
  if (isOther || follower.isAtEnd) scrollToEnd();
  else if (grown) $('jump').hidden = false;
}

function elementsOf(session, room, actions) {
  let before;
  return (room?.items ?? []).map((item) => {
    const description = item.kind === 'notice' ? { notice: item.text } : describe(session, room, item, before);
    before = item;
    const known = drawn.get(item);
    const text = JSON.stringify(description);
    if (known?.text === text) return known.element;
    const element = known?.element ?? h('li');
    drawn.set(item, { element, text });
    if (item.kind === 'notice') drawNotice(element, item);
    else drawMessage(element, item, description, actions);
    return element;
  });
}

/** Brings the list's children in order. Returns whether the last one is new. */
function place(list, elements) {
  const last = list.lastElementChild;
  let next = list.firstElementChild;
  for (const element of elements) {
    if (element === next) next = next.nextElementSibling;
    else list.insertBefore(element, next);
  }
  while (next) {
    const gone = next;
    next = next.nextElementSibling;
    gone.remove();
  }
  return elements.length > 0 && list.lastElementChild !== last;
}

function drawEmpty(session, room) {
  $('empty').hidden = Boolean(room?.items.length);
  const text = room
    ? room.isLoaded
      ? 'Nothing here yet. Say something!'
      : ''
    : session
      ? 'Join a room to begin. Open this page in a second tab under another name, and talk to yourself.'
      : 'Choose a name to begin.';
  setText($('empty'), text);
}

// -------------------------------------------------------------------------------------------------- One message

/** All that is shown of a message. */
function describe(session, room, item, before) {
  const { state, userId, isMine } = item;
  const isGrouped =
    before?.kind === 'message' && before.userId === userId && item.sentAt - before.sentAt < GROUP_MS && !item.replyTo;
  return {
    state,
    isMine,
    isGrouped,
    userId,
    messageId: item.messageId,
    seq: item.seq,
    time: clock(item.sentAt),
    text: state === 'deleted' ? 'Message deleted' : textOf(item.content),
    isEdited: Boolean(item.editedAt) && state !== 'deleted',
    isEditing: editing?.item === item,
    device: isMine && item.deviceId !== session.deviceId ? item.deviceId : undefined,
    refusal: item.refusal,
    note: item.note,
    quote: item.replyTo && state !== 'deleted' ? quoteOf(room, item.replyTo) : undefined,
    mark: isMine && state !== 'deleted' ? markOf(session, room, item) : undefined,
    status: item.isOpen ? { users: item.status } : undefined,
  };
}

function quoteOf(room, messageId) {
  const quoted = room.find({ messageId });
  if (!quoted) return { text: 'a message that is not loaded' };
  if (quoted.state === 'deleted') return { userId: quoted.userId, text: 'Message deleted' };
  return { userId: quoted.userId, text: textOf(quoted.content).slice(0, QUOTE_CHARACTERS_MAX) };
}

/** How far a message of ours has got. */
function markOf(session, room, item) {
  if (item.state === 'refused') return { name: 'refused', icon: 'alert', says: 'Refused' };
  if (item.state === 'pending') {
    const says = session.isConnected ? 'Being sent' : 'Waits for the connection';
    return { name: session.isConnected ? 'sending' : 'queued', icon: 'clock', says };
  }
  if (!item.seq) return { name: 'accepted', icon: 'check', says: 'Accepted, not kept' };
  const { tick, read, delivered, others } = room.tick(item);
  if (tick === 'read') return { name: tick, icon: 'checks', says: others === 1 ? 'Read' : `Read by all ${others}` };
  if (tick === 'delivered')
    return { name: tick, icon: 'checks', says: read ? `Delivered, read by ${read}` : 'Delivered' };
  return { name: tick, icon: 'check', says: delivered ? `Sent, delivered to ${delivered} of ${others}` : 'Sent' };
}

function drawNotice(element, { text }) {
  element.className = 'notice';
  element.dataset.testid = 'notice';
  element.replaceChildren(h('span', {}, text));
}

function drawMessage(element, item, d, actions) {
  element.className = `msg hue-${hueOf(d.userId)}${d.isMine ? ' mine' : ''}${d.isGrouped ? ' grouped' : ''}`;
  const data = { testid: 'message', state: d.state, user: d.userId, seq: d.seq, messageId: d.messageId };
  for (const [name, value] of Object.entries(data)) {
    if (value === undefined) delete element.dataset[name];
    else element.dataset[name] = value;
  }
  if (d.isEditing) {
    // An editor that is open keeps what is written in it, and the focus.
    if (editing.form) return;
    editing.form = editorOf(item, actions);
    element.replaceChildren(editing.form);
    editing.form.querySelector('textarea').focus();
    return;
  }
  const parts = [
    d.isMine ? null : avatar(d.userId),
    bubbleOf(item, d, actions),
    toolsOf(item, d, actions),
    d.status ? statusOf(d.status) : null,
  ];
  element.replaceChildren(...parts.filter(Boolean));
}

function bubbleOf(item, d, actions) {
  return h(
    'div',
    { class: 'bubble' },
    d.isMine || d.isGrouped ? null : h('div', { class: 'who' }, d.userId),
    d.quote
      ? h('blockquote', { 'data-testid': 'quote' }, d.quote.userId ? h('b', {}, d.quote.userId) : null, d.quote.text)
      : null,
    h('div', { class: 'text', 'data-testid': 'message-text' }, d.text),
    d.refusal ? h('div', { class: 'refusal', 'data-testid': 'refusal' }, d.refusal) : null,
    d.note ? h('div', { class: 'refusal', 'data-testid': 'note' }, d.note) : null,
    h(
      'div',
      { class: 'foot' },
      d.device ? h('span', { 'data-testid': 'from-device', title: 'Written on this device of yours' }, d.device) : null,
      d.isEdited ? h('span', { 'data-testid': 'edited' }, 'edited') : null,
      h('time', { title: d.seq ? `Event ${d.seq} of this room` : null }, d.time),
      d.mark ? tickOf(item, d.mark, actions) : null,
    ),
  );
}

function tickOf(item, { name, icon: shape, says }, actions) {
  const canTell = item.state === 'acked' && item.seq;
  return h(
    'button',
    {
      type: 'button',
      class: `tick ${name}`,
      'data-testid': 'tick',
      'data-tick': name,
      'aria-label': canTell ? `${says}. Who has it?` : says,
      'aria-expanded': canTell ? String(Boolean(item.isOpen)) : null,
      title: says,
      disabled: !canTell,
      onclick: () => actions.status(item),
    },
    icon(shape),
  );
}

function statusOf({ users }) {
  if (!users) return null;
  const rows = users.map(({ userId, deliveredAt, seenAt }) => {
    const word = seenAt ? `read ${clock(seenAt)}` : deliveredAt ? `delivered ${clock(deliveredAt)}` : 'not yet';
    return h('li', { 'data-user': userId }, h('b', {}, userId), ` ${word}`);
  });
  return h(
    'ul',
    { class: 'who-has-it', 'data-testid': 'who-has-it' },
    ...(rows.length ? rows : [h('li', {}, 'nobody else')]),
  );
}

function toolsOf(item, d, actions) {
  const tool = (testid, name, shape, onclick) =>
    h(
      'button',
      { type: 'button', class: 'tool', 'data-testid': testid, 'aria-label': name, title: name, onclick },
      icon(shape),
    );
  const tools = [];
  if (d.state === 'refused') tools.push(tool('retry', 'Try again', 'again', () => actions.retry(item)));
  if (d.state === 'acked' && d.messageId && d.seq) {
    tools.push(tool('reply', 'Reply', 'reply', () => actions.reply(item)));
    if (d.isMine) {
      tools.push(tool('edit', 'Edit', 'pencil', () => edit(item, actions)));
      tools.push(tool('delete', 'Delete', 'trash', () => actions.delete(item)));
    }
  }
  return tools.length ? h('div', { class: 'tools' }, ...tools) : null;
}

// -------------------------------------------------------------------------------------------------- Editing

/** Opens the editor. What is saved is an edit of the version that was on show when it opened. */
export function edit(item, actions, text = textOf(item.content)) {
  editing = { item, version: item.version, text };
  actions.changed();
}

/** The newest message of ours that can be edited. */
export function lastOwn(room) {
  return room.items.findLast((item) => item.isMine && item.state === 'acked' && item.seq);
}

function editorOf(item, actions) {
  const { version } = editing;
  const input = h('textarea', { 'data-testid': 'edit-input', 'aria-label': 'Edit the message', rows: 2 });
  input.value = editing.text;
  const end = () => {
    editing = undefined;
    actions.changed();
  };
  const save = async () => {
    const text = input.value.trim();
    end();
    if (text && text !== textOf(item.content) && !(await actions.edit(item, text, version))) {
      // Nothing that was written is lost.
      if (item.state === 'acked') edit(item, actions, text);
    }
  };
  input.addEventListener('keydown', (event) => {
    if (isSendKey(event)) {
      event.preventDefault();
      void save();
    } else if (event.key === 'Escape') end();
  });
  return h(
    'div',
    { class: 'bubble editor' },
    input,
    item.note ? h('div', { class: 'refusal', 'data-testid': 'note' }, item.note) : null,
    h(
      'div',
      { class: 'buttons' },
      h('button', { type: 'button', class: 'quiet', 'data-testid': 'edit-cancel', onclick: end }, 'Cancel'),
      h('button', { type: 'button', class: 'primary', 'data-testid': 'edit-save', onclick: save }, 'Save'),
    ),
  );
}

// -------------------------------------------------------------------------------------------------- Scrolling

let follower;

export function watchScrolling() {
  follower = new Follower($('scroller'), () => ($('jump').hidden = true));
}

export function scrollToEnd() {
  follower.toEnd();
  $('jump').hidden = true;
}

/** Loads what is older; what is being read stays where it is. */
export async function keepPlace(load) {
  const box = $('scroller');
  const fromEnd = box.scrollHeight - box.scrollTop;
  await load();
  await new Promise((done) => setTimeout(done));
  box.scrollTop = box.scrollHeight - fromEnd;
}

// -------------------------------------------------------------------------------------------------- Around it

export function drawRoomHead(session) {
  const room = session?.current;
  setText($('room-title'), room ? `# ${room.id}` : 'No room');
  setText($('members'), room?.members === undefined ? '' : plural(room.members, 'member'));
}

export function drawTyping(session) {
  const users = session?.current?.typists() ?? [];
  const names = users.length > 3 ? 'Several people' : users.join(', ');
  setText($('typing'), users.length ? `${names} ${users.length === 1 ? 'types' : 'type'}…` : '');
}
