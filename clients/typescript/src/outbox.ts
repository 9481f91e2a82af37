// Messages on their way: kept until they are acknowledged, through any number of connections.
//
// Each has a `tempId`, by which the server knows it again, so sending it once more is safe. Within a room one is under
// way at a time, because order must survive a refusal for rate; different rooms do not wait for each other.

import { StentorError } from "./errors.js";
import type { MessageAckReply, SendRequest } from "./protocol.js";

interface Entry {
  readonly data: SendRequest;
  readonly bytes: number;
  readonly resolve: (ack: MessageAckReply) => void;
  readonly reject: (error: StentorError) => void;
  /** How often it was refused although it may succeed later. */
  refusals: number;
}

export interface OutboxLimits {
  /** Messages that may wait. */
  readonly messagesMax: number;
  /** Bytes that may wait. */
  readonly bytesMax: number;
}

/** Rooms in which a message is under way at the same time: a queue that is sent in one go would be refused for its rate. */
const UNDER_WAY_MAX = 8;

/** How long to wait after the first refusal that does not say when to try again; twice as long after the next. */
const RETRY_MS = 500;

/** Refusals after which a message is given up. Those for rate are not counted: they pass. */
const REFUSALS_MAX = 6;

export class Outbox {
  readonly #entries = new Set<Entry>();
  readonly #underWay = new Set<string>();
  readonly #limits: OutboxLimits;
  readonly #transmit: (data: SendRequest) => Promise<MessageAckReply>;
  readonly #mayGo: (room: string) => boolean;
  #bytes = 0;
  #pause: ReturnType<typeof setTimeout> | undefined;

  /** `transmit` sends once; `mayGo` says whether a room's messages can be sent now. */
  constructor(limits: OutboxLimits, transmit: (data: SendRequest) => Promise<MessageAckReply>, mayGo: (room: string) => boolean) {
    this.#limits = limits;
    this.#transmit = transmit;
    this.#mayGo = mayGo;
  }

  get size(): number {
    return this.#entries.size;
  }

  add(data: SendRequest): Promise<MessageAckReply> {
    return new Promise((resolve, reject) => {
      const bytes = new TextEncoder().encode(JSON.stringify(data)).length;
      if (this.#entries.size >= this.#limits.messagesMax || this.#bytes + bytes > this.#limits.bytesMax) {
        reject(new StentorError("QUEUE_FULL", "too many messages are waiting to be sent", { retryable: true }));
        return;
      }
      this.#bytes += bytes;
      this.#entries.add({ data, bytes, resolve, reject, refusals: 0 });
      this.pump();
    });
  }

  /** Sends whatever can be sent now. To be called when a connection is there, and when a room is ready. */
  pump(): void {
    if (this.#pause !== undefined) return;
    // Rooms of which an earlier message waits: what is behind it waits too.
    const held = new Set(this.#underWay);
    for (const entry of this.#entries) {
      if (this.#underWay.size >= UNDER_WAY_MAX) return;
      const room = entry.data.conversationId;
      if (held.has(room)) continue;
      held.add(room);
      if (this.#mayGo(room)) void this.#attempt(entry, room);
    }
  }

  /** Nothing will be sent any more. */
  fail(error: StentorError): void {
    clearTimeout(this.#pause);
    this.#pause = undefined;
    for (const entry of [...this.#entries]) {
      this.#drop(entry);
      entry.reject(error);
    }
  }

  async #attempt(entry: Entry, room: string): Promise<void> {
    this.#underWay.add(room);
    try {
      const ack = await this.#transmit(entry.data);
      this.#drop(entry);
      entry.resolve(ack);
    } catch (cause) {
      const error = cause as StentorError;
      // The next connection sends it again.
      if (error.code === "DISCONNECTED") return;
      if (error.code !== "RATE_LIMITED") entry.refusals++;
      if (!error.retryable || entry.refusals >= REFUSALS_MAX) {
        this.#drop(entry);
        entry.reject(error);
      } else {
        this.#rest(error.retryAfterMs ?? RETRY_MS * 2 ** entry.refusals);
      }
    } finally {
      this.#underWay.delete(room);
      this.pump();
    }
  }

  /** Nothing is sent for a while: whatever a retryable refusal was about, more would only add to it. */
  #rest(ms: number): void {
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      this.pump();
    }, ms);
  }

  #drop(entry: Entry): void {
    if (this.#entries.delete(entry)) this.#bytes -= entry.bytes;
  }
}
