// What happens in rooms, given on once and in order, whatever connections do meanwhile.
//
// Each room has a cursor. A new connection says all of them and is sent what was missed. Where that cannot be done, or
// where an event is missing after all, the room is asked for by itself; and where its log has nothing to go on from, it
// is read anew and given on as a whole, as `room-reset`.

import { Cursors, type Logged } from "./cursors.js";
import { StentorError } from "./errors.js";
import type { AuthSuccessReply, HistoryReply, LoggedEvent, ResyncPush, RoomJoinedReply, Since } from "./protocol.js";

/** A room could not be resumed: this is what is in it now. Whatever is shown of it is to be replaced by this. */
export interface RoomReset {
  readonly conversationId: string;
  readonly epoch: string;
  /** In their present state, ascending. */
  readonly messages: HistoryReply["messages"];
  /** Whether there are older ones. */
  readonly hasMore: boolean;
}

export interface AskOptions {
  /** Called with the answer before anything behind it is looked at. */
  readonly apply?: (data: unknown) => void;
  /** Whether to ask again when a connection ends before the answer. */
  readonly again?: boolean;
}

export interface TimelineHandlers {
  ask(event: string, data: unknown, options: AskOptions): Promise<unknown>;
  emit(event: string, data: unknown): void;
  /** A room that was not ready is ready. */
  ready(room: string): void;
}

interface Held {
  readonly event: string;
  readonly data: Logged;
}

/** Events of a room that are held back while it is read anew. */
const HELD_MAX = 1_000;
/** Attempts to resume a room, where the server says that a later one may succeed. */
const ATTEMPTS_MAX = 5;
const RETRY_MS = 1_000;
const PAGE_MESSAGES = 200;

export class Timeline {
  readonly #cursors = new Cursors();
  /** Rooms that this client joined, which it joins again after a restart of the server lost them. */
  readonly #joined = new Set<string>();
  /** Rooms that are asked for by themselves. */
  readonly #resuming = new Map<string, Promise<void>>();
  /** Rooms of which membership is not certain: nothing is sent to them meanwhile. */
  readonly #entering = new Set<string>();
  /** What is pushed in rooms that are read anew. `undefined` for too much of it. */
  readonly #held = new Map<string, Held[] | undefined>();
  /** Rooms that were there at the welcome, whose missed events are still on their way. */
  #heads: AuthSuccessReply["rooms"] = [];
  readonly #handlers: TimelineHandlers;
  readonly #resetMessagesMax: number;

  constructor(handlers: TimelineHandlers, resetMessagesMax: number, seen: Readonly<Record<string, Since>> = {}) {
    this.#handlers = handlers;
    for (const [room, since] of Object.entries(seen)) this.#cursors.set(room, since);
    this.#resetMessagesMax = resetMessagesMax;
  }

  cursor(room: string): Since | undefined {
    return this.#cursors.get(room);
  }

  all(): Record<string, Since> {
    return Object.fromEntries(this.#cursors.rooms().map((room) => [room, this.#cursors.get(room) as Since]));
  }

  since(): Record<string, Since> {
    return this.#cursors.since();
  }

  isReady(room: string): boolean {
    return !this.#entering.has(room);
  }

  /** A connection was welcomed, having said `since`. */
  welcomed({ rooms, queued, limits }: AuthSuccessReply, since: Readonly<Record<string, Since>>): void {
    this.#heads = rooms;
    if (!queued) this.#startAtHeads();
    const present = new Set(rooms.map(({ conversationId }) => conversationId));
    // The list is whole unless it is as long as it may be.
    const isWhole = rooms.length < limits.roomsMax;
    for (const room of this.#cursors.rooms()) {
      if (present.has(room) && since[room] === undefined) this.#resume(room);
      if (!present.has(room) && !this.#joined.has(room) && isWhole) this.#lost(room, "not_a_member");
    }
    for (const room of this.#joined) {
      if (present.has(room)) continue;
      this.#entering.add(room);
      this.#resume(room);
    }
  }

  async join(room: string): Promise<RoomJoinedReply> {
    this.#entering.add(room);
    try {
      const since = this.#cursors.get(room);
      return await this.#ask(room, since, { again: true });
    } finally {
      this.#enter(room);
    }
  }

  left(room: string): void {
    this.#joined.delete(room);
    this.#cursors.forget(room);
    this.#held.delete(room);
  }

  /** A message was sent of which no push will come. */
  sent(logged: Logged): void {
    if (this.#cursors.judge(logged) === "fresh") this.#cursors.advance(logged);
  }

  /** A push of the server. */
  push(event: string, data: unknown): void {
    if (event === "resync") {
      this.#resume((data as ResyncPush).conversationId, true);
    } else if (event === "queue-flushed") {
      this.#startAtHeads();
      this.#handlers.emit(event, data);
    } else if (event === "room-joined") {
      this.#arrive(data as RoomJoinedReply);
      this.#handlers.emit(event, data);
    } else if (event === "room-left") {
      this.left((data as { conversationId: string }).conversationId);
      this.#handlers.emit(event, data);
    } else {
      this.#take(event, data);
    }
  }

  #take(event: string, data: unknown): void {
    if (!isLogged(data)) {
      this.#handlers.emit(event, data);
      return;
    }
    const room = data.conversationId;
    if (this.#held.has(room)) {
      const held = this.#held.get(room);
      if (held && held.length < HELD_MAX) held.push({ event, data });
      else this.#held.set(room, undefined);
      return;
    }
    const verdict = this.#cursors.judge(data);
    if (verdict === "gap") this.#resume(room);
    if (verdict !== "fresh") return;
    // First, so that a listener who asks for the cursor finds this event covered.
    this.#cursors.advance(data);
    this.#handlers.emit(event, data);
  }

  /** Rooms of which nothing is known are known from their present end on. */
  #startAtHeads(): void {
    for (const head of this.#heads) {
      if (this.#cursors.get(head.conversationId) === undefined) this.#cursors.advance(head);
    }
    this.#heads = [];
  }

  /** Asks for a room by itself, once at a time. Of one that `mustReset`, something is missing even if nothing was seen. */
  #resume(room: string, mustReset = false): void {
    if (this.#resuming.has(room)) return;
    const resuming = this.#patiently(room, mustReset).catch((error: unknown) => {
      // Without a connection there is nothing to do: the next one will say `since`.
      if (!(error instanceof StentorError) || error.code === "DISCONNECTED" || error.code === "CLOSED") return;
      if (error.retryable) this.#handlers.emit("trouble", error);
      else this.#lost(room, error.reason ?? error.code);
    }).finally(() => {
      this.#resuming.delete(room);
      this.#enter(room);
    });
    this.#resuming.set(room, resuming);
  }

