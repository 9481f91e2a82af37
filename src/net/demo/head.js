// The top of the page and who one is: the state of the connection, the latency, and the switches for both.

import { $, avatar, h, setText } from './dom.js';
import { STATUS_NAMES, STATUSES } from './people.js';

/** `connected`, `connecting` or `offline`, as the visitor is to see it. */
export function linkOf(session) {
  if (!session || !session.network.isUp) return 'offline';
  return { connected: 'connected', connecting: 'connecting' }[session.chat.state] ?? 'offline';
}

export function drawLink(session) {
  const link = linkOf(session);
  const state = session?.chat.state;
  setText($('status'), link);
  $('status').dataset.link = link;
  $('cut').disabled = link !== 'connected';
  $('offline').disabled = !session;
  const isHeld = Boolean(session && !session.network.isUp);
  $('offline').setAttribute('aria-pressed', isHeld);
  setText($('offline'), isHeld ? 'Go online' : 'Go offline');
  $('reconnect').hidden = state !== 'closed';

  const { text, kind } = bannerOf(session, state, isHeld);
  $('banner').hidden = !text;
  $('banner').dataset.kind = kind;
  // A countdown is not read out.
  $('banner').setAttribute('aria-live', kind === 'bad' ? 'polite' : 'off');
  setText($('banner'), text);
}

function bannerOf(session, state, isHeld) {
  const unsent = session?.chat.unsent ?? 0;
  const waiting = unsent ? ` ${unsent} of your messages wait${unsent === 1 ? 's' : ''}.` : '';
  if (state === 'closed')
    return { text: `Closed: ${session.why}. The client does not come back by itself.`, kind: 'bad' };
  if (isHeld)
    return { text: `Offline, as you wished. What you write is sent when you are back.${waiting}`, kind: 'info' };
  if (state === 'waiting') {
    const seconds = Math.max(0, (session.retryAt - Date.now()) / 1000).toFixed(1);
    return { text: `${session.why}: trying again in ${seconds} s.${waiting}`, kind: 'info' };
  }
  return { text: '', kind: 'info' };
}

const show = (ms) => (ms === undefined ? '–' : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`);

export function drawLatency({ count, ack, echo, last }) {
  const element = $('latency');
  element.dataset.count = count;
  if (!count) {
    element.replaceChildren();
    return;
  }
  element.replaceChildren(
    h('span', {}, 'ack ', h('b', {}, show(ack))),
    h('span', {}, 'echo ', h('b', {}, show(echo))),
    h('span', { class: 'wide' }, `p50 of ${count} · last ${show(last)}`),
  );
}

export function drawMe(session) {
  const status = session?.isConnected ? session.people.get(session.user).status : 'unknown';
  $('me-avatar').replaceChildren(avatar(session?.user || '?', status));
  setText($('me-name'), session?.user ?? 'Nobody');
  $('my-status').disabled = !session;
  $('my-status').value = session?.status ?? 'online';
  setText($('switch-user'), session ? 'Switch' : 'Sign in');
}

/** The devices of this user that this page has been, and a way to be another. */
export function drawDevices(session, devices, { choose, add }) {
  const chips = devices.map((device) =>
    h(
      'button',
      {
        type: 'button',
        class: 'chip',
        'data-testid': 'device-chip',
        'data-device': device,
        'aria-pressed': String(device === session?.deviceId),
        title: device === session?.deviceId ? 'The device that this page is' : `Be the device ${device}`,
        onclick: () => choose(device),
      },
      device,
    ),
  );
  const more = {
    type: 'button',
    class: 'chip add',
    'data-testid': 'add-device',
    'aria-label': 'Add a device',
    onclick: add,
  };
  $('devices').replaceChildren(
    ...chips,
    ...(session ? [h('button', more, '+', h('span', { class: 'wide' }, ' device'))] : []),
  );
}

export function fillStatuses() {
  $('my-status').append(...STATUSES.map((status) => h('option', { value: status }, STATUS_NAMES[status])));
}
