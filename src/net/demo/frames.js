// The raw frames, as they go and come. No token is ever shown.

import { $, h, isSendKey, onSubmit, toast } from './dom.js';
import { Follower } from './follow.js';

const FRAMES_MAX = 400;
const ARROWS = { in: '↓', out: '↑', info: '•' };
const SAYS = { in: 'received', out: 'sent', info: 'connection' };

export class Frames {
  #entries = [];
  #isPaused = false;
  #follower = new Follower($('frames-scroller'));

  /** `send` sends a frame that was written by hand, and says whether it could. */
  constructor(send) {
    const sendRaw = () => {
      const text = $('raw-input').value.trim();
      if (text && !send(text)) toast('Not connected', 'bad');
    };
    onSubmit('raw-form', sendRaw);
    $('raw-input').addEventListener('keydown', (event) => {
      if (!isSendKey(event)) return;
      event.preventDefault();
      sendRaw();
    });
    $('frames-filter').addEventListener('input', () => this.#entries.forEach(filter));
    $('frames-clear').addEventListener('click', () => {
      this.#entries = [];
      $('frames').replaceChildren();
    });
    $('frames-pause').addEventListener('click', () => this.#togglePause());
  }

  /** One WebSocket message; a batch has several frames, one a line. */
  note(direction, text) {
    for (const line of direction === 'in' ? text.split('\n') : [text]) {
      if (line) this.#add({ direction, text: redact(line), at: new Date(), size: line.length });
    }
  }

  #add(entry) {
    this.#entries.push(entry);
    if (this.#entries.length > FRAMES_MAX) this.#entries.shift().element?.remove();
    if (!this.#isPaused) this.#show(entry);
    else $('frames-pause').textContent = `Resume (+${this.#entries.filter(({ element }) => !element).length})`;
  }

  #show(entry) {
    entry.element = rowOf(entry);
    filter(entry);
    $('frames').append(entry.element);
    this.#follower.follow();
  }

  #togglePause() {
    this.#isPaused = !this.#isPaused;
    $('frames-pause').setAttribute('aria-pressed', this.#isPaused);
    $('frames-pause').textContent = this.#isPaused ? 'Resume' : 'Pause';
    if (!this.#isPaused) for (const entry of this.#entries) if (!entry.element) this.#show(entry);
  }
}

/** Whichever way a token is written, it is not shown: not in `auth`, and not in what was written by hand. */
function redact(text) {
  let shown = text;
  const frame = parse(text);
  if (frame?.event === 'auth' && typeof frame.data === 'string') shown = JSON.stringify({ ...frame, data: '‹token›' });
  return shown
    .replace(/("token"\s*:\s*")(?:[^"\\]|\\.)*"/g, '$1‹token›"')
    .replace(/eyJ[\w-]+\.[\w-]+\.[\w-]*/g, '‹token›');
}

function filter({ element, text }) {
  const wanted = $('frames-filter').value.trim().toLowerCase();
  if (element) element.hidden = Boolean(wanted) && !text.toLowerCase().includes(wanted);
}

function rowOf({ direction, text, at, size }) {
  const frame = direction === 'info' ? undefined : parse(text);
  const hint = frame?.data?.code ?? frame?.data?.conversationId;
  const time = `${at.toLocaleTimeString([], { hour12: false })}.${String(at.getMilliseconds()).padStart(3, '0')}`;
  const details = h(
    'details',
    {},
    h(
      'summary',
      {},
      h('span', { class: 'arrow', 'aria-label': SAYS[direction] }, ARROWS[direction]),
      h('time', {}, time),
      h('span', { class: 'name' }, frame?.event ?? text, typeof hint === 'string' ? h('i', {}, ` ${hint}`) : null),
      h('span', { class: 'size' }, direction === 'info' ? '' : `${size} B`),
    ),
  );
  details.addEventListener('toggle', () => {
    if (details.open && details.children.length === 1) {
      details.append(h('pre', {}, frame ? JSON.stringify(frame, null, 2) : text));
    }
  });
  return h(
    'li',
    {
      'data-testid': 'frame',
      'data-dir': direction,
      'data-event': frame?.event,
      'data-error': String(frame?.event === 'error'),
    },
    details,
  );
}

/** A frame, or nothing if the text is none. */
export function parse(text) {
  try {
    const frame = JSON.parse(text);
    return typeof frame === 'object' && frame !== null ? frame : undefined;
  } catch {
    return undefined;
  }
}
