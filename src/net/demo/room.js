// One room as this page knows it: its messages in their order, who is in it, who types, who has what, and how much is
// unread. It knows neither the connection nor the page.

/** Messages and notices that are kept in a room; older ones are in its history. */
const ITEMS_MAX = 2_000;
/** As many as one request may ask about, ourselves included. */
const PEOPLE_MAX = 499;
/** A typist of whom nothing was heard for so long has been forgotten by the server too. */
const TYPING_MS = 30_000;

export class Room {
  id;
  /** Whether the server said that we are a member; until then the room waits to be joined. */
  isMember = false;
  /** Messages and notices, sorted. A message is `pending`, `acked`, `refused` or `deleted`. */
  items = [];
  members = undefined;
  /** Those of its members whom we have come across. There is no list of all of them. */
  people = new Set();
  isLoaded = false;
  hasMore = false;
  /** Who types, and until when we believe it. */
  typing = new Map();
  #me;
  #membersSeq = 0;
  /** How far each of the others has got: `{ delivered, seen }`, as numbers of events. */
  #reach = new Map();
  /** Unread messages: how many the server counted up to `head`, and which came after it. */
  #counted = 0;
  #head = 0;
  #unread = new Set();
  /** Keeps the order in which items came that stand in one place. */
  #ties = 0;

  constructor(id, me) {
    this.id = id;
    this.#me = me;
  }

  // ------------------------------------------------------------------------------------------------ Messages

  find({ messageId, userId, tempId }) {
    const isIt = (item) =>
      item.kind === 'message' &&
      ((messageId && item.messageId === messageId) || (tempId && item.tempId === tempId && item.userId === userId));
    return this.items.findLast(isIt);
  }

  /** A message of ours that is on its way. */
  addPending({ tempId, content, replyTo, deviceId }) {
    const sentAt = Date.now();
    const item = this.#message({ state: 'pending', userId: this.#me, deviceId, tempId, content, replyTo, sentAt });
    this.#place(item);
    return item;
  }

  /** A message from a push, from the history or from an answer: new, or more of one that is here. */
  put(data) {
    let item = this.find(data);
    const isNew = !item;
    item ??= this.#message({ ...data, state: 'acked', version: 0, content: undefined });
    item.messageId = data.messageId;
    item.seq = data.seq ?? item.seq;
    item.sentAt = data.sentAt ?? item.sentAt ?? data.deletedAt;
    if (item.state === 'pending' || item.state === 'refused') Object.assign(item, { state: 'acked', refusal: '' });
    this.#amend(item, data);
    this.meet(item.userId);
    return { item, isNew };
  }

  /** An edit or a deletion. One of a message that is not here comes with the history, in its present state. */
  change(data) {
    const item = this.find({ messageId: data.messageId });
    if (!item) return undefined;
    this.#amend(item, data);
    if (item.state === 'deleted') this.#unread.delete(item.seq);
    return item;
  }

  refuse(item, why) {
    Object.assign(item, { state: 'refused', refusal: why, order: undefined });
    this.#place(item);
  }

  retry(item) {
    Object.assign(item, { state: 'pending', refusal: '' });
    this.#place(item);
  }

  /** A line between messages; those of a `seq` have their place, and are there once. */
  addNotice(text, seq) {
    if (seq !== undefined && this.items.some((item) => item.kind === 'notice' && item.seq === seq)) return;
    this.#place({ kind: 'notice', tie: ++this.#ties, text, seq });
  }

  /** Everything that the server told of this room is void; what it did not take yet is not. */
  reset() {
    this.items = this.items.filter((item) => item.state === 'pending' || item.state === 'refused');
    this.#reach.clear();
    this.#unread.clear();
  }

  get oldestSeq() {
    return this.items.find((item) => item.kind === 'message' && item.seq)?.seq;
  }

