// One device of one user: the client, and what it was told. It knows no page: whoever shows this is told what changed.
//
// This is the part to read for how `stentor-client` is used. Connections, recovery, order, sending again and renewed
// tokens are the client's business, so none of it is here.

import { Stentor, StentorError } from './stentor-client.js';
import { People } from './people.js';
import { Room } from './room.js';
import { Tokens } from './token.js';

const HISTORY_PAGE = 50;
/** Own messages whose state is asked for when a room is opened. */
const STATUSES_ASKED_MAX = 10;
/** People who are watched; a connection may ask for no more. */
const WATCHED_MAX = 1_000;
/** Rooms and people change in bursts; what follows from it is done once. */
const SOON_MS = 150;

export class Session {
  rooms = new Map();
  current = undefined;
  people = new People();
  /** When the next attempt to connect begins, if there is one, and why. */
  retryAt = 0;
  why = '';
  #tokens;
  #tokenProblem;
  #status;
  #tell;
  #watched = new Set();
  #timers = new Map();
  /** Counts connections, so that what was missed is marked once for each. */
  #connections = 0;
  #isTelling = false;
  #changes = new Set();

  /** `changed` gets the names of what did: `link`, `rooms`, `people`, `typing`, `timeline`; `say` speaks to the visitor. */
  constructor({ user, deviceId, status, network, rooms, changed, say }) {
    Object.assign(this, { user, deviceId, network, say });
    this.#status = status;
    this.#tell = changed;
    this.#tokens = new Tokens(user);
    this.chat = new Stentor({
      url: `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`,
      token: () => this.#token(),
      deviceId,
      presence: status,
      WebSocket: network.WebSocket,
      // Shorter than usual: a server on this machine has no crowd to be spared.
      backoff: { baseMs: 500, maxMs: 4_000 },
    });
    for (const id of rooms) this.#room(id);
    this.#listen();
  }

  get isConnected() {
    return this.chat.state === 'connected';
  }

  get status() {
    return this.#status;
  }

  connect() {
    this.why = '';
    // Whatever fails is told by `closed`.
    this.chat.connect().catch(() => {});
    this.#changed('link');
  }

  close() {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#tell = this.say = () => {};
    this.chat.close();
  }

  // ------------------------------------------------------------------------------------------------ What comes

  #listen() {
    const { chat } = this;
    /** Listens for events of a room that we have. */
    const inRoom = (event, take) =>
      chat.on(event, (data) => {
        const room = this.rooms.get(data.conversationId);
        if (room) take(room, data);
      });

