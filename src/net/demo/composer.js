// Where one writes: the field, what it replies to, and its keys.

import { $, h, icon, isSendKey, onSubmit } from './dom.js';
import { textOf } from './room.js';

export class Composer {
  #session = () => undefined;
  #replyTo;

  /** `session` gives the present one; `sent` is called when something was; `editLast` when the visitor wishes that. */
  constructor({ session, sent, editLast }) {
    this.#session = session;
    const input = $('message-input');
    const send = () => {
      const text = input.value.trim();
      if (!text || !session()?.current) return;
      session().submit(text, this.#replyTo?.messageId);
      input.value = '';
      this.reply(undefined);
      fit(input);
      sent();
    };
    onSubmit('composer', send);
    input.addEventListener('input', () => {
      fit(input);
      session()?.typing(input.value !== '');
    });
    input.addEventListener('keydown', (event) => {
      if (isSendKey(event)) {
        event.preventDefault();
        send();
      } else if (event.key === 'Escape') this.reply(undefined);
      else if (event.key === 'ArrowUp' && !input.value) {
        event.preventDefault();
        editLast();
      }
    });
  }

  draw() {
    const room = this.#session()?.current;
    $('message-input').disabled = $('send').disabled = !room;
    $('message-input').placeholder = room ? `Message # ${room.id}` : 'Join a room first';
  }

  focus() {
    // On a phone this would open the keyboard over what one came to read.
    if (matchMedia('(hover: hover)').matches) $('message-input').focus({ preventScroll: true });
  }

  /** The next message replies to this one, or to none. */
  reply(item) {
    this.#replyTo = item;
    $('replying').hidden = !item;
    if (!item) return;
    const text = h('span', {}, h('b', {}, item.userId), ' ');
    text.append(textOf(item.content).slice(0, 80));
    const end = { type: 'button', class: 'tool', 'aria-label': 'Do not reply', onclick: () => this.reply(undefined) };
    $('replying').replaceChildren(text, h('button', end, icon('close')));
    $('message-input').focus({ preventScroll: true });
  }
}

function fit(input) {
  input.style.height = 'auto';
  input.style.height = `${input.scrollHeight + 2}px`;
}
