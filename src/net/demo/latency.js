// How long messages take, from the frames themselves: from `send-message` to its ack, and to its own echo. It knows no
// client and no page.

/** Measurements that count. */
const MEASURED_MAX = 50;
/** Messages that are waited for. Those that are never answered must not pile up. */
const AWAITED_MAX = 200;

export class Latency {
  #awaited = new Map();
  #acks = [];
  #echoes = [];

  /** Every frame of the page, when it goes or comes. Says whether there is something new to show. */
  frame(direction, { event, id, data } = {}, now = performance.now()) {
    if (direction === 'out' && event === 'send-message') {
      this.#awaited.set(data?.tempId, { id, at: now });
      if (this.#awaited.size > AWAITED_MAX) this.#awaited.delete(this.#awaited.keys().next().value);
      return false;
    }
    if (direction !== 'in') return false;
    const sent = this.#awaited.get(data?.tempId);
    if (!sent) return false;
    if (event === 'message-new') keep(this.#echoes, now - sent.at);
    else if (event === 'message-ack' && id === sent.id && !data.duplicate) {
      keep(this.#acks, now - sent.at);
      this.#awaited.delete(data.tempId);
    } else return false;
    return true;
  }

  /** The last and the middle of each, in milliseconds; `undefined` where there is none yet. */
  get figures() {
    return { count: this.#acks.length, ack: middle(this.#acks), echo: middle(this.#echoes), last: this.#acks.at(-1) };
  }
}

function keep(list, ms) {
  list.push(ms);
  if (list.length > MEASURED_MAX) list.shift();
}

function middle(list) {
  return [...list].sort((a, b) => a - b)[list.length >> 1];
}