    chat.on('connected', (session) => this.#welcomed(session));
    chat.on('disconnected', ({ code, reason, retryInMs, error }) => this.#lost({ code, reason, error }, retryInMs));
    chat.on('closed', (how) => {
      if (how.error?.code === 'AUTH_FAILED') this.#tokens.forget();
      this.#lost(how);
    });
    chat.on('trouble', (error) => {
      // What ends a connection is told with its end.
      if (this.isConnected) this.say(describe(error), 'bad');
    });
    chat.on('going-away', () => this.say('The server is going away for a moment'));
    chat.on('queue-flushed', ({ count }) => {
      if (count) this.say(`Caught up: ${count} missed while away`);
    });

    chat.on('room-joined', (data) => {
      const room = this.#room(data.conversationId);
      if (!room.isMember) this.say(`Joined ${room.id} on another device`);
      this.#entered(room, data);
    });
    inRoom('room-left', (room, { reason }) => {
      this.#forget(room);
      this.say(reason === 'left' ? `Left ${room.id} on another device` : `You are no longer in ${room.id}: ${reason}`);
    });
    inRoom('room-reset', (room, { messages, hasMore }) => {
      room.reset();
      for (const message of messages) room.put(message);
      Object.assign(room, { isLoaded: true, hasMore });
      this.#news(room);
    });

    chat.on('message-new', (message) => {
      const room = this.#room(message.conversationId);
      room.isMember = true;
      if (message.queued) this.#markMissed(room, message);
      const { item, isNew } = room.put(message);
      room.setTyping(message.userId, false);
      if (isNew) room.arrived(item);
      this.#news(room);
    });
    for (const event of ['message-edited', 'message-deleted']) {
      inRoom(event, (room, data) => {
        room.change(data);
        this.#news(room);
      });
    }
    const memberChanged = (room, data, change, what) => {
      room.memberChanged(data, change);
      room.addNotice(`${data.userId === this.user ? 'You' : data.userId} ${what}`, data.seq);
      this.#news(room);
    };
    inRoom('member-joined', (room, data) => memberChanged(room, data, 1, 'joined'));
    inRoom('member-left', (room, data) => memberChanged(room, data, -1, 'left'));

    inRoom('receipt', (room, { userId, type, upTo }) => {
      if (userId !== this.user) room.reached(userId, type, upTo);
      else if (type === 'seen') room.sawUpTo(upTo);
      for (const item of room.items) if (item.isOpen && item.seq <= upTo) this.#askStatus(room, item);
      this.#changed('rooms', 'timeline', 'people');
    });
    for (const event of ['typing', 'typing-stop']) {
      inRoom(event, (room, { userId, isTyping }) => {
        room.meet(userId);
        room.setTyping(userId, isTyping);
        this.#changed('typing');
      });
    }
    chat.on('presence', (presence) => {
      this.people.tell(presence);
      this.#changed('people');
    });
  }

  #welcomed({ userId, rooms }) {
    this.user = userId;
    this.#connections++;
    for (const entry of rooms) {
      const room = this.#room(entry.conversationId);
      room.isMember = true;
      room.counted(entry);
    }
    for (const room of this.rooms.values()) {
      room.typing.clear();
      if (!room.isMember) void this.#enter(room);
    }
    if (!this.current) this.select(this.rooms.values().next().value);
    else this.#open(this.current);
    this.#changed('link', 'rooms', 'people', 'typing', 'timeline');
  }

