// The client, as an application sees it.

import { Backoff } from "./backoff.js";
import { Connection, type State } from "./connection.js";
import { Emitter, type Listener } from "./emitter.js";
import { StentorError } from "./errors.js";
import type { CustomEvent, Events } from "./events.js";
import type { Heartbeat, SocketConstructor } from "./link.js";
import { Outbox } from "./outbox.js";
import type {
  AuthSuccessReply,
  DeletedReply,
  EditedReply,
  HistoryReply,
  MessageAckReply,
  MessageStatusReply,
  Presence,
  PresenceStatusReply,
  Requests,
  RoomJoinedReply,
  SendRequest,
  Since,
  Status,
} from "./protocol.js";
import { Room } from "./room.js";
import { randomName, socketOfPlatform, whenOnline } from "./socket.js";
import { Subscriptions } from "./subscriptions.js";
import { Timeline } from "./timeline.js";
import type { TokenSource } from "./token.js";
import { Typing } from "./typing.js";

export interface StentorOptions {
  /** `wss://chat.example.com/ws` */
  readonly url: string;
  /** A token, or a function that fetches a fresh one: it is called for each connection, and before a token expires. */
  readonly token: TokenSource;
  /** Which of the user's devices this is. The server keeps for each what it has not been given yet. */
  readonly deviceId?: string;
  /** A WebSocket, where the platform has none: that of the package `ws`. */
  readonly WebSocket?: SocketConstructor;
  /** How available the user is, with every connection. */
  readonly presence?: Status;
  /** Whether what provably arrived counts as delivered (the default). If not, only `ack` counts. */
  readonly autoAck?: boolean;
  /** How long an answer may take. */
  readonly timeoutMs?: number;
  /** Delays before coming back: the first, doubled each time up to the last. */
  readonly backoff?: { readonly baseMs?: number; readonly maxMs?: number };
  /** When silence is looked into, and when it means that the connection is dead. */
  readonly heartbeat?: Partial<Heartbeat>;
  /** Messages, and their bytes, that may wait to be sent. */
  readonly outbox?: { readonly messagesMax?: number; readonly bytesMax?: number };
  /** What an earlier life of your program had seen: its `seen`. What it missed comes with the first connection. */
  readonly seen?: Readonly<Record<string, Since>>;
  /** Messages that are read when a room cannot be resumed. */
  readonly resetMessagesMax?: number;
}

export interface SendOptions {
  /** The application's kind of message; `text` if it says none. */
  readonly type?: string;
  readonly replyTo?: string;
  /** The message's own name. Say the same one to send a message again that an earlier life of your program began. */
  readonly tempId?: string;
  /** No `message-new` for this client: it knows the message already. */
  readonly noEcho?: boolean;
}

export class Stentor {
  readonly #events = new Emitter<Events>();
  readonly #connection: Connection;
  readonly #timeline: Timeline;
  readonly #outbox: Outbox;
  readonly #typing = new Typing();
  readonly #watched = new Subscriptions();
  readonly #options: StentorOptions;
  readonly #timeoutMs: number;
  #stopWatchingNetwork: (() => void) | undefined;
  #presence: { readonly status: Status; readonly text?: string } | undefined;
  #said: Readonly<Record<string, Since>> = {};

