// The list of rooms with what is unread, and the people of the room on show with how available they are.

import { $, ago, avatar, h, icon, setText } from './dom.js';
import { STATUS_NAMES } from './people.js';

/** Replaces a list, and leaves the focus where it was. */
function replaceList(list, rows) {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
  list.replaceChildren(...rows);
  if (focused === undefined) return;
  for (const element of list.querySelectorAll('[data-focus]')) if (element.dataset.focus === focused) element.focus();
}

export function drawRooms(session, { open, leave }) {
  const rooms = [...(session?.rooms.values() ?? [])];
  replaceList(
    $('rooms'),
    rooms.map((room) => roomRow(room, room === session.current, { open, leave })),
  );
  const unread = rooms.reduce((sum, room) => sum + room.unread, 0);
  document.title = `${unread ? `(${unread}) ` : ''}${session ? `${session.user} · ` : ''}Stentor demo`;
}

function roomRow(room, isCurrent, { open, leave }) {
  const { id, unread, isMember } = room;
  const badge = unread
    ? h('span', { class: 'badge', 'data-testid': 'unread', 'aria-label': `${unread} unread` }, String(unread))
    : null;
  return h(
    'li',
    { 'data-testid': 'room', 'data-room': id, 'data-member': String(isMember), 'data-current': String(isCurrent) },
    h(
      'button',
      {
        type: 'button',
        class: 'open',
        'data-testid': 'open-room',
        'data-focus': `open ${id}`,
        title: id,
        'aria-current': isCurrent ? 'true' : null,
        onclick: () => open(room),
      },
      h('span', { class: 'name' }, isMember ? id : `${id} …`),
      badge,
    ),
    h(
      'button',
      {
        type: 'button',
        class: 'leave',
        'data-testid': 'leave',
        'data-focus': `leave ${id}`,
        'aria-label': `Leave ${id}`,
        title: 'Leave',
        onclick: () => leave(room),
      },
      icon('close'),
    ),
  );
}

export function drawPeople(session) {
  const room = session?.current;
  const isKnown = Boolean(session?.isConnected);
  const users = room ? session.people.sorted(room.people) : [];
  $('people').replaceChildren(
    ...users.map((user) => {
      const { status, lastSeenAt, text } = isKnown ? session.people.get(user) : { status: 'unknown' };
      return h(
        'li',
        { 'data-testid': 'person', 'data-user': user, 'data-status': status },
        avatar(user, status),
        h('span', { class: 'name' }, user === session.user ? `${user} (you)` : user),
        h('span', { class: 'dim' }, describeStatus(status, lastSeenAt, text)),
      );
    }),
  );
  setText($('people-title'), room ? `In # ${room.id}` : 'People');
}

function describeStatus(status, lastSeenAt, text) {
  if (status === 'unknown') return '';
  if (status === 'offline') return lastSeenAt ? ago(lastSeenAt) : 'offline';
  return text ?? (status === 'online' ? '' : STATUS_NAMES[status].toLowerCase());
}
