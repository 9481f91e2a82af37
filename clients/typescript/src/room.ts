// One room, so that its name need not be said again and again.

import type { Stentor, SendOptions } from "./client.js";
import type { CustomEvent, Events } from "./events.js";
import type { Listener } from "./emitter.js";
import type { DeletedReply, EditedReply, HistoryReply, MessageAckReply, MessageStatusReply, RoomJoinedReply } from "./protocol.js";

/** Events that belong to a room; those of plugins do if their data have a `conversationId`. */
export type RoomEvent = CustomEvent | { [E in keyof Events]: Events[E] extends { readonly conversationId: string } ? E : never }[keyof Events];

export class Room {
  readonly id: string;
  readonly #chat: Stentor;

  constructor(chat: Stentor, id: string) {
    this.#chat = chat;
    this.id = id;
  }

  /** Listens to what happens in this room. Returns the function that ends it. */
  on<E extends RoomEvent>(event: E, listener: Listener<Events[E]>): () => void {
    return this.#chat.on(event, (data) => {
      if ((data as { conversationId?: string } | null)?.conversationId === this.id) listener(data);
    });
  }

  join(): Promise<RoomJoinedReply> {
    return this.#chat.join(this.id);
  }

  leave(): Promise<void> {
    return this.#chat.leave(this.id);
  }

  send(content: unknown, options?: SendOptions): Promise<MessageAckReply> {
    return this.#chat.send(this.id, content, options);
  }

  edit(messageId: string, content: unknown, options?: { readonly ifVersion?: number }): Promise<EditedReply> {
    return this.#chat.edit(this.id, messageId, content, options);
  }

  delete(messageId: string): Promise<DeletedReply> {
    return this.#chat.delete(this.id, messageId);
  }

  history(page?: { readonly before?: number; readonly after?: number; readonly limit?: number }): Promise<HistoryReply> {
    return this.#chat.history(this.id, page);
  }

  onlineUsers(): Promise<readonly string[]> {
    return this.#chat.onlineUsers(this.id);
  }

  typingUsers(): Promise<readonly string[]> {
    return this.#chat.typingUsers(this.id);
  }

  /** Says that you are writing. Call it with every key: it is told at most once in three seconds. */
  typing(): void {
    this.#chat.typing(this.id);
  }

  stopTyping(): void {
    this.#chat.stopTyping(this.id);
  }

  /** Says what was seen: up to a `seq`, or all that this client was given. */
  markRead(upTo?: number): Promise<void> {
    return this.#chat.markRead(this.id, upTo);
  }

  /** Says what was delivered. Only needed with `autoAck: false`. */
  ack(upTo?: number): Promise<void> {
    return this.#chat.ack(this.id, upTo);
  }

  messageStatus(messageId: string, options?: { readonly after?: string }): Promise<MessageStatusReply> {
    return this.#chat.messageStatus(this.id, messageId, options);
  }
}