  get #lastSeq() {
    return this.items.findLast((item) => item.seq)?.seq ?? 0;
  }

  #message(fields) {
    const isMine = fields.userId === this.#me;
    return { kind: 'message', tie: ++this.#ties, version: 1, refusal: '', note: '', isOpen: false, isMine, ...fields };
  }

  /** However often they come and in whatever order, the last version stays, and deleted is deleted. */
  #amend(item, { content, version = 1, editedAt, deletedAt }) {
    if (deletedAt || item.state === 'deleted') {
      Object.assign(item, { state: 'deleted', content: undefined, note: '' });
    } else if (version >= item.version && content !== undefined) {
      Object.assign(item, { content, version, note: '', editedAt: editedAt ?? item.editedAt });
    }
    this.#place(item);
  }

  /** By `seq`; what waits is last; what has no `seq` stays behind what was there when it was settled. */
  #place(item) {
    const was = this.items.indexOf(item);
    if (was >= 0) this.items.splice(was, 1);
    if (item.seq) item.order = item.seq;
    else if (item.state === 'pending') item.order = Infinity;
    else if (item.order === undefined || item.order === Infinity) item.order = this.#lastSeq + 0.5;
    const isBehind = (other) => other.order < item.order || (other.order === item.order && other.tie < item.tie);
    this.items.splice(this.items.findLastIndex(isBehind) + 1, 0, item);
    if (this.items.length > ITEMS_MAX) {
      this.items.shift();
      this.hasMore = true;
    }
  }

  // ------------------------------------------------------------------------------------------------ Members

  /** Somebody is known to be in this room. */
  meet(userId) {
    if (this.people.size < PEOPLE_MAX) this.people.add(userId);
  }

  joined({ members, seq = 0 }) {
    if (members !== undefined) Object.assign(this, { members });
    this.#membersSeq = seq;
  }

  memberChanged({ userId, seq }, change) {
    if (this.members !== undefined && seq > this.#membersSeq) this.members += change;
    if (change > 0) this.meet(userId);
    else {
      this.people.delete(userId);
      this.#reach.delete(userId);
      this.typing.delete(userId);
    }
  }

  setTyping(userId, isTyping, now = Date.now()) {
    if (userId === this.#me) return;
    if (isTyping) this.typing.set(userId, now + TYPING_MS);
    else this.typing.delete(userId);
  }

  /** Those who are believed to type. */
  typists(now = Date.now()) {
    return [...this.typing].filter(([, until]) => until > now).map(([userId]) => userId);
  }

  // ------------------------------------------------------------------------------------------------ Receipts

  /** One of the others has got, or seen, everything up to an event. */
  reached(userId, type, upTo) {
    if (userId === this.#me) return;
    const reach = this.#reach.get(userId) ?? { delivered: 0, seen: 0 };
    reach.delivered = Math.max(reach.delivered, upTo);
    if (type === 'seen') reach.seen = Math.max(reach.seen, upTo);
    this.#reach.set(userId, reach);
    this.meet(userId);
  }

  /** What `get-message-status` said of a message. */
  learn(item, users) {
    item.status = users;
    for (const { userId, deliveredAt, seenAt } of users) {
      if (seenAt) this.reached(userId, 'seen', item.seq);
      else if (deliveredAt) this.reached(userId, 'delivered', item.seq);
    }
  }

  /** `sent`, `delivered` or `read`, and by how many, of a message of ours. */
  tick(item) {
    const all = [...this.#reach.values()];
    const others = Math.max(1, (this.members ?? 2) - 1);
    const read = all.filter(({ seen }) => seen >= item.seq).length;
    const delivered = all.filter(({ delivered }) => delivered >= item.seq).length;
    const tick = read >= others ? 'read' : delivered >= others ? 'delivered' : 'sent';
    return { tick, read, delivered, others };
  }

  // ------------------------------------------------------------------------------------------------ Unread

  get unread() {
    return this.#counted + this.#unread.size;
  }

  /** What the server counted, when it welcomed us. */
  counted({ unread = 0, seq = 0 }) {
    this.#counted = unread;
    this.#head = seq;
    this.#unread.clear();
  }

  /** A message came. What the server counted already is not counted again. */
  arrived(item) {
    if (!item.isMine && item.seq > this.#head && item.state !== 'deleted') this.#unread.add(item.seq);
  }

  /** This user has seen everything up to an event, here or on another device. */
  sawUpTo(seq = Infinity) {
    if (seq >= this.#head) this.#counted = 0;
    for (const each of this.#unread) if (each <= seq) this.#unread.delete(each);
  }
}

/** What is shown of a message: ours are `{ text }`, and those of others may be anything. */
export function textOf(content) {
  if (typeof content === 'string') return content;
  if (typeof content?.text === 'string') return content.text;
  return content === undefined || content === null ? '' : JSON.stringify(content);
}
