// What this client has seen, by room: the place from which to resume, and the reason why no event is shown twice.

import type { Since } from "./protocol.js";

/** The fields by which an event of a log is known. */
export interface Logged {
  readonly conversationId: string;
  readonly epoch?: string;
  readonly seq?: number;
  readonly messageId?: string;
}

/** `fresh`: take it. `known`: it was here before. `gap`: something before it is missing. */
export type Verdict = "fresh" | "known" | "gap";

/** Bytes of all that `auth` says in `since`. A frame may not be longer than the server's limit, which is no less. */
const SINCE_BYTES_MAX = 32_768;

export class Cursors {
  /** In the order of last use, so that the rooms in which something happens are resumed first. */
  readonly #cursors = new Map<string, Since>();

  get(room: string): Since | undefined {
    return this.#cursors.get(room);
  }

  set(room: string, since: Since): void {
    this.#cursors.delete(room);
    this.#cursors.set(room, since);
  }

  forget(room: string): void {
    this.#cursors.delete(room);
  }

  rooms(): string[] {
    return [...this.#cursors.keys()];
  }

  /** The order within a log has no holes, so one number for each room tells what is new, what is old and what is missing. */
  judge({ conversationId, epoch, seq }: Logged): Verdict {
    const cursor = this.#cursors.get(conversationId);
    if (epoch === undefined || seq === undefined || cursor === undefined) return "fresh";
    if (epoch !== cursor.epoch) return "gap";
    if (seq <= cursor.seq) return "known";
    return seq === cursor.seq + 1 ? "fresh" : "gap";
  }

  /** An event was dealt with. */
  advance({ conversationId, epoch, seq, messageId }: Logged): void {
    if (epoch === undefined || seq === undefined) return;
    this.set(conversationId, messageId === undefined ? { epoch, seq } : { epoch, seq, messageId });
  }

  /** `since` for `auth`: as many rooms as fit, those used last first. */
  since(): Record<string, Since> {
    const chosen: Record<string, Since> = {};
    let bytes = 0;
    for (const [room, since] of [...this.#cursors].reverse()) {
      bytes += new TextEncoder().encode(JSON.stringify([room, since])).length;
      if (bytes > SINCE_BYTES_MAX) break;
      chosen[room] = since;
    }
    return chosen;
  }
}
