// Elements, and how times, names and icons are written. It knows nothing of chats.

export const $ = (id) => document.getElementById(id);

/** Makes an element. What people wrote only ever goes in as text, so nothing of it is read as HTML. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

/** Each icon is a line on a square of 24. */
const ICONS = {
  clock: 'M12 7v5l3 2 M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18',
  check: 'M5 13l4.5 4.5L19 7',
  checks: 'M2 13l4.5 4.5L16 7 M11.5 16.5l1 1L22 7',
  alert: 'M12 8v5 M12 16.5v.5 M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18',
  reply: 'M9 7L4 12l5 5 M4 12h10a6 6 0 0 1 6 6',
  pencil: 'M4 20l1-4L16 5l3 3L8 19z M14 7l3 3',
  trash: 'M5 7h14 M10 7V4h4v3 M7 7l1 13h8l1-13',
  again: 'M19 12a7 7 0 1 1-2-5 M18 3v4.5h-4.5',
  close: 'M6 6l12 12 M18 6L6 18',
};

export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const line = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  line.setAttribute('d', ICONS[name]);
  svg.append(line);
  return svg;
}

/** A round picture of a name, in the name's own colour. */
export function avatar(name, status) {
  const element = h('span', { class: `avatar hue-${hueOf(name)}`, 'aria-hidden': 'true' }, [...name][0].toUpperCase());
  if (status) element.append(h('span', { class: 'dot', 'data-status': status }));
  return element;
}

/** One of the twelve hues that the style sheet knows. */
export function hueOf(name) {
  let hash = 2166136261;
  for (const letter of name) hash = Math.imul(hash, 16777619) + letter.codePointAt(0);
  return (hash >>> 16) % 12;
}

/** Says what is to be the text of an element, and leaves it alone if it is that already. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const plural = (count, word) => `${count} ${word}${count === 1 ? '' : 's'}`;
export const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });

/** When somebody was last seen. */
export function ago(ms, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - ms) / 1000));
  if (seconds < 60) return 'just now';
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(ms).toLocaleDateString();
}

/** A word to the visitor that goes by itself. `bad` is for what failed. */
export function toast(text, kind = 'info') {
  const element = h('div', { class: 'toast', 'data-testid': 'toast', 'data-kind': kind }, text);
  $('toasts').append(element);
  while ($('toasts').children.length > TOASTS_MAX) $('toasts').firstElementChild.remove();
  setTimeout(() => element.remove(), TOAST_MS);
}

const TOAST_MS = 6_000;
const TOASTS_MAX = 4;

export function onSubmit(id, action) {
  $(id).addEventListener('submit', (event) => {
    event.preventDefault();
    action();
  });
}

export const isSendKey = (event) => event.key === 'Enter' && !event.shiftKey && !event.isComposing;