  constructor(options: StentorOptions) {
    const { url, token, backoff, heartbeat = {}, outbox = {}, timeoutMs = 10_000, resetMessagesMax = 1_000 } = options;
    this.#options = options;
    this.#timeoutMs = timeoutMs;
    if (options.presence) this.#presence = { status: options.presence };
    this.#connection = new Connection(
      {
        url,
        token,
        socket: options.WebSocket ?? socketOfPlatform(),
        backoff: new Backoff(backoff),
        heartbeat: { afterMs: heartbeat.afterMs ?? 25_000, timeoutMs: heartbeat.timeoutMs ?? 10_000 },
        connectTimeoutMs: timeoutMs,
      },
      {
        auth: () => this.#auth(),
        welcomed: (session) => this.#welcomed(session),
        push: (event, data) => this.#timeline.push(event, data),
        ended: (how) => {
          this.#typing.clear();
          if (how.retryInMs === undefined) {
            this.#outbox.fail(new StentorError("CLOSED", `not sent: ${how.code} ${how.reason}`, { cause: how.error }));
            this.#stopWatchingNetwork?.();
            this.#stopWatchingNetwork = undefined;
          }
          this.#events.emit(how.retryInMs === undefined ? "closed" : "disconnected", how);
        },
        trouble: (error) => this.#events.emit("trouble", error),
      },
    );
    this.#timeline = new Timeline(
      {
        ask: (event, data, asking) => this.#connection.request(event, data, { timeoutMs, ...asking }),
        emit: (event, data) => this.#events.emit(event as keyof Events, data as never),
        ready: () => this.#outbox.pump(),
      },
      resetMessagesMax,
      options.seen,
    );
    const limits = { messagesMax: outbox.messagesMax ?? 1_000, bytesMax: outbox.bytesMax ?? 4 * 1024 * 1024 };
    this.#outbox = new Outbox(
      limits,
      (data) => this.#transmit(data),
      (room) => this.state === "connected" && this.#timeline.isReady(room),
    );
  }

  get state(): State {
    return this.#connection.state;
  }

  /** What the server said at the last welcome: who you are, its limits, your rooms. */
  get session(): AuthSuccessReply | undefined {
    return this.#connection.session;
  }

  /** The last event that this client was given, by room: what to keep for the next life of your program. */
  get seen(): Readonly<Record<string, Since>> {
    return this.#timeline.all();
  }

  /** Messages that wait for their acknowledgement. */
  get unsent(): number {
    return this.#outbox.size;
  }

  /** Connects now; any request does so too. Fails only if the server does not want this client as it is. */
  connect(): Promise<AuthSuccessReply> {
    this.#stopWatchingNetwork ??= whenOnline(() => this.#connection.hurry());
    return this.#connection.connect();
  }

  /** Ends the connection. Whatever waits fails with `CLOSED`. */
  close(): void {
    this.#connection.close();
  }

  /** Listens. Returns the function that ends it. */
  on<E extends keyof Events>(event: E, listener: Listener<Events[E]>): () => void {
    return this.#events.on(event, listener);
  }

  off<E extends keyof Events>(event: E, listener: Listener<Events[E]>): void {
    this.#events.off(event, listener);
  }

  /** The next event of that name. */
  once<E extends keyof Events>(event: E): Promise<Events[E]> {
    return new Promise((resolve) => {
      const end = this.on(event, (data) => {
        end();
        resolve(data);
      });
    });
  }

  /** A handle of a room: the same as here, without saying its name each time. It need not be joined yet. */
  room(id: string): Room {
    return new Room(this, id);
  }

  /** Becomes a member of a room, and gets what happens in it from now on. */
  join(room: string): Promise<RoomJoinedReply> {
    this.#begin();
    return this.#timeline.join(room);
  }

  async leave(room: string): Promise<void> {
    await this.#ask("leave-room", { conversationId: room });
    this.#timeline.left(room);
  }

  /**
   * Sends a message. Without a connection it waits for one; however often that breaks, it is in the room once.
   * Fails if the server refuses it, if too much is waiting, or if this client is closed.
   */
  send(
    room: string,
    content: unknown,
    { type, replyTo, tempId = randomName(), noEcho }: SendOptions = {},
  ): Promise<MessageAckReply> {
    if (this.state === "closed") return Promise.reject(new StentorError("CLOSED", "this client is closed"));
    this.#begin();
    this.#typing.stop(room);
    return this.#outbox.add({
      conversationId: room,
      tempId,
      content,
      ...(type !== undefined && { type }),
      ...(replyTo !== undefined && { replyTo }),
      ...(noEcho && { noEcho }),
    });
  }

  edit(
    room: string,
    messageId: string,
    content: unknown,
    { ifVersion }: { readonly ifVersion?: number } = {},
  ): Promise<EditedReply> {
    return this.#ask("edit-message", {
      conversationId: room,
      messageId,
      content,
      ...(ifVersion !== undefined && { ifVersion }),
    });
  }

  delete(room: string, messageId: string): Promise<DeletedReply> {
    return this.#ask("delete-message", { conversationId: room, messageId });
  }

  /** A page of messages in their present state: the newest, or those before or after a `seq`. */
  history(
    room: string,
    page: { readonly before?: number; readonly after?: number; readonly limit?: number } = {},
  ): Promise<HistoryReply> {
    return this.#askAgain("history", { conversationId: room, ...page });
  }

  async onlineUsers(room: string): Promise<readonly string[]> {
    return (await this.#askAgain("get-online-users", { conversationId: room })).users;
  }

  async typingUsers(room: string): Promise<readonly string[]> {
    return (await this.#askAgain("get-typing-users", { conversationId: room })).users;
  }

  /** Says that you are writing. Call it with every key: it is told at most once in three seconds. */
  typing(room: string): void {
    if (this.state === "connected" && this.#typing.start(room, Date.now()))
      this.#connection.tell("typing-start", { conversationId: room });
  }

  stopTyping(room: string): void {
    if (this.#typing.stop(room)) this.#connection.tell("typing-stop", { conversationId: room });
  }

  /** Says what was seen, up to a `seq`, or all that this client was given. It counts as delivered too. */
  markRead(room: string, upTo?: number): Promise<void> {
    return this.#acknowledge("mark-read", room, upTo);
  }

  /** Says what was delivered. Only needed with `autoAck: false`. */
  ack(room: string, upTo?: number): Promise<void> {
    return this.#acknowledge("ack", room, upTo);
  }

  /** Who has a message, and who has seen it; `after` a user for the next page. */
  messageStatus(
    room: string,
    messageId: string,
    { after }: { readonly after?: string } = {},
  ): Promise<MessageStatusReply> {
    return this.#askAgain("get-message-status", {
      conversationId: room,
      messageId,
      ...(after !== undefined && { after }),
    });
  }

  /** Says how available you are, now and with every later connection. */
  async setPresence(status: Status, text?: string): Promise<void> {
    this.#presence = text === undefined ? { status } : { status, text };
    await this.#askAgain("presence-update", this.#presence);
  }

  async getPresence(userIds: readonly string[]): Promise<readonly Presence[]> {
    return (await this.#askAgain("get-presence", { userIds })).users;
  }

  /** Asks to be told, by `presence`, how available users are, and says how they are now. It outlives connections. */
  async watchPresence(userIds: readonly string[]): Promise<readonly Presence[]> {
    this.#watched.add(userIds);
    return (await this.#askAgain("subscribe-presence", { userIds })).users;
  }

  async unwatchPresence(userIds: readonly string[]): Promise<void> {
    this.#watched.remove(userIds);
    await this.#askAgain("unsubscribe-presence", { userIds });
  }

  /** A request to an extension plugin: its answer is the plugin's. */
  request(event: CustomEvent, data?: unknown): Promise<unknown> {
    this.#begin();
    return this.#connection.request(event, data, { timeoutMs: this.#timeoutMs });
  }

  /** Connects, unless it was done before or was ended. */
  #begin(): void {
    if (this.state === "idle")
      this.connect().catch(() => {
        /* whoever waits is told, and `closed` tells the others */
      });
  }

  #auth() {
    const { deviceId, autoAck } = this.#options;
    this.#said = this.#timeline.since();
    return {
      batch: true,
      since: this.#said,
      ...(deviceId !== undefined && { deviceId }),
      ...(autoAck !== undefined && { autoAck }),
      ...(this.#presence && { presence: this.#presence.status }),
    };
  }

  #welcomed(session: AuthSuccessReply): void {
    this.#timeline.welcomed(session, this.#said);
    this.#events.emit("connected", session);
    const quietly = (error: unknown) => {
      if (error instanceof StentorError && error.code !== "DISCONNECTED") this.#events.emit("trouble", error);
    };
    if (this.#presence?.text !== undefined) this.#ask("presence-update", this.#presence).catch(quietly);
    // What changed while there was no connection is told as if it changed now.
    const tell = ({ users }: PresenceStatusReply) => users.forEach((user) => this.#events.emit("presence", user));
    for (const userIds of this.#watched.pages()) {
      this.#ask("subscribe-presence", { userIds }).then(tell).catch(quietly);
    }
    this.#outbox.pump();
  }

  async #transmit(data: SendRequest): Promise<MessageAckReply> {
    const apply = (ack: unknown) => {
      if (data.noEcho) this.#timeline.sent(ack as MessageAckReply);
    };
    return (await this.#connection.request("send-message", data, {
      timeoutMs: this.#timeoutMs,
      apply,
    })) as MessageAckReply;
  }

  async #acknowledge(event: "ack" | "mark-read", room: string, upTo = this.#timeline.cursor(room)?.seq): Promise<void> {
    if (upTo !== undefined) await this.#askAgain(event, { conversationId: room, upTo });
  }

  async #ask<E extends keyof Requests>(
    event: E,
    data: Requests[E]["data"],
    again = false,
  ): Promise<Requests[E]["reply"]> {
    this.#begin();
    return (await this.#connection.request(event, data, { timeoutMs: this.#timeoutMs, again })) as Requests[E]["reply"];
  }

  /** Asks what does no harm if asked twice. */
  #askAgain<E extends keyof Requests>(event: E, data: Requests[E]["data"]): Promise<Requests[E]["reply"]> {
    return this.#ask(event, data, true);
  }
}