  async #patiently(room: string, mustReset: boolean): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#ask(room, this.#cursors.get(room), { mustReset });
        return;
      } catch (error) {
        const mayPass = error instanceof StentorError && error.retryable && error.code !== "DISCONNECTED";
        if (!mayPass || attempt === ATTEMPTS_MAX) throw error;
        await new Promise((done) => setTimeout(done, error.retryAfterMs ?? RETRY_MS * attempt));
      }
    }
  }

  /** Joins, which does nothing to a member but give what was missed. */
  async #ask(room: string, since: Since | undefined, { again = false, mustReset = false }): Promise<RoomJoinedReply> {
    let isLost = false;
    const apply = (data: unknown) => {
      const reply = data as RoomJoinedReply;
      this.#joined.add(room);
      for (const { event, data: missed } of reply.messages as readonly LoggedEvent[]) this.#take(event, missed);
      isLost = (since !== undefined || mustReset) && !reply.recovered && reply.epoch !== undefined;
      if (isLost) this.#held.set(room, []);
      else this.#arrive(reply);
    };
    const reply = await this.#handlers.ask("join-room", { conversationId: room, ...(since && { since }) }, { apply, again }) as RoomJoinedReply;
    if (isLost) await this.#reset(room, since, reply);
    return reply;
  }

  /** The room's events are known up to what the reply says. */
  #arrive({ conversationId, epoch, seq }: RoomJoinedReply): void {
    const cursor = this.#cursors.get(conversationId);
    if (epoch !== undefined && seq !== undefined && !(cursor?.epoch === epoch && cursor.seq >= seq)) {
      this.#cursors.set(conversationId, { epoch, seq });
    }
  }

  /** Reads a room anew. What is pushed meanwhile waits, and comes after. */
  async #reset(room: string, since: Since | undefined, { epoch, seq }: RoomJoinedReply): Promise<void> {
    try {
      const { messages, hasMore } = await this.#read(room, since, epoch as string);
      // Left meanwhile.
      if (!this.#held.has(room)) return;
      const held = this.#held.get(room);
      this.#held.delete(room);
      this.#cursors.set(room, { epoch: epoch as string, seq: seq ?? 0 });
      this.#handlers.emit("room-reset", { conversationId: room, epoch: epoch as string, messages, hasMore } satisfies RoomReset);
      const read = new Set(messages.map(({ messageId }) => messageId));
      for (const { event, data } of held ?? []) {
        // What came after the answer to the join may be on the page already.
        if (event === "message-new" && read.has(data.messageId as string)) this.sent(data);
        else this.#take(event, data);
      }
      // If too much came, the next event shows the gap, or the next connection; what is missing is in the log.
    } finally {
      // If it failed, the cursor is still the old one, and leads here again.
      this.#held.delete(room);
    }
  }

  async #read(room: string, since: Since | undefined, epoch: string): Promise<{ messages: HistoryReply["messages"]; hasMore: boolean }> {
    let messages: HistoryReply["messages"] = [];
    for (;;) {
      const before = messages[0]?.seq;
      const page = await this.#handlers.ask("history", { conversationId: room, limit: PAGE_MESSAGES, ...(before !== undefined && { before }) }, {}) as HistoryReply;
      messages = [...page.messages, ...messages];
      const first = messages[0]?.seq;
      // What is older was seen before.
      const isKnown = since?.epoch === epoch && first !== undefined && first <= since.seq;
      if (!page.hasMore || first === undefined || isKnown || messages.length >= this.#resetMessagesMax) {
        return { messages, hasMore: page.hasMore };
      }
    }
  }

  /** This user is no member any more, and was not told at the time. */
  #lost(room: string, reason: string): void {
    this.left(room);
    this.#handlers.emit("room-left", { conversationId: room, reason });
  }

  #enter(room: string): void {
    if (this.#entering.delete(room)) this.#handlers.ready(room);
  }
}

function isLogged(data: unknown): data is Logged {
  const { conversationId, seq } = (data ?? {}) as Partial<Logged>;
  return typeof conversationId === "string" && typeof seq === "number";
}