  #lost({ code, reason, error }, retryInMs) {
    this.retryAt = retryInMs === undefined ? 0 : Date.now() + retryInMs;
    const detail = error ? ` – ${describe(error)}` : '';
    this.why = this.#tokenProblem ?? `${code} ${reason || 'connection lost'}${detail}`;
    for (const room of this.rooms.values()) room.typing.clear();
    this.#changed('link', 'people', 'typing', 'timeline');
  }

  async #token() {
    try {
      const token = await this.#tokens.get();
      this.#tokenProblem = undefined;
      return token;
    } catch (error) {
      this.#tokenProblem = error.message;
      // Nobody will get a token for this name: there is nothing to wait for.
      if (error.isFinal) this.chat.close();
      throw error;
    }
  }

  /** Something happened in a room: it is read, if somebody looks at it. */
  #news(room) {
    if (this.isWatching(room)) this.#readSoon(room);
    this.#watchPeopleSoon();
    this.#changed('rooms', 'people', 'typing', 'timeline');
  }

  #markMissed(room, { seq }) {
    if (room.missedIn === this.#connections || !seq || !room.isLoaded) return;
    room.missedIn = this.#connections;
    room.addNotice('Missed while you were away', seq - 0.5);
  }

  // ------------------------------------------------------------------------------------------------ Rooms

  join(id) {
    const room = this.#room(id);
    this.select(room);
    if (!room.isMember && this.isConnected) void this.#enter(room);
    return room;
  }

  async leave(room) {
    try {
      if (room.isMember) await this.chat.leave(room.id);
      this.#forget(room);
    } catch (error) {
      this.say(`Not left: ${describe(error)}`, 'bad');
    }
  }

  select(room) {
    this.current = room;
    if (room) this.#open(room);
    this.#changed('rooms', 'people', 'typing', 'timeline');
  }

  isWatching(room) {
    return room === this.current && !document.hidden;
  }

  /** The visitor looks at the page again. */
  looked() {
    if (this.current) this.#news(this.current);
  }

  async loadOlder() {
    const room = this.current;
    if (room) await this.#load(room, room.oldestSeq);
  }

  #room(id) {
    let room = this.rooms.get(id);
    if (!room) this.rooms.set(id, (room = new Room(id, this.user)));
    return room;
  }

  #forget(room) {
    this.rooms.delete(room.id);
    if (this.current === room) this.select(this.rooms.values().next().value);
    this.#changed('rooms');
  }

  async #enter(room) {
    try {
      this.#entered(room, await this.chat.join(room.id));
    } catch (error) {
      // It is tried again with the next connection.
      if (isOfConnection(error)) return;
      this.say(`${room.id} cannot be joined: ${describe(error)}`, 'bad');
      if (!room.isMember) this.#forget(room);
    }
  }

  #entered(room, joined) {
    room.isMember = true;
    room.joined(joined);
    room.meet(this.user);
    if (this.current === room) this.#open(room);
    else if (!this.current) this.select(room);
    this.#changed('rooms', 'people', 'timeline');
  }

  /** Asks for what a room on show needs and has not got. */
  #open(room) {
    if (!this.isConnected || !room.isMember) return;
    // Joining again changes nothing, and says how many members there are.
    if (room.members === undefined) void this.#enter(room);
    if (!room.isLoaded) void this.#load(room);
    else void this.#learnTicks(room);
    this.#askWhoIsThere(room);
    this.#readSoon(room);
  }

  async #load(room, before) {
    try {
      const page = await this.chat.history(room.id, { limit: HISTORY_PAGE, ...(before !== undefined && { before }) });
      for (const message of page.messages) room.put(message);
      Object.assign(room, { isLoaded: true, hasMore: page.hasMore });
      this.#news(room);
      if (before === undefined) await this.#learnTicks(room);
    } catch (error) {
      if (!isOfConnection(error)) this.say(`No history: ${describe(error)}`, 'bad');
    }
  }

  /** Cursors only grow, so the state of a message that all have read says the same of all before it. */
  async #learnTicks(room) {
    const mine = room.items.filter((item) => item.isMine && item.state === 'acked' && item.seq);
    for (const item of mine.reverse().slice(0, STATUSES_ASKED_MAX)) {
      if (room.tick(item).tick === 'read' || (await this.#askStatus(room, item)) === 'read') return;
    }
  }

  async #askStatus(room, item) {
    try {
      const { users, status } = await this.chat.messageStatus(room.id, item.messageId);
      room.learn(item, users);
      this.#changed('timeline', 'people');
      return status;
    } catch {
      // It was deleted meanwhile, or the connection went: the next receipt or the next look says more.
      return undefined;
    }
  }

  #askWhoIsThere(room) {
    this.chat
      .onlineUsers(room.id)
      .then((users) => {
        for (const user of users) room.meet(user);
        this.#watchPeopleSoon();
        this.#changed('people');
      })
      .catch(() => {});
    this.chat
      .typingUsers(room.id)
      .then((users) => {
        for (const user of users) room.setTyping(user, true);
        this.#changed('typing');
      })
      .catch(() => {});
  }

  #readSoon(room) {
    this.#soon('read', () => {
      if (!this.isConnected || !this.isWatching(room) || !room.isMember) return;
      room.sawUpTo();
      this.#changed('rooms');
      const upTo = this.chat.seen[room.id]?.seq;
      if (upTo === undefined || upTo === room.readUpTo) return;
      room.readUpTo = upTo;
      this.chat.markRead(room.id, upTo).catch(() => (room.readUpTo = undefined));
    });
  }

  // ------------------------------------------------------------------------------------------------ People

  async setStatus(status) {
    this.#status = status;
    this.#changed('people');
    try {
      await this.chat.setPresence(status);
    } catch (error) {
      // The client says it again with the next connection.
      if (!isOfConnection(error)) this.say(`Status not told: ${describe(error)}`, 'bad');
    }
  }

  /** Whomever the room on show has, and ourselves, are watched from then on. */
  #watchPeopleSoon() {
    this.#soon('people', async () => {
      const wanted = [this.user, ...(this.current?.people ?? [])]
        .filter((user) => !this.#watched.has(user))
        .slice(0, WATCHED_MAX - this.#watched.size);
      if (!wanted.length || !this.isConnected) return;
      for (const user of wanted) this.#watched.add(user);
      try {
        for (const presence of await this.chat.watchPresence(wanted)) this.people.tell(presence);
        this.#changed('people');
      } catch (error) {
        for (const user of wanted) this.#watched.delete(user);
        if (!isOfConnection(error)) this.say(describe(error), 'bad');
      }
    });
  }

  /** The visitor pressed a key; `isWriting` says whether something is written now. */
  typing(isWriting) {
    if (!this.current?.isMember) return;
    if (isWriting) this.chat.typing(this.current.id);
    else this.chat.stopTyping(this.current.id);
  }

  // ------------------------------------------------------------------------------------------------ Messages

  /** Shows a message at once, and sends it as soon as that can be done. */
  submit(text, replyTo) {
    const room = this.current;
    const tempId = newName();
    const item = room.addPending({ tempId, content: { text }, replyTo, deviceId: this.deviceId });
    this.#changed('timeline');
    void this.#send(room, item);
  }

  retry(item) {
    this.current.retry(item);
    this.#changed('timeline');
    void this.#send(this.current, item);
  }

  async #send(room, item) {
    const { tempId, content, replyTo } = item;
    try {
      const ack = await this.chat.send(room.id, content, { tempId, ...(replyTo !== undefined && { replyTo }) });
      room.put({ ...ack, userId: this.user });
    } catch (error) {
      room.refuse(item, describe(error));
    }
    this.#changed('timeline', 'link');
  }

  /** Returns whether it was saved: if not, the message says why. */
  async edit(item, text, version) {
    const room = this.current;
    try {
      await this.chat.edit(room.id, item.messageId, { text }, { ifVersion: version });
      return true;
    } catch (error) {
      const isConflict = error.code === 'EDIT_CONFLICT';
      item.note = `Not saved: ${isConflict ? 'it was changed elsewhere meanwhile' : describe(error)}`;
      this.#changed('timeline');
      return false;
    }
  }

  async delete(item) {
    try {
      await this.chat.delete(this.current.id, item.messageId);
    } catch (error) {
      item.note = `Not deleted: ${describe(error)}`;
      this.#changed('timeline');
    }
  }

  /** Shows, or hides again, who has a message. */
  toggleStatus(item) {
    item.isOpen = !item.isOpen;
    this.#changed('timeline');
    if (item.isOpen) void this.#askStatus(this.current, item);
  }

  // ------------------------------------------------------------------------------------------------ Telling

  /** Many things change at once; they are told together, when all of them have. */
  #changed(...what) {
    for (const each of what) this.#changes.add(each);
    if (this.#isTelling) return;
    this.#isTelling = true;
    queueMicrotask(() => {
      const changes = this.#changes;
      this.#changes = new Set();
      this.#isTelling = false;
      this.#tell(changes);
    });
  }

  #soon(what, action) {
    clearTimeout(this.#timers.get(what));
    this.#timers.set(what, setTimeout(action, SOON_MS));
  }
}

/** Not a refusal: there was no connection, or it went. The banner says so already. */
function isOfConnection(error) {
  return ['DISCONNECTED', 'CLOSED', 'TIMEOUT'].includes(error.code);
}

/** A refusal in one line: a plugin's own code and sentence, where it was one. */
export function describe(error) {
  if (!(error instanceof StentorError)) return String(error?.message ?? error);
  const code =
    error.code === 'REJECTED' ? (error.reason ?? error.code) : [error.code, error.reason].filter(Boolean).join('/');
  return `${code}${error.plugin ? ` (${error.plugin})` : ''}: ${error.message}`;
}

/** A name that nobody else has; `crypto.randomUUID` is not there on pages without TLS. */
function newName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
